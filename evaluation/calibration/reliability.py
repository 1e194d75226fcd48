"""Reliability of predicted probabilities: curves, ECE and PCOC by decile, with clustered intervals.

Rows are put into K bins of the prediction, of equal mass (quantiles) or equal width. With D_b the
sum over bin b of p - y and N all rows:

    curve  mean prediction and mean outcome of each bin; on the diagonal where calibrated
    PCOC   sum p / sum y of each bin; `evaluation.classification.pcoc`, 1 where calibrated
    ECE    sum_b |D_b| / N

The outcome y is a label, or the true probability where it is known. Against labels ECE cannot be 0:
chance moves every bin, and absolute values add up. `Reliability.noise` is what a calibrated
prediction would show on rows as noisy as these, sqrt(2/pi) sum_b sd(D_b) / N for normal D_b; an ECE
near it shows nothing. Against the true probability most of that noise is gone.

The influence of a user on ECE is (sum_b sign(D_b) D_bu - ECE n_u) / N. It is exact to first order
where no bin is calibrated; near 0 the interval is only a guide, hence `noise`.

Sources: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 (ECE, curves, equal
width); PCOC as in AdaCalib (arXiv 2205.07295). Axis letters: N rows, U users, K bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from evaluation.classification import check_rows, unit_interval
from evaluation.intervals import Estimate, Interval, cluster_sums, ratio, undefined
from evaluation.ranking.ranks import MetricError

By = Literal["mass", "width"]


@dataclass(frozen=True)
class Reliability:
    """A reliability curve and its ECE; arrays [K] over bins that have rows."""

    low: NDArray[np.float64]
    """Lowest prediction of a bin."""
    high: NDArray[np.float64]
    """Highest prediction of a bin."""
    predicted: NDArray[np.float64]
    """Mean prediction."""
    outcome: tuple[Estimate, ...]
    """Mean outcome, clustered by user."""
    pcoc: tuple[Estimate, ...]
    """Sum of predictions / sum of outcomes, clustered by user; undefined without any outcome."""
    ece: Estimate
    """Over all bins, clustered by user."""
    noise: float
    """ECE that a calibrated prediction would show on rows as noisy as these."""

    def __len__(self) -> int:
        """Return the number of bins with rows."""
        return len(self.predicted)

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """Interval of the mean outcome of each bin: whether the diagonal is inside."""
        return tuple(estimate.interval() for estimate in self.outcome)


def reliability(
    probability: NDArray[np.floating],
    outcome: NDArray[np.generic],
    user: NDArray[np.integer],
    users: int,
    *,
    bins: int = 10,
    by: By = "mass",
) -> Reliability:
    """Return the reliability curve of predicted probabilities.

    Args:
        probability: [N] predictions in [0, 1].
        outcome: [N] labels, or true probabilities, in [0, 1].
        user: [N] user of each row, in [0, users).
        users: number of users U.
        bins: bins K, at least 1. Of equal mass, equal predictions share a bin, so that there may
            be fewer; a constant prediction has one. Of equal width, bins without rows are left out.
        by: "mass" for deciles and the like, "width" for intervals of equal length.

    Returns:
        The curve; without rows it has no bins, and its ECE and noise are undefined.

    Raises:
        MetricError: shapes differ, a value is outside [0, 1], a user is out of range, or `bins` or
            `by` is not allowed.
    """
    cells = _cells(probability, outcome, user, users, bins, by)
    if cells is None:
        none = np.empty(0)
        return Reliability(none, none, none, (), (), undefined(users), float("nan"))
    p, bin_of, size, sum_p, sum_y = cells
    k, rows = len(size), size.sum(axis=1)
    low, high = np.full(k, np.inf), np.full(k, -np.inf)
    np.minimum.at(low, bin_of, p)
    np.maximum.at(high, bin_of, p)
    return Reliability(
        low,
        high,
        sum_p.sum(axis=1) / rows,
        tuple(ratio(sum_y[b], size[b], int(rows[b]), "share") for b in range(k)),
        tuple(ratio(sum_p[b], sum_y[b], int(rows[b]), "positive") for b in range(k)),
        _ece(sum_p - sum_y, size),
        _noise(sum_p - sum_y, size),
    )


def calibration_error(
    probability: NDArray[np.floating],
    outcome: NDArray[np.generic],
    user: NDArray[np.integer],
    users: int,
    *,
    bins: int = 10,
    by: By = "mass",
) -> Estimate:
    """Return the ECE alone; args and errors are those of `reliability`."""
    cells = _cells(probability, outcome, user, users, bins, by)
    if cells is None:
        return undefined(users)
    _, _, size, sum_p, sum_y = cells
    return _ece(sum_p - sum_y, size)


def bins_of(probability: NDArray[np.float64], bins: int, by: By) -> NDArray[np.int64]:
    """Return the bin of each row [N], from 0 without gaps.

    Args:
        probability: [N] in [0, 1].
        bins: number of bins.
        by: "mass" or "width"; see `reliability`.
    """
    if by == "width":
        raw = np.minimum((probability * bins).astype(np.int64), bins - 1)
    else:
        edges = np.quantile(probability, np.arange(1, bins) / bins)
        raw = np.searchsorted(edges, probability, side="right")
    used = np.bincount(raw, minlength=bins) > 0
    return np.asarray((np.cumsum(used) - 1)[raw], np.int64)


def _cells(
    probability: NDArray[np.floating],
    outcome: NDArray[np.generic],
    user: NDArray[np.integer],
    users: int,
    bins: int,
    by: By,
) -> tuple[NDArray[Any], ...] | None:
    """Return predictions [N], bins [N], and rows, predictions and outcomes summed [K, U]."""
    if bins < 1:
        raise MetricError(f"bins is {bins}; at least 1")
    if by not in get_args(By):
        raise MetricError(f"by is {by!r}; allowed: {', '.join(get_args(By))}")
    p, y = unit_interval("probability", probability), unit_interval("outcome", outcome)
    check_rows(p, y, user, users)
    if len(p) == 0:
        return None
    bin_of = bins_of(p, bins, by)
    k = int(bin_of.max()) + 1
    cell = bin_of * users + user
    size, sum_p, sum_y = (cluster_sums(v, cell, k * users).reshape(k, users) for v in (None, p, y))
    return p, bin_of, size, sum_p, sum_y


def _ece(gap: NDArray[np.float64], size: NDArray[np.float64]) -> Estimate:
    """ECE of sums of p - y and rows, [K, U] each."""
    own = size.sum(axis=0)
    n = own.sum()
    total = gap.sum(axis=1)
    value = float(np.abs(total).sum() / n)
    influence = (np.sign(total) @ gap - value * own) / n
    return Estimate(value, influence, own > 0, int(n), scale="positive")


def _noise(gap: NDArray[np.float64], size: NDArray[np.float64]) -> float:
    """Mean ECE of a calibrated prediction; gap and size are [K, U]."""
    clusters = int(np.count_nonzero(size.sum(axis=0)))
    if clusters < 2:
        return float("nan")
    # what is left of each user's gap once that of its bin is taken out
    bias = gap.sum(axis=1, keepdims=True) / size.sum(axis=1, keepdims=True)
    rest = gap - bias * size
    deviation = np.sqrt(clusters / (clusters - 1) * (rest**2).sum(axis=1))
    return float(np.sqrt(2.0 / np.pi) * deviation.sum() / size.sum())
