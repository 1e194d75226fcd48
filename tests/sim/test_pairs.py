"""The truth of any pair against what is logged, and against what the requests are told."""

import numpy as np
import pytest

from sim.config import ConfigError
from sim.pairs import Pairs
from sim.schedule import SLOT_S
from sim.schema import DAY_S, PAD, SCENARIOS, SWIPE, TARGETS
from sim.world import World
from tests.sim.worlds import config, run

CALM = {"session__mood_sigma": 0.0, "session__satiation": 0.0, "visits__sessions_per_visit": 1.0,
        "session__max_session_s": 14400.0}  # fmt: skip
"""No mood and no satiation: nothing is left that a log does not tell."""


@pytest.fixture(scope="module")
def day():
    """Return a world before its second day, and that day's impressions and truth of first steps."""
    world = World(config(**CALM, population__n_users=2500), 6)
    run(world, "popularity", 1)
    before = world.fork()
    record = run(world, "popularity", 1)[0]
    shown = record.impressions
    # bonds and audiences of the day's begin hold in its first tick
    rows = (shown.session_start_s < DAY_S + before.config.tick_s) & (shown.position == 0)
    rows &= shown.step == 0
    # content changes by slot: what was asked for, entered and read within one
    read_s = shown.time_s + before.config.session.glance_s
    rows &= read_s // SLOT_S == shown.session_start_s // SLOT_S
    return before, shown.take(rows), record.truth.take(rows)


def pairs_of(world, shown):
    """Return the pairs that the impressions are: a card is looked at after a glance."""
    glance_s = world.config.session.glance_s * (shown.scenario != SWIPE)
    deadline_s = shown.session_start_s + world.config.session.max_session_s
    return Pairs.of(
        shown.user_id, shown.streamer_id, shown.scenario, shown.time_s + glance_s, shown.refer_id,
        deadline_s=deadline_s,
    )  # fmt: skip


def test_pairs_are_what_the_log_calls_true(day):
    """Every target's probability equals the logged one, in every scenario, refer or not."""
    world, shown, truth = day
    told = world.truth(pairs_of(world, shown))
    assert len(shown) > 40
    assert set(shown.scenario) == set(range(len(SCENARIOS)))
    assert told.on_air.all()
    for target in TARGETS:
        np.testing.assert_allclose(
            told.probability[target], getattr(truth, f"p_{target}"), rtol=1e-4, atol=1e-7
        )
    np.testing.assert_allclose(told.amount_cny, truth.amount_cny)
    weights = world.config.objective.weights()
    value = sum(weights[target] * told.probability[target] for target in TARGETS)
    np.testing.assert_allclose(told.value, value)
    given_bag = told.p_cart_given_bag * told.p_decision_given_cart * told.p_purchase_given_decision
    np.testing.assert_allclose(given_bag, truth.p_purchase_given_bag, rtol=1e-4)


def test_parts_of_a_pair_fit_together(day):
    """Classes of stays sum to one, watch beyond the cap counts, delays invert."""
    world, shown, _ = day
    told = world.truth(pairs_of(world, shown))
    np.testing.assert_allclose(told.p_short + told.p_view + told.p_long, 1.0, atol=1e-12)
    assert (told.watch_s >= 600.0 * told.probability["watch"] - 1e-9).all()
    assert (told.p_enter[shown.scenario == SWIPE] == 1.0).all()
    half_s = told.delays.quantile(0.5)
    np.testing.assert_allclose(told.delays.cdf(half_s), 0.5, atol=1e-6)
    assert (told.delays.hazard(3600.0) >= 0).all()


def test_rooms_off_air_have_no_truth(day):
    """A streamer who is not live then, or not shown there, is NaN and not 0."""
    world, shown, _ = day
    on_air = world.scene(1).on_air
    absent = np.setdiff1d(np.arange(world.population.n_streamers), on_air.streamer_id)[0]
    told = world.truth(Pairs.of(shown.user_id[0], absent, "channel", DAY_S + 60.0))
    assert not told.on_air[0]
    assert np.isnan([told.value[0], told.p_enter[0], told.amount_cny[0]]).all()
    tab = SCENARIOS.index("tab")
    live = on_air.slot == 144
    hidden = on_air.streamer_id[live & ~on_air.in_scenario[:, tab]][0]
    both = Pairs.of(shown.user_id[0], hidden, [tab, SWIPE], DAY_S + 60.0, PAD)
    assert world.truth(both).on_air.tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"user_id": 10**6}, r"user_id = 1000000; allowed on day 1"),
        ({"streamer_id": -1}, r"streamer_id = -1; allowed on day 1"),
        ({"scenario": "mall"}, r"scenario = 'mall'; allowed: channel"),
        ({"scenario": 7}, r"scenario = 7; allowed on day 1"),
        ({"time_s": 5.0}, r"time_s = 5.0; allowed on day 1: from 86400"),
        ({"time_s": np.nan}, r"time_s = nan; allowed on day 1"),
    ],
)
def test_wrong_pairs_are_named_in_one_line(day, change, line):
    """Which field, which value, what is allowed."""
    world, shown, _ = day
    good = {"user_id": shown.user_id[0], "streamer_id": 3, "scenario": "swipe",
            "time_s": DAY_S + 5.0}  # fmt: skip
    with pytest.raises(ConfigError, match=line):
        world.truth(Pairs.of(**(good | change)))
