"""Reliability curves, ECE and PCOC by bin: definitions, intervals, the truth, edge cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.calibration import calibration_curve

from evaluation.calibration.reliability import calibration_error, reliability
from evaluation.classification import pcoc
from evaluation.ranking.ranks import MetricError


def _rows(seed: int, n: int = 3000, users: int = 60) -> tuple[np.ndarray, ...]:
    """Predictions, labels, true probabilities and users; bolder than the truth."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, users, n)
    truth = 1 / (1 + np.exp(-(rng.normal(-1, 1, n) + rng.normal(0, 0.3, users)[user])))
    predicted = truth**1.5
    return predicted, rng.random(n) < truth, truth, user


@pytest.mark.parametrize("by", ["mass", "width"])
def test_curve_equals_scikit_learn(by) -> None:
    p, y, _, user = _rows(0)
    got = reliability(p, y, user, 60, bins=8, by=by)
    strategy = {"mass": "quantile", "width": "uniform"}[by]
    observed, predicted = calibration_curve(y, p, n_bins=8, strategy=strategy)
    np.testing.assert_allclose(got.predicted, predicted, rtol=0, atol=1e-9)
    np.testing.assert_allclose([e.value for e in got.outcome], observed, rtol=0, atol=1e-9)


def test_ece_and_pcoc_equal_a_loop_over_bins() -> None:
    p, y, _, user = _rows(1)
    got = reliability(p, y, user, 60, bins=10)
    gaps = []
    for b in range(len(got)):
        own = (p >= got.low[b]) & (p <= got.high[b])
        gaps.append(own.sum() * abs(p[own].mean() - y[own].mean()))
        assert got.pcoc[b].value == pytest.approx(p[own].sum() / y[own].sum())
        peer = pcoc(p[own], y[own], user[own], 60)
        assert got.pcoc[b].standard_error == pytest.approx(peer.standard_error)
    assert got.ece.value == pytest.approx(sum(gaps) / len(p), abs=1e-12)
    assert calibration_error(p, y, user, 60).value == got.ece.value
    assert got.ece.n == len(p)


def test_ece_of_the_truth_is_noise_and_that_of_a_wrong_prediction_is_not() -> None:
    p, y, truth, user = _rows(2, n=20_000, users=2000)
    right, wrong = reliability(truth, y, user, 2000), reliability(p, y, user, 2000)
    assert 0.4 < right.ece.value / right.noise < 2.0
    assert wrong.ece.value > 10 * wrong.noise
    assert reliability(truth, truth, user, 2000).ece.value == pytest.approx(0.0, abs=1e-15)
    # against the true probability the error is the same, and better known
    known = reliability(p, truth, user, 2000)
    assert known.ece.value == pytest.approx(wrong.ece.value, abs=0.01)
    assert known.ece.standard_error < 0.5 * wrong.ece.standard_error


def test_noise_is_the_mean_error_of_calibrated_predictions() -> None:
    rng = np.random.default_rng(3)
    n, users = 2000, 100
    p, user = rng.random(n), rng.integers(0, users, n)
    found = [reliability(p, rng.random(n) < p, user, users) for _ in range(200)]
    mean = np.mean([f.ece.value for f in found])
    assert np.mean([f.noise for f in found]) == pytest.approx(mean, rel=0.05)


def test_error_equals_a_bootstrap_of_users() -> None:
    p, y, _, user = _rows(4, users=150)
    rng = np.random.default_rng(0)
    edges = np.quantile(p, np.arange(1, 10) / 10)
    bin_of = np.searchsorted(edges, p, side="right")
    gap, size = np.zeros((10, 150)), np.bincount(user, minlength=150)
    np.add.at(gap, (bin_of, user), p - y)
    draws = rng.multinomial(150, np.full(150, 1 / 150), size=2000)
    values = np.abs(gap @ draws.T).sum(axis=0) / (draws @ size)
    assert calibration_error(p, y, user, 150).standard_error == pytest.approx(values.std(), rel=0.1)


def test_intervals_of_bins_cover() -> None:
    hits, runs = 0, 150
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        user, p = rng.integers(0, 80, 1200), rng.random(1200)
        found = reliability(p, rng.random(1200) < p, user, 80, bins=5).intervals
        # the mean true probability of a bin is its mean prediction
        curve = reliability(p, p, user, 80, bins=5)
        hits += sum(i.low <= v <= i.high for i, v in zip(found, curve.predicted, strict=True))
    assert 0.92 < hits / (5 * runs) < 0.98


