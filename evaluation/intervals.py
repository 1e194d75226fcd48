"""Estimates that know which cluster moved them: intervals, differences and lifts in one form.

Every number that is judged is a smooth function of sums over independent clusters (users). Its
first-order expansion gives each cluster an influence, and

    Var(estimate) = G / (G - 1) * sum_g influence_g^2                     (G clusters with data)

For a ratio R = sum y / sum x the influence is (y_g - R x_g) / sum x: the delta method for a ratio
of means, clustered. A mean is the ratio with x = 1 per row. The influence of a difference or lift
of two estimates on the *same* clusters is a combination of theirs, which is all that pairing is:
under common random numbers the influences cancel where the policies do the same.

Source: delta method for ratio metrics as in Deng, Knoblich, Lu (KDD 2018, section 3); influence of
clustered AUC in `evaluation.classification`. Axis letter: U clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

LEVEL = 0.95
"""Coverage of all intervals in the results table."""


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

    @property
    def standard_error(self) -> float:
        """Standard error; NaN with fewer than two clusters."""
        clusters = int(np.count_nonzero(self.active))
        if clusters < 2 or not np.isfinite(self.value):
            return float("nan")
        return float(np.sqrt(clusters / (clusters - 1) * np.dot(self.influence, self.influence)))

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the interval of Student's t with (clusters - 1) degrees of freedom.

        Args:
            level: coverage in (0, 1).

        Raises:
            ValueError: `level` is outside (0, 1).
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level is {level}; it must lie in (0, 1)")
        error = self.standard_error
        if np.isnan(error):
            return Interval(self.value, float("nan"), float("nan"), self.n)
        freedom = int(np.count_nonzero(self.active)) - 1
        half = float(stdtrit(freedom, 0.5 + level / 2.0)) * error
        return Interval(self.value, self.value - half, self.value + half, self.n)


def undefined(clusters: int, n: int = 0) -> Estimate:
    """Return NaN over `clusters` clusters: the estimate of what the data do not define."""
    return Estimate(float("nan"), np.zeros(clusters), np.zeros(clusters, dtype=np.bool_), n)


def ratio(
    numerator: NDArray[np.floating], denominator: NDArray[np.floating], n: int | None = None
) -> Estimate:
    """Return sum(numerator) / sum(denominator) over independent clusters.

    Args:
        numerator: [U] sum of y per cluster.
        denominator: [U] sum of x per cluster, not negative; 0 where the cluster has no data.
        n: units to report; the number of clusters with data where None.

    Returns:
        The estimate; undefined where the denominator sums to 0.

    Raises:
        ValueError: the shapes differ, or a value is not finite.
    """
    y = _finite("numerator", numerator)
    x = _finite("denominator", denominator)
    if y.shape != x.shape:
        raise ValueError(f"numerator has shape {y.shape}, denominator {x.shape}; they must agree")
    active = (x != 0.0) | (y != 0.0)
    total = float(x.sum())
    count = int(np.count_nonzero(active)) if n is None else n
    if total == 0.0:
        return undefined(len(x), count)
    value = float(y.sum()) / total
    return Estimate(value, (y - value * x) / total, active, count)


def cluster_sums(
    values: NDArray[np.generic] | None, cluster: NDArray[np.integer], clusters: int
) -> NDArray[np.float64]:
    """Return the sum of `values` [N] (None counts rows) in each cluster, float64 [U]."""
    weights = None if values is None else values.astype(np.float64)
    return np.asarray(np.bincount(cluster, weights=weights, minlength=clusters), dtype=np.float64)


def clustered_mean(
    values: NDArray[np.floating], cluster: NDArray[np.integer], clusters: int
) -> Estimate:
    """Return the mean of rows that come in clusters; NaN rows are undefined and left out.

    Args:
        values: [N] one value per row (query, impression); NaN where undefined.
        cluster: [N] cluster of each row, in [0, clusters).
        clusters: number of clusters U.
    """
    kept = ~np.isnan(values)
    where = cluster[kept]
    total, size = (cluster_sums(v, where, clusters) for v in (values[kept], None))
    return ratio(total, size, n=int(kept.sum()))


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
    )


def lift(treated: Estimate, control: Estimate) -> Estimate:
    """Return treated / control - 1, paired by cluster, by the delta method.

    Returns:
        The estimate; undefined where the control is 0.

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
    )


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
