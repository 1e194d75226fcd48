"""Ranking metrics against m sampled negatives: exact expectation, and repeated draws.

A positive of rank r among n candidates, judged against m sampled negatives, has the sampled rank
R = 1 + X with

    X ~ Hypergeometric(population n - 1, r - 1 better ones, m draws)     without replacement
    X ~ Binomial(m, (r - 1) / (n - 1))                                   with replacement

and the sampled metric has the expectation E[M(R) | r] = sum_j P(R = j | r) M(j), M on a list of
m + 1. No draw is needed for the table; draws exist for studies of their noise. Their negatives are
a function of (seed, repeat, request, positive) only, so every policy meets the same.

Sampling is inconsistent for every metric but AUC: it may prefer the worse policy in expectation.

Source: Krichene & Rendle, "On Sampled Metrics for Item Recommendation", KDD 2020, sections 3 and
4. Axis letters: Q queries, C candidates, M negatives.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

from evaluation.metrics import MetricError, RankMetric, Ranks, tie_average
from sim.rng import philox4x32
from sim.schema import PAD

_STREAM = 0x4E4547
"""Second word of the Philox key: keeps these draws apart from those of any world."""
_BLOCK_CELLS = 1 << 20


def sampled_name(metric: RankMetric, m: int) -> str:
    """Return the name in the results table, such as ``hr@10/s20``."""
    return f"{metric.name}/s{m}"


def expected_values(
    metric: RankMetric, ranks: Ranks, m: int, *, replacement: bool = False
) -> NDArray[np.float64]:
    """Return the exact expectation of the sampled metric of each query.

    Args:
        metric: the metric, applied to the list of m negatives and the positive.
        ranks: full ranks [Q].
        m: negatives; without replacement a query with fewer than m others uses all of them.
        replacement: whether negatives are drawn with replacement.

    Returns:
        float64 [Q]; NaN where the metric is undefined. Ties are broken at random.

    Raises:
        MetricError: `m` is below 1.
    """
    if m < 1:
        raise MetricError(f"m is {m}; at least 1 negative must be sampled")
    out = np.empty(len(ranks))
    order = np.argsort(ranks.candidates, kind="stable")
    lengths, starts = np.unique(ranks.candidates[order], return_index=True)
    for n, rows in zip(lengths, np.split(order, starts[1:]), strict=True):
        part = Ranks(ranks.greater[rows], ranks.equal[rows], ranks.candidates[rows])
        out[rows] = tie_average(_expected_gains(metric, int(n), m, replacement), part)
    return out


@lru_cache(maxsize=1 << 13)
def _expected_gains(metric: RankMetric, n: int, m: int, replacement: bool) -> NDArray[np.float64]:
    """Expected sampled metric at each full rank, [n]; every policy asks for the same tables."""
    if n == 1:
        return metric.gains(1)
    draws = m if replacement else min(m, n - 1)
    gain = metric.gains(draws + 1)
    out = np.empty(n)
    step = max(1, _BLOCK_CELLS // (draws + 1))
    for low in range(0, n, step):
        better = np.arange(low, min(low + step, n))
        out[better] = rank_law(better, n, draws, replacement=replacement) @ gain
    out.setflags(write=False)
    return out


def rank_law(
    better: NDArray[np.integer], n: int, m: int, *, replacement: bool
) -> NDArray[np.float64]:
    """Return P(sampled rank = j) for j = 1..m+1.

    Args:
        better: [R] candidates above the positive, in [0, n - 1].
        n: candidates, the positive included; at least 2.
        m: negatives drawn; at most n - 1 without replacement.
        replacement: whether they are drawn with replacement.

    Returns:
        float64 [R, m + 1], rows sum to 1.
    """
    drawn = np.arange(m + 1)
    above = np.asarray(better, dtype=np.int64)[:, None]
    if replacement:
        p = above / (n - 1)
        log_law = _log_choose(m, drawn) + xlogy(drawn, p) + xlog1py(m - drawn, -p)
        return _normalised(np.exp(log_law))
    below = (n - 1) - above
    possible = (drawn <= above) & (m - drawn <= below)
    of_above = _log_choose(above, np.minimum(drawn, above))
    of_below = _log_choose(below, np.clip(m - drawn, 0, below))
    log_law = np.where(possible, of_above + of_below - _log_choose(n - 1, m), -np.inf)
    return _normalised(np.exp(log_law))


def _normalised(law: NDArray[np.float64]) -> NDArray[np.float64]:
    # The logarithms of factorials carry rounding of 1e-11; probabilities must sum to 1.
    out: NDArray[np.float64] = law / law.sum(axis=1, keepdims=True)
    return out


def draw_negatives(
    request_id: NDArray[np.integer],
    column: NDArray[np.integer],
    mask: NDArray[np.bool_],
    m: int,
    *,
    seed: int,
    repeat: int = 0,
    replacement: bool = False,
) -> NDArray[np.int32]:
    """Draw m uniform negatives per query, the same for every policy.

    Args:
        request_id: [Q] ids of the requests; with `column`, the address of the draw.
        column: [Q] columns of the positives.
        mask: [Q, C] candidates.
        m: negatives per query.
        seed: seed of the draws.
        repeat: number of the repetition; other repetitions are independent.
        replacement: whether to draw with replacement.

    Returns:
        Columns of the negatives, int32 [Q, m]; PAD where fewer than m exist.

    Raises:
        MetricError: `m` is below 1.
    """
    if m < 1:
        raise MetricError(f"m is {m}; at least 1 negative must be sampled")
    queries, width = mask.shape
    eligible = mask.copy()
    eligible[np.arange(queries), column] = False
    wanted = m if replacement else width
    words = -(-wanted // 4)
    request = np.asarray(request_id, dtype=np.uint64)[:, None]
    low, high = request & np.uint64(0xFFFFFFFF), request >> np.uint64(32)
    word = np.uint64(repeat << 16) | np.arange(words, dtype=np.uint64)[None]
    address = (low, high, np.asarray(column)[:, None], word)
    drawn = philox4x32(address, (seed & 0xFFFFFFFF, _STREAM))
    keys = drawn.transpose(1, 2, 0).reshape(queries, 4 * words)[:, :wanted]
    available = eligible.sum(axis=1)
    if replacement:
        listed = np.argsort(~eligible, axis=1, kind="stable")
        pick = (keys.astype(np.uint64) * available[:, None].astype(np.uint64)) >> np.uint64(32)
        out = np.take_along_axis(listed, pick.astype(np.int64), axis=1)
        return np.where(available[:, None] > 0, out, PAD).astype(np.int32)
    # The m smallest keys among the eligible ones; the column breaks the rare equal keys.
    order = (keys.astype(np.uint64) << np.uint64(31)) | np.arange(width, dtype=np.uint64)
    order[~eligible] = np.uint64(2**64 - 1)
    count = min(m, width)
    chosen = np.argpartition(order, count - 1, axis=1)[:, :count]
    negatives = np.full((queries, m), PAD, dtype=np.int32)
    negatives[:, :count] = np.where(np.take_along_axis(eligible, chosen, axis=1), chosen, PAD)
    return negatives


def sampled_ranks(
    scores: NDArray[np.floating], column: NDArray[np.integer], negatives: NDArray[np.integer]
) -> Ranks:
    """Return the ranks of the positives among drawn negatives.

    Args:
        scores: [Q, C] scores of each query's candidates.
        column: [Q] columns of the positives.
        negatives: [Q, M] columns of the negatives, PAD where there is none.

    Returns:
        Ranks [Q] in lists of (negatives + 1); `RankMetric.values` applies to them.

    Raises:
        MetricError: the score of a positive or of a negative is not finite.
    """
    real = negatives != PAD
    other = np.take_along_axis(scores, np.where(real, negatives, column[:, None]), axis=1)
    own = np.take_along_axis(scores, column[:, None], axis=1)
    if not np.isfinite(other).all() or not np.isfinite(own).all():
        raise MetricError("scores of positives and sampled negatives must be finite")
    greater = ((other > own) & real).sum(axis=1, dtype=np.int32)
    equal = ((other == own) & real).sum(axis=1, dtype=np.int32)
    return Ranks(greater, equal, real.sum(axis=1, dtype=np.int32) + np.int32(1))


def _log_choose(n: NDArray[np.int64] | int, k: NDArray[np.int64] | int) -> NDArray[np.float64]:
    table = _log_factorials(int(np.max(n)))
    out: NDArray[np.float64] = table[n] - table[k] - table[np.subtract(n, k)]
    return out


@lru_cache(maxsize=1 << 10)
def _log_factorials(n: int) -> NDArray[np.float64]:
    return np.asarray(gammaln(np.arange(n + 1) + 1.0), dtype=np.float64)
