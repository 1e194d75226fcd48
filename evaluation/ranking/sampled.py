"""Ranking metrics against m sampled negatives, in exact expectation.

A positive of rank r among n candidates, judged against m sampled negatives, has the sampled rank
R = 1 + X with

    X ~ Hypergeometric(population n - 1, r - 1 better ones, m draws)     without replacement
    X ~ Binomial(m, (r - 1) / (n - 1))                                   with replacement
    X ~ Binomial(m, W_above / W)                                         with replacement, by
                                                                         popularity

with W_above the weight of the candidates above the positive and W that of all others. The sampled
metric has the expectation E[M(R) | r] = sum_j P(R = j | r) M(j), M on a list of m + 1. No draw is
needed. By popularity without replacement there is no closed form: `simulated_values` draws.

Ties are broken at random. Without replacement it is the same to break them in the full list or in
the sampled one. With replacement each copy of a level candidate is a tie of its own, so that the
share of negatives above is uniform between that of those above and that of those above or level:
with p = p_above + U p_level, E[Binomial pmf at j] = [I_b(j+1, m-j+1) - I_a(j+1, m-j+1)] / ((m+1)
p_level), a = p_above, b = p_above + p_level, I the regularised incomplete beta function.

Sampling is inconsistent for every metric but AUC: it may prefer the worse policy in expectation.

Source: Krichene & Rendle, "On Sampled Metrics for Item Recommendation", KDD 2020, sections 3 and
4. Axis letters: Q queries, C candidates, M negatives, R ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, xlog1py, xlogy

from evaluation.ranking.combinations import log_choose
from evaluation.ranking.draws import check_m, check_weight, draw_negatives, sampled_ranks
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import MetricError, Ranks, tie_average

_BLOCK_CELLS = 1 << 20


@dataclass(frozen=True)
class Shares:
    """Where the positives stand in a weighted list, arrays [Q]."""

    above: NDArray[np.float64]
    """Share of the other candidates' weight that is scored above the positive."""
    level: NDArray[np.float64]
    """Share that is scored level with it."""

    @classmethod
    def of_ranks(cls, ranks: Ranks) -> Shares:
        """Return the shares where every candidate weighs the same; 0 without other candidates."""
        others = np.maximum(ranks.candidates - 1, 1)
        return cls(ranks.greater / others, ranks.equal / others)


@dataclass(frozen=True)
class Simulated:
    """Expectation of a sampled metric of each query by repeated draws, arrays [Q]."""

    mean: NDArray[np.float64]
    standard_error: NDArray[np.float64]


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
    check_m(m)
    out = np.empty(len(ranks))
    for n, rows in by_length(ranks.candidates):
        out[rows] = tie_average(_expected_gains(metric, n, m, replacement), ranks.take(rows))
    copied = np.flatnonzero(ranks.equal > 0)
    if replacement and len(copied):
        out[copied] = expected_by_share(metric, Shares.of_ranks(ranks.take(copied)), m)
    return out


def expected_by_share(metric: RankMetric, shares: Shares, m: int) -> NDArray[np.float64]:
    """Return the exact expectation against m negatives drawn in proportion to weights.

    Args:
        metric: the metric, applied to the list of m negatives and the positive.
        shares: where the positives stand [Q]; see `weigh_positives`.
        m: negatives, drawn with replacement.

    Returns:
        float64 [Q]. NaN where there is nothing to draw from.

    Raises:
        MetricError: `m` is below 1.
    """
    check_m(m)
    return mean_by_share(metric.gains(m + 1), shares, m)


