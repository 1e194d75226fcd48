"""Rank profiles by EM, and cut-offs of sampled lists as cut-offs of full ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binom

from evaluation.ranking.cutoffs import global_cutoff, matched_cutoff, profile_exponent
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.profile import rank_profile, sampled_shares
from evaluation.ranking.ranks import MetricError, Ranks
from evaluation.ranking.sampled import expected_values, rank_law
from tests.evaluation.ranking.toy import TOY, M, N, toy


def _shares(name: str) -> np.ndarray:
    return rank_law(toy(name).greater, N, M, replacement=True).mean(axis=0)


def test_profile_recovers_the_order_of_the_toy_recommenders() -> None:
    recall, ap = RankMetric("recall", 10), RankMetric("ap")
    found = {r: rank_profile(_shares(r), N, M, replacement=True, steps=2000) for r in TOY}
    at_10 = {r: found[r].value(recall) for r in TOY}
    assert at_10 == pytest.approx({"A": 0.0, "B": 0.0, "C": 0.2}, abs=0.005)
    mean_ap = {r: found[r].value(ap) for r in TOY}
    assert mean_ap["A"] == pytest.approx(0.0102, abs=2e-4)
    assert mean_ap["B"] == pytest.approx(0.0109, abs=6e-4)
    assert mean_ap["C"] > 0.1
    assert mean_ap["C"] > mean_ap["B"] > mean_ap["A"]
    assert all(profile.steps == 2000 for profile in found.values())


def test_answer_depends_on_the_stopping_time_and_says_so() -> None:
    early = rank_profile(_shares("C"), N, M, replacement=True, steps=100)
    late = rank_profile(_shares("C"), N, M, replacement=True, steps=500)
    assert late.value(RankMetric("ap")) - early.value(RankMetric("ap")) > 0.01
    assert early.log_likelihood < late.log_likelihood <= late.best_log_likelihood
    stopped = rank_profile(_shares("C"), N, M, replacement=True, steps=500, tolerance=1e-3)
    assert stopped.steps < 100


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 30), st.integers(1, 10), st.booleans(), st.integers(0, 2**31))
def test_likelihood_never_falls_and_the_profile_sums_to_one(
    n: int, m: int, replacement: bool, seed: int
) -> None:
    draws = m if replacement else min(m, n - 1)
    rng = np.random.default_rng(seed)
    law = rank_law(rng.integers(0, n, 5), n, draws, replacement=replacement).mean(axis=0)
    counts = rng.multinomial(50, law)
    likelihoods = []
    for steps in (1, 2, 3, 10):
        found = rank_profile(counts / 50, n, m, replacement=replacement, steps=steps)
        assert found.probability.sum() == pytest.approx(1.0)
        assert (found.probability >= 0.0).all()
        likelihoods.append(found.log_likelihood)
    assert (np.diff(likelihoods) >= -1e-12).all()
    assert likelihoods[-1] <= found.best_log_likelihood + 1e-12


def test_one_step_equals_the_sums_written_out() -> None:
    n, m = 6, 3
    shares = np.array([0.4, 0.3, 0.0, 0.3])
    law = rank_law(np.arange(n), n, m, replacement=False)
    expected = np.zeros(n)
    for r in range(n):
        for j in range(m + 1):
            expected[r] += (1 / n) * shares[j] * law[r, j] / (law[:, j].sum() / n)
    got = rank_profile(shares, n, m, steps=1).probability
    np.testing.assert_allclose(got, expected / expected.sum(), atol=1e-14)


def test_all_others_as_negatives_show_the_profile_itself() -> None:
    sampled = Ranks(*(np.array(x, np.int32) for x in ([0, 2, 2, 1], [0, 0, 1, 0], [5, 5, 5, 5])))
    shares = sampled_shares(sampled, 4)
    np.testing.assert_allclose(shares, np.array([1.0, 1.0, 1.5, 0.5, 0.0]) / 4)
    found = rank_profile(shares, 5, 10, steps=50)
    np.testing.assert_allclose(found.probability, shares, atol=1e-12)


def test_shares_refuse_what_they_cannot_count() -> None:
    with pytest.raises(MetricError, match="no sampled ranks"):
        sampled_shares(Ranks.concat([]), 4)
    with pytest.raises(MetricError, match="a query has 3 negatives; a profile needs 4"):
        sampled_shares(Ranks.untied(np.array([1]), 4), 4)
    with pytest.raises(MetricError, match="shares must be 4 numbers"):
        rank_profile(np.array([0.5, 0.5]), 10, 3)
    with pytest.raises(MetricError, match="shares must be 3 numbers"):
        rank_profile(np.array([np.nan, 0.5, 0.5]), 10, 2)
    with pytest.raises(MetricError, match="sampled rank 2, which 2 of 1 cannot give"):
        rank_profile(np.array([0.4, 0.2, 0.4]), 2, 2, replacement=True)
    with pytest.raises(MetricError, match="at least 2 candidates and 1 step"):
        rank_profile(np.array([0.5, 0.5]), 1, 1)


def test_cutoffs_of_the_power_law() -> None:
    # values from the notes on Li et al. (KDD 2020), n = 10,000 and m = 99
    assert global_cutoff(1, N, M, 0.5) == pytest.approx(78.7, abs=0.05)
    assert global_cutoff(10, N, M, 0.5) == pytest.approx(977.8, abs=0.05)
    assert global_cutoff(1, N, M, 0.25) == pytest.approx(67.8, abs=0.05)
    for k in (1, 10, 50):
        assert global_cutoff(k, N, M) == pytest.approx(k * N / (M + 1))


@pytest.mark.parametrize("a", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("k", [1, 4])
def test_power_law_cutoff_hits_as_often_as_the_sampled_list(a: float, k: int) -> None:
    m = 20
    share, _ = quad(lambda x: binom.cdf(k - 1, m, x ** (1 / a)), 0.0, 1.0)
    assert (global_cutoff(k, 1, m, a)) ** a == pytest.approx(share, abs=1e-6)


def test_matched_cutoff_equates_both_hit_rates() -> None:
    rng = np.random.default_rng(0)
    ranks = Ranks.untied(np.ceil(1000 * rng.random(4000) ** 2).astype(int), 1000)
    assert profile_exponent(ranks) == pytest.approx(0.5, abs=0.02)
    cut = matched_cutoff(ranks, 5, 50)
    sampled = expected_values(RankMetric("hr", 5), ranks, 50).mean()
    assert RankMetric("hr", round(cut)).values(ranks).mean() == pytest.approx(sampled, abs=2e-3)
    assert cut == pytest.approx(global_cutoff(5, 1000, 50, 0.5), rel=0.05)


def test_cutoffs_refuse_what_they_cannot_map() -> None:
    ranks = Ranks(*(np.array(x, np.int32) for x in ([0, 1], [0, 0], [5, 6])))
    with pytest.raises(MetricError, match="lists of other lengths"):
        matched_cutoff(ranks, 1, 2)
    with pytest.raises(MetricError, match="k is 3; a cut-off of m = 2"):
        global_cutoff(3, 10, 2)
    with pytest.raises(MetricError, match="exponent is 0"):
        global_cutoff(1, 10, 2, 0.0)
    with pytest.raises(MetricError, match="no ranks"):
        profile_exponent(Ranks.concat([]))
    assert np.isnan(matched_cutoff(Ranks.concat([]), 1, 2))
