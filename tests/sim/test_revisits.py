"""Visits after a stay: counts and times by their closed form, and what they tell of purchases."""

import numpy as np
import pytest
from scipy import stats

from sim.config import ConfigError
from sim.delay import DelayNumbers
from sim.events import CART_PAGE, Revisits
from sim.executor import SerialExecutor
from sim.kernel import block, numbers
from sim.operational_time import operational_s
from sim.presets import preset
from sim.revisits import (
    EPISODE,
    RevisitNumbers,
    count_revisits,
    expected_revisits,
    fill_revisits,
    passed_at,
    visits_by,
)
from sim.schema import DAY_S, PAD, Impressions
from sim.simulate import simulate
from sim.truth import TruthRows
from sim.world import World
from tests.sim.worlds import config, run, same, server

BUSY = {"feedback__bag_click": 0.3, "feedback__cart": 0.7, "feedback__purchase": 0.5}
ON = {"delay__revisit__rate_per_day": 1.0}
DELAY = config(**ON).delay
N = 20_000
BEGAN_S = 21.4 * 3600.0
PENDING = [0.0, 0.7 * DAY_S, 40 * DAY_S]
"""Seconds of the clock for which a purchase is pending."""


def drawn(pending_s, delay=DELAY, cart=True):
    """Draw the visits of N stays of one kind: how many of each, when and where to."""
    law = numbers(RevisitNumbers.of(delay))
    hours = numbers(DelayNumbers.of(delay, config().visits.hour_weights)).hours
    stays = block(
        EPISODE, np.arange(N), np.zeros(N), np.zeros(N), np.full(N, BEGAN_S),
        np.full(N, pending_s), np.full(N, cart),
    )  # fmt: skip
    n = np.empty(N, np.int64)
    count_revisits(law, hours, stays, 4, 7, n)
    time_s, page = np.empty(n.sum()), np.empty(n.sum(), np.int8)
    fill_revisits(law, hours, stays, 4, 7, time_s, page)
    passed = np.array([operational_s(hours, t) for t in time_s]) - operational_s(hours, BEGAN_S)
    pending = operational_s(hours, BEGAN_S + pending_s) - operational_s(hours, BEGAN_S)
    return n, time_s, passed, page, pending


def integral(t_s, pending_s, delay=DELAY):
    """Integrate the hazard of the module's docstring by the midpoint rule."""
    own = delay.revisit
    steps = 20_000
    u = (np.arange(steps) + 0.5) / steps * t_s / DAY_S
    lift = np.where(u * DAY_S < pending_s, own.pending_lift**own.informative, 1.0)
    return float((own.rate_per_day * np.exp(-u / own.fade_days) * lift).mean() * t_s / DAY_S)


@pytest.mark.parametrize("pending_s", PENDING)
def test_counts_and_times_follow_the_closed_form(pending_s):
    """Counts are Poisson, times have the normalised integral of the hazard as cdf."""
    n, time_s, passed, page, pending = drawn(pending_s)
    horizon_s = DELAY.horizon_days * DAY_S
    mean = expected_revisits(DELAY, horizon_s, pending)
    assert mean == pytest.approx(integral(horizon_s, pending), rel=1e-3)
    most = int(mean + 3 * np.sqrt(mean))
    p = stats.poisson.pmf(np.arange(most), mean)
    found = np.bincount(np.minimum(n, most), minlength=most + 1)
    assert stats.chisquare(found, N * np.append(p, 1 - p.sum())).pvalue > 1e-3
    assert (time_s >= BEGAN_S).all()

    def cdf(t):
        return expected_revisits(DELAY, t, pending) / mean

    assert stats.kstest(passed, cdf).pvalue > 1e-3
    for t_s in (3600.0, DAY_S, 5 * DAY_S):
        assert expected_revisits(DELAY, t_s, pending) == pytest.approx(
            integral(t_s, pending), rel=2e-3
        )
    share = DELAY.revisit.cart_share
    assert abs((page == CART_PAGE).mean() - share) < 4 * np.sqrt(0.25 / len(page))


def test_the_integral_is_inverted():
    """The scalar that draws uses and the array that people use are one law."""
    law = numbers(RevisitNumbers.of(DELAY))
    for pending_s in (0.0, 5000.0, DAY_S, 90 * DAY_S):
        for t_s in (1.0, 4000.0, 0.9 * DAY_S, 3 * DAY_S, 20 * DAY_S):
            mass = visits_by(law, pending_s, t_s)
            assert mass == pytest.approx(float(expected_revisits(DELAY, t_s, pending_s)))
            assert passed_at(law, pending_s, mass) == pytest.approx(t_s, rel=1e-6)


