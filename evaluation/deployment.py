"""Deploying a policy in a twin of the world: the same users, moments, moods and luck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evaluation.online import UserTotals, user_totals
from evaluation.true_value import TrueValue, Worth
from policies.contract import Policy, Privileged
from policies.rank import Exploration, Server
from sim.schema import Impressions, Purchases
from sim.state import State
from sim.world import World


@dataclass(frozen=True)
class Deployment:
    """What a deployed policy did, per user; pickles."""

    observed: UserTotals
    """Outcomes seen before the end of the deployment."""
    ultimate: UserTotals
    """The same with every purchase that ever comes of it."""
    expected: TrueValue
    """Expected objective per user, luck in outcomes integrated out."""
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
        impressions=len(shown),
    )
