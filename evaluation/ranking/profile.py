"""The distribution of full ranks behind sampled ranks, by maximum likelihood (EM).

Sampled ranks R have the law P(R = j) = sum_r pi_r P(R = j | r). With w_j the share of queries that
were seen at sampled rank j, the likelihood sum_j w_j ln (pi P)_j is climbed by

    pi_r <- pi_r sum_j w_j P(R = j | r) / (pi P)_j

from the uniform distribution, and a metric is estimated as sum_r pi_r M(r). The likelihood is flat:
m + 1 frequencies cannot tell n ranks apart. So the answer depends on where the climb stops, and an
early stop keeps the profile close to uniform. Steps and likelihood are part of the answer.

Source: Jin, Li, Mudgal, Liu, "On Estimating Recommendation Evaluation Metrics under Sampling", AAAI
2021, section on the maximum-likelihood estimator. Axis letters: R ranks 1..n, M sampled ranks
1..m+1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.ranking.draws import check_m
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import MetricError, Ranks
from evaluation.ranking.sampled import list_draws, rank_law


@dataclass(frozen=True)
class RankProfile:
    """An estimated distribution of full ranks."""

    probability: NDArray[np.float64]
    """[n], of rank 1, 2, ..., n; sums to 1."""
    steps: int
    """Steps of EM that were taken; the answer depends on them."""
    log_likelihood: float
    """Mean over queries, nats."""
    best_log_likelihood: float
    """What no profile can exceed: sum_j w_j ln w_j."""

    def value(self, metric: RankMetric) -> float:
        """Return the mean of a metric under the profile; NaN where the metric is undefined."""
        return float(self.probability @ metric.gains(len(self.probability)))


def sampled_shares(sampled: Ranks, draws: int) -> NDArray[np.float64]:
    """Return the share of queries at each sampled rank, float64 [draws + 1]; ties are spread.

    Args:
        sampled: ranks among drawn negatives [Q].
        draws: negatives of each query.

    Raises:
        MetricError: there are no queries, or a list has another length.
    """
    if not len(sampled):
        raise MetricError("there are no sampled ranks to estimate a profile from")
    if (sampled.candidates != draws + 1).any():
        other = int(sampled.candidates[np.argmax(sampled.candidates != draws + 1)]) - 1
        raise MetricError(f"a query has {other} negatives; a profile needs {draws} in each")
    edge = np.zeros(draws + 2)
    each = 1.0 / (sampled.equal + 1.0)
    np.add.at(edge, sampled.greater, each)
    np.add.at(edge, sampled.greater + sampled.equal + 1, -each)
    shares = np.maximum(np.cumsum(edge[:-1]), 0.0)
    return np.asarray(shares / shares.sum(), np.float64)


def rank_profile(
    shares: NDArray[np.floating],
    n: int,
    m: int,
    *,
    replacement: bool = False,
    steps: int = 2000,
    tolerance: float = 0.0,
) -> RankProfile:
    """Estimate the distribution of full ranks behind sampled ranks.

    Args:
        shares: [m + 1] share of queries at each sampled rank (fewer where m > n - 1 and no
            replacement).
        n: candidates of the full lists, at least 2.
        m: negatives.
        replacement: whether they were drawn with replacement.
        steps: most steps of EM, at least 1.
        tolerance: stop when a step gains less log likelihood than this, nats; 0 takes all steps.

    Raises:
        MetricError: a number is too small, or the shares are no distribution over sampled ranks.
    """
    check_m(m)
    if n < 2 or steps < 1:
        raise MetricError(f"n is {n} and steps is {steps}; at least 2 candidates and 1 step")
    draws = list_draws(n, m, replacement=replacement)
    seen = np.asarray(shares, np.float64)
    if seen.shape != (draws + 1,) or not (seen >= 0.0).all() or abs(seen.sum() - 1.0) > 1e-6:
        raise MetricError(f"shares must be {draws + 1} numbers from 0 on that sum to 1")
    occurs = np.flatnonzero(seen > 0.0)
    # Sampled ranks that nobody has add nothing to any sum.
    seen = seen[occurs] / seen.sum()
    whole = rank_law(np.arange(n), n, draws, replacement=replacement)
    law = np.ascontiguousarray(whole[:, occurs])
    profile = np.full(n, 1.0 / n)
    mixed = profile @ law
    if not mixed.all():
        never = int(occurs[np.argmin(mixed)]) + 1
        raise MetricError(f"shares has sampled rank {never}, which {m} of {n - 1} cannot give")
    likelihood = float(seen @ np.log(mixed))
    taken = 0
    while taken < steps:
        profile *= law @ (seen / mixed)
        profile /= profile.sum()
        mixed = profile @ law
        before, likelihood = likelihood, float(seen @ np.log(mixed))
        taken += 1
        if tolerance > 0.0 and likelihood - before < tolerance:
            break
    return RankProfile(profile, taken, likelihood, float(seen @ np.log(seen)))