def test_uninformative_visits_come_to_all_alike():
    """At 0 the very same visits happen, whatever is pending; half way the lift is its root."""
    none = config(**ON, delay__revisit__informative=0).delay
    one, two = drawn(0.0, none), drawn(3 * DAY_S, none)
    for a, b in zip(one[:4], two[:4], strict=True):
        np.testing.assert_array_equal(a, b)
    half = config(**ON, delay__revisit__informative=0.5).delay
    whole_s = DAY_S * half.horizon_days
    ratio = expected_revisits(half, 600.0, whole_s) / expected_revisits(half, 600.0, 0.0)
    assert ratio == pytest.approx(np.sqrt(half.revisit.pending_lift))
    assert not (drawn(0.0, cart=False)[3] == CART_PAGE).any()


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Three days with visits."""
    folder = tmp_path_factory.mktemp("revisits") / "log"
    return simulate(config(**BUSY, **ON), 9, server("random"), 3, folder, ranker_name="random")


def test_nothing_else_changes(log):
    """Visits are a table of their own; off there are none, and all else is the same."""
    on, off = (run(World(config(**BUSY, **dial), 9), "random", 3) for dial in (ON, {}))
    assert sum(len(r.revisits) for r in off) == 0
    for one, other in zip(on, off, strict=True):
        for name in ("impressions", "truth", "purchases", "refunds", "ultimate"):
            assert same(getattr(one, name), getattr(other, name))
    assert same(Revisits.concat([r.revisits for r in on]), log.revisits())


@pytest.mark.parametrize("shards", [1, 4])
def test_shards_do_not_matter(log, shards):
    """The same visits in the same order."""
    world = World(config(**BUSY, **ON), 9)
    records = run(world, "random", 3, executor=SerialExecutor(shards))
    assert same(Revisits.concat([r.revisits for r in records]), log.revisits())


def test_a_log_shows_visits_that_had_happened(log):
    """After the stay they follow, in order, by t, and once in the ticks."""
    visits, shown = log.revisits(), log.impressions()
    assert len(visits) > 1000
    assert (np.diff(visits.known_s) >= 0).all()
    row = {k: i for i, k in enumerate(zip(shown.request_id, shown.streamer_id, strict=True))}
    own = shown.take(
        np.array([row[k] for k in zip(visits.request_id, visits.streamer_id, strict=True)])
    )
    assert own.bag_click.all()
    assert (visits.known_s >= own.known_s).all()
    for name in ("user_id", "product_id", "scenario"):
        np.testing.assert_array_equal(getattr(visits, name), getattr(own, name))
    assert own.cart[visits.page == CART_PAGE].all()
    then = log.as_of(1.3 * DAY_S).revisits()
    assert len(then) == (visits.known_s <= 1.3 * DAY_S).sum()
    seen_s, n = -np.inf, 0
    for tick in log.ticks():
        at_s = tick.revisits.known_s
        assert ((at_s > seen_s) & (at_s <= tick.now_s)).all()
        seen_s, n = tick.now_s, n + len(at_s)
    assert n == (visits.known_s <= seen_s).sum()


@pytest.mark.parametrize(("informative", "tells"), [(1.0, True), (0.0, False)])
def test_who_will_buy_comes_back_more_often(informative, tells):
    """Visits in the hours after the stay, of pending buyers against those who decided nothing."""
    dials = {**BUSY, **ON, "delay__revisit__informative": informative}
    records = run(World(config(**dials), 9), "random", 3)
    shown = Impressions.concat([r.impressions for r in records])
    truth = TruthRows.concat([r.truth for r in records])
    visits = Revisits.concat([r.revisits for r in records])
    row = {k: i for i, k in enumerate(zip(shown.request_id, shown.streamer_id, strict=True))}
    of = np.array([row[k] for k in zip(visits.request_id, visits.streamer_id, strict=True)])
    soon = visits.known_s - shown.known_s[of] <= 0.5 * DAY_S
    n = np.bincount(of[soon], minlength=len(shown))
    followed = shown.bag_click & (shown.known_s <= 2.5 * DAY_S)
    until_s = np.nan_to_num(truth.purchase_delay_s) + np.nan_to_num(truth.lost_delay_s)
    waits = followed & (until_s > 0.5 * DAY_S)
    others = followed & (truth.delay_part == PAD)
    assert waits.sum() > 100
    difference = n[waits].mean() - n[others].mean()
    error = np.sqrt(n[waits].var() / waits.sum() + n[others].var() / others.sum())
    assert (difference > 8 * error) if tells else (abs(difference) < 4 * error)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rate_per_day=-1", r"rate_per_day = -1; allowed: a number in \[0, 20\]"),
        ("informative=2", r"informative = 2; allowed: a number in \[0, 1\]"),
        ("pending_lift=0.5", r"pending_lift = 0.5; allowed: a number in \[1, 50\]"),
    ],
)
def test_values_out_of_range_are_refused(override, message):
    """One line: field, value, what is allowed."""
    with pytest.raises(ConfigError, match=message):
        preset("tiny", [f"world.delay.revisit.{override}"])
