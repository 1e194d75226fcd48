"""Ranking metrics of requests with any number of positives, ties in exact expectation.

With P positives among n candidates, at ranks r_(1) < ... < r_(P):

    hr@k         1[r_(1) <= k]
    recall@k     sum_i 1[r_(i) <= k] / P
    precision@k  sum_i 1[r_(i) <= k] / k                        (k also where n < k)
    ndcg[@k]     sum_i 1[r_(i) <= k] / log2(r_(i) + 1)  over  sum_{i <= min(k, P)} 1 / log2(i + 1)
    mrr[@k]      1[r_(1) <= k] / r_(1)
    ap[@k]       sum_i 1[r_(i) <= k] i / r_(i)  over  P         (P also where k < P)
    query_auc    sum_i (n - P - (r_(i) - i))  over  P (n - P)

A request without positives has no value (NaN), nor one without negatives an AUC: they are left out
of means, never counted as 0.

Candidates with one score form a level: e candidates, t of them positive, with g candidates above
the level, G of them positive. Under random tie breaking each positive of a level stands at each of
its e places with equal probability, which settles the metrics that are sums over positives; the
first positive of a level is at place j with probability C(e-j, t-1) / C(e, t), and

    E[sum over the level of i / r_(i)] = t/e sum_{j=1..e} (G + 1 + (j-1)(t-1)/(e-1)) / (g + j).

Conventions are those of trec_eval (its map_cut divides by P) and ranx; others divide AP@k by
min(k, P) and the ideal DCG by k slots (Tamm, Damdinov, Vasilev, RecSys 2021). Axis letters: B
requests, C candidates, Q positives of all requests, L levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evaluation.ranking.combinations import log_choose
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import MetricError, Ranks, rank_positives, tie_average

_BLOCK_CELLS = 1 << 21


@dataclass(frozen=True)
class Levels:
    """The levels of scores that hold a positive, best first in each request, arrays [L]."""

    request: NDArray[np.int64]
    greater: NDArray[np.int64]
    """g, candidates above the level."""
    size: NDArray[np.int64]
    """e, candidates of the level, its positives included."""
    positives: NDArray[np.int64]
    """t, positives of the level."""
    positives_above: NDArray[np.int64]
    """G, positives above the level."""

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Levels:
        """Return some of the levels."""
        return Levels(
            self.request[rows],
            self.greater[rows],
            self.size[rows],
            self.positives[rows],
            self.positives_above[rows],
        )


@dataclass(frozen=True)
class RankedLists:
    """Where all positives of each request stand."""

    request: NDArray[np.int64]
    """[Q] request of each positive, in [0, B)."""
    ranks: Ranks
    """[Q], each among all candidates of its request, other positives included."""
    candidates: NDArray[np.int64]
    """[B]."""

    def __len__(self) -> int:
        """Return the number of requests B, those without positives included."""
        return len(self.candidates)

    @cached_property
    def positives(self) -> NDArray[np.int64]:
        """Positives of each request [B]."""
        return np.bincount(self.request, minlength=len(self))

    @property
    def defined(self) -> NDArray[np.bool_]:
        """Whether a request has a positive, hence a value [B]."""
        return self.positives > 0

    @cached_property
    def tied(self) -> NDArray[np.float64]:
        """Share of a request's positives that tie with another candidate [B]; NaN without any."""
        return _over(self._sum(self.ranks.tied), self.positives)

    @cached_property
    def levels(self) -> Levels:
        """The levels that hold positives."""
        order = np.lexsort((self.ranks.greater, self.request))
        request = self.request[order]
        greater = self.ranks.greater[order].astype(np.int64)
        fresh = np.ones(len(order), np.bool_)
        fresh[1:] = (request[1:] != request[:-1]) | (greater[1:] != greater[:-1])
        starts = np.flatnonzero(fresh)
        count = np.diff(np.append(starts, len(order)))
        first = np.searchsorted(request, request[starts])
        size = self.ranks.equal[order[starts]].astype(np.int64) + 1
        return Levels(request[starts], greater[starts], size, count, starts - first)

    def values(self, metric: RankMetric) -> NDArray[np.float64]:
        """Return a metric of each request, float64 [B]; NaN where it is undefined."""
        longest = int(self.candidates.max(initial=1))
        p = self.positives
        match metric.base:
            case "recall" | "precision" | "ndcg":
                total = self._sum(tie_average(metric.gains(longest), self.ranks))
                if metric.base == "precision":
                    return np.where(p > 0, total, np.nan)
                if metric.base == "recall":
                    return _over(total, p)
                ideal = np.concatenate([[0.0], np.cumsum(metric.gains(max(longest, 1)))])
                return _over(total, ideal[p])
            case "hr" | "mrr":
                return np.where(p > 0, self._first(metric.gains(longest)), np.nan)
            case "ap":
                return _over(self._precisions(metric.k or longest), p)
            case "query_auc":
                return self._auc()

    def _sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.bincount(self.request, weights=values, minlength=len(self))
        return np.asarray(out, np.float64)

    def _first(self, gain: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean gain at the rank of the first positive [B]."""
        out = np.zeros(len(self))
        top = self.levels.take(self.levels.positives_above == 0)
        alone = top.positives == 1
        ones = top.take(alone)
        lone = Ranks(
            ones.greater.astype(np.int32),
            (ones.size - 1).astype(np.int32),
            ones.size.astype(np.int32),
        )
        out[ones.request] = tie_average(gain, lone)
        several = top.take(~alone)
        ends = np.cumsum(several.size)
        low = 0
        while low < len(ends):  # blocks of levels: a level may be as long as a list
            before = int(ends[low - 1]) if low else 0
            high = max(low + 1, int(np.searchsorted(ends, before + _BLOCK_CELLS)))
            part = several.take(slice(low, high))
            out[part.request] = _first_of_several(part, gain)
            low = high
        return out

    def _precisions(self, k: int) -> NDArray[np.float64]:
        """Sum over positives within k of (positives up to it) / rank [B]."""
        level = self.levels
        longest = int(self.candidates.max(initial=1))
        harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1.0, longest + 1))])
        g, e, t, above = level.greater, level.size, level.positives, level.positives_above
        inside = np.clip(k - g, 0, e)
        reciprocal = harmonic[g + inside] - harmonic[g]
        later = np.divide(t - 1, e - 1, out=np.zeros(len(e)), where=e > 1)
        tied = t / e * ((above + 1) * reciprocal + later * (inside - (g + 1) * reciprocal))
        # Without ties no difference of sums is needed, which rounds.
        value = np.where(e == 1, np.where(inside > 0, (above + 1) / (g + 1), 0.0), tied)
        out = np.bincount(level.request, weights=value, minlength=len(self))
        return np.asarray(out, np.float64)

    def _auc(self) -> NDArray[np.float64]:
        level, n, p = self.levels, self.candidates, self.positives
        level_negatives = level.size - level.positives
        below = n - p
        beaten = below[level.request] - (level.greater - level.positives_above) - level_negatives
        won = level.positives * (beaten + 0.5 * level_negatives)
        pairs = p * below
        total = np.bincount(level.request, weights=won, minlength=len(self))
        return _over(np.asarray(total, np.float64), pairs)


def rank_lists(
    scores: NDArray[np.floating],
    relevant: NDArray[np.bool_],
    mask: NDArray[np.bool_] | None = None,
) -> RankedLists:
    """Rank the positives of each request among all its candidates, by counting.

    Args:
        scores: [B, C] float32 or float64; finite for candidates of requests that have a positive.
        relevant: [B, C] True for positives.
        mask: [B, C] True for candidates; None where every column is one.

    Returns:
        The lists of the B requests; those without positives, or without candidates, have no value.

    Raises:
        MetricError: shapes differ, a candidate's score is not finite, or a positive is no
            candidate.
    """
    if scores.ndim != 2 or relevant.shape != scores.shape or relevant.dtype != np.bool_:
        raise MetricError(
            f"relevant is {relevant.dtype} {relevant.shape}; expected bool {scores.shape} [B, C]"
        )
    rows, width = scores.shape
    # numpy.nonzero of two axes takes ten times as long
    request, column = np.divmod(np.flatnonzero(relevant), max(width, 1))
    ranks = rank_positives(scores, mask, request, column)
    count = np.full(rows, width, np.int64) if mask is None else np.count_nonzero(mask, axis=1)
    return RankedLists(request.astype(np.int64), ranks, np.asarray(count, np.int64))


def _over(total: NDArray[np.float64], size: NDArray[np.generic]) -> NDArray[np.float64]:
    """Divide, with NaN where there is nothing to divide by."""
    out = np.full(len(total), np.nan)
    np.divide(total, size, out=out, where=size != 0)
    return out


def _first_of_several(level: Levels, gain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean gain at the first of several positives of one level each [L]."""
    owner = np.repeat(np.arange(len(level.size)), level.size)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(level.size) - level.size, level.size)
    e, t = level.size[owner], level.positives[owner]
    rest = e - 1 - place
    possible = rest >= t - 1
    rest = np.maximum(rest, t - 1)
    log_p = log_choose(rest, t - 1) - log_choose(e, t)
    p = np.where(possible, np.exp(log_p), 0.0)
    count = len(level.size)
    total = np.bincount(owner, weights=p, minlength=count)
    value = np.bincount(owner, weights=p * gain[level.greater[owner] + place], minlength=count)
    # The logarithms of factorials carry rounding of 1e-11; probabilities sum to 1.
    return value / total
