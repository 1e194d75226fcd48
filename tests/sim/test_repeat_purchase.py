"""Further purchases and lost reports: their laws, and what each reader makes of them."""

import numpy as np
import pytest
from scipy import stats

from policies.memory import EventMemory, FeatureConfig
from sim.config import ConfigError
from sim.delay import DelayNumbers
from sim.executor import SerialExecutor
from sim.kernel import block, numbers
from sim.operational_time import operational_s
from sim.presets import preset
from sim.repeat_purchase import (
    MOST_FURTHER,
    RepeatNumbers,
    expected_further,
    gap_cdf,
    next_purchase_s,
    p_repeat,
    repeat_probability,
)
from sim.rng import Purpose, uniforms
from sim.sales import DEAL, draw_sales
from sim.schema import DAY_S, Impressions, Purchases, Refunds
from sim.simulate import simulate
from sim.truth import TruthRows
from sim.truth_log import logged_purchases, logged_truth
from sim.world import World
from tests.sim.worlds import config, run, same, server

BUSY = {"feedback__bag_click": 0.3, "feedback__cart": 0.7, "feedback__purchase": 0.7}
AGAIN = {
    "delay__repeat__probability": 0.5, "delay__repeat__scale_h": 6.0,
    "delay__refund__probability": 0.5,
}  # fmt: skip
LOST = {"delay__reporting__lost_share": 0.6}
N = 20_000
U = uniforms(8, Purpose.CALIBRATION, np.arange(N))


def days(n=3, **dials):
    """Return the impressions, the truth, all purchases and the records of a busy world."""
    world = World(config(**BUSY, **dials), 5)
    records = run(world, "random", n)
    return (
        Impressions.concat([r.impressions for r in records]),
        TruthRows.concat([r.truth for r in records]),
        Purchases.concat([r.ultimate for r in records]),
        records,
    )


@pytest.fixture(scope="module")
def again():
    """Three days with further purchases."""
    return days(**AGAIN)


@pytest.fixture(scope="module")
def lost():
    """Three days whose later purchases are mostly not reported."""
    return days(**LOST)


@pytest.fixture(scope="module")
def plain():
    """The same days with neither."""
    return days(delay__refund__probability=0.5)


@pytest.fixture(scope="module")
def both_log(tmp_path_factory):
    """A log with further purchases and lost reports."""
    folder = tmp_path_factory.mktemp("again") / "log"
    return simulate(
        config(**BUSY, **AGAIN, **LOST), 5, server("random"), 3, folder, ranker_name="random"
    )


@pytest.mark.parametrize(
    ("law", "shape", "closed"),
    [
        ("lognormal", 1.0, stats.lognorm(1.0, scale=120.0)),
        ("weibull", 0.7, stats.weibull_min(0.7, scale=120.0)),
        ("exponential", 1.0, stats.expon(scale=120.0)),
    ],
)
def test_gaps_follow_their_law(law, shape, closed):
    """Kolmogorov-Smirnov of drawn gaps in operational time, cut at the horizon."""
    own = [f"world.delay.repeat.law={law}", f"world.delay.repeat.shape={shape}"]
    world = preset("tiny", own)
    repeat = numbers(RepeatNumbers.of(world.delay))
    hours = numbers(DelayNumbers.of(world.delay, world.visits.hour_weights)).hours
    began_s = 20.3 * 3600.0
    at_s = np.array([next_purchase_s(repeat, hours, began_s, u) for u in U[0]])
    assert (at_s >= began_s).all()
    gap_h = np.array([operational_s(hours, t) for t in at_s]) - operational_s(hours, began_s)
    gap_h /= 3600.0
    horizon_h = 24.0 * world.delay.horizon_days

    def cut(x):
        return np.minimum(closed.cdf(x) / closed.cdf(horizon_h), 1.0)

    assert stats.kstest(gap_h, cut).pvalue > 1e-3
    at_h = np.linspace(0, horizon_h, 50)
    np.testing.assert_allclose(gap_cdf(world.delay, at_h * 3600), cut(at_h), atol=1e-12)


