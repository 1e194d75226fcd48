"""Estimates that know which cluster moved them: intervals, differences and lifts in one form.

Every number that is judged is a smooth function of sums over independent clusters (users). Its
first-order expansion gives each cluster an influence, and

    Var(estimate) = G / (G - 1) * sum_g influence_g^2                     (G clusters with data)

For a ratio R = sum y / sum x the influence is (y_g - R x_g) / sum x: the delta method for a ratio
of means, clustered. A mean is the ratio with x = 1 per row. The influence of a difference or lift
of two estimates on the *same* clusters is a combination of theirs, which is all that pairing is:
under common random numbers the influences cancel where the policies do the same.

An interval is built on the scale on which the estimate lives, so that its ends are possible values:

    share      in [0, 1]: Wilson's score interval with the effective sample size p (1 - p) / SE^2
    odds       in (0, 1), but no mean of rows (an AUC): symmetric for the logit
    positive   above 0: symmetric for the logarithm
    lift       above -1: symmetric for log(1 + lift), the logarithm of the ratio of the two arms
    plain      anywhere: symmetric

An interval from a handful of events would be a guess about its own width: below MIN_EVENTS clusters
with an event (in either arm of a comparison) there is none, but for shares, where Wilson's holds.

Sources: delta method for ratio metrics as in Deng, Knoblich, Lu (KDD 2018, section 3); Wilson
(JASA 1927), for clusters with the effective size of Korn & Graubard ("Confidence intervals for
proportions with small expected number of positive counts estimated from survey data", 1998);
influence of clustered AUC in `evaluation.classification`. Axis letter: U clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

LEVEL = 0.95
"""Coverage of all intervals in the results table."""

MIN_EVENTS = 10
"""Clusters with an event below which a rate or a comparison has no interval."""

_ROUNDING = 1e-10
"""Standard error, of the estimate, below which there is rounding and no spread: clusters that all
agree differ by the last digits of their sums."""

Scale = Literal["plain", "share", "odds", "positive", "lift"]
"""Where an estimate lives; see the module."""


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its interval; NaN where undefined."""

    estimate: float
    low: float
    high: float
    n: int
    """Units that the estimate rests on (rows, queries or users)."""


@dataclass(frozen=True)
class Estimate:
    """A number and the influence of every cluster on it."""

    value: float
    influence: NDArray[np.float64]
    """[U] first-order effect of each cluster; 0 where it has no data."""
    active: NDArray[np.bool_]
    """[U] clusters with data."""
    n: int
    """Units that the estimate rests on."""
    events: int | None = None
    """Clusters in which what is counted happened, of the arm with fewer; None: nothing is
    counted."""
    scale: Scale = "plain"

    @property
    def standard_error(self) -> float:
        """Standard error; NaN with fewer than two clusters."""
        clusters = int(np.count_nonzero(self.active))
        if clusters < 2 or not np.isfinite(self.value):
            return float("nan")
        return float(np.sqrt(clusters / (clusters - 1) * np.dot(self.influence, self.influence)))

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the interval by Student's t with (clusters - 1) degrees of freedom.

        Args:
            level: coverage in (0, 1).

        Returns:
            The interval, both ends inside the range of the scale. The ends are NaN with fewer than
            two clusters, with fewer than MIN_EVENTS events (shares apart), and where no cluster
            departs from the estimate, which says nothing about its error.

        Raises:
            ValueError: `level` is outside (0, 1).
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level is {level}; it must lie in (0, 1)")
        none = Interval(self.value, float("nan"), float("nan"), self.n)
        error = self.standard_error
        if np.isnan(error):
            return none
        clusters = int(np.count_nonzero(self.active))
        quantile = float(stdtrit(clusters - 1, 0.5 + level / 2.0))
        if self.scale == "share":
            low, high = _wilson(self.value, error, clusters, quantile)
            return Interval(self.value, low, high, self.n)
        if error <= _ROUNDING * abs(self.value) or (
            self.events is not None and self.events < MIN_EVENTS
        ):
            return none
        ends = spread(np.array([self.value]), np.array([quantile * error]), self.scale)
        return Interval(self.value, float(ends[0][0]), float(ends[1][0]), self.n)


