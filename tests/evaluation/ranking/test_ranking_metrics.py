"""Ranks by counting and the metrics on them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from sklearn.metrics import ndcg_score, roc_auc_score

from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import MetricError, Ranks, rank_positives

NAMES = ("hr@1", "hr@3", "ndcg@3", "ndcg", "mrr", "query_auc")


def one_query(scores: NDArray[np.floating], column: int) -> Ranks:
    mask = np.ones((1, len(scores)), dtype=bool)
    return rank_positives(scores[None], mask, np.array([0]), np.array([column]))


def value(name: str, ranks: Ranks) -> float:
    return float(RankMetric.parse(name).values(ranks)[0])


def test_counts_on_a_case_done_by_hand() -> None:
    scores = np.array([[5.0, 3.0, 3.0, 9.0, np.nan], [1.0, 1.0, 1.0, 0.0, 2.0]])
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=bool)
    ranks = rank_positives(scores, mask, np.array([0, 1, 1]), np.array([1, 4, 0]))
    assert list(ranks.greater) == [1, 0, 1]
    assert list(ranks.equal) == [1, 0, 2]
    assert list(ranks.candidates) == [3, 5, 5]
    assert list(ranks.expected) == [2.5, 1.0, 3.0]
    assert list(ranks.tied) == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_rows_are_counted_exactly(dtype: type) -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 40, (70, 1300)).astype(dtype)
    mask = rng.random((70, 1300)) < 0.8
    column = mask.argmax(axis=1)
    request = np.arange(70)
    ranks = rank_positives(scores, mask, request, column)
    own = scores[request, column, None]
    np.testing.assert_array_equal(ranks.greater, ((scores > own) & mask).sum(axis=1))
    np.testing.assert_array_equal(ranks.equal, ((scores == own) & mask).sum(axis=1) - 1)


def test_equals_scikit_learn_for_one_positive() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        scores, at = rng.permutation(30).astype(float), int(rng.integers(30))
        label = np.arange(30) == at
        ranks = one_query(scores, at)
        assert value("query_auc", ranks) == pytest.approx(roc_auc_score(label, scores), abs=1e-12)
        for k in (1, 5, 30):
            peer = ndcg_score(label[None], scores[None], k=k)
            assert value(f"ndcg@{k}", ranks) == pytest.approx(peer, abs=1e-12)


def test_ties_average_over_every_order() -> None:
    scores = np.array([4.0, 2.0, 2.0, 2.0, 1.0])
    ranks = one_query(scores, 2)
    for name in NAMES:
        metric = RankMetric.parse(name)
        places = [
            order.index(2)
            for order in itertools.permutations(range(5))
            if list(scores[list(order)]) == sorted(scores, reverse=True)
        ]
        expected = np.mean([metric.gains(5)[place] for place in places])
        assert value(name, ranks) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [1, 7, 100])
@pytest.mark.parametrize("k", [1, 3, 100])
def test_constant_scorer_gets_exactly_k_over_n(n: int, k: int) -> None:
    for column in {0, n // 2, n - 1}:
        ranks = one_query(np.full(n, 0.25, dtype=np.float32), column)
        assert value(f"hr@{k}", ranks) == min(k, n) / n


def test_constant_scorer_has_auc_one_half() -> None:
    assert value("query_auc", one_query(np.zeros(9), 4)) == 0.5


def test_one_candidate_is_defined_where_it_can_be() -> None:
    ranks = one_query(np.array([0.3]), 0)
    assert [value(name, ranks) for name in NAMES[:-1]] == [1.0] * 5
    assert np.isnan(value("query_auc", ranks))


def test_no_queries_give_empty_values() -> None:
    none = np.empty(0, dtype=np.int64)
    ranks = rank_positives(np.ones((2, 3)), np.ones((2, 3), dtype=bool), none, none)
    assert len(ranks) == 0
    assert all(len(RankMetric.parse(name).values(ranks)) == 0 for name in NAMES)
    assert len(Ranks.concat([])) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    scores = np.array([[1.0, bad, 2.0]])
    with pytest.raises(MetricError, match=r"not finite; the first is .* at request 0, column 1"):
        rank_positives(scores, np.ones((1, 3), dtype=bool), np.array([0]), np.array([0]))
    masked = np.array([[True, False, True]])
    assert rank_positives(scores, masked, np.array([0]), np.array([0])).candidates[0] == 2


def test_masked_positive_and_wrong_shapes_are_refused() -> None:
    scores = np.ones((1, 3))
    with pytest.raises(MetricError, match=r"column 2.*masked out"):
        rank_positives(scores, np.array([[True, True, False]]), np.array([0]), np.array([2]))
    with pytest.raises(MetricError, match="masked out"):
        rank_positives(scores, np.zeros((1, 3), dtype=bool), np.array([0]), np.array([0]))
    with pytest.raises(MetricError, match=r"column -1.*masked out"):
        rank_positives(scores, np.ones((1, 3), dtype=bool), np.array([0]), np.array([-1]))
    with pytest.raises(MetricError, match="one shape"):
        rank_positives(scores, np.ones((1, 2), dtype=bool), np.array([0]), np.array([0]))


@pytest.mark.parametrize(
    "name", ["hr", "hr@0", "mrr@0", "query_auc@1", "recall", "coverage@3", "hr@x", ""]
)
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(MetricError):
        RankMetric.parse(name)


def test_names_survive_the_round_trip() -> None:
    assert [RankMetric.parse(name).name for name in NAMES] == list(NAMES)


queries = npst.arrays(
    np.float64, st.integers(2, 12), elements=st.integers(-3, 3).map(float)
).flatmap(lambda scores: st.tuples(st.just(scores), st.integers(0, len(scores) - 1)))


@given(queries)
def test_values_are_bounded(query: tuple[NDArray[np.float64], int]) -> None:
    ranks = one_query(*query)
    for name in NAMES:
        assert -1e-12 <= value(name, ranks) <= 1.0 + 1e-12


@given(queries, st.randoms(use_true_random=False))
def test_order_of_columns_does_not_matter(
    query: tuple[NDArray[np.float64], int], random: np.random.Generator
) -> None:
    scores, column = query
    order = list(range(len(scores)))
    random.shuffle(order)
    moved = one_query(scores[order], order.index(column))
    for name in NAMES:
        assert value(name, moved) == value(name, one_query(scores, column))


@given(queries, st.integers(1, 4))
def test_a_better_positive_is_never_worse(
    query: tuple[NDArray[np.float64], int], raised: int
) -> None:
    scores, column = query
    better = scores.copy()
    better[column] += raised
    for name in NAMES:
        assert value(name, one_query(better, column)) >= value(name, one_query(scores, column))


@given(queries)
def test_monotone_maps_of_scores_do_not_matter(query: tuple[NDArray[np.float64], int]) -> None:
    scores, column = query
    for name in NAMES:
        mapped = value(name, one_query(np.exp(scores) - 7.0, column))
        assert mapped == value(name, one_query(scores, column))
