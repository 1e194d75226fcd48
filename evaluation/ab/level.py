"""The level of a metric in each arm: a ratio of two averages by the delta method, with CUPED.

For R = mean(y) / mean(x) the first-order expansion has the gradient g = (1, -R) / mean(x), so that

    Var(R) = g' Cov(y, x) g / n                                       (n clusters)

CUPED (Deng, Xu, Kohavi, Walker, "Improving the sensitivity of online controlled experiments by
utilizing pre-experiment data", WSDM 2013) takes from the level what the arms differed in before:

    R' = R - theta (C - C_all),  theta = Cov(R, C) / Var(C)

with C the same or another ratio of the time before and theta of all users together. For ratios both
gradients enter (Deng, Knoblich, Lu, "Applying the delta method in metric analytics", KDD 2018,
section 3, and its discussion of variance reduction); the variance falls by the squared correlation
of the linearised metric and covariate. Checked against tea-tasting 1.14.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.ab.moments import Moments

Array = NDArray[np.float64]

NUMERATOR, DENOMINATOR, BEFORE_NUMERATOR, BEFORE_DENOMINATOR = range(4)
"""Columns of the moments of an arm; those of the time before are needed by CUPED only."""


@dataclass(frozen=True)
class Level:
    """A metric in one arm; leading axes are runs."""

    value: Array
    """[...]."""
    variance: Array
    """[...] of the value, not of a cluster."""
    n: Array
    """[...] clusters."""


def ratio_level(arm: Moments) -> Level:
    """Return the ratio of NUMERATOR to DENOMINATOR in an arm; NaN where there is none."""
    gradient, value = _gradient(arm, NUMERATOR, DENOMINATOR)
    return Level(value, _product(gradient, arm, gradient) / arm.n, arm.n)


def cuped_levels(treated: Moments, control: Moments) -> tuple[Level, Level]:
    """Return the ratios of both arms, freed of what the arms differed in before.

    A covariate without variance explains nothing, so that the levels are those of `ratio_level`.

    Raises:
        ValueError: the moments lack the columns of the time before.
    """
    if treated.mean.shape[-1] <= BEFORE_DENOMINATOR:
        raise ValueError(
            f"moments have {treated.mean.shape[-1]} columns; CUPED needs numerator and denominator "
            "of the time and of the time before"
        )
    whole = treated.merged(control)
    metric, _ = _gradient(whole, NUMERATOR, DENOMINATOR)
    before, middle = _gradient(whole, BEFORE_NUMERATOR, BEFORE_DENOMINATOR)
    with np.errstate(divide="ignore", invalid="ignore"):
        theta = _product(metric, whole, before) / _product(before, whole, before)
    theta = np.where(np.isfinite(theta), theta, 0.0)
    return _adjusted(treated, theta, middle), _adjusted(control, theta, middle)


def _adjusted(arm: Moments, theta: Array, middle: Array) -> Level:
    metric, value = _gradient(arm, NUMERATOR, DENOMINATOR)
    before, covariate = _gradient(arm, BEFORE_NUMERATOR, BEFORE_DENOMINATOR)
    gone = np.where(theta == 0.0, 0.0, theta * (covariate - middle))
    both = metric - np.where(theta[..., None] == 0.0, 0.0, theta[..., None] * before)
    return Level(value - gone, _product(both, arm, both) / arm.n, arm.n)


def _gradient(arm: Moments, numerator: int, denominator: int) -> tuple[Array, Array]:
    """Return the gradient [..., D] of a ratio in the columns, and the ratio [...]."""
    below = arm.mean[..., denominator]
    gradient = np.zeros(arm.mean.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = arm.mean[..., numerator] / below
        gradient[..., numerator] = 1.0 / below
        gradient[..., denominator] = -value / below
    return gradient, value


def _product(left: Array, arm: Moments, right: Array) -> Array:
    out: Array = np.einsum("...i,...ij,...j->...", left, arm.cov, right)
    return out
