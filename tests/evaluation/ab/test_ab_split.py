"""Split traffic in one world: who is served and taught by whom, and the effect beside the twins."""

from __future__ import annotations

import numpy as np
import pytest
from twins import DAYS, SEED

from evaluation.ab.assignment import Split, Switchback
from evaluation.ab.effect import split_effect, twin_effect
from evaluation.ab.panel import panel_of
from evaluation.ab.traffic import Traffic
from evaluation.ab.twin_run import TwinRun, serve
from policies.heuristics import Popularity
from policies.rank import Exploration, Server
from sim.schema import DAY_S
from sim.world import World
from tests.sim.worlds import TICK_S, config, same, server


@pytest.mark.parametrize("plan", [Split(salt=1), Switchback(0.0, TICK_S)], ids=["split", "switch"])
def test_traffic_of_one_policy_leaves_its_log_byte_by_byte(plan, random_twin: TwinRun) -> None:
    got = serve(Traffic([server("random"), server("random")], plan), World(config(), SEED), DAYS)
    assert same(got.shown, random_twin.shown)
    assert same(got.bought, random_twin.bought)


def test_arms_that_learn_from_all_data_are_one_policy_twice() -> None:
    alone = serve(server("popularity"), World(config(), SEED), DAYS)
    together = Traffic([server("popularity"), server("popularity")], Split())
    assert same(serve(together, World(config(), SEED), DAYS).shown, alone.shown)
    shared = server("popularity")
    once = Traffic([shared, Server(shared.policy, Exploration())], Split())
    assert same(serve(once, World(config(), SEED), DAYS).shown, alone.shown)
    apart = Traffic([server("popularity"), server("popularity")], Split(), own_data=True)
    assert not same(serve(apart, World(config(), SEED), DAYS).shown, alone.shown)


def test_own_data_is_that_of_the_arm() -> None:
    told: dict[str, list[np.ndarray]] = {"a": [], "b": []}

    class Listener(Popularity):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def observe(self, impressions, purchases, now_s) -> None:
            told[self.name].append(np.concatenate([impressions.user_id, purchases.user_id]))
            super().observe(impressions, purchases, now_s)

    from policies.contract import FitContext
    from sim.log import Log

    servers = [
        Server(Listener(name).fit(Log.nothing(TICK_S, DAY_S), FitContext()), Exploration())
        for name in told
    ]
    for parts in told.values():
        parts.clear()
    plan = Split(salt=6)
    served = serve(Traffic(servers, plan, own_data=True), World(config(), SEED), 1)
    for arm, parts in enumerate(told.values()):
        heard = np.unique(np.concatenate(parts))
        assert len(heard) > 20
        assert (plan.of_users(heard) == arm).all()
    assert len(np.unique(served.shown.user_id)) > 60


def test_each_arm_is_served_by_its_policy(random_twin: TwinRun) -> None:
    """The oracle needs the truth of its own requests alone, in a batch with others."""
    plan = Split(salt=2)
    got = serve(Traffic([server("random"), server("oracle")], plan), World(config(), SEED), 1)
    arm = plan.of_users(got.shown.user_id)
    first = got.shown.take((arm == 0) & (got.shown.time_s < TICK_S))
    alone = random_twin.shown
    whole = alone.take((plan.of_users(alone.user_id) == 0) & (alone.time_s < TICK_S))
    assert len(first) > 20
    np.testing.assert_array_equal(first.streamer_id, whole.streamer_id)
    clicks = [got.shown.engage[arm == a].mean() for a in (0, 1)]
    assert clicks[1] > 1.2 * clicks[0]


def test_split_traffic_is_an_estimate_of_the_twins(
    random_twin: TwinRun, recency_twin: TwinRun
) -> None:
    plan = Split(salt=4)
    served = serve(Traffic([server("random"), server("recency")], plan), World(config(), SEED), 2)
    panel, users = panel_of(served.totals(), "watch_s_per_user")
    effect = split_effect(panel, plan.of_users(users) == 1, "watch_s_per_user")
    truth = twin_effect(recency_twin.totals(), random_twin.totals(), "watch_s_per_user")
    assert effect.clusters == len(users)
    assert abs(effect.estimate - truth.estimate) < 3 * (effect.high - effect.low)
    assert truth.high - truth.low < effect.high - effect.low  # pairing
    with pytest.raises(ValueError, match="metric 'ctr' is unknown"):
        panel_of(served.totals(), "ctr")
    with pytest.raises(ValueError, match="scenario 'mall' is unknown"):
        panel_of(served.totals(), "page_ctr", "mall")
