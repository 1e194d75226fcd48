"""Interference: by how much split traffic is wrong, measured against twins of the same world.

In split traffic the treated users live on a platform that the control serves too. What that does to
them is the paired difference of what they do there and in the twin in which everybody is treated;
likewise for the control. The bias of the split is the first less the second, and since each user
meets the same noise in all three worlds, who fell into which arm does not blur it:

    bias = (treated users: split - treated twin) - (control users: split - control twin)

Measured in the default world with 1,000 users and 300 streamers (`tests/evaluation/ab`), three
days, six seeds: with the effects of audience and crowding at 0.5 the split sees 6 % too little of
the oracle's effect on the click rate against random (-0.0071, standard error 0.0007), as the
control gains from rooms that the oracle fills; with both at 0 the bias is exactly 0.

Only a simulator has the two twins. Without interference (users who meet neither through rooms nor
through what rankers learn) both terms are exactly 0.
Why it arises in markets: Blake & Coey, "Why marketplace experimentation is harder than it seems",
EC 2014; through shared training data: Si, "Tackling interference induced by data training loops in
A/B tests", 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.ab.effect import Effect, of_estimate
from evaluation.intervals import Estimate, difference
from evaluation.online import UserTotals
from evaluation.results import ALL


@dataclass(frozen=True)
class Interference:
    """What sharing one platform did to each arm, in the metric's unit, clustered by user."""

    metric: str
    on_treated: Estimate
    on_control: Estimate

    @property
    def bias(self) -> Effect:
        """What the split adds to the true effect; an exact 0 has no interval."""
        gap = difference(self.on_treated, self.on_control)
        return of_estimate("bias of split", self.metric, "difference", gap, "user")


def interference(
    split: UserTotals,
    treated_twin: UserTotals,
    control_twin: UserTotals,
    treated: NDArray[np.bool_],
    metric: str,
    scenario: str = ALL,
) -> Interference:
    """Measure the interference of split traffic.

    Args:
        split: totals of all users under split traffic.
        treated_twin: totals where everybody is treated, same world, same days.
        control_twin: totals where nobody is.
        treated: [U] users of the treated arm.
        metric: of `evaluation.online.METRICS`.
        scenario: of `evaluation.online.SCOPES`.

    Raises:
        ResultsError: the metric or the scenario is unknown.
        ValueError: the numbers of users differ.
    """
    if len({split.users, treated_twin.users, control_twin.users, len(treated)}) > 1:
        raise ValueError(
            f"split has {split.users} users, the twins {treated_twin.users} and "
            f"{control_twin.users}, the assignment {len(treated)}; they must be the same"
        )

    def gap(arm: NDArray[np.bool_], twin: UserTotals) -> Estimate:
        own, alone = (
            UserTotals(totals.sums * arm).estimate(metric, scenario) for totals in (split, twin)
        )
        return difference(own, alone)

    return Interference(metric, gap(treated, treated_twin), gap(~treated, control_twin))
