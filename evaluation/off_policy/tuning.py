"""Thresholds of estimators that trade bias for variance, chosen by the data.

Rule: the least estimated upper bound of the mean squared error, in the spirit of Wang, Agarwal &
Dudik (ICML 2017, section 3.3). With the first candidate v_0 free of bias by design,

    bound_i = SE(v_i)^2 + (v_i - v_0)^2,   E (v_i - v_0)^2 = bias_i^2 + Var(v_i - v_0) >= bias_i^2

so that the square overstates the bias by the noise of the paired difference, and a candidate must
save more variance than that to be taken. (SLOPE of Su, Srinath & Krishnamurthy, ICML 2020, was
tried first: with clipped weights it went to thresholds whose bias was several standard errors.)

Candidates come from one grid of thresholds t on the weights: none, quantiles of the weights above
0, and 0 where the estimator allows it.

The interval of the chosen estimate takes the choice as given and knows nothing of the bias that the
rule allows, about a standard error of the unbiased candidate: it is too short by both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Estimate
from evaluation.off_policy.rounds import Rounds
from evaluation.off_policy.single_action import clipped_ips, dros, sg_dr, sg_ips, switch_dr

QUANTILES = (0.999, 0.99, 0.97, 0.95, 0.9, 0.8, 0.6, 0.4)
"""Of the weights above 0: thresholds tried, beside none at all."""


@dataclass(frozen=True)
class Tuned:
    """An estimate and how it came to its parameter."""

    estimate: Estimate
    parameter: float
    """The parameter taken: threshold, strength or bend."""
    tried: tuple[float, ...]
    """All parameters tried."""
    bounds: tuple[float, ...]
    """Their bounds on the mean squared error."""


def tune(
    estimator: Callable[[Rounds, float], Estimate], rounds: Rounds, tried: Sequence[float]
) -> Tuned:
    """Return the estimate with the least bound; the first of those that are equal.

    Args:
        estimator: of the rounds and one parameter.
        rounds: the log.
        tried: parameters, at least one; the first is the one without bias.
    """
    found = [estimator(rounds, parameter) for parameter in tried]
    error = np.array([estimate.standard_error for estimate in found])
    values = np.array([estimate.value for estimate in found])
    bound = error**2 + (values - values[0]) ** 2
    at = int(np.argmin(np.where(np.isnan(bound), np.inf, bound)))
    return Tuned(found[at], float(tried[at]), tuple(map(float, tried)), tuple(bound.tolist()))


def thresholds(weight: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the grid: infinity, then the QUANTILES of the weights above 0, descending."""
    positive = weight[weight > 0.0]
    if not len(positive):
        return (float("inf"),)
    found = np.unique(np.quantile(positive, QUANTILES))[::-1]
    return (float("inf"), *(float(t) for t in found))


def tuned_clipped_ips(rounds: Rounds) -> Tuned:
    """Return clipped IPS, cut at one of `thresholds`."""
    return tune(clipped_ips, rounds, thresholds(rounds.weight))


def tuned_switch_dr(rounds: Rounds) -> Tuned:
    """Return Switch-DR, switched at one of `thresholds` or at 0, which is DM."""
    return tune(switch_dr, rounds, (*thresholds(rounds.weight), 0.0))


def tuned_dros(rounds: Rounds) -> Tuned:
    """Return DRos with strength t^2, at which no weight exceeds t / 2, or 0, which is DM."""
    return tune(dros, rounds, (*(t * t for t in thresholds(rounds.weight)), 0.0))


def tuned_sg_ips(rounds: Rounds) -> Tuned:
    """Return sub-Gaussian IPS with bend 1 / t, at which no weight exceeds t."""
    return tune(sg_ips, rounds, _bends(rounds.weight))


def tuned_sg_dr(rounds: Rounds) -> Tuned:
    """Return sub-Gaussian DR with bend 1 / t, at which no weight exceeds t."""
    return tune(sg_dr, rounds, _bends(rounds.weight))


def _bends(weight: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(1.0 / t for t in thresholds(weight) if t >= 1.0)
