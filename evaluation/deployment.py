"""Deploying a policy in a twin of the world: the same users, moments, moods and luck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Estimate, cluster_sums, ratio
from evaluation.online import UserTotals, user_totals
from evaluation.true_value import TrueValue, Worth, expected_worth
from policies.contract import Policy, Privileged
from policies.rank import Exploration, Server
from sim.schema import Impressions, Purchases
from sim.state import State
from sim.world import World


@dataclass(frozen=True)
class PageWorth:
    """Sums of a deployment per user [U]: expected worth, luck in outcomes integrated out."""

    requests: NDArray[np.float64]
    """Pages with a room."""
    top: NDArray[np.float64]
    """Worth of the rooms at their tops."""
    whole: NDArray[np.float64]
    """Worth of all of them."""

    @classmethod
    def of(cls, shown: Impressions, expected: NDArray[np.floating], n_users: int) -> PageWorth:
        """Return the sums of impressions [N] with what each is expected to bring [N]."""
        at_top = shown.position == 0
        user = shown.user_id
        return cls(
            cluster_sums(at_top, user, n_users),
            cluster_sums(np.where(at_top, expected, 0.0), user, n_users),
            cluster_sums(expected, user, n_users),
        )

    def estimates(self) -> tuple[tuple[str, Estimate], ...]:
        """Return the worth of a page's top and of a page, clustered by user."""
        return tuple(
            (span, ratio(sums, self.requests, scale="positive"))
            for span, sums in (("top", self.top), ("request", self.whole))
        )


@dataclass(frozen=True)
class Deployment:
    """What a deployed policy did, per user; pickles."""

    observed: UserTotals
    """Outcomes seen before the end of the deployment."""
    ultimate: UserTotals
    """The same with every purchase that ever comes of it."""
    expected: TrueValue
    """Expected objective per user, luck in outcomes integrated out."""
    pages: PageWorth
    impressions: int


def deploy(
    policy: Policy | Privileged,
    world: World,
    state: State,
    days: int,
    on_day: Callable[[int], None] | None = None,
) -> Deployment:
    """Let a fitted policy serve a twin of `world` greedily.

    Args:
        policy: fitted; has observed the event stream up to `state`.
        world: gives config and seed; not altered.
        state: where the twin begins.
        days: days of the deployment.
        on_day: called with the number of finished days after each.
    """
    twin = World(world.config, world.seed, state)
    records = []
    for record in twin.run(Server(policy, Exploration(kind="greedy")), days):
        records.append(record)
        if on_day is not None:
            on_day(len(records))
    n_users = records[-1].catalogue.n_users
    objective = world.config.objective
    worth = Worth(n_users, objective)
    for record in records:
        worth.add(record.impressions, record.truth)
    shown = Impressions.concat([r.impressions for r in records])
    bought, ever = (
        Purchases.concat([getattr(r, name) for r in records]) for name in ("purchases", "ultimate")
    )
    return Deployment(
        observed=user_totals(shown, bought, objective, n_users),
        ultimate=user_totals(shown, ever, objective, n_users),
        expected=worth.value(),
        pages=PageWorth.of(
            shown,
            np.concatenate([expected_worth(r.truth, objective) for r in records]),
            n_users,
        ),
        impressions=len(shown),
    )
