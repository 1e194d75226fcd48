"""Draws of sampled negatives: the same for every policy, uniform or by popularity.

The negatives of a query are a function of (seed, repeat, request, positive) only, so that policies
are compared on one test set. (A library that redraws at each evaluation compares models on other
sets; RecBole issue 2077.) One uniform a draw: with replacement through the inverse cdf of the
weights, without replacement by exponential clocks, whose first m to ring are the sample (Efraimidis
& Spirakis, "Weighted random sampling with a reservoir", 2006).

Axis letters: Q queries, C candidates, M negatives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.ranking.ranks import MetricError, Ranks
from sim.rng import MAX_SEED, philox4x32
from sim.schema import PAD

_STREAM = 0x4E4547
"""Second word of the Philox key: keeps these draws apart from those of any world."""
_WORD = 2.0**-32


def draw_negatives(
    request_id: NDArray[np.integer],
    column: NDArray[np.integer],
    mask: NDArray[np.bool_],
    m: int,
    *,
    seed: int,
    repeat: int = 0,
    replacement: bool = False,
    weight: NDArray[np.floating] | None = None,
) -> NDArray[np.int32]:
    """Draw m negatives per query, the same for every policy.

    Args:
        request_id: [Q] ids of the requests; with `column`, the address of the draw.
        column: [Q] columns of the positives.
        mask: [Q, C] candidates.
        m: negatives per query.
        seed: seed of the draws, in [0, MAX_SEED].
        repeat: number of the repetition; other repetitions are independent.
        replacement: whether to draw with replacement.
        weight: [Q, C] popularity, not negative, in proportion to which candidates are drawn;
            None draws uniformly.

    Returns:
        Columns of the negatives, int32 [Q, m]; PAD where fewer than m can be drawn.

    Raises:
        MetricError: `m` is below 1, the seed is out of range, or a weight of a candidate is
            negative or not finite.
    """
    check_m(m)
    if not 0 <= seed <= MAX_SEED:
        raise MetricError(f"seed is {seed}; it must lie in [0, {MAX_SEED}]")
    queries, width = mask.shape
    eligible = mask.copy()
    eligible[np.arange(queries), column] = False
    if weight is not None:
        check_weight(weight, mask)
        eligible &= weight > 0.0
    wanted = m if replacement else width
    words = -(-wanted // 4)
    request = np.asarray(request_id, dtype=np.uint64)[:, None]
    low, high = request & np.uint64(0xFFFFFFFF), request >> np.uint64(32)
    word = np.uint64(repeat << 16) | np.arange(words, dtype=np.uint64)[None]
    address = (low, high, np.asarray(column)[:, None], word)
    drawn = philox4x32(address, (seed, _STREAM))
    keys = drawn.transpose(1, 2, 0).reshape(queries, 4 * words)[:, :wanted]
    if replacement:
        if weight is None:
            return _pick_uniform(keys, eligible)
        return _pick_weighted(keys, np.where(eligible, weight, 0.0))
    if weight is None:
        # The m smallest keys among the eligible ones; the column breaks the rare equal keys.
        order = (keys.astype(np.uint64) << np.uint64(31)) | np.arange(width, dtype=np.uint64)
        order[~eligible] = np.uint64(2**64 - 1)
        return _first(order, eligible, m)
    clock = -np.log((keys + 0.5) * _WORD)
    np.divide(clock, weight, out=clock, where=eligible)
    clock[~eligible] = np.inf
    return _first(clock, eligible, m)


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


def check_m(m: int) -> None:
    """Refuse fewer than one negative.

    Raises:
        MetricError: `m` is below 1.
    """
    if m < 1:
        raise MetricError(f"m is {m}; at least 1 negative must be sampled")


def check_weight(weight: NDArray[np.floating], mask: NDArray[np.bool_]) -> None:
    """Refuse weights [Q, C] that are negative or not finite for a candidate, or of another shape.

    Raises:
        MetricError: they are.
    """
    if weight.shape != mask.shape:
        raise MetricError(f"weight {weight.shape} and mask {mask.shape} must have one shape [Q, C]")
    wrong = mask & ~((weight >= 0.0) & (weight < np.inf))
    if wrong.any():
        row, cell = np.argwhere(wrong)[0]
        raise MetricError(
            f"weight is {weight[row, cell]} at query {row}, column {cell}; weights of candidates "
            "must be finite and not negative"
        )


def _pick_uniform(keys: NDArray[np.uint32], eligible: NDArray[np.bool_]) -> NDArray[np.int32]:
    available = eligible.sum(axis=1)[:, None]
    listed = np.argsort(~eligible, axis=1, kind="stable")
    pick = (keys.astype(np.uint64) * available.astype(np.uint64)) >> np.uint64(32)
    out = np.take_along_axis(listed, pick.astype(np.int64), axis=1)
    return np.where(available > 0, out, PAD).astype(np.int32)


def _pick_weighted(keys: NDArray[np.uint32], weight: NDArray[np.float64]) -> NDArray[np.int32]:
    total = np.cumsum(weight, axis=1)
    whole = total[:, -1:]
    some = whole[:, 0] > 0.0
    share = np.divide(total, whole, out=np.ones_like(total), where=whole > 0.0)
    # One search for all queries: query q owns the interval [q, q + 1).
    query = np.arange(len(weight), dtype=np.float64)[:, None]
    uniform = (keys + 0.5) * _WORD
    at = np.searchsorted((share + query).ravel(), (uniform + query).ravel(), side="right")
    width = weight.shape[1]
    column = at.reshape(keys.shape) - np.arange(len(weight))[:, None] * width
    last = width - 1 - np.argmax(weight[:, ::-1] > 0.0, axis=1)
    return np.where(some[:, None], np.minimum(column, last[:, None]), PAD).astype(np.int32)


def _first(
    key: NDArray[np.uint64] | NDArray[np.float64], eligible: NDArray[np.bool_], m: int
) -> NDArray[np.int32]:
    """Return the columns of the m smallest keys among the eligible ones."""
    queries, width = eligible.shape
    count = min(m, width)
    chosen = np.argpartition(key, count - 1, axis=1)[:, :count]
    negatives = np.full((queries, m), PAD, dtype=np.int32)
    negatives[:, :count] = np.where(np.take_along_axis(eligible, chosen, axis=1), chosen, PAD)
    return negatives
