"""Which cut-off of the full list a cut-off of the sampled list stands for.

A hit among the first k of m sampled negatives and the positive is roughly a hit among the first
f(k) of all n candidates: SHR@k ~ HR@f(k). Three ways to f:

    linear      f = k n / (m + 1), for ranks that are spread evenly
    power law   where HR@K = (K/n)^a. A sampled rank is then beta-binomial, and f is exact:
                f(k; a) = n [G(k+a) G(m+1) / (G(k) G(m+1+a))]^(1/a), G the gamma function
    from truth  the K at which HR@K of the known full ranks equals the expected SHR@k

So "hit rate at 10 among 99 negatives" of 10,000 candidates is the hit rate at about 980 to 1000.

Sources: Li, Jin, Gao, Liu, "On Sampling Top-K Recommendation Evaluation", KDD 2020, for the map and
its shape; the power-law form by integrating the binomial law of a sampled rank over that profile
(large n). Axis letter: Q queries.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from evaluation.ranking.draws import check_m
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import MetricError, Ranks
from evaluation.ranking.sampled import expected_values


def global_cutoff(k: int, n: int, m: int, exponent: float = 1.0) -> float:
    """Return the full cut-off that cut-off k among m negatives stands for.

    Args:
        k: cut-off of the sampled list, in [1, m].
        n: candidates of the full list.
        m: negatives, drawn with replacement.
        exponent: a of the profile HR@K = (K/n)^a, above 0; 1 is the linear map.

    Raises:
        MetricError: k is outside [1, m], n is below 1, or the exponent is not positive.
    """
    _check(k, n, m)
    if not exponent > 0.0:
        raise MetricError(f"exponent is {exponent}; it must be above 0")
    hit = gammaln(k + exponent) + gammaln(m + 1) - gammaln(k) - gammaln(m + 1 + exponent)
    return float(n * np.exp(hit / exponent))


def profile_exponent(ranks: Ranks) -> float:
    """Return the exponent a of HR@K = (K/n)^a that makes the ranks most likely.

    The maximum likelihood of r/n ~ Beta(a, 1): a = -1 / mean(ln((r - 1/2)/n)); the half keeps a
    discrete rank in the middle of its cell.

    Raises:
        MetricError: there are no ranks.
    """
    if not len(ranks):
        raise MetricError("there are no ranks to fit a profile to")
    place = (ranks.expected - 0.5) / ranks.candidates
    return float(-1.0 / np.log(place).mean())


def matched_cutoff(ranks: Ranks, k: int, m: int, *, replacement: bool = False) -> float:
    """Return the K at which HR@K of known full ranks equals the expected sampled hit rate at k.

    Args:
        ranks: full ranks [Q] of lists of one length.
        k: cut-off of the sampled list, in [1, m].
        m: negatives.
        replacement: whether they are drawn with replacement.

    Returns:
        K, interpolated between ranks that occur; NaN without ranks.

    Raises:
        MetricError: the lists differ in length, or k is outside [1, m].
    """
    if not len(ranks):
        return float("nan")
    n = int(ranks.candidates[0])
    if (ranks.candidates != n).any():
        raise MetricError("lists of other lengths have other cut-offs; take one length at a time")
    _check(k, n, m)
    share = float(expected_values(RankMetric("hr", k), ranks, m, replacement=replacement).mean())
    placed = np.sort(ranks.expected)
    # HR@K is a staircase through these points; between them K is linear.
    hits = np.arange(len(placed) + 1) / len(placed)
    return float(np.interp(share, hits, np.concatenate([[0.0], placed])))


def _check(k: int, n: int, m: int) -> None:
    check_m(m)
    if not 1 <= k <= m:
        raise MetricError(f"k is {k}; a cut-off of m = {m} negatives must be in [1, {m}]")
    if n < 1:
        raise MetricError(f"n is {n}; at least 1 candidate")
