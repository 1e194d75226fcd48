"""Several policies behind one ranker in one world: each session is served by its arm.

All arms meet the same platform: rooms fill with the audiences of all, streamers gain followers
from all, and what one arm's users do is, unless arms keep their data apart, what the other arm's
policy learns from. So split traffic interferes, and what it measures is not what deploying either
policy alone would bring; `evaluation.ab.effect.twin_effect` is that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.ab.assignment import Plan, Split
from evaluation.ab.servers import Servers
from policies.rank import Server
from sim.config import ConfigError
from sim.schema import PAD, Floats, Impressions, Purchases, Requests, Slate
from sim.truth import RequestTruth


class Traffic(Servers):
    """Routes each request to the server of its session's arm.

    A request is ranked as if its arm served alone, so that traffic whose arms hold one policy
    leaves the log of that policy, byte by byte.

    Args:
        servers: one per arm; arm 0 is the control. Arms that learn need policies of their own.
        plan: who meets which arm.
        own_data: whether a policy learns from its own arm's events alone, instead of all. Arms
            must be those of users, as events after a block ended have no arm.

    Raises:
        ConfigError: the number of servers is not that of arms, or `own_data` without a split.
    """

    def __init__(self, servers: Sequence[Server], plan: Plan, own_data: bool = False) -> None:
        """Store the arms."""
        if len(servers) != plan.n_arms:
            raise ConfigError(f"servers: {len(servers)}; allowed: {plan.n_arms}, one for each arm")
        if own_data and not isinstance(plan, Split):
            raise ConfigError(
                f"own_data = True with {type(plan).__name__}; allowed: with a Split of users"
            )
        super().__init__(servers)
        self.plan = plan
        self.own_data = own_data
        self._met: list[NDArray[np.int64]] = []

    @property
    def exposures(self) -> NDArray[np.int64]:
        """Pairs (user, arm that served a request of theirs), each once, [N, 2]."""
        return np.unique(np.concatenate([np.zeros((0, 2), np.int64), *self._met]), axis=0)

    def rank(
        self, requests: Requests, slate_size: int, uniforms: Floats, truth: RequestTruth | None
    ) -> Slate:
        """Let each request's arm choose its slate; arguments as in `policies.rank.Server.rank`."""
        arms = self.plan.arms_of(requests.user_id, requests.session_start_s)
        shape = (len(requests), slate_size)
        slate = Slate(np.full(shape, PAD, np.int32), np.ones(shape))
        for arm, server in enumerate(self.servers):
            rows = np.flatnonzero(arms == arm)
            if not len(rows):
                continue
            own = requests.take(rows)
            known = own_truth(truth, own, rows) if server.needs_truth and truth else None
            part = server.rank(own, slate_size, uniforms[rows], known)
            slate.column[rows], slate.propensity[rows] = part.column, part.propensity
            users = np.unique(own.user_id).astype(np.int64)
            self._met.append(np.column_stack([users, np.full(len(users), arm)]))
        return slate

    def observe(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        """Tell every policy once what became known: all of it, or its own arm's part."""
        told: set[int] = set()
        for arm, server in enumerate(self.servers):
            if self.own_data:
                server.observe(
                    impressions.take(self._of_arm(impressions, arm)),
                    purchases.take(self._of_arm(purchases, arm)),
                    now_s,
                )
            elif id(server.policy) not in told:
                server.observe(impressions, purchases, now_s)
                told.add(id(server.policy))

    def _of_arm(self, events: Impressions | Purchases, arm: int) -> NDArray[np.bool_]:
        return np.equal(self.plan.arms_of(events.user_id, np.zeros(len(events))), arm)


def own_truth(truth: RequestTruth, requests: Requests, rows: NDArray[np.integer]) -> RequestTruth:
    """Return the truth about some `rows` of a batch, which are `requests`."""
    return RequestTruth(truth.stage, truth.cell, truth.objective, requests, truth.minds.take(rows))
