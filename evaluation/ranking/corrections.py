"""Corrections of sampled metrics: what to report for a sampled rank instead of the metric itself.

A correction is a vector h over the sampled ranks 1..m+1; the mean of h_R over queries is reported.
With P the n x (m+1) matrix P(R = j | r), a prior p(r) over full ranks, A = diag(sqrt p) P,
b = sqrt(p) M(r) and c_j = sum_r p(r) P(R = j | r):

    rank    h_j = M(floor(1 + (n-1)(j-1)/m))      unbiased for the rank, not for the metric
    cls     min_h sum_r p(r) (E[h_R | r] - M(r))^2 subject to h_1 >= h_2 >= ...
    bv      ((1-gamma) A'A + gamma diag(c)) h = A'b, which minimises
            sum_r p(r) {(E[h_R | r] - M(r))^2 + gamma Var[h_R | r]};
            gamma = 1 is the posterior mean E[M(r) | R = j]

None of them makes a metric consistent. Where (n-1)/m > k a sampled rank of 1 already stands for
more than k full ranks: rank 1 and rank k look alike in almost every sample, and what is reported
for a metric cut at k is a guess from the prior (the blind spot of Li et al., "Towards Reliable
Item Sampling for Recommendation Evaluation", AAAI 2023). `BlindSpotWarning` says so.

Source: Krichene & Rendle, "On Sampled Metrics for Item Recommendation", KDD 2020, section 5. Axis
letters: R ranks 1..n, M sampled ranks 1..m+1, Q queries.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lstsq
from scipy.optimize import lsq_linear

from evaluation.ranking.draws import check_m
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import MetricError, Ranks, tie_average
from evaluation.ranking.sampled import (
    Shares,
    by_length,
    list_draws,
    mean_by_share,
    rank_law,
    sampled_name,
)

Method = Literal["raw", "rank", "cls", "bv"]


class BlindSpotWarning(UserWarning):
    """A cut-off too small for the number of negatives: no correction can recover the metric."""


@dataclass(frozen=True)
class Correction:
    """How a sampled rank is turned into a number.

    Raises:
        MetricError: the method is unknown, or gamma is missing, superfluous or outside (0, 1].
    """

    method: Method
    gamma: float | None = None
    """Weight of the variance; for bv only."""

    def __post_init__(self) -> None:
        """Check method and gamma."""
        if self.method not in get_args(Method):
            allowed = ", ".join(get_args(Method))
            raise MetricError(f"correction {self.method!r} is unknown; allowed: {allowed}")
        if (self.gamma is None) == (self.method == "bv"):
            raise MetricError(f"gamma is {self.gamma} for {self.method!r}; bv needs one, no other")
        if self.gamma is not None and not 0.0 < self.gamma <= 1.0:
            raise MetricError(f"gamma is {self.gamma}; it must lie in (0, 1]")

    @property
    def name(self) -> str:
        """Name in tables, such as ``cls`` or ``bv0.01``."""
        return self.method if self.gamma is None else f"{self.method}{self.gamma:g}"

    def table(
        self,
        metric: RankMetric,
        n: int,
        m: int,
        *,
        replacement: bool = False,
        prior: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Return h, what is reported at each sampled rank, float64 [m + 1].

        Args:
            metric: the metric of the full list that is to be recovered.
            n: candidates of the full list, at least 2.
            m: negatives; without replacement at most n - 1 are used.
            replacement: whether they are drawn with replacement.
            prior: [n] probability of each full rank; None for uniform.

        Raises:
            MetricError: n or m is too small, or the prior is no distribution over n ranks.
        """
        check_m(m)
        if n < 2:
            raise MetricError(f"n is {n}; a correction needs at least 2 candidates")
        if prior is None:
            return _uniform_table(self, metric, n, m, replacement)
        return _table(self, metric, n, m, replacement, _checked_prior(prior, n))


RAW = Correction("raw")
CORRECTIONS = (
    Correction("rank"),
    Correction("cls"),
    *(Correction("bv", gamma) for gamma in (1.0, 0.1, 0.01, 0.001)),
)
"""The corrections of the paper, with its values of gamma."""


def corrected_name(metric: RankMetric, m: int, correction: Correction) -> str:
    """Return the name in the results table, such as ``hr@10/s20_cls``."""
    return f"{sampled_name(metric, m)}_{correction.name}"


