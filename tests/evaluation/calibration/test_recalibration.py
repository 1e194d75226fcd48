"""Isotonic and temperature maps: scikit-learn, optimality, recovery of a distortion, edge cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from evaluation.calibration.recalibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    TemperatureMap,
    fit_isotonic,
    fit_temperature,
)
from evaluation.calibration.reliability import calibration_error
from evaluation.ranking.ranks import MetricError


@pytest.mark.parametrize("levels", [None, 12])
def test_isotonic_equals_scikit_learn(levels: int | None) -> None:
    rng = np.random.default_rng(0)
    p = rng.random(500)
    if levels is not None:
        p = np.round(p * levels) / levels
    y = (rng.random(500) < p**2).astype(float)
    peer = IsotonicRegression(out_of_bounds="clip").fit(p, y)
    grid = np.linspace(0.0, 1.0, 301)
    np.testing.assert_allclose(fit_isotonic(p, y)(grid), peer.predict(grid), rtol=0, atol=1e-9)


def test_maps_recover_a_distortion() -> None:
    rng = np.random.default_rng(1)
    n = 60_000
    truth = expit(rng.normal(-1.0, 1.2, n))
    said = expit(logit(truth) / 0.5)  # twice too bold
    y, user = rng.random(n) < truth, np.arange(n)
    train, judged = slice(0, n // 2), slice(n // 2, n)
    scale = fit_temperature(said[train], y[train])
    assert scale.temperature == pytest.approx(2.0, rel=0.03)
    curve = fit_isotonic(said[train], y[train])
    before = calibration_error(said[judged], truth[judged], user[judged], n).value
    for calibrate in (scale, curve):
        after = calibration_error(calibrate(said[judged]), truth[judged], user[judged], n).value
        assert after < 0.1 * before
    # a temperature is known better than a curve
    assert np.abs(scale(said) - truth).mean() < np.abs(curve(said) - truth).mean()


def test_temperature_has_the_least_loss() -> None:
    rng = np.random.default_rng(2)
    p, y = rng.random(400), rng.random(400) < 0.4

    def loss(t: float) -> float:
        q = np.clip(TemperatureMap(t)(p), 1e-12, 1 - 1e-12)
        return float(-np.mean(y * np.log(q) + (1 - y) * np.log1p(-q)))

    best = fit_temperature(p, y).temperature
    assert all(loss(best) <= loss(best * factor) for factor in (0.5, 0.99, 1.01, 2.0))


def test_temperature_of_what_it_cannot_help() -> None:
    assert fit_temperature(np.full(4, 0.5), np.array([0, 1, 1, 1])).temperature == 1.0
    apart = np.array([0.1, 0.9])
    assert fit_temperature(apart, np.array([0, 1])).temperature == MIN_TEMPERATURE
    assert fit_temperature(apart, np.array([1, 0])).temperature == MAX_TEMPERATURE


def test_constant_predictions_become_the_base_rate() -> None:
    y = np.array([1, 0, 0, 0])
    assert list(fit_isotonic(np.full(4, 0.9), y)(np.array([0.0, 0.9, 1.0]))) == [0.25] * 3
    assert list(fit_isotonic(np.array([0.2]), np.array([1]))(np.array([0.7]))) == [1.0]


@pytest.mark.parametrize("fit", [fit_isotonic, fit_temperature])
def test_wrong_input_is_one_clear_error(fit) -> None:
    none = np.empty(0)
    with pytest.raises(MetricError, match="no rows"):
        fit(none, none)
    with pytest.raises(MetricError, match="one shape"):
        fit(np.array([0.1, 0.2]), np.array([1]))
    with pytest.raises(MetricError, match="probability lie outside"):
        fit(np.array([np.nan]), np.array([1]))
    with pytest.raises(MetricError, match="probability lie outside"):
        fit(np.array([0.2, 0.4]), np.array([0, 1]))(np.array([1.1]))


unit = st.floats(0.0, 1.0)
pairs = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        npst.arrays(np.float64, n, elements=unit), npst.arrays(np.float64, n, elements=unit)
    )
)


@given(pairs)
def test_maps_are_monotone_and_stay_in_the_unit_interval(case) -> None:
    p, y = case
    grid = np.linspace(0, 1, 50)
    for calibrate in (fit_isotonic(p, y), fit_temperature(p, y)):
        out = calibrate(grid)
        assert (np.diff(out) >= -1e-12).all()
        assert ((out >= 0.0) & (out <= 1.0)).all()


@given(pairs)
def test_isotonic_keeps_the_mean(case) -> None:
    p, y = case
    assert fit_isotonic(p, y)(p).mean() == pytest.approx(y.mean(), abs=1e-9)
