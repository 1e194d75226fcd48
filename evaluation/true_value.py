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
from sim.schema import TARGETS
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
    worth, came, impressions = np.zeros(n_users), np.zeros(n_users, np.bool_), 0
    for done, record in enumerate(twin.run(server, days), start=1):
        expected = expected_worth(record.truth, world.config.objective)
        user_id = record.impressions.user_id
        worth += np.bincount(user_id, weights=expected, minlength=n_users)
        came[user_id] = True
        impressions += len(user_id)
        if on_day is not None:
            on_day(done)
    return TrueValue(ratio(worth, came.astype(np.float64), scale="positive"), impressions)


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
