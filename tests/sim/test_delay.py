"""Delays: each law against scipy, the mixture against draws, competing risks, drifts, presets."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sim.config import ConfigError
from sim.delay import (
    BUYER,
    IMM,
    PARTS,
    PROMO_WAIT,
    SHORT,
    TAIL,
    Buyer,
    DelayNumbers,
    Moment,
    completion,
    draw_purchase,
)
from sim.delay_families import family_cdf, family_pdf, family_quantile
from sim.delay_law import DelayLaw, logged_delays
from sim.delay_parameters import DELAY_FAMILIES
from sim.kernel import numbers
from sim.presets import preset
from sim.rng import Purpose, uniforms
from sim.schema import DAY_S, PAD, Impressions
from sim.truth import TruthRows
from sim.world import World
from tests.sim.worlds import config, run

PRESETS = (
    "default", "exp_dfm", "criteo_like", "taobao_3d", "live_impulse", "promo_wait", "mnar_speed",
    "multimodal", "delay_drift", "no_delay",
)  # fmt: skip
N = 20_000
BUSY = [f"world.feedback.{name}=0.7" for name in ("cart", "purchase")]
BUSY.append("world.feedback.bag_click=0.3")
"""Overrides of a world in which much is bought."""

U = uniforms(5, Purpose.CALIBRATION, np.arange(N), [[0], [1]]).transpose(1, 0, 2).reshape(8, N)
HOURS = tuple(float(w) for w in config().visits.hour_weights)
FLAT = (1.0,) * 24
EVENING_S = 20.2 * 3600
H = 3600.0


def delays(name="default"):
    """Return the delays of a preset."""
    return preset("tiny", [f"delay={name}"]).delay


def drawn(delay, hours=HOURS, **buyer):
    """Draw N decisions of one buyer: seconds, ways to wait, losses, and the law of it."""
    law = DelayLaw.of(delay, hours, **buyer)
    own = Buyer(*(float(law.buyers[0][name]) for name in BUYER.names))
    rows = [draw_purchase(law.numbers, own, *u) for u in U[:4].T.tolist()]
    delay_s, part, lost_to = (np.array(column) for column in zip(*rows, strict=True))
    return delay_s, part, lost_to, law


def at(law, method, t_s):
    """Apply a method of the law of one buyer at many times."""
    return getattr(law, method)(np.asarray(t_s))


@pytest.mark.parametrize(
    ("family", "shape", "law"),
    [
        ("exponential", 1.0, stats.expon()),
        ("weibull", 0.56, stats.weibull_min(0.56)),
        ("weibull", 2.5, stats.weibull_min(2.5)),
        ("lognormal", 0.4, stats.lognorm(0.4)),
        ("lognormal", 2.2, stats.lognorm(2.2)),
    ],
)
def test_families_equal_scipys(family, shape, law):
    """Cdf, density and quantile, moments and the distribution of draws."""
    code = DELAY_FAMILIES.index(family)
    p = np.concatenate([[1e-9, 1e-4, 0.5, 1 - 1e-9], U[0][:500]])
    x = law.ppf(p)
    own = np.array([family_quantile(code, shape, q) for q in p])
    np.testing.assert_allclose(own, x, rtol=1e-9)
    np.testing.assert_allclose([family_cdf(code, shape, t) for t in x], p, rtol=1e-9)
    np.testing.assert_allclose([family_pdf(code, shape, t) for t in x], law.pdf(x), rtol=1e-8)
    draws = np.array([family_quantile(code, shape, q) for q in U[1]])
    assert stats.kstest(draws, law.cdf).pvalue > 1e-3
    assert abs(np.log(draws).mean() - np.log(law.ppf(U[2])).mean()) < 0.1
    assert abs(np.median(draws) - law.median()) < 4 * np.sqrt(0.25 / N) / law.pdf(law.median())
    assert family_cdf(code, shape, 0.0) == family_quantile(code, shape, 0.0) == 0.0
    assert family_cdf(code, shape, np.inf) == 1.0


@pytest.mark.parametrize("name", PRESETS)
def test_draws_follow_the_mixture(name):
    """Kolmogorov-Smirnov of the purchases that take place, under a sale and a live that ends."""
    buyer = {
        "intent": 0.7, "log_price": -0.5, "time_s": EVENING_S, "start_s": EVENING_S + 300,
        "left_s": 900.0, "sale_wait_s": 1.6 * DAY_S, "day": 2,
    }  # fmt: skip
    delay_s, part, lost_to, law = drawn(delays(name), **buyer)
    bought = delay_s[lost_to == PAD]
    assert bought.min() >= 0.0
    assert bought.max() <= law.horizon_s
    if name == "no_delay":
        assert (delay_s == 0.0).all()
        assert at(law, "cdf", [0.0])[0] == 1.0
        return
    assert stats.kstest(bought, lambda t: at(law, "cdf", t)).pvalue > 1e-3
    share = np.bincount(part, minlength=4) / N
    expected = law.components()[0]
    # of `imm`, what falls after the live waits by the law of `short`
    spread = 4 * np.sqrt(0.25 / N)
    np.testing.assert_allclose(share[[TAIL, PROMO_WAIT]], expected[[TAIL, PROMO_WAIT]], atol=spread)
    assert share[IMM] <= expected[IMM] + spread
    assert share[SHORT] >= expected[SHORT] - spread
    assert (delay_s[part == IMM] <= 900.0).all()
    assert abs((lost_to == PAD).mean() - law.completion()[0]) < spread


@pytest.mark.parametrize("name", PRESETS)
def test_laws_have_their_limits(name):
    """Nothing before the start, everything by the horizon, in between only growth."""
    law = DelayLaw.of(delays(name), HOURS, time_s=EVENING_S, left_s=1200.0, sale_wait_s=DAY_S)
    t = np.concatenate([[0.0], np.geomspace(1.0, law.horizon_s, 300)])
    cdf = at(law, "cdf", t)
    assert (np.diff(cdf) >= -1e-12).all()
    assert cdf[-1] == pytest.approx(1.0, abs=1e-12)
    assert (at(law, "cdf", [-5.0]) == 0.0).all()
    assert (at(law, "cdf", [10 * law.horizon_s]) == cdf[-1]).all()
    assert law.components().sum() == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from([n for n in PRESETS if n != "no_delay"]),
    p=st.floats(0.001, 0.999),
    intent=st.floats(-2, 2),
    log_price=st.floats(-1.5, 1.5),
    left_s=st.floats(0, 7200),
    hour=st.floats(0, 24),
)
def test_quantile_inverts_the_cdf(name, p, intent, log_price, left_s, hour):
    """Cdf of the quantile is p wherever the cdf has no jump, and the density is its slope."""
    law = DelayLaw.of(
        LAWS[name], HOURS, intent=intent, log_price=log_price, left_s=left_s, time_s=hour * H
    )
    t_s = law.quantile(p)
    assert law.cdf(t_s)[0] == pytest.approx(p, abs=1e-6)
    step = max(1e-4 * t_s[0], 1e-3)
    slope = (law.cdf(t_s + step) - law.cdf(t_s - step)) / (2 * step)
    edges = (hour * H + t_s[0]) % H  # the density jumps with the hour, and where the live ends
    if min(edges, H - edges) > 2 * step and abs(t_s[0] - left_s) > 2 * step and t_s[0] > 2:
        assert law.pdf(t_s)[0] == pytest.approx(slope[0], rel=2e-2, abs=1e-9)
        assert law.hazard(t_s)[0] == pytest.approx(law.pdf(t_s)[0] / (1 - p), rel=1e-4)


LAWS = {name: delays(name) for name in PRESETS}

TYPICAL = {"intent": 1.2, "log_price": -0.4}
"""Means over the purchases of the default world."""


def test_the_default_passes_the_published_figures():
    """35 % within 1 h, 50 % within 24 h, 87 % within 14 days: a typical buyer at typical hours."""
    share = np.array(HOURS) / np.sum(HOURS)
    law = DelayLaw.of(LAWS["default"], HOURS, time_s=(np.arange(24) + 0.5) * H, left_s=H, **TYPICAL)
    for t_s, published in ((H, 0.35), (DAY_S, 0.50), (14 * DAY_S, 0.87), (30 * DAY_S, 1.0)):
        assert (share * law.cdf(t_s)).sum() == pytest.approx(published, abs=0.01)


@pytest.mark.parametrize("intent", [-1.0, 1.5])
def test_criteo_like_passes_the_published_figures_for_everybody(intent):
    """The same three points, whoever buys, whenever, and wherever the live stands."""
    law = DelayLaw.of(
        LAWS["criteo_like"], HOURS, intent=intent, log_price=0.8, time_s=7 * H, left_s=60.0
    )
    for t_s, published in ((H, 0.35), (DAY_S, 0.50), (14 * DAY_S, 0.87)):
        assert law.cdf(t_s)[0] == pytest.approx(published, abs=0.01)


def test_presets_do_what_they_say():
    """The figures in the headers of the presets."""
    noon = {"time_s": 12 * H, "left_s": H}
    quarter = DelayLaw.of(LAWS["live_impulse"], HOURS, **noon).cdf(900.0)[0]
    assert 0.45 <= quarter <= 0.60
    p = (np.arange(400) + 0.5) / 400
    mean_h = at(DelayLaw.of(LAWS["taobao_3d"], HOURS, **noon), "quantile", p).mean() / H
    assert 16 <= mean_h <= 20
    promo = DelayLaw.of(LAWS["promo_wait"], HOURS, sale_wait_s=2 * DAY_S, **noon)
    _, _, tail, waits = promo.components()[0]
    assert waits / (tail + waits) == pytest.approx(0.6)
    burst = promo.cdf(2 * DAY_S + 2 * H) - promo.cdf(2 * DAY_S)
    assert burst[0] == pytest.approx(waits / 2, rel=0.15)
    none = DelayLaw.of(LAWS["promo_wait"], HOURS, sale_wait_s=3.1 * DAY_S, **noon)
    assert none.components()[0, PROMO_WAIT] == 0.0
    bumps = DelayLaw.of(LAWS["multimodal"], HOURS, **noon)
    hazard = at(bumps, "pdf", np.array([0.09, 0.8, 5.5, 30, 92]) * H)
    assert hazard[0] > hazard[1] < hazard[2]
    assert hazard[2] > hazard[3] < hazard[4]


def test_the_live_ends_and_the_rest_is_drawn_from_short():
    """Without a live left nobody buys in it; with an endless one the law is the plain mixture."""
    delay = replace(LAWS["default"], time_of_day=0.0, loss=LAWS["exp_dfm"].loss)
    t = np.geomspace(30, 20 * DAY_S, 60)
    ended = at(DelayLaw.of(delay, FLAT, left_s=0.0, time_s=0.0), "cdf", t)
    w = DelayLaw.of(delay, FLAT, left_s=0.0).components()[0]
    short = stats.weibull_min(delay.short.shape, scale=delay.short.scale_h * H)
    tail = stats.weibull_min(delay.tail.shape, scale=delay.tail.scale_h * H)
    at_h = 30 * DAY_S
    plain = (w[0] + w[1]) * short.cdf(t) / short.cdf(at_h) + w[2] * tail.cdf(t) / tail.cdf(at_h)
    np.testing.assert_allclose(ended, plain, rtol=1e-9)
    endless = at(DelayLaw.of(delay, FLAT), "cdf", t)
    w = DelayLaw.of(delay, FLAT).components()[0]
    imm = stats.expon(scale=delay.imm.scale_h * H)
    plain = (
        w[0] * imm.cdf(t)
        + w[1] * short.cdf(t) / short.cdf(at_h)
        + w[2] * tail.cdf(t) / tail.cdf(at_h)
    )
    np.testing.assert_allclose(endless, plain, rtol=1e-9)


def test_eager_buyers_of_cheap_goods_are_sooner():
    """Correlation of probability and speed runs through intent; price stretches the wait."""
    mnar, mild = (DelayLaw.of(LAWS[n], HOURS, intent=[-1, 0, 1]) for n in ("mnar_speed", "default"))
    assert (np.diff(mnar.cdf(DAY_S)) > 0.1).all()
    assert (np.diff(mild.cdf(DAY_S)) > 0.0).all()
    dear = DelayLaw.of(LAWS["default"], HOURS, log_price=[-1, 0, 1])
    assert (np.diff(dear.cdf(DAY_S)) < 0.0).all()
    flat = DelayLaw.of(LAWS["criteo_like"], HOURS, intent=[-1, 0, 1])
    np.testing.assert_allclose(flat.cdf(DAY_S), flat.cdf(DAY_S)[0])


@pytest.mark.parametrize("sale_wait_s", [np.inf, 2.5 * DAY_S])
def test_competing_events_against_aalen_johansen(sale_wait_s):
    """Incidence of purchase and losses, by the estimator from drawn, censored decisions."""
    loss = replace(LAWS["default"].loss, sold_out_per_day=0.2, unfollow_per_day=0.1)
    delay = replace(LAWS["default"], loss=loss, time_of_day=1.0)
    delay_s, _, lost_to, law = drawn(
        delay, time_s=EVENING_S, start_s=EVENING_S + 60, left_s=1800.0, sale_wait_s=sale_wait_s
    )
    censored_s = U[5] * 20 * DAY_S
    end_s, event = np.minimum(delay_s, censored_s), delay_s <= censored_s
    order = np.argsort(end_s)
    end_s, cause = end_s[order], np.where(event, lost_to + 1, -1)[order]  # 0 is the purchase
    at_risk = np.arange(N, 0, -1)
    survival = np.concatenate([[1.0], np.cumprod(1 - (cause >= 0) / at_risk)[:-1]])
    for t_s in (600.0, 5 * H, 2 * DAY_S, 3 * DAY_S, 10 * DAY_S):
        found = (survival * (cause == 0) / at_risk)[end_s <= t_s].sum()
        assert found == pytest.approx(law.incidence(t_s)[0], abs=4 * np.sqrt(0.25 / N) * 1.3)
    lost = np.bincount(lost_to[lost_to >= 0], minlength=2)
    assert lost[0] / lost.sum() == pytest.approx(2 / 3, abs=4 * np.sqrt(0.25 / lost.sum()))
    assert law.completion()[0] < 0.8
    own = law.buyers[0]
    moment = Moment(own["time_s"], own["left_s"] + 60, own["sale_wait_s"])
    assert completion(law.numbers, 0.0, 0.0, moment) == pytest.approx(law.completion()[0], abs=1e-4)


def test_conversion_drift_leaves_delays_and_delay_drift_leaves_probabilities():
    """Each dial moves its own side only."""
    plain = config(delay__loss__sold_out_per_day=0, delay__loss__unfollow_per_day=0)
    slower, rarer = (
        replace(plain, delay=replace(plain.delay, drift=replace(plain.delay.drift, **dial)))
        for dial in ({"delay_per_day": 0.5}, {"conversion_per_day": -0.5})
    )
    base, slow, rare = (run(World(c, 3), "random", 2) for c in (plain, slower, rarer))
    for first, other in ((base[0], slow[0]), (base[0], rare[0])):
        np.testing.assert_array_equal(first.truth.p_purchase, other.truth.p_purchase)
    was, now = base[1].truth, slow[1].truth
    np.testing.assert_array_equal(was.p_purchase, now.p_purchase)
    np.testing.assert_array_equal(was.will_purchase, now.will_purchase)
    waits = was.will_purchase & (was.delay_part == TAIL)
    assert (now.purchase_delay_s[waits] > was.purchase_delay_s[waits]).all()
    assert (rare[1].truth.p_purchase < was.p_purchase).all()
    assert not (rare[1].truth.will_purchase & ~was.will_purchase).any()
    both = rare[1].truth.will_purchase & was.will_purchase
    assert 0 < both.sum() < was.will_purchase.sum()
    np.testing.assert_array_equal(rare[1].truth.purchase_delay_s[both], was.purchase_delay_s[both])
    on = {n: DelayLaw.of(c.delay, HOURS, day=[0, 4]) for n, c in (("s", slower), ("r", rarer))}
    assert on["s"].cdf(DAY_S)[0] > on["s"].cdf(DAY_S)[1]
    assert on["r"].cdf(DAY_S)[0] == on["r"].cdf(DAY_S)[1]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build_and_run(name):
    """Every preset simulates a tiny day whose truth holds what was drawn."""
    world = World(preset("tiny", [f"delay={name}", *BUSY]), 3)
    (record,) = run(world, "random", 1)
    truth = record.truth
    decided = truth.delay_part != PAD
    assert decided.sum() > 100
    np.testing.assert_array_equal(decided, truth.will_purchase | (truth.lost_to != PAD))
    assert not (truth.will_purchase & (truth.lost_to != PAD)).any()
    np.testing.assert_array_equal(np.isfinite(truth.purchase_delay_s), truth.will_purchase)
    np.testing.assert_array_equal(np.isfinite(truth.lost_delay_s), truth.lost_to != PAD)
    assert not (np.isfinite(truth.refund_delay_s) & ~truth.will_purchase).any()
    if name == "no_delay":
        assert (truth.purchase_delay_s[truth.will_purchase] == 0.0).all()
        np.testing.assert_array_equal(record.purchases.event_s, record.purchases.known_s)


def test_truth_is_the_share_of_bag_clicks_that_end_in_a_purchase():
    """The net probability given a bag click, over many rows, with strong competing events."""
    delay = {"delay__loss__sold_out_per_day": 0.3, "delay__loss__unfollow_per_day": 0.2}
    records = run(World(config(**delay), 3), "random", 6)
    p, bought, decided = (
        np.concatenate([get(r)[r.impressions.bag_click] for r in records])
        for get in (
            lambda r: r.truth.p_purchase_given_bag,
            lambda r: r.truth.will_purchase,
            lambda r: r.truth.delay_part != PAD,
        )
    )
    spread = np.sqrt((p * (1 - p)).sum())
    assert abs(bought.sum() - p.sum()) < 4 * spread
    assert decided.sum() - p.sum() > 4 * spread
    whole = np.concatenate([r.truth.p_purchase for r in records])
    every = np.concatenate([r.truth.will_purchase for r in records])
    assert abs(every.sum() - whole.sum()) < 4 * np.sqrt((whole * (1 - whole)).sum())


@pytest.mark.parametrize("name", ["default", "promo_wait", "mnar_speed", "delay_drift"])
def test_the_law_of_a_row_is_rebuilt_from_the_truth(name):
    """Delays of logged purchases are uniform under the law of their own row, sale and drift too."""
    calendar = ["world.calendar.sale_day=2", "world.delay.loss.sold_out_per_day=0.1"]
    world = World(preset("tiny", [f"delay={name}", *BUSY, *calendar]), 3)
    records = run(world, "random", 3)
    shown = Impressions.concat([r.impressions for r in records])
    truth = TruthRows.concat([r.truth for r in records])
    bought = np.flatnonzero(truth.will_purchase)
    own, seen = truth.take(bought), shown.take(bought)
    law = logged_delays(world.config.delay, HOURS, seen, own)
    assert stats.kstest(law.cdf(own.purchase_delay_s.astype(np.float64)), "uniform").pvalue > 1e-3
    decided = np.flatnonzero(truth.delay_part != PAD)
    own = truth.take(decided)
    law = logged_delays(world.config.delay, HOURS, shown.take(decided), own)
    p = law.completion()
    assert abs(own.will_purchase.sum() - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum())
    share, spread = law.components(), 4 * np.sqrt(0.25 * len(decided))
    for part in (TAIL, PROMO_WAIT):
        assert abs((own.delay_part == part).sum() - share[:, part].sum()) < spread
    waited = own.delay_part == PROMO_WAIT
    assert waited.sum() > 20
    event_s = shown.known_s[decided] + own.purchase_delay_s
    assert (event_s[waited & own.will_purchase] >= 2 * DAY_S - 1).all()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("world.delay.imm.law=gamma", r"imm.law = 'gamma'; allowed: one of exponential, weibull"),
        ("world.delay.imm.shape=2", r"imm.shape = 2; allowed: 1 for the exponential law"),
        ("world.delay.horizon_days=1.5", r"horizon_days = 1.5; allowed: an integer in \[1, 365\]"),
        ("world.delay.horizon_days=5", r"window_days = 7.0; allowed: a number in \[0, 4\]"),
        ("world.delay.refund.probability=1", r"refund.probability = 1; allowed: a number"),
        ("world.delay.time_of_day=2", r"time_of_day = 2; allowed: a number in \[0, 1\]"),
        ("delay=slow", r"Could not find 'delay/slow'.*criteo_like"),
    ],
)
def test_values_out_of_range_are_refused(override, message):
    """One line: field, value, what is allowed."""
    with pytest.raises(ConfigError, match=message):
        preset("tiny", [override])


def test_no_weight_at_all_is_refused():
    """Somebody must wait somehow."""
    with pytest.raises(ConfigError, match=r"weight = 0.0; allowed: above 0 where imm and short"):
        preset("tiny", [f"world.delay.{part}.weight=0.0" for part in PARTS[:3]])


def test_numbers_of_a_day_are_what_compiled_code_reads():
    """Weights relative to the tail's, words as codes."""
    law = numbers(DelayNumbers.of(LAWS["default"], HOURS, 3))
    weights = np.array([getattr(LAWS["default"], name).weight for name in PARTS[:3]])
    np.testing.assert_allclose(law.weight, weights / weights[TAIL])
    assert list(law.family) == [0, 1, 1]
    assert law.log_drift == 0.0
