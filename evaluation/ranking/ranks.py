"""Ranks by counting: how many candidates stand above a positive, and how many level with it.

With g candidates scored above the positive and e candidates tied with it, random tie breaking puts
the positive at each rank g+1 .. g+e+1 with equal probability. A metric is the mean of its gain over
these ranks, so a constant scorer gets exactly HR@k = k/n, and no order of columns can be gamed.

Counting is one pass over the scores of a request; sorting takes about a hundred. Two variants
count: compiled code, which judging uses, and plain numpy, which is independent of it. Axis letters:
B requests, C candidates, Q queries (one per positive).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from sim.kernel import kernel


class MetricError(ValueError):
    """Scores or positives that no metric is defined for; the message says which and why."""


@dataclass(frozen=True)
class Ranks:
    """Where the positives stand, arrays [Q]."""

    greater: NDArray[np.int32]
    """Candidates scored above the positive."""
    equal: NDArray[np.int32]
    """Other candidates with exactly the positive's score."""
    candidates: NDArray[np.int32]
    """Candidates n in the list, the positive included."""

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.greater)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Ranks:
        """Return the ranks of some queries."""
        return Ranks(self.greater[rows], self.equal[rows], self.candidates[rows])

    @classmethod
    def concat(cls, parts: Sequence[Ranks]) -> Ranks:
        """Stack ranks; no parts give no queries."""
        empty = np.empty(0, dtype=np.int32)
        return cls(
            *(np.concatenate([empty, *(getattr(p, f.name) for p in parts)]) for f in fields(cls))
        )

    @classmethod
    def untied(cls, rank: NDArray[np.integer], n: int) -> Ranks:
        """Return given ranks [Q], from 1, in lists of `n` candidates without ties.

        Raises:
            MetricError: a rank lies outside [1, n].
        """
        outside = (rank < 1) | (rank > n)
        if outside.any():
            raise MetricError(f"rank {int(rank[np.argmax(outside)])} lies outside [1, {n}]")
        greater = (rank - 1).astype(np.int32)
        return cls(greater, np.zeros_like(greater), np.full_like(greater, n))

    @property
    def expected(self) -> NDArray[np.float64]:
        """Expected rank under random tie breaking [Q], from 1."""
        return 1.0 + self.greater + 0.5 * self.equal

    @property
    def tied(self) -> NDArray[np.float64]:
        """1 where another candidate ties with the positive, else 0 [Q]."""
        return (self.equal > 0).astype(np.float64)


def tie_average(gain: NDArray[np.float64], ranks: Ranks) -> NDArray[np.float64]:
    """Return the mean of `gain` [n] over the ranks that a tied positive may take, float64 [Q]."""
    total = np.concatenate([[0.0], np.cumsum(gain)])
    tied = total[ranks.greater + ranks.equal + 1] - total[ranks.greater]
    # Differences of running sums round; without ties the gain itself is exact.
    return np.where(ranks.equal == 0, gain[ranks.greater], tied / (ranks.equal + 1.0))


def rank_positives(
    scores: NDArray[np.floating],
    mask: NDArray[np.bool_] | None,
    request: NDArray[np.integer],
    column: NDArray[np.integer],
) -> Ranks:
    """Count, for every positive, the candidates scored above it and level with it; compiled.

    Args:
        scores: [B, C] float32 or float64; must be finite where `mask` holds, in requests that
            have a positive.
        mask: [B, C] True for candidates; None where every column is one, which is faster.
        request: [Q] row of each positive.
        column: [Q] column of each positive.

    Returns:
        Ranks of the Q positives, each among all candidates of its request.

    Raises:
        MetricError: shapes differ, a candidate's score is not finite, or a positive is no
            candidate of its request.
    """
    _check(scores, mask, request, column)
    # one compilation a kind of float; other kinds and layouts are brought into these
    kind = scores.dtype if scores.dtype == np.float32 else np.dtype(np.float64)
    table: NDArray[np.floating] = np.ascontiguousarray(scores, kind)
    counts = np.empty((4, len(request)), dtype=np.int32)
    row, place = np.asarray(request, np.int64), np.asarray(column, np.int64)
    candidate = np.zeros((1, 1), np.bool_) if mask is None else np.ascontiguousarray(mask)
    _count(table, candidate, mask is not None, row, place, counts)
    greater, level, candidates, finite = counts
    if not np.array_equal(finite, candidates):
        _refuse(scores, mask)
    return Ranks(greater, level - np.int32(1), candidates)


