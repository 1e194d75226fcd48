"""Visits, calendar, drift and feedback against their definitions."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import kstest, norm

from sim.arrivals import hazard_of_visit
from sim.calendar import Today, on_sale
from sim.change import DriftConfig
from sim.drift import FameDrift, preference_angle, turned
from sim.pairs import Pairs
from sim.schema import DAY_S
from sim.world import World
from tests.sim.worlds import config, run, same, save

CALENDAR = replace(config().calendar, sale_day=10, sale_days=2, preheat_days=3, aftermath_days=2)
DRIFT = config().drift


def test_return_gaps_follow_the_hazard():
    """Gaps between visit days have the law that the hazard implies."""
    world = World(
        config(visits__activity_log_sigma=0.0, population__n_users=3000,
               turnover__share_per_day=0.0), 2
    )  # fmt: skip
    came = np.zeros((12, world.population.n_users), np.bool_)
    for day in range(12):
        run(world, "random", 1)
        came[day] = world.state.memory.last_visit_day == day
    gaps = np.concatenate([np.diff(np.flatnonzero(column)) for column in came.T])
    law, survive, expected = world.config.visits, 1.0, []
    for gap in range(1, 5):
        p = -math.expm1(-float(hazard_of_visit(law, np.ones(1), np.array([gap]), 0.0, 1.0)[0]))
        expected.append(survive * p)
        survive *= 1 - p
    # short gaps fit into twelve days far more often than long ones: compare within the first days
    first = [
        np.diff(np.flatnonzero(column))[0]
        for column in came.T
        if column[:4].any() and len(np.flatnonzero(column)) > 1 and np.flatnonzero(column)[0] < 4
    ]
    found = [(np.array(first) == gap).mean() for gap in range(1, 5)]
    assert len(gaps) > 3000
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_satisfied_users_return_sooner_where_the_dial_is_on():
    """The oracle keeps more users than the anti-oracle, and with the dial at 0 as many."""
    for gain, grows in ((0.0, False), (3.0, True)):
        dials = {"visits__return_gain": gain, "population__n_users": 600}
        worlds = [World(config(**dials), 4) for _ in range(2)]
        for world, name in zip(worlds, ("oracle", "random"), strict=True):
            run(world, name, 6)
        best, plain = (len(world.sessions(6)) for world in worlds)
        assert (best > 1.05 * plain) == grows
        assert (best == plain) != grows


def test_the_calendar_has_three_phases_and_comes_again():
    """Phases by day, the next sale's begin, and a period."""
    today = [Today.of(CALENDAR, day) for day in range(30)]
    assert [d for d in range(30) if today[d].discount > 0] == [10, 11]
    assert [d for d in range(30) if today[d].purchase_shift == -CALENDAR.preheat_wait] == [7, 8, 9]
    assert [d for d in range(30) if today[d].bag_shift == -CALENDAR.aftermath_purchase] == [12, 13]
    assert today[0].next_sale_s == 10 * DAY_S
    assert today[10].next_sale_s == math.inf
    again = replace(CALENDAR, sale_period_days=9)
    assert [d for d in range(40) if Today.of(again, d).discount > 0] == [
        10,
        11,
        19,
        20,
        28,
        29,
        37,
        38,
    ]
    assert Today.of(again, 12).next_sale_s == 19 * DAY_S
    week = replace(CALENDAR, weekday_traffic=(1, 1, 1, 1, 1, 2, 2))
    assert np.mean([Today.of(week, d).traffic for d in range(7)]) == pytest.approx(1.0)


