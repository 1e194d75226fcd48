"""Anytime-valid inference: intervals that hold however often one looks, and whenever one stops.

A confidence sequence covers the mean at all sample sizes at once. The asymptotic one by a normal
mixture (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and
asymptotic confidence sequences", arXiv 2103.06476, theorem 2.2) is

    mean_n -+ s_n sqrt(2 (n rho^2 + 1) / (n^2 rho^2) log(sqrt(n rho^2 + 1) / alpha))

and is tightest about n* for rho^2 = (-2 log alpha + log(-2 log alpha) + 1) / n*. The mixture
sequential probability ratio test (Johari, Koomen, Pekelis, Walsh, "Always valid inference", 2022;
mixture N(0, tau^2) over the effect) has the p-value min over looks of 1 / Lambda_n, with

    Lambda_n = sqrt(s^2 / (s^2 + n tau^2)) exp(n^2 tau^2 mean_n^2 / (2 s^2 (s^2 + n tau^2)))

Both are asymptotic: looks must begin when a normal law describes the mean, after a hundred units
or so. The units of the stream must be independent and complete when counted: users in the order in
which they come, each with what is measured over a fixed time, not the same users growing from day
to day.
Axis letters: N units, L looks, R runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Stream:
    """Means of a stream as it was at each look; leading axes are runs."""

    n: Array
    """[L] units so far."""
    mean: Array
    """[..., L]."""
    sd: Array
    """[..., L] standard deviation with n in the denominator."""


def stream(values: Array, looks: ArrayLike) -> Stream:
    """Return what is known of a stream of units at each look.

    Args:
        values: [..., N] in the order in which they come.
        looks: [L] numbers of units after which one looks, in [2, N], ascending.

    Raises:
        ValueError: a look is out of range.
    """
    at = np.asarray(looks, np.int64)
    if at.ndim != 1 or not len(at) or at.min() < 2 or at.max() > values.shape[-1]:
        raise ValueError(
            f"looks lie in [{at.min(initial=0)}, {at.max(initial=0)}]; "
            f"must lie in [2, {values.shape[-1]}]"
        )
    n = at.astype(np.float64)
    # about the first value, so that squares of large numbers do not swallow their spread
    first = values[..., :1]
    total = np.cumsum(values - first, axis=-1)[..., at - 1]
    square = np.cumsum((values - first) ** 2, axis=-1)[..., at - 1]
    sd = np.sqrt(np.maximum(square / n - (total / n) ** 2, 0.0))
    return Stream(n, total / n + first, sd)


def effect_stream(values: Array, treated: NDArray[np.bool_], share: float) -> Array:
    """Return a stream [..., N] whose mean is the effect, from units of two arms as they come.

    z_i = (A_i - p) / (p (1 - p)) (y_i - m_(i-1)) with m the mean of all units before, which makes
    the variance small and leaves E z_i the effect, as m is known before A_i is drawn.

    Args:
        values: [..., N] outcome of each unit.
        treated: [..., N].
        share: p, the probability of treatment, in (0, 1).

    Raises:
        ValueError: the share is out of range.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"share is {share}; it must lie in (0, 1)")
    before = np.cumsum(values, axis=-1) - values
    middle = before / np.maximum(np.arange(values.shape[-1]), 1)
    out: Array = (treated - share) / (share * (1.0 - share)) * (values - middle)
    return out


def tuned_rho(planned: float, level: float = 0.95) -> float:
    """Return the rho that is tightest about a planned number of units.

    Raises:
        ValueError: `planned` is below 1 or `level` outside (0, 1).
    """
    if not planned >= 1.0 or not 0.0 < level < 1.0:
        raise ValueError(
            f"planned = {planned}, level = {level}; allowed: planned from 1, level in (0, 1)"
        )
    wide = -2.0 * np.log(1.0 - level)
    return float(np.sqrt((wide + np.log(wide) + 1.0) / planned))


def confidence_sequence(known: Stream, planned: float, level: float = 0.95) -> tuple[Array, Array]:
    """Return both ends [..., L] of the asymptotic confidence sequence.

    Args:
        known: the stream at each look.
        planned: number of units about which it is tightest.
        level: coverage at all looks together.

    Raises:
        ValueError: as in `tuned_rho`.
    """
    spread = known.n * tuned_rho(planned, level) ** 2
    log = np.log(np.sqrt(spread + 1.0) / (1.0 - level))
    half = known.sd * np.sqrt(2.0 * (spread + 1.0) / (known.n * spread) * log)
    # before anything has varied, nothing is known
    half = np.where(known.sd > 0.0, half, np.inf)
    return known.mean - half, known.mean + half


def always_valid_p(known: Stream, tau: float) -> Array:
    """Return the p-value of no effect at each look [..., L], never rising.

    Args:
        known: the stream at each look.
        tau: standard deviation of the mixture, in the unit of the effect, above 0.

    Raises:
        ValueError: tau is not above 0.
    """
    if not tau > 0.0:
        raise ValueError(f"tau is {tau}; it must be above 0")
    square, wide = known.sd**2, known.n * tau**2
    with np.errstate(divide="ignore", invalid="ignore"):
        log = 0.5 * np.log(square / (square + wide)) + (known.n * tau * known.mean) ** 2 / (
            2.0 * square * (square + wide)
        )
    p_now = np.where(square > 0.0, np.exp(-np.maximum(log, 0.0)), 1.0)
    out: Array = np.minimum.accumulate(np.minimum(p_now, 1.0), axis=-1)
    return out