def rank_positives_numpy(
    scores: NDArray[np.floating],
    mask: NDArray[np.bool_] | None,
    request: NDArray[np.integer],
    column: NDArray[np.integer],
) -> Ranks:
    """Count as `rank_positives` does, in plain numpy: the independent variant.

    A row at a time: it stays in the cache for both comparisons, and a comparison of ten thousand
    numbers hides what a call costs. Blocks of rows are slower, a sort a hundred times.

    Args, returns and errors are those of `rank_positives`.
    """
    _check(scores, mask, request, column)
    counts = np.empty((3, len(request)), dtype=np.int32)
    width = scores.shape[1]
    flags = np.empty(width, np.bool_)
    with np.errstate(over="ignore", invalid="ignore"):
        for query, (row, place) in enumerate(zip(request, column, strict=True)):
            others, n = scores[row], width
            if mask is not None:
                others = others[mask[row]]
                n = len(others)
            buffer, own = flags[:n], scores[row, place]
            # A product with itself is not finite where a score is not, or where it overflows.
            if not np.isfinite(np.dot(others, others)) and not np.isfinite(others).all():
                _refuse(scores, mask)
            greater = np.count_nonzero(np.greater(others, own, out=buffer))
            less = np.count_nonzero(np.less(others, own, out=buffer))
            counts[:, query] = greater, n - greater - less - 1, n
    return Ranks(*counts)


@kernel
def _count(
    scores: NDArray[np.floating],
    mask: NDArray[np.bool_],
    masked: bool,
    request: NDArray[np.int64],
    column: NDArray[np.int64],
    counts: NDArray[np.int32],
) -> None:
    """Count per query; `mask` is read where `masked` holds, which the compiler asks once a row."""
    n = scores.shape[1]
    for query in range(len(request)):
        row = scores[request[query]]
        here = mask[request[query] if masked else 0]
        own = row[column[query]]
        greater = np.int32(0)
        level = np.int32(0)
        candidates = np.int32(0)
        finite = np.int32(0)
        for c in range(n):
            value, inside = row[c], True
            if masked:
                inside = here[c]
            greater += np.int32((value > own) & inside)
            level += np.int32((value == own) & inside)
            candidates += np.int32(inside)
            finite += np.int32((value - value == 0) & inside)  # infinities and NaN give NaN
        counts[0, query] = greater
        counts[1, query] = level
        counts[2, query] = candidates
        counts[3, query] = finite


def _check(
    scores: NDArray[np.floating],
    mask: NDArray[np.bool_] | None,
    request: NDArray[np.integer],
    column: NDArray[np.integer],
) -> None:
    if scores.ndim != 2 or (mask is not None and scores.shape != mask.shape):
        against = "" if mask is None else f" and mask {mask.shape}"
        raise MetricError(f"scores {scores.shape}{against} must have one shape [B, C]")
    if request.shape != column.shape or request.ndim != 1:
        raise MetricError(
            f"requests {request.shape} and columns {column.shape} of the positives must have "
            "one shape [Q]"
        )
    rows, width = scores.shape
    inside = (request >= 0) & (request < rows) & (column >= 0) & (column < width)
    if inside.all() and mask is not None:
        inside = mask[request, column]
    if not inside.all():
        at = int(np.argmin(inside))
        raise MetricError(
            f"positive {at} (request {int(request[at])}, column {int(column[at])}) is masked out; "
            "a positive must be one of its request's candidates"
        )


def _refuse(scores: NDArray[np.floating], mask: NDArray[np.bool_] | None) -> NoReturn:
    wrong = np.argwhere(~np.isfinite(scores) & (True if mask is None else mask))
    row, cell = wrong[0]
    raise MetricError(
        f"{len(wrong)} scores of candidates are not finite; the first is {scores[row, cell]} "
        f"at request {row}, column {cell}"
    )