def test_fame_drifts_as_an_ornstein_uhlenbeck_process():
    """Stationary normal law and autocorrelation exp(-t / days); jumps are rare and large."""
    drift = FameDrift(replace(DRIFT, popularity_sigma=0.5, jumps_per_day=0.0), 20_000, 3)
    path = np.stack([drift.at(day).copy() for day in range(15)])
    for day in (0, 14):
        assert kstest(path[day], norm(0, 0.5).cdf).pvalue > 1e-3
    for lag in (1, 7):
        found = np.corrcoef(path[0], path[lag])[0, 1]
        assert found == pytest.approx(math.exp(-lag / DRIFT.popularity_days), abs=0.03)
    np.testing.assert_array_equal(drift.at(3), path[3])  # days may be asked for in any order
    jumps = FameDrift(
        replace(DRIFT, popularity_sigma=0.0, jumps_per_day=0.1, jump_size=2.0), 20_000, 3
    )
    first = jumps.at(0)
    assert set(np.unique(first)) == {-2.0, 0.0, 2.0}
    assert (first != 0).mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "shares"),
    [
        ("none", {0: 0.0, 10: 0.0, 30: 0.0}),
        ("abrupt", {9: 0.0, 10: 1.0, 30: 1.0}),
        ("gradual", {10: 0.5, 15: 1 / (1 + math.exp(-4)), 5: 1 / (1 + math.exp(4))}),
        ("recurring", {10: 0.0, 15: 1.0, 20: 0.0, 12: (1 - math.cos(0.4 * math.pi)) / 2}),
    ],
)
def test_preferences_turn_by_their_kind(kind, shares):
    """Angles by day; turned interests are unit vectors, each in a direction of its own."""
    days = 10.0 if kind == "recurring" else 5.0
    law: DriftConfig = replace(DRIFT, preference=kind, preference_day=10, preference_days=days)
    for day, share in shares.items():
        assert preference_angle(law, day) == pytest.approx(share * DRIFT.preference_angle)
    rng = np.random.default_rng(0)
    interest = rng.normal(size=(50, 16))
    interest = (interest / np.linalg.norm(interest, axis=1, keepdims=True)).astype(np.float32)
    now = turned(interest, np.arange(len(interest)), 0.7, 5, 0)
    np.testing.assert_allclose(np.linalg.norm(now, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose((now * interest).sum(axis=1), math.cos(0.7), atol=1e-5)
    new = now - math.cos(0.7) * interest
    assert abs(np.corrcoef(new[0], new[1])[0, 1]) < 0.9
    np.testing.assert_array_equal(now[:20], turned(interest[:20], np.arange(20), 0.7, 5, 0))


def test_watching_moves_interests_and_poverty_drives_streamers_away():
    """Each feedback moves its own thing and, at 0, nothing."""
    still = World(config(), 3)
    run(still, "popularity", 4)
    assert still.state.memory.interest_shift.shape[1] == 0
    assert (still.state.memory.left_day > 10**6).all()
    pulled = World(config(drift__watch_pull=0.05), 3)
    before = pulled.scene(0).interests[0, 0]
    run(pulled, "popularity", 4)
    after = pulled.scene(4).interests[0, 0]
    moved = (before * after).sum(axis=1) < 1 - 1e-6
    viewers = np.abs(pulled.state.memory.interest_shift).sum(axis=1) > 0
    born = ~np.isnan(before[:, 0])
    np.testing.assert_array_equal(moved[born], viewers[born])
    assert moved[born].mean() > 0.2

    dials = {"turnover__starvation": 2.0, "turnover__share_per_day": 0.1, "feedback__purchase": 0.9,
             "feedback__bag_click": 0.5, "feedback__cart": 0.9}  # fmt: skip
    hungry = World(config(**dials), 3)
    run(hungry, "popularity", 8)
    memory, streamers = hungry.state.memory, hungry.population.streamers
    there = streamers.joined_day == 0
    gone = there & (memory.left_day <= 9)
    assert 0.2 < gone.sum() / there.sum() < 0.9
    assert memory.earnings_cny[there & ~gone].mean() > memory.earnings_cny[gone].mean()


def test_feedback_survives_a_restart(tmp_path):
    """A world that goes on from its stored state is the world that never stopped."""
    dials = {"drift__watch_pull": 0.05, "turnover__starvation": 1.0, "visits__return_gain": 1.0,
             "drift__preference": "gradual", "calendar__sale_day": 2}  # fmt: skip
    whole = run(World(config(**dials), 3), "popularity", 4)
    world = World(config(**dials), 3)
    run(world, "popularity", 2)
    save(world.state, tmp_path / "state")
    from sim.state import State

    late = World(config(**dials), 3, State.load(tmp_path / "state"))
    rest = run(late, "random", 0)
    assert rest == []
    scene, again = World(config(**dials), 3, world.state).scene(2), late.scene(2)
    np.testing.assert_array_equal(scene.interests, again.interests)
    assert same(world.sessions(2), late.sessions(2))
    assert len(whole) == 4


@pytest.mark.parametrize("sale_day", [0, 1])
def test_only_some_categories_take_part_in_the_sale(sale_day):
    """Goods on sale are as in a world where all are, the others as in one without a sale."""
    dials = {"calendar__sale_day": sale_day, "calendar__sale_categories": 0.4}
    some, every, none = (
        World(config(**given), 3)
        for given in (dials, {"calendar__sale_day": sale_day}, {"calendar__sale_day": 40})
    )
    scene = some.scene(0)
    g = some.config.population.n_categories
    taking_part = on_sale(some.config.calendar, g, 3)
    assert taking_part.sum() == round(0.4 * g)
    rows = np.flatnonzero(scene.on_air.in_scenario[:, 4])[::5]
    on_air = scene.on_air
    born = np.flatnonzero(scene.population.users.joined_day == 0)
    pairs = Pairs.of(
        born[np.arange(len(rows)) % len(born)],
        on_air.streamer_id[rows],
        "swipe",
        on_air.slot[rows] * 600.0,
    )
    truths = [world.truth(pairs) for world in (some, every, none)]
    takes = taking_part[scene.population.products.category[on_air.product_id[rows]]] > 0
    assert 20 < (takes & truths[0].on_air).sum() < truths[0].on_air.sum() - 20
    for name in ("bag_click", "cart", "purchase"):
        p, all_, plain = (truth.probability[name] for truth in truths)
        np.testing.assert_array_equal(p[takes], all_[takes])
        np.testing.assert_array_equal(p[~takes], plain[~takes])
        assert (p[takes & truths[0].on_air] != plain[takes & truths[0].on_air]).all()
    for name in ("amount_cny", "watch_s"):
        p, all_, plain = (getattr(truth, name) for truth in truths)
        np.testing.assert_array_equal(p[takes], all_[takes])
        np.testing.assert_array_equal(p[~takes], plain[~takes])
    waits = truths[0].delays.buyers["sale_wait_s"]
    assert np.isinf(waits[~takes]).all()
    np.testing.assert_array_equal(waits[takes], truths[1].delays.buyers["sale_wait_s"][takes])


def test_categories_join_the_sale_in_one_order():
    """A larger share adds categories and takes none away; 1 is all, 0 none."""
    shares = (0.0, 0.2, 0.55, 1.0)
    chosen = [on_sale(replace(CALENDAR, sale_categories=s), 20, 5) for s in shares]
    assert [c.sum() for c in chosen] == [0, 4, 11, 20]
    assert all((b >= a).all() for a, b in pairwise(chosen))