def test_numbers_are_geometric():
    """The count of further purchases given intent, and its expectation."""
    world = preset("tiny", ["world.delay.repeat.probability=0.5", "world.delay.repeat.intent=0.8"])
    one = World(world, 3)
    deals = block(
        DEAL, np.arange(N), U[0] * 1e6, np.zeros(N), np.full(N, -0.5), np.zeros(N), U[1] * 1e6,
        np.ones(N), np.full(N, np.nan), np.ones(N), np.full(N, np.inf),
    )  # fmt: skip
    sales = draw_sales(one.laws_on(0), deals, 3)
    n = np.bincount(sales["row"], minlength=N) - 1
    p = 1 / (1 + np.exp(0.8 * 0.5))
    assert p_repeat(one.laws_on(0).further, -0.5) == pytest.approx(p)
    assert repeat_probability(world.delay.repeat, [-0.5])[0] == pytest.approx(p)
    most = 8
    expected = N * np.append(p ** np.arange(most) * (1 - p), p**most)
    assert stats.chisquare(np.bincount(np.minimum(n, most)), expected).pvalue > 1e-3
    mean = expected_further(world.delay.repeat, -0.5)
    assert mean == pytest.approx(sum(p**k for k in range(1, MOST_FURTHER + 1)))
    assert abs(n.mean() - mean) < 4 * n.std() / np.sqrt(N)
    gap_s = np.diff(sales["event_s"])[np.diff(sales["row"]) == 0]
    assert (gap_s > 0).all()


def test_the_first_purchase_is_what_it_was(again, plain):
    """Whatever follows, first purchases, their refunds and all truth stay to the bit."""
    (shown, truth, bought, records), (shown_0, truth_0, bought_0, records_0) = again, plain
    assert same(shown, shown_0)
    assert same(truth, truth_0)
    assert (bought_0.ordinal == 0).all()
    assert same(bought.take(bought.ordinal == 0), bought_0)
    assert (bought.ordinal > 0).sum() > 300
    back, back_0 = (Refunds.concat([r.refunds for r in rs]) for rs in (records, records_0))
    assert same(back.take(back.ordinal == 0), back_0)
    assert (back.ordinal > 0).sum() > 20


def test_further_purchases_are_of_the_same_thing(again):
    """Request, streamer and ordinal name a purchase; the n-th comes after the one before."""
    _, truth, bought, _ = again
    key = np.stack([bought.request_id, bought.streamer_id, bought.ordinal])
    assert len(np.unique(key, axis=1).T) == len(bought)
    later = np.flatnonzero(bought.ordinal > 0)
    for name in ("request_id", "streamer_id", "product_id", "amount_cny", "impression_s"):
        value = getattr(bought, name)
        np.testing.assert_array_equal(value[later], value[later - 1])
    np.testing.assert_array_equal(bought.ordinal[later], bought.ordinal[later - 1] + 1)
    assert (bought.event_s[later] > bought.event_s[later - 1]).all()
    assert (bought.known_s >= bought.event_s).all()
    assert (bought.ordinal == 0).sum() == truth.will_purchase.sum()
    repeat = config(**BUSY, **AGAIN).delay.repeat
    expected = expected_further(repeat, truth.delay_intent[truth.will_purchase])
    error = np.sqrt((expected * (1 + expected)).sum())  # the variance of a geometric number
    assert abs(len(later) - expected.sum()) < 4 * error


def test_labels_are_of_the_first_purchase(both_log):
    """A label is the moment of ordinal 0, counters count it once, and no other is taken for it."""
    shown, bought = both_log.impressions(), both_log.purchases()
    assert (bought.ordinal > 0).sum() > 50
    firsts = bought.take(bought.ordinal == 0)
    assert np.isfinite(shown.purchase_s).sum() == len(firsts)
    assert set(shown.purchase_s[np.isfinite(shown.purchase_s)]) == set(firsts.event_s)
    memory = EventMemory(FeatureConfig(1e6, 1.0), 1)
    memory.update(Impressions.empty(), bought, both_log.as_of_s)
    memory.refresh(both_log.catalogue())
    counted, alone = memory.users.sums.copy(), EventMemory(FeatureConfig(1e6, 1.0), 1)
    alone.update(Impressions.empty(), firsts, both_log.as_of_s)
    alone.refresh(both_log.catalogue())
    np.testing.assert_array_equal(counted[: len(alone.users.sums)], alone.users.sums)