def mean_by_share(table: NDArray[np.float64], shares: Shares, m: int) -> NDArray[np.float64]:
    """Return the exact mean of what is reported at each sampled rank, of m draws by weight.

    Args:
        table: [m + 1] or [m + 1, G], one or G numbers for each sampled rank.
        shares: where the positives stand [Q].
        m: negatives, drawn with replacement; at least 1.

    Returns:
        float64 [Q] or [Q, G]; NaN where the shares are.
    """
    out = np.empty((len(shares.above), *table.shape[1:]))
    step = max(1, _BLOCK_CELLS // (m + 1))
    for low in range(0, len(out), step):
        part = Shares(shares.above[low : low + step], shares.level[low : low + step])
        out[low : low + step] = share_law(part, m) @ table
    return out


def weigh_positives(
    scores: NDArray[np.floating],
    mask: NDArray[np.bool_],
    column: NDArray[np.integer],
    weight: NDArray[np.floating],
) -> Shares:
    """Return the share of the others' weight above and level with each positive.

    Args:
        scores: [Q, C] scores of each query's candidates.
        mask: [Q, C] candidates.
        column: [Q] columns of the positives.
        weight: [Q, C] popularity, finite and not negative for candidates.

    Returns:
        Shares [Q]; NaN where the other candidates weigh nothing.

    Raises:
        MetricError: shapes differ, or a candidate's score or weight is not usable.
    """
    check_weight(weight, mask)
    own = np.take_along_axis(scores, column[:, None], axis=1)
    others = mask.copy()
    np.put_along_axis(others, column[:, None], False, axis=1)
    if not np.isfinite(scores[mask]).all() or not np.isfinite(own).all():
        raise MetricError("scores of candidates must be finite")
    other = np.where(others, weight, 0.0).astype(np.float64)
    total = other.sum(axis=1)
    sums = [(other * flags).sum(axis=1) for flags in (scores > own, scores == own)]
    with np.errstate(invalid="ignore"):
        above, level = (np.divide(s, total) for s in sums)
    return Shares(above, level)


def simulated_values(
    metric: RankMetric,
    scores: NDArray[np.floating],
    mask: NDArray[np.bool_],
    request_id: NDArray[np.integer],
    column: NDArray[np.integer],
    weight: NDArray[np.floating] | None,
    m: int,
    *,
    repeats: int,
    seed: int,
    replacement: bool = False,
) -> Simulated:
    """Return the expectation of the sampled metric by repeated draws, with its standard error.

    For popularity sampling without replacement, where no closed form exists.

    Args:
        metric: the metric.
        scores: [Q, C] scores of each query's candidates.
        mask: [Q, C] candidates.
        request_id: [Q] with `column` the address of the draws.
        column: [Q] columns of the positives.
        weight: [Q, C] popularity; None for uniform draws.
        m: negatives per query.
        repeats: independent draws, at least 2.
        seed: seed of the draws; the same for every policy.
        replacement: whether to draw with replacement.

    Raises:
        MetricError: `repeats` is below 2, or the input is refused by the draws.
    """
    if repeats < 2:
        raise MetricError(f"repeats is {repeats}; an error needs at least 2")
    values = np.stack(
        [
            metric.values(
                sampled_ranks(
                    scores,
                    column,
                    draw_negatives(
                        request_id,
                        column,
                        mask,
                        m,
                        seed=seed,
                        repeat=repeat,
                        replacement=replacement,
                        weight=weight,
                    ),
                )
            )
            for repeat in range(repeats)
        ]
    )
    return Simulated(values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(repeats))


@lru_cache(maxsize=1 << 13)
def _expected_gains(metric: RankMetric, n: int, m: int, replacement: bool) -> NDArray[np.float64]:
    """Expected sampled metric at each full rank, [n]; every policy asks for the same tables."""
    if n == 1:
        return metric.gains(1)
    draws = list_draws(n, m, replacement=replacement)
    gain = metric.gains(draws + 1)
    out = np.empty(n)
    step = max(1, _BLOCK_CELLS // (draws + 1))
    for low in range(0, n, step):
        better = np.arange(low, min(low + step, n))
        out[better] = rank_law(better, n, draws, replacement=replacement) @ gain
    out.setflags(write=False)
    return out


def list_draws(n: int, m: int, *, replacement: bool) -> int:
    """Return how many negatives a list of n candidates gives: all of them where m is more."""
    return m if replacement else min(m, n - 1)


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
        return _binomial(above / (n - 1), m)
    below = (n - 1) - above
    possible = (drawn <= above) & (m - drawn <= below)
    of_above = log_choose(above, np.minimum(drawn, above))
    of_below = log_choose(below, np.clip(m - drawn, 0, below))
    log_law = np.where(possible, of_above + of_below - log_choose(n - 1, m), -np.inf)
    return _normalised(np.exp(log_law))


def share_law(shares: Shares, m: int) -> NDArray[np.float64]:
    """Return P(sampled rank = j), j = 1..m+1, of m draws with replacement, float64 [Q, m + 1].

    Rows sum to 1; NaN where the shares are.
    """
    out = _binomial(shares.above[:, None], m)
    tied = np.flatnonzero(shares.level > 0.0)
    if len(tied):
        drawn = np.arange(m + 1)
        low = shares.above[tied, None]
        high = np.minimum(low + shares.level[tied, None], 1.0)
        cdf = [betainc(drawn + 1.0, m - drawn + 1.0, end) for end in (low, high)]
        # Rounding may leave a difference of two equal numbers below 0.
        out[tied] = _normalised(np.maximum(cdf[1] - cdf[0], 0.0))
    return out


def by_length(candidates: NDArray[np.integer]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each length n of a list with the queries [..] that have it."""
    order = np.argsort(candidates, kind="stable")
    lengths, starts = np.unique(candidates[order], return_index=True)
    for n, rows in zip(lengths, np.split(order, starts[1:]), strict=False):
        yield int(n), rows


def _binomial(p: NDArray[np.float64], m: int) -> NDArray[np.float64]:
    drawn = np.arange(m + 1)
    log_law = log_choose(m, drawn) + xlogy(drawn, p) + xlog1py(m - drawn, -p)
    return _normalised(np.exp(log_law))


def _normalised(law: NDArray[np.float64]) -> NDArray[np.float64]:
    # The logarithms of factorials carry rounding of 1e-11; probabilities must sum to 1.
    out: NDArray[np.float64] = law / law.sum(axis=1, keepdims=True)
    return out
