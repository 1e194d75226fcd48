"""Maps from predicted to calibrated probabilities, fitted on outcomes: isotonic and temperature.

    isotonic     the non-decreasing f with the least sum of (f(p) - y)^2, by pooling adjacent
                 violators (`scipy.optimize.isotonic_regression`); linear between fitted points,
                 constant outside. It repairs any monotone distortion, and needs many rows.
    temperature  f(p) = sigmoid(logit(p) / T), T > 0 with the least log loss. One number: it makes
                 predictions bolder (T < 1) or more cautious (T > 1) and cannot repair a wrong base
                 rate.

Both keep the order of predictions (isotonic up to ties), so that ranks and AUC hardly change. Fit
on other rows than those that are judged.

Sources: Zadrozny & Elkan, "Transforming classifier scores into accurate multiclass probability
estimates", KDD 2002; Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. Axis
letters: N rows, K points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, isotonic_regression
from scipy.special import expit, logit

from evaluation.classification import unit_interval
from evaluation.ranking.ranks import MetricError

_CLIP = 1e-7
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0
"""Bounds of T: labels that predictions separate, or contradict, would push it to 0 or infinity."""


@dataclass(frozen=True)
class IsotonicMap:
    """A non-decreasing map through K points, linear between them."""

    predicted: NDArray[np.float64]
    """[K] ascending."""
    calibrated: NDArray[np.float64]
    """[K] non-decreasing."""

    def __call__(self, probability: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return calibrated probabilities [N] of predicted ones [N].

        Raises:
            MetricError: a prediction is outside [0, 1].
        """
        p = unit_interval("probability", probability)
        return np.asarray(np.interp(p, self.predicted, self.calibrated), np.float64)


@dataclass(frozen=True)
class TemperatureMap:
    """A map that divides logits by a temperature."""

    temperature: float

    def __call__(self, probability: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return calibrated probabilities [N] of predicted ones [N].

        Raises:
            MetricError: a prediction is outside [0, 1].
        """
        z = _logits(unit_interval("probability", probability))
        return np.asarray(expit(z / self.temperature), np.float64)


def fit_isotonic(probability: NDArray[np.floating], outcome: NDArray[np.generic]) -> IsotonicMap:
    """Fit the isotonic map; rows with one prediction count as one point with their mean.

    Args:
        probability: [N] predictions in [0, 1].
        outcome: [N] labels, or true probabilities, in [0, 1].

    Raises:
        MetricError: there are no rows, shapes differ, or a value is outside [0, 1].
    """
    p, y = _rows(probability, outcome)
    points, which = np.unique(p, return_inverse=True)
    size = np.bincount(which).astype(np.float64)
    fitted = isotonic_regression(np.bincount(which, weights=y) / size, weights=size).x
    # Only the ends of constant stretches bend the line.
    inner = np.ones(len(points), np.bool_)
    inner[1:-1] = (fitted[1:-1] != fitted[:-2]) | (fitted[1:-1] != fitted[2:])
    return IsotonicMap(points[inner], np.clip(fitted[inner], 0.0, 1.0))


def fit_temperature(
    probability: NDArray[np.floating], outcome: NDArray[np.generic]
) -> TemperatureMap:
    """Fit the temperature; the log loss is convex in 1/T, so its slope has one zero.

    Args:
        probability: [N] predictions in [0, 1].
        outcome: [N] labels, or true probabilities, in [0, 1].

    Returns:
        The map; T is at a bound where the log loss falls up to it, and 1 where every prediction is
        one half, which no temperature moves.

    Raises:
        MetricError: there are no rows, shapes differ, or a value is outside [0, 1].
    """
    p, y = _rows(probability, outcome)
    z = _logits(p)
    if not z.any():
        return TemperatureMap(1.0)

    def slope(log_inverse: float) -> float:
        return float(np.dot(expit(np.exp(log_inverse) * z) - y, z))

    low, high = -np.log(MAX_TEMPERATURE), -np.log(MIN_TEMPERATURE)
    if slope(low) >= 0.0:
        return TemperatureMap(MAX_TEMPERATURE)
    if slope(high) <= 0.0:
        return TemperatureMap(MIN_TEMPERATURE)
    return TemperatureMap(float(np.exp(-brentq(slope, low, high, xtol=1e-12))))


def _logits(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(logit(np.clip(p, _CLIP, 1.0 - _CLIP)), np.float64)


def _rows(
    probability: NDArray[np.floating], outcome: NDArray[np.generic]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p, y = unit_interval("probability", probability), unit_interval("outcome", outcome)
    if p.shape != y.shape or p.ndim != 1:
        raise MetricError(f"probability {p.shape} and outcome {y.shape} must have one shape [N]")
    if len(p) == 0:
        raise MetricError("there are no rows to fit a calibration on")
    return p, y