def blind(metric: RankMetric, n: int, m: int) -> bool:
    """Return whether m negatives of n candidates are too few for the metric's cut-off.

    Where (n - 1)/m > k; a metric without cut-off has k = 1 where it is dominated by the top (mrr,
    ap) and none otherwise (ndcg, query_auc).
    """
    cut = metric.k or (1 if metric.base in ("mrr", "ap") else None)
    return cut is not None and (n - 1) / m > cut


def corrected_values(
    correction: Correction,
    metric: RankMetric,
    sampled: Ranks,
    candidates: NDArray[np.integer],
    m: int,
    *,
    replacement: bool = False,
) -> NDArray[np.float64]:
    """Return what a correction reports for ranks among drawn negatives.

    Args:
        correction: the correction.
        metric: metric of the full list that is to be recovered.
        sampled: ranks among the negatives [Q], as from `sampled_ranks`.
        candidates: [Q] candidates n of the full lists.
        m: negatives that were asked for.
        replacement: whether they were drawn with replacement.

    Returns:
        float64 [Q]; a tied positive gets the mean over the ranks that it may take. NaN for lists
        of one candidate where the metric is undefined there.

    Raises:
        MetricError: a list of negatives has not the length that n and m give.

    Warns:
        BlindSpotWarning: m is too small for the metric's cut-off in some lists.
    """
    check_m(m)
    others = np.asarray(candidates, np.int64) - 1
    draws = np.full_like(others, m) if replacement else np.minimum(others, m)
    if not np.array_equal(draws + 1, sampled.candidates):
        at = int(np.argmax(draws + 1 != sampled.candidates))
        raise MetricError(
            f"query {at} has {int(sampled.candidates[at]) - 1} sampled negatives; {m} of "
            f"{int(candidates[at]) - 1} others give {int(draws[at])}"
        )
    out = np.empty(len(sampled))
    for n, rows in by_length(candidates):
        _warn(correction, metric, n, m)
        table = _list_table(correction, metric, n, m, replacement)
        out[rows] = tie_average(table, sampled.take(rows))
    return out


