"""The gamma law: its quantiles, from which shares of tastes are drawn.

With P(a, x) the regularised incomplete gamma function and Q = 1 - P:

    P = x^a e^-x / Gamma(a + 1) (1 + x / (a + 1) + x^2 / ((a + 1) (a + 2)) + ...)    x < a + 1
    Q = x^a e^-x / Gamma(a) / (x + 1 - a - 1 (1 - a) / (x + 3 - a - ...))            else

Source: Abramowitz & Stegun, Handbook of Mathematical Functions, 6.5.29 and 6.5.31.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.kernel import kernel

_EXACT = 1e-16
"""Relative size below which a term changes nothing."""

_CLOSE = 1e-9
"""Relative step of Newton's method after which the next one changes nothing."""

_MOST = 500
"""Steps and terms at most; few are needed."""


def gamma_quantiles(shape: float, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x with P(shape, x) = p, to about 14 digits.

    Args:
        shape: positive.
        p: in (0, 1), any shape.
    """
    flat, out = np.ascontiguousarray(p, np.float64).reshape(-1), np.empty(p.size)
    _fill(float(shape), math.lgamma(shape + 1.0), flat, out)
    return out.reshape(p.shape)


@kernel
def _fill(shape: float, log_gamma: float, p: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for i in range(len(p)):
        out[i] = _quantile(shape, log_gamma, p[i])


@kernel
def _quantile(shape: float, log_gamma: float, p: float) -> float:
    """Solve log P = log p in log x where x is small, log Q = log(1 - p) in x where it is large."""
    log_x = (math.log(p) + log_gamma) / shape  # from below, as P < x^a / Gamma(a + 1)
    x = math.exp(log_x)
    for _ in range(_MOST):
        if x < _EXACT:
            return x
        log_head = shape * math.log(x) - x - log_gamma
        if x < shape + 1.0:
            series = _series(shape, x)
            step = (math.log(p) - log_head - math.log(series)) * series / shape
            x *= math.exp(step)
        else:
            fraction = _fraction(shape, x)
            log_q = log_head + math.log(shape * fraction)
            step = (log_q - math.log1p(-p)) * fraction
            x *= max(1.0 + step, 0.5)
        if abs(step) < _CLOSE:
            break
    return x


@kernel
def _series(shape: float, x: float) -> float:
    """Return P over x^a e^-x / Gamma(a + 1)."""
    total, term = 1.0, 1.0
    for n in range(1, _MOST):
        term *= x / (shape + n)
        total += term
        if term < _EXACT * total:
            break
    return total


@kernel
def _fraction(shape: float, x: float) -> float:
    """Return Q over x^a e^-x / Gamma(a), by Lentz's method for continued fractions."""
    below = x + 1.0 - shape
    d = 1.0 / below
    c, value = math.inf, d
    for n in range(1, _MOST):
        part = n * (shape - n)
        below += 2.0
        d = 1.0 / (below + part * d)
        c = below + part / c
        value *= c * d
        if abs(c * d - 1.0) < _EXACT:
            break
    return value
