"""Corrected sampled metrics: the published toy table, enumeration, optimality, the blind spot."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.ranking.corrections import (
    CORRECTIONS,
    RAW,
    BlindSpotWarning,
    Correction,
    blind,
    corrected_values,
    expected_corrected,
)
from evaluation.ranking.draws import sampled_ranks
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import MetricError, Ranks, rank_positives
from evaluation.ranking.sampled import expected_values, rank_law
from tests.evaluation.ranking.toy import TOY, M, N, toy

# Expectations over the draw of 99 negatives with replacement, uniform prior; columns rank, cls,
# bv 1, 0.1, 0.01, 0.001; computed independently of this code.
GOLDEN = {
    ("ap", "A"): (0.37816, 0.03431, 0.02200, 0.02158, 0.00634, -0.00517),
    ("ap", "B"): (0.27290, 0.02498, 0.01381, 0.02290, 0.02495, 0.02081),
    ("ap", "C"): (0.22382, 0.02045, 0.01179, 0.02077, 0.03147, 0.04360),
    ("recall@10", "A"): (0.37341, 0.07016, 0.03713, 0.03003, -0.01552, -0.05019),
    ("recall@10", "B"): (0.27167, 0.05080, 0.02631, 0.04739, 0.05172, 0.03873),
    ("recall@10", "C"): (0.22234, 0.04141, 0.02140, 0.04399, 0.07470, 0.11150),
    ("ndcg", "A"): (0.46137, 0.17198, 0.15707, 0.16346, 0.14845, 0.13693),
    ("ndcg", "B"): (0.33741, 0.13715, 0.11783, 0.13229, 0.13571, 0.13201),
    ("ndcg", "C"): (0.30205, 0.13749, 0.12218, 0.13512, 0.14687, 0.15874),
}
TABLES = {
    "cls": (0.09179, 0.00006, 0.00006),
    "bv1": (0.04638, 0.00959, 0.00495, 0.00332),
    "bv0.1": (0.10062, -0.04226, -0.00489, 0.00695),
    "bv0.01": (0.15967, -0.19381, 0.08825, 0.04393),
}
BY_NAME = {correction.name: correction for correction in CORRECTIONS}


@pytest.mark.parametrize(("metric", "recommender"), GOLDEN)
def test_corrected_toy_table(metric: str, recommender: str) -> None:
    got = [
        expected_corrected(c, RankMetric.parse(metric), toy(recommender), M, replacement=True)[0]
        for c in CORRECTIONS
    ]
    means = [values.mean() for values in got]
    # the golden numbers are rounded to five digits
    np.testing.assert_allclose(means, GOLDEN[metric, recommender], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_the_toy_corrections(name: str) -> None:
    table = BY_NAME[name].table(RankMetric("ap"), N, M, replacement=True)
    np.testing.assert_allclose(table[: len(TABLES[name])], TABLES[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("recommender", TOY)
def test_auc_needs_no_correction(recommender: str) -> None:
    auc = RankMetric("query_auc")
    exact = auc.values(toy(recommender)).mean()
    for correction in (RAW, BY_NAME["rank"], BY_NAME["cls"]):
        got = expected_corrected(correction, auc, toy(recommender), M, replacement=True)[0].mean()
        assert got == pytest.approx(exact, abs=1e-6)


def test_bias_variance_shrinks_auc_as_published() -> None:
    auc = RankMetric("query_auc")
    got = [
        expected_corrected(Correction("bv", g), auc, toy("A"), M, replacement=True)[0].mean()
        for g in (1.0, 0.1)
    ]
    assert got == pytest.approx([0.98041, 0.98911], abs=1e-5)


def test_rank_estimate_of_recall_and_ndcg_is_one_number_in_the_blind_spot() -> None:
    rank = BY_NAME["rank"]
    recall = rank.table(RankMetric("recall", 10), N, M, replacement=True)
    ndcg = rank.table(RankMetric("ndcg", 10), N, M, replacement=True)
    np.testing.assert_array_equal(recall, ndcg)
    assert list(recall[:2]) == [1.0, 0.0]


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("correction", CORRECTIONS, ids=lambda c: c.name)
def test_expectation_and_variance_equal_enumeration(
    correction: Correction, replacement: bool
) -> None:
    ranked, tied = [3.0, 1.0, 2.0, 6.0, 0.0, 5.0, 4.0], [3.0, 1.0, 3.0, 6.0, 3.0, 5.0, 4.0]
    others, m = [1, 2, 3, 4, 5, 6], 3
    pick = itertools.product(others, repeat=m) if replacement else itertools.combinations(others, m)
    draws = np.array(list(pick), dtype=np.int32)
    for scores, name in itertools.product((ranked, tied), ("hr@2", "ndcg", "mrr", "precision@3")):
        table = np.tile(scores, (len(draws), 1))
        ranks = rank_positives(table[:1], None, np.array([0]), np.array([0]))
        seen = sampled_ranks(table, np.zeros(len(draws), np.int64), draws)
        metric = RankMetric.parse(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BlindSpotWarning)
            values = corrected_values(
                correction, metric, seen, np.full(len(draws), 7), m, replacement=replacement
            )
        mean, variance = expected_corrected(correction, metric, ranks, m, replacement=replacement)
        assert mean[0] == pytest.approx(values.mean(), abs=1e-12)
        if scores is tied:  # values are means over the ties of a draw, which vary less
            assert variance[0] >= values.var() - 1e-12
        else:
            assert variance[0] == pytest.approx(values.var(), abs=1e-12)


@pytest.mark.parametrize("replacement", [True, False])
def test_no_correction_is_the_sampled_metric(replacement: bool) -> None:
    above, level, candidates = [0, 3, 17, 0, 5, 0], [0, 0, 0, 0, 9, 19], [20, 20, 30, 1, 20, 20]
    ranks = Ranks(*(np.array(x, np.int32) for x in (above, level, candidates)))
    for name in ("hr@2", "ndcg@3", "mrr", "ap"):
        metric = RankMetric.parse(name)
        got = expected_corrected(RAW, metric, ranks, 5, replacement=replacement)[0]
        peer = expected_values(metric, ranks, 5, replacement=replacement)
        np.testing.assert_allclose(got, peer, atol=1e-14)


def _risk(table: np.ndarray, metric: RankMetric, n: int, m: int, gamma: float) -> float:
    law = rank_law(np.arange(n), n, m, replacement=True)
    mean, square = law @ table, law @ table**2
    return float(np.mean((mean - metric.gains(n)) ** 2 + gamma * (square - mean**2)))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(5, 60),
    st.integers(2, 12),
    st.sampled_from(["hr@2", "ndcg", "mrr", "query_auc"]),
    st.sampled_from([1.0, 0.1, 0.01]),
    st.integers(0, 2**31),
)
def test_tables_minimise_what_they_claim(
    n: int, m: int, name: str, gamma: float, seed: int
) -> None:
    metric = RankMetric.parse(name)
    best = Correction("bv", gamma).table(metric, n, m, replacement=True)
    falling = Correction("cls").table(metric, n, m, replacement=True)
    assert (np.diff(falling) <= 1e-12).all()
    rng = np.random.default_rng(seed)
    for scale in (1e-3, 1e-2, 0.3):
        step = scale * rng.normal(size=m + 1)
        assert _risk(best, metric, n, m, gamma) <= _risk(best + step, metric, n, m, gamma) + 1e-12
        other = np.sort(falling + step)[::-1]
        assert _risk(falling, metric, n, m, 0.0) <= _risk(other, metric, n, m, 0.0) + 1e-9


def test_gamma_one_is_the_posterior_mean() -> None:
    n, m, metric = 40, 7, RankMetric("ndcg", 5)
    rng = np.random.default_rng(0)
    prior = rng.random(n)
    law = rank_law(np.arange(n), n, m, replacement=False)
    joint = law * prior[:, None]
    posterior = (joint * metric.gains(n)[:, None]).sum(axis=0) / joint.sum(axis=0)
    got = Correction("bv", 1.0).table(metric, n, m, prior=prior)
    np.testing.assert_allclose(got, posterior, atol=1e-12)
    nearly = Correction("bv", 1.0 - 1e-9).table(metric, n, m, prior=prior)
    np.testing.assert_allclose(nearly, posterior, atol=1e-6)


def test_all_others_as_negatives_leave_nothing_to_correct() -> None:
    ranks = Ranks.untied(np.array([1, 4, 9]), 9)
    for correction in (RAW, BY_NAME["rank"], BY_NAME["cls"]):
        for name in ("hr@3", "mrr", "query_auc"):
            metric = RankMetric.parse(name)
            mean, variance = expected_corrected(correction, metric, ranks, 50)
            np.testing.assert_allclose(mean, metric.values(ranks), atol=1e-9)
            np.testing.assert_allclose(variance, 0.0, atol=1e-9)


def test_blind_spot_is_warned_of() -> None:
    metric, sampled = RankMetric("hr", 10), Ranks.untied(np.array([1, 4]), 100)
    assert blind(metric, N, M)
    assert not blind(metric, 991, M)
    assert blind(RankMetric("mrr"), 101, 99)
    assert not blind(RankMetric("ndcg"), N, 1)
    with pytest.warns(BlindSpotWarning, match=r"hr@10 .* 99 of 9999 .* stands for 101 ranks"):
        corrected_values(BY_NAME["cls"], metric, sampled, np.array([N, N]), M, replacement=True)
    # without a correction nothing is claimed, and with enough negatives all is well
    corrected_values(RAW, metric, sampled, np.array([N, N]), M, replacement=True)
    corrected_values(BY_NAME["cls"], metric, sampled, np.array([900, 900]), M, replacement=True)


def test_wrong_input_is_one_clear_error() -> None:
    metric, sampled = RankMetric("mrr"), Ranks.untied(np.array([1]), 5)
    with pytest.raises(MetricError, match="correction 'best' is unknown; allowed: raw, rank"):
        Correction("best")  # type: ignore[arg-type]
    with pytest.raises(MetricError, match="gamma is None for 'bv'"):
        Correction("bv")
    with pytest.raises(MetricError, match=r"gamma is 0.5 for 'cls'"):
        Correction("cls", 0.5)
    with pytest.raises(MetricError, match=r"gamma is 0.0; it must lie in \(0, 1\]"):
        Correction("bv", 0.0)
    with pytest.raises(MetricError, match="query 0 has 4 sampled negatives; 3 of 9 others give 3"):
        corrected_values(RAW, metric, sampled, np.array([10]), 3)
    with pytest.raises(MetricError, match="m is 0"):
        expected_corrected(RAW, metric, sampled, 0)
    with pytest.raises(MetricError, match="n is 1"):
        RAW.table(metric, 1, 3)
    with pytest.raises(MetricError, match="prior has shape"):
        RAW.table(metric, 4, 3, prior=np.ones(3))
    with pytest.raises(MetricError, match="prior has values that are negative"):
        RAW.table(metric, 3, 3, prior=np.array([1.0, -1.0, 1.0]))


def test_no_queries_give_no_values() -> None:
    none = Ranks.concat([])
    mean, variance = expected_corrected(BY_NAME["cls"], RankMetric("mrr"), none, 3)
    assert len(mean) == len(variance) == 0
    assert len(corrected_values(RAW, RankMetric("mrr"), none, np.empty(0, np.int64), 3)) == 0
