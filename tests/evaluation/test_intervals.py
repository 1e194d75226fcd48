"""Intervals: closed forms, pairing, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evaluation import intervals
from evaluation.intervals import Estimate


def test_mean_equals_one_sample_t_interval() -> None:
    x = np.random.default_rng(0).normal(3.0, 2.0, 50)
    got = intervals.mean(x).interval()
    low, high = stats.t.interval(0.95, 49, loc=x.mean(), scale=stats.sem(x))
    np.testing.assert_allclose([got.estimate, got.low, got.high], [x.mean(), low, high], rtol=1e-12)
    assert got.n == 50


def test_difference_equals_paired_t_interval() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(3.0, 2.0, 40)
    b = a + rng.normal(0.1, 0.5, 40)
    got = intervals.difference(intervals.mean(b), intervals.mean(a)).interval(0.9)
    peer = stats.ttest_rel(b, a).confidence_interval(0.9)
    np.testing.assert_allclose([got.low, got.high], [peer.low, peer.high], rtol=1e-10)


def test_ratio_equals_textbook_delta_method() -> None:
    rng = np.random.default_rng(2)
    x = rng.poisson(5.0, 300).astype(float) + 1
    y = rng.binomial(x.astype(int), 0.2).astype(float)
    got = intervals.ratio(y, x)
    r = y.sum() / x.sum()
    cov = np.cov(y, x)
    variance = (cov[0, 0] - 2 * r * cov[0, 1] + r**2 * cov[1, 1]) / (300 * x.mean() ** 2)
    assert got.value == pytest.approx(r, rel=1e-14)
    assert got.standard_error == pytest.approx(np.sqrt(variance), rel=1e-10)


def test_arms_that_do_not_differ_have_no_interval() -> None:
    y, x = np.arange(1.0, 19.0), np.arange(2.0, 20.0)
    for compare in (intervals.lift, intervals.difference):
        got = compare(intervals.ratio(y, x), intervals.ratio(y, x)).interval()
        assert got.estimate == 0.0
        assert np.isnan([got.low, got.high]).all()  # ends of 0 and 0 would read as certainty


def test_lift_scales_out_units() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random(30) + 1, rng.random(30) + 1
    one = intervals.lift(intervals.mean(a), intervals.mean(b)).interval()
    ten = intervals.lift(intervals.mean(10 * a), intervals.mean(10 * b)).interval()
    np.testing.assert_allclose([one.low, one.high], [ten.low, ten.high], rtol=1e-10)


def test_rows_of_absent_clusters_do_not_matter() -> None:
    values, user = np.array([1.0, 2.0, 4.0, np.nan]), np.array([0, 0, 5, 6])
    got = intervals.clustered_mean(values, user, 10, "positive")
    small = intervals.clustered_mean(values[:3], np.array([0, 0, 1]), 2, "positive")
    assert got.n == 3
    assert got.value == pytest.approx(7 / 3)
    assert got.standard_error == pytest.approx(small.standard_error)
    assert list(np.flatnonzero(got.active)) == [0, 5]


@pytest.mark.parametrize("values", [[], [2.0], [np.nan, np.nan]])
def test_fewer_than_two_clusters_have_no_interval(values: list[float]) -> None:
    got = intervals.mean(np.array(values)).interval()
    assert np.isnan([got.low, got.high]).all()


def test_undefined_ratio_and_lift_are_nan() -> None:
    none = intervals.ratio(np.zeros(4), np.zeros(4))
    assert np.isnan(none.value)
    assert np.isnan(none.interval().low)
    assert np.isnan(intervals.ratio(np.ones(1), np.array([2e-309])).value)  # beyond any number
    zero = intervals.mean(np.zeros(4))
    assert np.isnan(intervals.lift(intervals.mean(np.ones(4)), zero).value)


def test_bad_input_names_the_field() -> None:
    with pytest.raises(ValueError, match="numerator has 1 values that are not finite"):
        intervals.ratio(np.array([np.nan, 1.0]), np.ones(2))
    with pytest.raises(ValueError, match=r"shape \(2,\), denominator \(3,\)"):
        intervals.ratio(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="2 and 3 clusters"):
        intervals.difference(intervals.mean(np.ones(2)), intervals.mean(np.ones(3)))
    with pytest.raises(ValueError, match="scale is share, but a numerator lies outside"):
        intervals.ratio(np.full(2, 2.0), np.ones(2), scale="share")
    with pytest.raises(ValueError, match=r"level is 1\.5"):
        intervals.mean(np.ones(3)).interval(1.5)


def _arms(rng: np.random.Generator, users: int) -> tuple[Estimate, Estimate]:
    """Two arms of a ratio metric that share users; true ratios 0.22 and 0.2, lift 0.1."""
    taste = rng.beta(2.0, 8.0, users)  # mean 0.2
    shown = rng.poisson(6.0, users) + 1
    control = rng.binomial(shown, taste)
    more = rng.binomial(shown, np.minimum(1.1 * taste, 1.0))
    return (
        intervals.ratio(more.astype(float), shown.astype(float)),
        intervals.ratio(control.astype(float), shown.astype(float)),
    )


def test_paired_intervals_cover_at_their_level() -> None:
    rng = np.random.default_rng(4)
    hits = np.zeros(3)
    runs = 1500
    # beta(2, 8) above 1/1.1 has mass below 1e-7, so the cap does not move the truth.
    truths = (0.22, 0.02, 0.1)
    for _ in range(runs):
        pair = _arms(rng, 300)
        estimates = (pair[0], intervals.difference(*pair), intervals.lift(*pair))
        for index, (estimate, truth) in enumerate(zip(estimates, truths, strict=True)):
            got = estimate.interval()
            hits[index] += got.low <= truth <= got.high
    assert ((hits / runs > 0.93) & (hits / runs < 0.97)).all(), hits / runs


def test_pairing_is_narrower_than_independence() -> None:
    treated, control = _arms(np.random.default_rng(5), 4000)
    paired = intervals.difference(treated, control).standard_error
    assert paired < 0.85 * np.hypot(treated.standard_error, control.standard_error)


def test_few_events_in_either_arm_have_no_interval() -> None:
    some, enough = (np.repeat([1.0, 0.0], [count, 200 - count]) for count in (9, 30))
    users = np.ones(200)
    for pair in ((some, enough), (enough, some), (0 * some, enough)):
        treated, control = (intervals.ratio(y, users, scale="positive") for y in pair)
        got = intervals.lift(treated, control).interval()
        assert np.isfinite(got.estimate)
        assert np.isnan([got.low, got.high]).all()
    assert np.isnan(intervals.ratio(some, users, scale="positive").interval().low)
    assert np.isfinite(intervals.ratio(enough, users, scale="positive").interval().low)


def test_no_interval_leaves_its_range() -> None:
    rng = np.random.default_rng(6)
    shown = np.ones(25)
    for p in (0.02, 0.5, 0.97):
        got = intervals.ratio((rng.random(25) < p).astype(float), shown, scale="share").interval()
        assert 0 <= got.low <= got.estimate <= got.high <= 1
        assert got.high > got.low
    paid = np.where(rng.random(400) < 0.1, rng.lognormal(4, 2, 400), 0.0)
    treated = intervals.ratio(paid, np.ones(400), scale="positive")
    control = intervals.ratio(paid[::-1].copy(), np.ones(400), scale="positive")
    assert treated.interval().low > 0
    assert intervals.lift(treated, control).interval().low > -1


def test_share_of_independent_rows_is_wilsons_interval() -> None:
    bought = np.repeat([1.0, 0.0], [3, 397])
    got = intervals.ratio(bought, np.ones(400), scale="share").interval()
    peer = stats.binomtest(3, 400).proportion_ci(method="wilson")
    np.testing.assert_allclose([got.low, got.high], [peer.low, peer.high], rtol=0.02)
    none = intervals.ratio(np.zeros(5), np.ones(5), scale="share").interval()
    assert (none.estimate, none.low) == (0.0, 0.0)
    assert 0.4 < none.high < 0.7  # five users without a purchase prove little


def test_rare_shares_and_lifts_cover_at_their_level() -> None:
    rng = np.random.default_rng(7)
    runs, users = 2000, 400
    hits, given, too_low = np.zeros(3), np.zeros(3), 0
    for _ in range(runs):
        shown = rng.poisson(3.0, users) + 1.0
        taste = rng.beta(0.5, 24.5, users)  # mean 0.02: about 30 purchases, clustered by user
        control = rng.binomial(shown.astype(int), taste).astype(float)
        more = rng.binomial(shown.astype(int), np.minimum(1.5 * taste, 1.0)).astype(float)
        one = intervals.ratio(control, shown, scale="share")
        pair = (intervals.ratio(y, np.ones(users), scale="positive") for y in (more, control))
        few = intervals.ratio(control[:100], shown[:100], scale="share")  # about 7 purchases
        found = (one, few, intervals.lift(*pair))
        for index, (estimate, truth) in enumerate(zip(found, (0.02, 0.02, 0.5), strict=True)):
            got = estimate.interval()
            given[index] += np.isfinite(got.low)
            hits[index] += got.low <= truth <= got.high
            too_low += got.low < (-1 if index == 2 else 0)
    cover = hits / given
    assert ((cover > 0.93) & (cover < 0.985)).all(), cover
    assert too_low == 0
    assert (given > 0.95 * runs).all()


def test_rounding_is_no_spread() -> None:
    """Clusters that all say 0.3 differ in the last digits of their sums, which is not an error."""
    rng = np.random.default_rng(8)
    user = rng.integers(0, 60, 3000)
    same = np.full(3000, 0.3)
    for scale in ("plain", "positive"):
        got = intervals.clustered_mean(same, user, 60, scale)
        assert got.standard_error > 0.0
        assert np.isnan([got.interval().low, got.interval().high]).all()
    share = intervals.clustered_mean(same, user, 60).interval()
    assert share.low < 0.2 < 0.4 < share.high  # as for 60 users, not as for a certainty
    moved = intervals.clustered_mean(same + 1e-6 * rng.normal(size=3000), user, 60, "plain")
    assert moved.interval().low < moved.value < moved.interval().high