def test_lost_reports_are_those_after_the_session(lost, plain):
    """Nothing inside a session is lost, of the rest the stated share; the world is the same."""
    (shown, truth, bought, records), (shown_0, truth_0, bought_0, _) = lost, plain
    assert same(shown, shown_0)
    np.testing.assert_array_equal(truth.will_purchase, truth_0.will_purchase)
    np.testing.assert_array_equal(bought.event_s, bought_0.event_s)
    end_s = {}
    for session, known_s in zip(shown.session_id.tolist(), shown.known_s.tolist(), strict=True):
        end_s[session] = max(end_s.get(session, -np.inf), known_s)
    after = bought.event_s > np.array([end_s[i] for i in (bought.request_id // 256).tolist()])
    gone = np.isinf(bought.known_s)
    assert not (gone & ~after).any()
    assert (~after).sum() > 30
    assert abs(gone.sum() - 0.6 * after.sum()) < 4 * np.sqrt(0.24 * after.sum())
    kept = ~gone
    np.testing.assert_array_equal(bought.known_s[kept], bought_0.known_s[kept])
    told = Purchases.concat([r.purchases for r in records])
    assert np.isfinite(told.known_s).all()
    due = bought.known_s <= 3 * DAY_S
    assert sorted(told.event_s) == sorted(bought.event_s[due])
    back = Refunds.concat([r.refunds for r in records])
    lost_keys = set(zip(bought.request_id[gone], bought.streamer_id[gone], strict=True))
    assert not lost_keys & set(zip(back.request_id, back.streamer_id, strict=True))


def test_lost_reports_wait_nowhere(lost):
    """No state grows by what will never be known."""
    world = World(config(**BUSY, **LOST), 5)
    run(world, "random", 2)
    assert np.isfinite(world.state.pending.known_s).all()
    assert np.isfinite(world.state.refunds.known_s).all()


def test_the_truth_of_a_log_knows_all(both_log):
    """The true table holds what was never reported, and nothing of it reaches the log's readers."""
    ever, truth = logged_purchases(both_log), logged_truth(both_log)
    assert (ever.ordinal == 0).sum() == truth.will_purchase.sum()
    assert np.isinf(ever.known_s).sum() > 100
    told = both_log.purchases()
    due = ever.take(ever.known_s <= both_log.as_of_s)
    assert len(due) == len(told)
    assert sorted(due.event_s) == sorted(told.event_s)
    early = logged_purchases(both_log.as_of(DAY_S))
    assert set(early.request_id) == set(ever.request_id[ever.impression_s <= DAY_S])


@pytest.mark.parametrize("shards", [1, 5])
def test_shards_do_not_matter(both_log, shards):
    """They change neither the order nor the numbers, and the log holds what the world did."""
    world = World(config(**BUSY, **AGAIN, **LOST), 5)
    records = run(world, "random", 3, executor=SerialExecutor(shards))
    assert same(Purchases.concat([r.purchases for r in records]), both_log.purchases())
    ever = Purchases.concat([r.ultimate for r in records])
    seen = ever.impression_s <= both_log.as_of_s  # stays after the end are in no view
    assert same(ever.take(seen), logged_purchases(both_log))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("repeat.probability=1", r"probability = 1; allowed: a number in \[0, 0.95\]"),
        ("repeat.law=gamma", "law = 'gamma'; allowed: one of exponential, weibull"),
        ("reporting.lost_share=-0.1", r"lost_share = -0.1; allowed: a number in \[0, 1\]"),
    ],
)
def test_values_out_of_range_are_refused(override, message):
    """One line: field, value, what is allowed."""
    with pytest.raises(ConfigError, match=message):
        preset("tiny", [f"world.delay.{override}"])
