"""Refunds and reports: their laws, and that nothing is seen before it arrived."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from sim.after_purchase import draw_lag_s, draw_refund_s, lag_cdf, p_refund, refund_cdf
from sim.kernel import numbers
from sim.rng import Purpose, uniforms
from sim.schema import DAY_S
from sim.simulate import simulate
from sim.truth_log import logged_truth
from tests.sim.worlds import config, server

N = 40_000
U = uniforms(6, Purpose.CALIBRATION, np.arange(N))
DELAY = config().delay
SLOW = {
    "feedback__bag_click": 0.3,
    "feedback__cart": 0.7,
    "feedback__purchase": 0.7,
    "delay__reporting__mean_s": 7200.0,
    "delay__reporting__late_share": 0.3,
    "delay__reporting__late_mean_h": 12.0,
    "delay__refund__probability": 0.6,
}


@pytest.fixture(scope="module")
def late_log(tmp_path_factory):
    """Three days whose purchases are reported hours late and often given back."""
    folder = tmp_path_factory.mktemp("late") / "log"
    return simulate(config(**SLOW), 7, server("random"), 3, folder, ranker_name="random")


def test_refunds_and_lags_follow_their_laws():
    """Kolmogorov-Smirnov against the closed forms; means too."""
    law = numbers(DELAY.refund)
    refund_s = np.array([draw_refund_s(law, u) for u in U[0]])
    assert kstest(refund_s, lambda t: refund_cdf(DELAY.refund, t)).pvalue > 1e-3
    mean_h = DELAY.refund.fast_share * 1.0 + (1 - DELAY.refund.fast_share) * 18.0
    assert refund_s.mean() / 3600 == pytest.approx(mean_h, rel=0.03)
    slow = config(**SLOW).delay.reporting
    lag_s = np.array([draw_lag_s(numbers(slow), u) for u in U[1]])
    assert kstest(lag_s, lambda t: lag_cdf(slow, t)).pvalue > 1e-3
    assert lag_s.min() >= 0
    at_once = replace(slow, mean_s=0.0, late_share=0.0)
    assert draw_lag_s(numbers(at_once), 0.3) == 0.0
    assert lag_cdf(at_once, np.zeros(1)) == 1.0


def test_refund_probability_is_of_the_price():
    """The stated one at the median price; more for dear goods where the effect is positive."""
    law = numbers(DELAY.refund)
    assert p_refund(law, 0.0) == pytest.approx(DELAY.refund.probability)
    assert p_refund(law, 1.0) > p_refund(law, -1.0)
    assert p_refund(numbers(replace(DELAY.refund, probability=0.0)), 3.0) == 0.0


def test_nothing_is_refunded_before_it_is_bought(late_log):
    """Refunds follow their purchase in event time and in reports, and name it."""
    bought, back = late_log.purchases(), late_log.refunds()
    assert len(back) > 100
    assert (back.event_s > back.purchase_s).all()
    assert (back.known_s >= back.event_s).all()
    row = {
        key: i
        for i, key in enumerate(
            zip(bought.request_id.tolist(), bought.streamer_id.tolist(), strict=True)
        )
    }
    own = [row[k] for k in zip(back.request_id.tolist(), back.streamer_id.tolist(), strict=True)]
    assert len(set(own)) == len(own)
    np.testing.assert_array_equal(bought.event_s[own], back.purchase_s)
    np.testing.assert_array_equal(bought.amount_cny[own], back.amount_cny)
    assert (bought.known_s[own] <= back.known_s).all()


def test_reports_come_late_and_out_of_order(late_log):
    """Event time is apart from arrival."""
    bought = late_log.purchases()
    assert (bought.known_s >= bought.event_s).all()
    assert (np.diff(bought.known_s) >= 0).all()
    assert (np.diff(bought.event_s) < 0).any()
    due = logged_truth(late_log)
    happened = late_log.impressions().known_s + due.purchase_delay_s <= late_log.as_of_s
    assert happened.sum() > len(bought) + 20


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(t_s=st.floats(0, 3 * DAY_S))
def test_nothing_is_visible_before_it_arrived(late_log, t_s):
    """Purchases, refunds and labels as of t are those reported by t, and all of them."""
    then = late_log.as_of(t_s)
    for name in ("purchases", "refunds"):
        seen, whole = getattr(then, name)(), getattr(late_log, name)()
        assert (seen.known_s <= t_s).all()
        assert len(seen) == (whole.known_s <= t_s).sum()
    labelled = np.isfinite(then.impressions().purchase_s).sum()
    assert labelled == len(then.purchases())


def test_ticks_hand_out_what_arrived(late_log):
    """Every report comes with exactly one tick, the first after it arrived."""
    seen_s, bought, back = -np.inf, 0, 0
    for tick in late_log.ticks():
        for events in (tick.purchases, tick.refunds):
            assert ((events.known_s > seen_s) & (events.known_s <= tick.now_s)).all()
        bought, back, seen_s = bought + len(tick.purchases), back + len(tick.refunds), tick.now_s
    rest = late_log.known_after_last_tick()[1]
    assert bought + len(rest) == len(late_log.purchases())
    assert back == (late_log.refunds().known_s <= seen_s).sum()
