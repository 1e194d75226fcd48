"""The true value of a policy: what it brings per user who comes, luck in outcomes integrated out.

Of every impression not what happened counts, but the expectation of the objective given what was
shown, by the probabilities that only the simulator knows. What is left to chance is who comes, when
and in which mood, and the course of sessions; the standard error is over users.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.intervals import Estimate, ratio
from policies.contract import Policy, Privileged
from policies.rank import Exploration, Server
from sim.config import Objective
from sim.schema import TARGETS, Impressions
from sim.truth import TruthRows
from sim.world import World


@dataclass(frozen=True)
class TrueValue:
    """What a policy is worth in a world; twins of one world are paired by user."""

    per_user: Estimate
    """Expected objective per user who comes in the time, however late purchases are."""
    impressions: int

    @property
    def standard_error(self) -> float:
        """Standard error over users."""
        return self.per_user.standard_error


def true_value(
    policy: Policy | Privileged,
    world: World,
    days: int = 1,
    *,
    exploration: Exploration | None = None,
    on_day: Callable[[int], None] | None = None,
) -> TrueValue:
    """Let a fitted policy serve a twin of `world` and add up what it is expected to bring.

    Args:
        policy: fitted; has observed the event stream up to the state of `world`.
        world: gives config, seed and state; not altered.
        days: days to run.
        exploration: how slates are drawn; None serves greedily.
        on_day: called with the number of finished days after each.
    """
    twin = world.fork()
    server = Server(policy, exploration or Exploration(kind="greedy"))
    n_users = twin.population.n_users
    worth = Worth(n_users, world.config.objective)
    for done, record in enumerate(twin.run(server, days), start=1):
        worth.add(record.impressions, record.truth)
        if on_day is not None:
            on_day(done)
    return worth.value()


class Worth:
    """Adds up what days of a deployment are expected to bring.

    Args:
        n_users: number of users U; ids are below it.
        objective: worth of the targets.
    """

    def __init__(self, n_users: int, objective: Objective) -> None:
        """Begin with nothing."""
        self._objective = objective
        self._worth = np.zeros(n_users)
        self._came = np.zeros(n_users)
        self._impressions = 0

    def add(self, impressions: Impressions, truth: TruthRows) -> None:
        """Add impressions [N] with their true side."""
        expected = expected_worth(truth, self._objective)
        self._worth += np.bincount(impressions.user_id, expected, len(self._worth))
        self._came[impressions.user_id] = 1.0
        self._impressions += len(impressions)

    def value(self) -> TrueValue:
        """Return the sum per user who came."""
        return TrueValue(ratio(self._worth, self._came, scale="positive"), self._impressions)


def expected_worth(truth: TruthRows, objective: Objective) -> np.ndarray:
    """Return the expected objective of impressions, float64 [N], given that they were shown.

    Args:
        truth: true side of the impressions [N].
        objective: worth of the targets.
    """
    weights = objective.weights()
    worth = np.zeros(len(truth))
    for target in TARGETS:
        worth += weights[target] * getattr(truth, f"p_{target}").astype(np.float64)
    return worth
