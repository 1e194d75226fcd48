"""Ranking metrics of one positive among all candidates: ranks by counting, one value per query.

With g candidates scored above the positive and e candidates tied with it, random tie breaking puts
the positive at each rank g+1 .. g+e+1 with equal probability. A metric is the mean of its gain over
these ranks, so a constant scorer gets exactly HR@k = k/n, and no order of columns can be gamed.

Gain at rank r in a list of n candidates:
    hr@k       1[r <= k]
    ndcg@k     1[r <= k] / log2(r + 1)        (one positive: the ideal DCG is 1)
    mrr        1 / r                          (not cut off)
    query_auc  (n - r) / (n - 1)              (undefined, NaN, for n = 1)

Source: Krichene & Rendle, "On Sampled Metrics for Item Recommendation", KDD 2020, table 1. Axis
letters: B requests, C candidates, Q queries (one per positive).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, NoReturn, get_args

import numpy as np
from numpy.typing import NDArray

Base = Literal["hr", "ndcg", "mrr", "query_auc"]

_CUT = ("hr", "ndcg")
_BLOCK_CELLS = 1 << 18
"""Cells compared at a time: the comparison stays in the second-level cache."""
_LANE = 255
"""Longest run of 0/1 bytes whose sum fits into a byte."""


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

    @classmethod
    def concat(cls, parts: Sequence[Ranks]) -> Ranks:
        """Stack ranks; no parts give no queries."""
        empty = np.empty(0, dtype=np.int32)
        return cls(
            *(np.concatenate([empty, *(getattr(p, f.name) for p in parts)]) for f in fields(cls))
        )

    @property
    def expected(self) -> NDArray[np.float64]:
        """Expected rank under random tie breaking [Q], from 1."""
        return 1.0 + self.greater + 0.5 * self.equal

    @property
    def tied(self) -> NDArray[np.float64]:
        """1 where another candidate ties with the positive, else 0 [Q]."""
        return (self.equal > 0).astype(np.float64)


@dataclass(frozen=True)
class RankMetric:
    """A metric of the rank of one positive.

    Raises:
        MetricError: `k` is missing, superfluous or below 1.
    """

    base: Base
    k: int | None = None
    """Cut-off; required for hr, allowed for ndcg, absent otherwise."""

    def __post_init__(self) -> None:
        """Check base and cut-off."""
        if self.base not in get_args(Base):
            allowed = ", ".join(get_args(Base))
            raise MetricError(f"ranking metric {self.base!r} is unknown; allowed: {allowed}")
        if self.k is not None and (self.k < 1 or self.base not in _CUT):
            raise MetricError(f"cut-off {self.k} of {self.base!r}: at least 1, hr and ndcg only")
        if self.k is None and self.base == "hr":
            raise MetricError("hr needs a cut-off k, as in hr@10")

    @classmethod
    def parse(cls, name: str) -> RankMetric:
        """Return the metric called `name`, such as ``hr@10`` or ``mrr``.

        Raises:
            MetricError: the name is not understood.
        """
        parts = re.fullmatch(r"([a-z_]+)(?:@(\d+))?", name)
        if parts is None:
            raise MetricError(f"ranking metric {name!r} is not of the form NAME or NAME@K")
        cut = None if parts[2] is None else int(parts[2])
        return cls(parts[1], cut)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """Name in the results table."""
        return self.base if self.k is None else f"{self.base}@{self.k}"

    def gains(self, n: int) -> NDArray[np.float64]:
        """Return the value at each rank 1..n in a list of n candidates, float64 [n]."""
        rank = np.arange(1, n + 1, dtype=np.float64)
        match self.base:
            case "hr":
                gain = np.ones(n)
            case "ndcg":
                gain = 1.0 / np.log2(rank + 1.0)
            case "mrr":
                gain = 1.0 / rank
            case "query_auc":
                gain = (n - rank) / (n - 1) if n > 1 else np.full(n, np.nan)
        if self.k is not None:
            gain[self.k :] = 0.0
        return gain

    def values(self, ranks: Ranks) -> NDArray[np.float64]:
        """Return the metric of each query, float64 [Q]; NaN where it is undefined."""
        if self.base == "query_auc":
            n = ranks.candidates.astype(np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(n > 1.0, (n - ranks.expected) / (n - 1.0), np.nan)
        longest = int(ranks.candidates.max(initial=1))
        return tie_average(self.gains(longest), ranks)


def tie_average(gain: NDArray[np.float64], ranks: Ranks) -> NDArray[np.float64]:
    """Return the mean of `gain` [n] over the ranks that a tied positive may take, float64 [Q]."""
    total = np.concatenate([[0.0], np.cumsum(gain)])
    tied = total[ranks.greater + ranks.equal + 1] - total[ranks.greater]
    # Differences of running sums round; without ties the gain itself is exact.
    return np.where(ranks.equal == 0, gain[ranks.greater], tied / (ranks.equal + 1.0))


def rank_positives(
    scores: NDArray[np.floating],
    mask: NDArray[np.bool_],
    request: NDArray[np.integer],
    column: NDArray[np.integer],
) -> Ranks:
    """Count, for every positive, the candidates scored above it and level with it.

    Args:
        scores: [B, C] float32 or float64; must be finite where `mask` holds, in requests that
            have a positive.
        mask: [B, C] True for candidates.
        request: [Q] row of each positive.
        column: [Q] column of each positive.

    Returns:
        Ranks of the Q positives, each among all candidates of its request.

    Raises:
        MetricError: shapes differ, a candidate's score is not finite, or a positive is no
            candidate of its request.
    """
    if scores.ndim != 2 or scores.shape != mask.shape:
        raise MetricError(f"scores {scores.shape} and mask {mask.shape} must have one shape [B, C]")
    outside = (column < 0) | ~mask[request, column]
    if outside.any():
        at = int(np.argmax(outside))
        raise MetricError(
            f"positive {at} (request {int(request[at])}, column {int(column[at])}) is masked out; "
            "a positive must be one of its request's candidates"
        )
    counts = np.empty((3, len(request)), dtype=np.int32)
    step = max(1, _BLOCK_CELLS // max(1, scores.shape[1]))
    for low in range(0, len(request), step):
        block = slice(low, low + step)
        # The mask joins after each comparison: filling masked cells first is ten times slower.
        here, others = mask[request[block]], scores[request[block]]
        own = others[np.arange(len(others)), column[block], None]
        candidates = _count(here)
        if not np.array_equal(_count(np.isfinite(others) & here), candidates):
            _refuse(scores, mask)
        greater, level = _count((others > own) & here), _count((others == own) & here)
        counts[:, block] = greater, level - 1, candidates
    return Ranks(*counts)


def _refuse(scores: NDArray[np.floating], mask: NDArray[np.bool_]) -> NoReturn:
    wrong = np.argwhere(mask & ~np.isfinite(scores))
    row, cell = wrong[0]
    raise MetricError(
        f"{len(wrong)} scores of candidates are not finite; the first is {scores[row, cell]} "
        f"at request {row}, column {cell}"
    )


def _count(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    # Row sums over bytes: widening every flag to int64 first, as bool.sum does, is slower.
    if flags.size == 0:
        return np.zeros(len(flags), dtype=np.int64)
    starts = range(0, flags.shape[1], _LANE)
    lanes = np.add.reduceat(flags.view(np.uint8), list(starts), axis=1, dtype=np.uint8)
    out: NDArray[np.int64] = lanes.sum(axis=1, dtype=np.int64)
    return out