def spread(
    value: NDArray[np.float64], half: NDArray[np.float64], scale: Scale
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of intervals that are symmetric on a scale.

    Args:
        value: [R] estimates.
        half: [R] half widths by the delta method, in the unit of the estimates.
        scale: "share" is treated as "odds".

    Returns:
        Low and high ends [R]; NaN where the scale is not defined (a share of 0, a lift of -1).
    """
    if scale == "plain":
        return value - half, value + half
    if scale in ("share", "odds"):
        inside = np.where((value > 0.0) & (value < 1.0), value, np.nan)
        middle, width = logit(inside), half / (inside * (1.0 - inside))
        return expit(middle - width), expit(middle + width)
    shift = 1.0 if scale == "lift" else 0.0
    ratio_ = np.where(value + shift > 0.0, value + shift, np.nan)
    with np.errstate(over="ignore"):
        factor = np.exp(half / ratio_)  # infinite where the data exclude no large value
    return ratio_ / factor - shift, ratio_ * factor - shift


def _wilson(p: float, error: float, clusters: int, quantile: float) -> tuple[float, float]:
    """Return the score interval of a share; a share without spread counts each cluster once."""
    spread_out = error > _ROUNDING * p and 0.0 < p < 1.0
    size = p * (1.0 - p) / error**2 if spread_out else float(clusters)
    square = quantile**2 / size
    centre = (p + square / 2.0) / (1.0 + square)
    half = np.sqrt(square * (p * (1.0 - p) + square / 4.0)) / (1.0 + square)
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def undefined(clusters: int, n: int = 0) -> Estimate:
    """Return NaN over `clusters` clusters: the estimate of what the data do not define."""
    return Estimate(float("nan"), np.zeros(clusters), np.zeros(clusters, dtype=np.bool_), n)


def ratio(
    numerator: NDArray[np.floating],
    denominator: NDArray[np.floating],
    n: int | None = None,
    scale: Scale = "plain",
) -> Estimate:
    """Return sum(numerator) / sum(denominator) over independent clusters.

    Args:
        numerator: [U] sum of y per cluster.
        denominator: [U] sum of x per cluster, not negative; 0 where the cluster has no data.
        n: units to report; the number of clusters with data where None.
        scale: where the ratio lives; a share needs a numerator within [0, denominator].

    Returns:
        The estimate; undefined where the denominator sums to 0, or to so little that no number
        holds the ratio. Its events are the clusters with a numerator, or with a denominator where
        those are fewer.

    Raises:
        ValueError: the shapes differ, a value is not finite, or a share is not one.
    """
    y = _finite("numerator", numerator)
    x = _finite("denominator", denominator)
    if y.shape != x.shape:
        raise ValueError(f"numerator has shape {y.shape}, denominator {x.shape}; they must agree")
    if scale == "share" and bool(((y < 0.0) | (y > x * (1.0 + 1e-6) + 1e-9)).any()):
        raise ValueError("scale is share, but a numerator lies outside [0, denominator]")
    active = (x != 0.0) | (y != 0.0)
    total = float(x.sum())
    count = int(np.count_nonzero(active)) if n is None else n
    if total == 0.0:
        return undefined(len(x), count)
    value = float(y.sum()) / total
    if not np.isfinite(value):
        return undefined(len(x), count)
    if scale == "share":
        value = min(max(value, 0.0), 1.0)
    events = min(int(np.count_nonzero(y)), int(np.count_nonzero(x)))
    return Estimate(value, (y - value * x) / total, active, count, events, scale)


def cluster_sums(
    values: NDArray[np.generic] | None, cluster: NDArray[np.integer], clusters: int
) -> NDArray[np.float64]:
    """Return the sum of `values` [N] (None counts rows) in each cluster, float64 [U]."""
    weights = None if values is None else values.astype(np.float64)
    return np.asarray(np.bincount(cluster, weights=weights, minlength=clusters), dtype=np.float64)


def clustered_mean(
    values: NDArray[np.floating],
    cluster: NDArray[np.integer],
    clusters: int,
    scale: Scale = "share",
) -> Estimate:
    """Return the mean of rows that come in clusters; NaN rows are undefined and left out.

    Args:
        values: [N] one value per row (query, impression), in [0, 1] unless `scale` says otherwise;
            NaN where undefined.
        cluster: [N] cluster of each row, in [0, clusters).
        clusters: number of clusters U.
        scale: where the mean lives.

    Raises:
        ValueError: a value of a share is outside [0, 1].
    """
    kept = ~np.isnan(values)
    where = cluster[kept]
    total, size = (cluster_sums(v, where, clusters) for v in (values[kept], None))
    return ratio(total, size, int(kept.sum()), scale)


def mean(values: NDArray[np.floating]) -> Estimate:
    """Return the mean of independent values [U]; NaN values are left out."""
    kept = ~np.isnan(values)
    return ratio(np.where(kept, values, 0.0), kept.astype(np.float64))


def difference(treated: Estimate, control: Estimate) -> Estimate:
    """Return treated - control, paired by cluster.

    Raises:
        ValueError: the two estimates are not over the same clusters.
    """
    _same_clusters(treated, control)
    return Estimate(
        treated.value - control.value,
        treated.influence - control.influence,
        treated.active | control.active,
        min(treated.n, control.n),
        _fewer_events(treated, control),
    )


def lift(treated: Estimate, control: Estimate) -> Estimate:
    """Return treated / control - 1, paired by cluster; the delta method for the logarithm.

    Returns:
        The estimate; undefined where the control is 0. Its interval does not reach -1.

    Raises:
        ValueError: the two estimates are not over the same clusters.
    """
    _same_clusters(treated, control)
    if control.value == 0.0 or not np.isfinite(control.value):
        return undefined(len(control.influence), min(treated.n, control.n))
    quotient = treated.value / control.value
    return Estimate(
        quotient - 1.0,
        (treated.influence - quotient * control.influence) / control.value,
        treated.active | control.active,
        min(treated.n, control.n),
        _fewer_events(treated, control),
        "lift" if quotient > 0.0 else "plain",
    )


def _fewer_events(treated: Estimate, control: Estimate) -> int | None:
    known = [e.events for e in (treated, control) if e.events is not None]
    return min(known, default=None)


def _same_clusters(treated: Estimate, control: Estimate) -> None:
    if treated.influence.shape != control.influence.shape:
        raise ValueError(
            f"the estimates rest on {len(treated.influence)} and {len(control.influence)} "
            "clusters; a paired comparison needs the same clusters in the same order"
        )


def _finite(name: str, values: NDArray[np.floating]) -> NDArray[np.float64]:
    out = np.asarray(values, dtype=np.float64)
    if not np.isfinite(out).all():
        raise ValueError(f"{name} has {int((~np.isfinite(out)).sum())} values that are not finite")
    return out