def test_constant_predictions_share_one_bin() -> None:
    y = np.array([1, 0, 0, 1, 0])
    for by in ("mass", "width"):
        got = reliability(np.full(5, 0.3), y, np.arange(5), 5, by=by)  # type: ignore[arg-type]
        assert len(got) == 1
        assert got.ece.value == pytest.approx(0.1)
        assert (got.low[0], got.high[0]) == (0.3, 0.3)


def test_one_class_is_defined_but_for_pcoc() -> None:
    p, user = np.array([0.1, 0.2, 0.9]), np.arange(3)
    none = reliability(p, np.zeros(3), user, 3, bins=2)
    assert none.ece.value == pytest.approx(0.4)
    assert all(np.isnan(e.value) for e in none.pcoc)
    full = reliability(p, np.ones(3), user, 3, bins=2)
    assert full.ece.value == pytest.approx(0.6)
    assert all(e.value < 1 for e in full.pcoc)


def test_no_rows_are_undefined() -> None:
    none = np.empty(0)
    got = reliability(none, none, none.astype(int), 4)
    assert len(got) == 0
    assert np.isnan(got.ece.value)
    assert np.isnan(got.noise)
    assert np.isnan(calibration_error(none, none, none.astype(int), 4).value)
    assert got.intervals == ()


def test_one_user_has_no_interval() -> None:
    got = reliability(np.array([0.2, 0.4]), np.array([0, 1]), np.zeros(2, int), 1, bins=1)
    assert got.ece.value == pytest.approx(0.2)
    assert np.isnan(got.ece.interval().low)
    assert np.isnan(got.noise)


def test_wrong_input_is_one_clear_error() -> None:
    p, y, user = np.array([0.2, np.nan]), np.array([0, 1]), np.array([0, 1])
    with pytest.raises(MetricError, match=r"probability lie outside .* nan at row 1"):
        reliability(p, y, user, 2)
    with pytest.raises(MetricError, match="outcome lie outside"):
        calibration_error(np.array([0.2, 0.3]), np.array([0, 2]), user, 2)
    with pytest.raises(MetricError, match="bins is 0"):
        reliability(y, y, user, 2, bins=0)
    with pytest.raises(MetricError, match="by is 'size'; allowed: mass, width"):
        reliability(y, y, user, 2, by="size")  # type: ignore[arg-type]
    with pytest.raises(MetricError, match="must be in"):
        reliability(y, y, user, 1)
    with pytest.raises(MetricError, match="one shape"):
        reliability(y, y[:1], user, 2)


unit = st.floats(0.0, 1.0)
cases = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        npst.arrays(np.float64, n, elements=unit),
        npst.arrays(np.float64, n, elements=unit),
        npst.arrays(np.int64, n, elements=st.integers(0, 3)),
    )
)


@given(cases, st.integers(1, 12), st.sampled_from(["mass", "width"]), st.randoms())
def test_bounds_order_and_merging(case, bins, by, random) -> None:
    p, y, user = case
    got = reliability(p, y, user, 4, bins=bins, by=by)
    mean_gap = abs(p.mean() - y.mean())
    assert mean_gap - 1e-12 <= got.ece.value <= np.abs(p - y).mean() + 1e-12
    assert (np.diff(got.predicted) > -1e-12).all()
    assert sum(e.n for e in got.outcome) == len(p)
    assert (got.high[:-1] < got.low[1:]).all()
    order = list(range(len(p)))
    random.shuffle(order)
    moved = calibration_error(p[order], y[order], user[order], 4, bins=bins, by=by)
    assert moved.value == pytest.approx(got.ece.value, abs=1e-12)


def test_a_constant_prediction_of_nothing_has_no_interval() -> None:
    """Every user is off by the same, up to rounding: that says nothing of the error."""
    user = np.random.default_rng(2).integers(0, 60, 3000)
    ece = reliability(np.full(3000, 0.3), np.zeros(3000), user, 60).ece
    assert ece.value == pytest.approx(0.3)
    assert np.isnan([ece.interval().low, ece.interval().high]).all()