def expected_corrected(
    correction: Correction,
    metric: RankMetric,
    ranks: Ranks,
    m: int,
    *,
    replacement: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return exact expectation and variance of a corrected sampled metric of each query.

    Args:
        correction: the correction.
        metric: metric of the full list that is to be recovered.
        ranks: full ranks [Q]; ties are broken at random. With replacement every copy of a level
            candidate is a tie of its own, as in `sampled`.
        m: negatives.
        replacement: whether they are drawn with replacement.

    Returns:
        (E[h_R | r], Var[h_R | r]), float64 [Q] each.

    Raises:
        MetricError: `m` is below 1.
    """
    mean, variance = expected_reports([(correction, metric)], ranks, m, replacement=replacement)
    return mean[0], variance[0]


def expected_reports(
    reports: Sequence[tuple[Correction, RankMetric]],
    ranks: Ranks,
    m: int,
    *,
    replacement: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what `expected_corrected` does of several corrected metrics G at once.

    The law of sampled ranks, which costs most, is the same for all of them.

    Args:
        reports: correction and metric of each.
        ranks: full ranks [Q].
        m: negatives.
        replacement: whether they are drawn with replacement.

    Returns:
        (E[h_R | r], Var[h_R | r]), float64 [G, Q] each.

    Raises:
        MetricError: `m` is below 1.
    """
    check_m(m)
    mean, square = np.empty((len(reports), len(ranks))), np.empty((len(reports), len(ranks)))
    for n, rows in by_length(ranks.candidates):
        part = ranks.take(rows)
        tables = np.stack([_list_table(c, metric, n, m, replacement) for c, metric in reports])
        if n == 1:
            mean[:, rows], square[:, rows] = tables, tables**2
            continue
        draws = list_draws(n, m, replacement=replacement)
        needed = _needed(part)
        law = rank_law(needed, n, draws, replacement=replacement)
        for out, gains in ((mean, law @ tables.T), (square, law @ (tables**2).T)):
            for at in range(len(reports)):
                whole = np.zeros(n)
                whole[needed] = gains[:, at]
                out[at, rows] = tie_average(whole, part)
        if replacement and len(copied := np.flatnonzero(part.equal > 0)):
            shares = Shares.of_ranks(part.take(copied))
            moments = mean_by_share(np.concatenate([tables, tables**2]).T, shares, draws).T
            mean[:, rows[copied]], square[:, rows[copied]] = np.split(moments, 2)
    return mean, np.maximum(square - mean**2, 0.0)


def _needed(ranks: Ranks) -> NDArray[np.int64]:
    """Return the numbers of better candidates that the ranks may take: few of n, as a rule."""
    n = int(ranks.candidates[0])
    edge = np.zeros(n + 1, np.int64)
    np.add.at(edge, ranks.greater, 1)
    np.add.at(edge, ranks.greater + ranks.equal + 1, -1)
    return np.flatnonzero(np.cumsum(edge[:n]) > 0)


def _list_table(
    correction: Correction, metric: RankMetric, n: int, m: int, replacement: bool
) -> NDArray[np.float64]:
    if n == 1:
        return metric.gains(1)
    return correction.table(metric, n, m, replacement=replacement)


def _warn(correction: Correction, metric: RankMetric, n: int, m: int) -> None:
    if correction.method != "raw" and blind(metric, n, m):
        warnings.warn(
            f"{metric.name} cannot be recovered from {m} of {n - 1} negatives: a sampled rank "
            f"stands for {(n - 1) / m:.3g} ranks, more than the cut-off",
            BlindSpotWarning,
            stacklevel=3,
        )


@lru_cache(maxsize=1 << 15)
def _uniform_table(
    correction: Correction, metric: RankMetric, n: int, m: int, replacement: bool
) -> NDArray[np.float64]:
    out = _table(correction, metric, n, m, replacement, np.full(n, 1.0 / n))
    out.setflags(write=False)
    return out


def _table(
    correction: Correction,
    metric: RankMetric,
    n: int,
    m: int,
    replacement: bool,
    prior: NDArray[np.float64],
) -> NDArray[np.float64]:
    draws = list_draws(n, m, replacement=replacement)
    target = metric.gains(n)
    if correction.method == "raw":
        return metric.gains(draws + 1)
    if correction.method == "rank":
        return target[((n - 1) * np.arange(draws + 1)) // draws]
    law = rank_law(np.arange(n), n, draws, replacement=replacement)
    root = np.sqrt(prior)
    weighted, aim = root[:, None] * law, root * target
    if correction.method == "cls":
        return _monotone(weighted, aim)
    assert correction.gamma is not None, "checked by the constructor"
    # Stacked as least squares: the normal equations of A alone would square its condition.
    variance = np.sqrt(correction.gamma * (prior @ law))
    left = np.vstack([np.sqrt(1.0 - correction.gamma) * weighted, np.diag(variance)])
    fit = np.concatenate([np.sqrt(1.0 - correction.gamma) * aim, np.zeros(draws + 1)])
    if correction.gamma == 1.0:
        seen = prior @ law
        mass = law.T @ (prior * target)
        return np.divide(mass, seen, out=np.zeros(draws + 1), where=seen > 0.0)
    # (1-g) A'A h + g C h = A'b: the right-hand side is not scaled by 1-g, so h is divided by it.
    solution = lstsq(left, fit, lapack_driver="gelsy")[0] / (1.0 - correction.gamma)
    return np.asarray(solution, np.float64)


def _monotone(weighted: NDArray[np.float64], aim: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the non-increasing h with the least |weighted h - aim|^2."""
    # h = last + sum of the falls from j on: a bounded least squares of the falls.
    size = weighted.shape[1]
    falls = np.tril(np.ones((size, size))).T
    orthogonal, triangle = np.linalg.qr(weighted @ falls)
    low = np.zeros(size)
    low[-1] = -np.inf
    found = lsq_linear(triangle, orthogonal.T @ aim, (low, np.inf), method="bvls", tol=1e-14)
    return np.asarray(falls @ found.x, np.float64)


def _checked_prior(prior: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    if prior.shape != (n,):
        raise MetricError(f"prior has shape {prior.shape}; expected one probability a rank, ({n},)")
    if not (np.isfinite(prior).all() and (prior >= 0.0).all() and prior.sum() > 0.0):
        raise MetricError("prior has values that are negative or not finite, or sums to 0")
    return np.asarray(prior / prior.sum(), np.float64)
