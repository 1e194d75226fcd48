"""Sampled metrics: published toy table, enumeration, and shared draws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluation.ranking.draws import draw_negatives, sampled_ranks
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import MetricError, Ranks, rank_positives
from evaluation.ranking.sampled import (
    expected_values,
    rank_law,
    sampled_name,
)
from sim.schema import PAD

NAMES = ("hr@1", "hr@2", "ndcg@2", "ndcg", "mrr", "query_auc")

# Krichene & Rendle, KDD 2020: five instances among n = 10,000 items.
TOY = {
    "A": [100] * 5,
    "B": [40, 40, 8437, 9266, 4482],
    "C": [212, 2, 743, 5342, 1548],
}
EXACT = {
    "A": {"query_auc": 0.990099, "mrr": 0.010000, "ndcg": 0.150190, "hr@10": 0.0, "ndcg@10": 0.0},
    "B": {"query_auc": 0.554755, "mrr": 0.010090, "ndcg": 0.121660, "hr@10": 0.0, "ndcg@10": 0.0},
    "C": {
        "query_auc": 0.843144, "mrr": 0.101379, "ndcg": 0.208033, "hr@10": 0.2, "ndcg@10": 0.126186,
    },
}  # fmt: skip
SAMPLED_99 = {
    "A": {"query_auc": 0.990099, "mrr": 0.636592, "ndcg": 0.728989, "hr@10": 1.000000},
    "B": {"query_auc": 0.554755, "mrr": 0.340739, "ndcg": 0.447337, "hr@10": 0.400000},
    "C": {"query_auc": 0.843144, "mrr": 0.326169, "ndcg": 0.459986, "hr@10": 0.569422},
}
WITHOUT_REPLACEMENT_99 = {
    "A": {"mrr": 0.635805},
    "B": {"mrr": 0.340548},
    "C": {"mrr": 0.325970, "hr@10": 0.569462},
}


def toy(name: str) -> Ranks:
    greater = np.array(TOY[name], dtype=np.int32) - 1
    return Ranks(greater, np.zeros_like(greater), np.full_like(greater, 10_000))


@pytest.mark.parametrize("recommender", TOY)
def test_toy_table_of_kdd_2020(recommender: str) -> None:
    ranks = toy(recommender)
    for name, number in EXACT[recommender].items():
        assert RankMetric.parse(name).values(ranks).mean() == pytest.approx(number, abs=1e-6)
    for name, number in SAMPLED_99[recommender].items():
        got = expected_values(RankMetric.parse(name), ranks, 99, replacement=True).mean()
        assert got == pytest.approx(number, abs=1e-6)
    for name, number in WITHOUT_REPLACEMENT_99[recommender].items():
        got = expected_values(RankMetric.parse(name), ranks, 99).mean()
        assert got == pytest.approx(number, abs=1e-6)


def _best(name: str, m: int) -> str:
    gain = RankMetric.parse(name).gains(m + 1)
    law = {r: rank_law(toy(r).greater, 10_000, m, replacement=True) for r in TOY}
    means = {r: float((law[r] @ gain).mean()) for r in TOY}
    return "".join(sorted(means, key=lambda r: -means[r]))


def test_order_flips_at_the_exact_number_of_negatives() -> None:
    flips = {72: "ACB", 73: "ABC", 280: "ABC", 281: "ACB", 437: "ACB", 438: "CAB", 953: "CAB"}
    assert {m: _best("mrr", m) for m in flips} == flips
    assert _best("mrr", 954) == "CBA"
    assert [_best("hr@10", m) for m in (227, 228, 1060, 1061)] == ["ACB", "ABC", "ABC", "BAC"]


@pytest.mark.parametrize("m", [1, 2, 3, 5])
@pytest.mark.parametrize("replacement", [True, False])
def test_expectation_equals_enumeration(m: int, replacement: bool) -> None:
    scores = np.array([3.0, 1.0, 2.0, 2.0, 0.0, 5.0])
    others = [1, 2, 3, 4, 5]
    pick = itertools.product(others, repeat=m) if replacement else itertools.combinations(others, m)
    draws = np.array(list(pick), dtype=np.int32)
    ranks = rank_positives(scores[None], np.ones((1, 6), dtype=bool), np.array([0]), np.array([0]))
    tiled = np.tile(scores, (len(draws), 1))
    seen = sampled_ranks(tiled, np.zeros(len(draws), dtype=np.int64), draws)
    for name in NAMES:
        metric = RankMetric.parse(name)
        expected = expected_values(metric, ranks, m, replacement=replacement)[0]
        assert expected == pytest.approx(metric.values(seen).mean(), abs=1e-12)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_expectation_with_a_tied_positive_equals_enumeration(m: int) -> None:
    scores = np.array([2.0, 3.0, 2.0, 2.0, 0.0])
    draws = np.array(list(itertools.combinations([1, 2, 3, 4], m)), dtype=np.int32)
    ranks = rank_positives(scores[None], np.ones((1, 5), dtype=bool), np.array([0]), np.array([0]))
    tiled = np.tile(scores, (len(draws), 1))
    seen = sampled_ranks(tiled, np.zeros(len(draws), dtype=np.int64), draws)
    for name in NAMES:
        metric = RankMetric.parse(name)
        expected = expected_values(metric, ranks, m)[0]
        assert expected == pytest.approx(metric.values(seen).mean(), abs=1e-12)


def test_enough_negatives_are_the_full_metric() -> None:
    ranks = Ranks(*(np.array(x, dtype=np.int32) for x in ([0, 3, 6], [0, 2, 0], [9, 9, 7])))
    for name in NAMES:
        metric = RankMetric.parse(name)
        got = expected_values(metric, ranks, 50)
        np.testing.assert_allclose(got, metric.values(ranks), atol=1e-12)


@given(st.integers(2, 60), st.integers(1, 40), st.booleans(), st.data())
def test_laws_sum_to_one_and_auc_is_consistent(
    n: int, m: int, replacement: bool, data: st.DataObject
) -> None:
    draws = m if replacement else min(m, n - 1)
    better = np.arange(n)
    law = rank_law(better, n, draws, replacement=replacement)
    assert (law >= 0).all()
    np.testing.assert_allclose(law.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(law @ np.arange(draws + 1), draws * better / (n - 1), atol=1e-9)
    greater = np.array([data.draw(st.integers(0, n - 1))], dtype=np.int32)
    ranks = Ranks(greater, np.zeros_like(greater), np.array([n], dtype=np.int32))
    auc = RankMetric.parse("query_auc")
    got = expected_values(auc, ranks, m, replacement=replacement)
    np.testing.assert_allclose(got, auc.values(ranks), atol=1e-9)


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 30))
def test_constant_scorer_gets_k_over_list_length(n: int, k: int, m: int) -> None:
    tied = Ranks(*(np.array([x], dtype=np.int32) for x in (0, n - 1, n)))
    length = min(m, n - 1) + 1
    got = expected_values(RankMetric("hr", k), tied, m)[0]
    assert got == pytest.approx(min(k, length) / length, abs=1e-12)


def _candidates(seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    scores, mask = rng.random((400, 30)), rng.random((400, 30)) < 0.7
    column = rng.integers(0, 30, 400)
    mask[np.arange(400), column] = True
    return scores, mask, column


@pytest.mark.parametrize("replacement", [True, False])
def test_draws_are_candidates_and_never_the_positive(replacement: bool) -> None:
    _, mask, column = _candidates(0)
    mask[0] = False
    mask[0, column[0]] = True  # nothing to draw from
    drawn = draw_negatives(np.arange(400), column, mask, 8, seed=3, replacement=replacement)
    assert (drawn[0] == PAD).all()
    real = drawn[1:]
    assert (real != column[1:, None]).all()
    assert np.take_along_axis(mask[1:], real, axis=1).all()
    if not replacement:
        assert all(len(set(row)) == 8 for row in real)


def test_draws_pad_where_fewer_negatives_exist() -> None:
    drawn = draw_negatives(np.array([7]), np.array([0]), np.ones((1, 3), dtype=bool), 5, seed=0)
    assert sorted(drawn[0]) == [PAD, PAD, PAD, 1, 2]
    ranks = sampled_ranks(np.array([[1.0, 2.0, 0.0]]), np.array([0]), drawn)
    assert (ranks.greater[0], ranks.candidates[0]) == (1, 3)


def test_draws_depend_on_request_seed_and_repeat_only() -> None:
    _, mask, column = _candidates(1)
    ids = np.arange(400) + 2**40
    first = draw_negatives(ids, column, mask, 6, seed=5)
    part = np.array([17, 3, 250])
    np.testing.assert_array_equal(
        np.sort(first[part], axis=1),
        np.sort(draw_negatives(ids[part], column[part], mask[part], 6, seed=5), axis=1),
    )
    for other in (
        draw_negatives(ids, column, mask, 6, seed=6),
        draw_negatives(ids, column, mask, 6, seed=5, repeat=1),
        draw_negatives(ids + 2**33, column, mask, 6, seed=5),
    ):
        assert (np.sort(first, axis=1) != np.sort(other, axis=1)).any(axis=1).mean() > 0.9


@pytest.mark.parametrize("replacement", [True, False])
def test_draws_average_to_the_expectation(replacement: bool) -> None:
    scores, mask, column = _candidates(2)
    full = rank_positives(scores, mask, np.arange(400), column)
    metric = RankMetric("hr", 2)
    expected = expected_values(metric, full, 5, replacement=replacement).mean()
    means = []
    for repeat in range(60):
        drawn = draw_negatives(
            np.arange(400), column, mask, 5, seed=0, repeat=repeat, replacement=replacement
        )
        means.append(metric.values(sampled_ranks(scores, column, drawn)).mean())
    error = np.std(means, ddof=1) / np.sqrt(len(means))
    assert abs(np.mean(means) - expected) < 4 * error


def test_bad_input_is_refused() -> None:
    ranks = toy("A")
    with pytest.raises(MetricError, match="m is 0"):
        expected_values(RankMetric("mrr"), ranks, 0)
    with pytest.raises(MetricError, match="m is 0"):
        draw_negatives(np.array([1]), np.array([0]), np.ones((1, 3), dtype=bool), 0, seed=0)
    for seed in (-1, 2**32):
        with pytest.raises(MetricError, match=rf"seed is {seed}; it must lie in \[0, 4294967295\]"):
            draw_negatives(np.array([1]), np.array([0]), np.ones((1, 3), bool), 1, seed=seed)
    with pytest.raises(MetricError, match="finite"):
        sampled_ranks(np.array([[0.0, np.nan]]), np.array([0]), np.array([[1]]))
    one = Ranks(*(np.array([x], dtype=np.int32) for x in (0, 0, 1)))
    assert expected_values(RankMetric("mrr"), one, 4)[0] == 1.0
    assert np.isnan(expected_values(RankMetric("query_auc"), one, 4)[0])
    assert sampled_name(RankMetric("hr", 10), 20) == "hr@10/s20"
