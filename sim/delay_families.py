"""The laws of waiting with scale 1: exponential, Weibull and log-normal, as compiled scalars."""

from __future__ import annotations

import math

from sim.kernel import kernel
from sim.normal import normal_cdf, normal_quantile

EXPONENTIAL, WEIBULL, LOGNORMAL = 0, 1, 2
"""Codes of `sim.delay_parameters.DELAY_FAMILIES`."""


@kernel
def family_cdf(family: int, shape: float, x: float) -> float:
    """Return P(X <= x) for x in [0, inf]; NaN, which is 0 / 0, stands for a wait of 0."""
    if math.isnan(x):
        return 1.0
    if x <= 0.0:
        return 0.0
    if family == EXPONENTIAL:
        return -math.expm1(-x)
    if family == WEIBULL:
        return -math.expm1(-(x**shape))
    return normal_cdf(math.log(x) / shape)


@kernel
def family_pdf(family: int, shape: float, x: float) -> float:
    """Return the density at x > 0."""
    if family == EXPONENTIAL:
        return math.exp(-x)
    if family == WEIBULL:
        power = x**shape
        return float(shape * power / x * math.exp(-power))
    z = math.log(x) / shape
    return math.exp(-0.5 * z * z) / (x * shape * math.sqrt(2.0 * math.pi))


@kernel
def family_quantile(family: int, shape: float, p: float) -> float:
    """Return x with P(X <= x) = p for p in [0, 1)."""
    if p <= 0.0:
        return 0.0
    if family == EXPONENTIAL:
        return -math.log1p(-p)
    if family == WEIBULL:
        return float((-math.log1p(-p)) ** (1.0 / shape))
    return math.exp(shape * normal_quantile(min(p, 1.0 - 1e-16)))
