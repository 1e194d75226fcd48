"""The contrast of two arms: difference or lift, its error, interval and p-value.

Arms of different users are independent, so that variances add, with Welch's degrees of freedom
(Satterthwaite 1946; Welch 1947). Arms on the same clusters (twins, pairs of blocks) cancel what
they share: the variance is that of the clusters' differences. A lift lives on the logarithm of the
ratio of the two levels, so that its interval does not reach -1, as in `evaluation.intervals`.
Every array may have leading axes (runs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from evaluation.ab.level import Level
from evaluation.intervals import LEVEL, Scale, spread

Array = NDArray[np.float64]
Unit = Literal["difference", "lift", "preference"]


@dataclass(frozen=True)
class Contrast:
    """Treated against control; leading axes are runs."""

    unit: Unit
    estimate: Array
    """[...] in the metric's unit, or relative for a lift."""
    standard_error: Array
    """[...] of the estimate; of a lift that of log(1 + lift)."""
    df: Array
    """[...] degrees of freedom of Student's t."""

    @property
    def statistic(self) -> Array:
        """The estimate in standard errors [...]; NaN without an error."""
        if self.unit == "lift":
            with np.errstate(divide="ignore", invalid="ignore"):
                value = np.log1p(np.where(self.estimate > -1.0, self.estimate, np.nan))
        else:
            value = self.estimate
        error = np.where(self.standard_error > 0.0, self.standard_error, np.nan)
        out: Array = value / error
        return out

    @property
    def p_value(self) -> Array:
        """Two-sided p-value of no effect [...]; NaN without an error."""
        out: Array = 2.0 * stdtr(self.df, -np.abs(self.statistic))
        return out

    def interval(self, level: float = LEVEL) -> tuple[Array, Array]:
        """Return both ends [...] at a coverage in (0, 1); NaN without an error.

        Raises:
            ValueError: `level` is outside (0, 1).
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level is {level}; it must lie in (0, 1)")
        error = np.where(self.standard_error > 0.0, self.standard_error, np.nan)
        half = stdtrit(self.df, 0.5 + level / 2.0) * error
        if self.unit == "lift":  # from the logarithm to the estimate's own unit
            half = half * (1.0 + self.estimate)
        scale: Scale = "lift" if self.unit == "lift" else "plain"
        return spread(self.estimate, np.asarray(half, np.float64), scale)


def between(treated: Level, control: Level, unit: Unit = "difference") -> Contrast:
    """Return the contrast of two arms of different clusters.

    Args:
        treated: level of the treated arm.
        control: level of the control.
        unit: "difference" or "lift".
    """
    estimate, own, others = treated.value - control.value, treated.variance, control.variance
    with np.errstate(divide="ignore", invalid="ignore"):
        if unit == "lift":
            estimate = treated.value / control.value - 1.0
            own, others = own / treated.value**2, others / control.value**2
        spread = own**2 / (treated.n - 1.0) + others**2 / (control.n - 1.0)
        df = (own + others) ** 2 / spread
    return Contrast(unit, estimate, np.sqrt(own + others), df)


def within(
    treated: tuple[Array, Array], control: tuple[Array, Array], unit: Unit = "difference"
) -> Contrast:
    """Return the contrast of two arms that share their clusters.

    The ratios sum y / sum x of both arms are linearised and paired by cluster, as
    `evaluation.intervals.difference` and `lift` do for one run; here for thousands at once, which
    have no events to count and no influence to keep.

    Args:
        treated: sums y and x of the treated arm in each cluster [..., U].
        control: those of the control.
        unit: "difference" or "lift".
    """
    (y1, x1), (y0, x0) = treated, control
    with np.errstate(divide="ignore", invalid="ignore"):
        high, low = y1.sum(-1) / x1.sum(-1), y0.sum(-1) / x0.sum(-1)
        one = (y1 - high[..., None] * x1) / x1.sum(-1)[..., None]
        other = (y0 - low[..., None] * x0) / x0.sum(-1)[..., None]
        estimate = high - low
        if unit == "lift":
            estimate = high / low - 1.0
            one, other = one / high[..., None], other / low[..., None]
        known = (x1 != 0.0) | (x0 != 0.0) | (y1 != 0.0) | (y0 != 0.0)
        n = known.sum(-1).astype(np.float64)
        error = np.sqrt(n / (n - 1.0) * ((one - other) ** 2).sum(-1))
    return Contrast(unit, estimate, error, n - 1.0)
