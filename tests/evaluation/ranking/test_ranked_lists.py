"""Requests with any number of positives: other libraries, every order of ties, edge cases."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from evaluation.ranking.lists import rank_lists
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import (
    MetricError,
    Ranks,
    rank_positives,
    rank_positives_numpy,
)
from tests.evaluation.ranking.peer_values import VALUES, B, inputs

NAMES = (
    "hr@1", "hr@3", "recall@3", "precision@3", "ndcg@3", "ndcg", "mrr", "mrr@2", "ap", "ap@2",
    "query_auc",
)  # fmt: skip


def values(name: str, scores: NDArray[np.floating], relevant: NDArray[np.bool_]) -> np.ndarray:
    return rank_lists(scores, relevant).values(RankMetric.parse(name))


@pytest.mark.parametrize("name", VALUES)
def test_equals_what_other_libraries_said(name: str) -> None:
    np.testing.assert_allclose(values(name, *inputs()), VALUES[name], rtol=0, atol=1e-9)


def _random(seed: int, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.random((40, 60))
    if levels is not None:
        scores = np.floor(scores * levels)
    relevant = rng.random((40, 60)) < rng.choice([0.02, 0.2, 0.7], (40, 1))
    relevant[:, 0] |= ~relevant.any(axis=1)
    return scores, relevant


def test_equals_scikit_learn() -> None:
    scores, relevant = _random(0)
    pairs = list(zip(relevant, scores, strict=True))
    auc = [roc_auc_score(y, s) for y, s in pairs]
    np.testing.assert_allclose(values("query_auc", scores, relevant), auc, rtol=0, atol=1e-12)
    ap = [average_precision_score(y, s) for y, s in pairs]
    np.testing.assert_allclose(values("ap", scores, relevant), ap, rtol=0, atol=1e-12)
    for k in (1, 5, 60):
        ndcg = [ndcg_score(y[None], s[None], k=k) for y, s in pairs]
        np.testing.assert_allclose(values(f"ndcg@{k}", scores, relevant), ndcg, rtol=0, atol=1e-12)


def test_ties_equal_scikit_learn() -> None:
    scores, relevant = _random(1, levels=5)
    pairs = list(zip(relevant, scores, strict=True))
    auc = [roc_auc_score(y, s) for y, s in pairs]
    np.testing.assert_allclose(values("query_auc", scores, relevant), auc, rtol=0, atol=1e-12)
    for k in (3, 60):
        # it averages over the orders of ties, too
        ndcg = [ndcg_score(y[None], s[None], k=k) for y, s in pairs]
        np.testing.assert_allclose(values(f"ndcg@{k}", scores, relevant), ndcg, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_equals_ranx() -> None:
    ranx = pytest.importorskip("ranx")
    scores, relevant = _random(2)
    qrels, run = _as_dicts(scores, relevant)
    theirs = {
        "hr@7": "hit_rate@7", "recall@7": "recall@7", "precision@7": "precision@7",
        "ndcg@7": "ndcg@7", "ndcg": "ndcg", "mrr": "mrr", "mrr@7": "mrr@7", "ap": "map",
        "ap@7": "map@7",
    }  # fmt: skip
    table = ranx.Run(run)
    ranx.evaluate(ranx.Qrels(qrels), table, list(theirs.values()))
    for name, peer in theirs.items():
        found = [table.scores[peer][query] for query in qrels]
        np.testing.assert_allclose(values(name, scores, relevant), found, rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_equals_pytrec_eval() -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    scores, relevant = _random(3)
    qrels, run = _as_dicts(scores, relevant)
    theirs = {
        "hr@7": "success_7", "recall@7": "recall_7", "precision@7": "P_7", "ndcg@7": "ndcg_cut_7",
        "ndcg": "ndcg", "mrr": "recip_rank", "ap": "map", "ap@7": "map_cut_7",
    }  # fmt: skip
    judged = pytrec_eval.RelevanceEvaluator(qrels, set(theirs.values())).evaluate(run)
    for name, peer in theirs.items():
        found = [judged[query][peer] for query in qrels]
        np.testing.assert_allclose(values(name, scores, relevant), found, rtol=0, atol=1e-9)


def _as_dicts(
    scores: np.ndarray, relevant: np.ndarray
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    qrels = {
        f"q{b:03}": {f"d{c}": 1 for c in np.flatnonzero(row)} for b, row in enumerate(relevant)
    }
    run = {
        f"q{b:03}": {f"d{c}": float(score) for c, score in enumerate(row)}
        for b, row in enumerate(scores)
    }
    return qrels, run


def _by_definition(name: str, places: list[int], n: int) -> float:
    """A metric of known ranks, as its definition reads."""
    metric, ranks = RankMetric.parse(name), sorted(places)
    k, p = metric.k or n, len(places)
    match metric.base:
        case "hr":
            return float(ranks[0] <= k)
        case "recall":
            return sum(r <= k for r in ranks) / p
        case "precision":
            return sum(r <= k for r in ranks) / k
        case "ndcg":
            ideal = sum(1 / np.log2(i + 1) for i in range(1, min(k, p) + 1))
            return float(sum(1 / np.log2(r + 1) for r in ranks if r <= k) / ideal)
        case "mrr":
            return 1 / ranks[0] if ranks[0] <= k else 0.0
        case "ap":
            return sum(i / r for i, r in enumerate(ranks, 1) if r <= k) / p
        case "query_auc":
            if n == p:
                return float("nan")
            return sum(n - p - (r - i) for i, r in enumerate(ranks, 1)) / (p * (n - p))


@pytest.mark.parametrize("seed", range(6))
def test_ties_average_over_every_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 6
    scores = rng.integers(0, 3, n).astype(float)
    relevant = rng.permutation(np.arange(n) < rng.integers(1, n))
    ordered = sorted(scores, reverse=True)
    orders = [o for o in itertools.permutations(range(n)) if list(scores[list(o)]) == ordered]
    for name in NAMES:
        expected = np.mean(
            [
                _by_definition(name, [o.index(c) + 1 for c in np.flatnonzero(relevant)], n)
                for o in orders
            ]
        )
        got = values(name, scores[None], relevant[None])[0]
        assert got == pytest.approx(expected, abs=1e-12), name


@pytest.mark.parametrize("n", [1, 7, 10, 100])
@pytest.mark.parametrize("k", [1, 3, 100])
def test_constant_scorer_gets_exactly_k_over_n(n: int, k: int) -> None:
    scores, relevant = np.zeros((1, n)), np.arange(n)[None] == n // 2
    assert values(f"hr@{k}", scores, relevant)[0] == min(k, n) / n
    assert values(f"recall@{k}", scores, relevant)[0] == min(k, n) / n


def test_constant_scorer_with_many_positives() -> None:
    n, p, k = 50, 8, 5
    relevant = (np.arange(n) < p)[None]
    got = {
        name: values(name, np.zeros((1, n)), relevant)[0]
        for name in ("hr@5", "recall@5", "query_auc")
    }
    miss = np.prod([(n - k - i) / (n - i) for i in range(p)])
    assert got["hr@5"] == pytest.approx(1 - miss, abs=1e-12)
    assert got["recall@5"] == pytest.approx(k / n, abs=1e-12)
    assert got["query_auc"] == pytest.approx(0.5, abs=1e-12)
    assert rank_lists(np.zeros((1, n)), relevant).tied[0] == 1.0


def test_one_positive_is_the_metric_of_its_rank() -> None:
    rng = np.random.default_rng(4)
    scores = rng.integers(0, 9, (80, 12)).astype(np.float32)
    column = rng.integers(0, 12, 80)
    relevant = np.arange(12) == column[:, None]
    ranks = rank_positives(scores, None, np.arange(80), column)
    lists = rank_lists(scores, relevant)
    for name in NAMES:
        metric = RankMetric.parse(name)
        np.testing.assert_allclose(lists.values(metric), metric.values(ranks), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(lists.tied, ranks.tied)


@pytest.mark.parametrize("count", [rank_positives, rank_positives_numpy])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("masked", [True, False])
def test_both_ways_to_count_equal_a_sort(
    count: Callable[..., Ranks], dtype: type, masked: bool
) -> None:
    rng = np.random.default_rng(5)
    scores = rng.integers(-20, 20, (60, 300)).astype(dtype)
    mask = rng.random(scores.shape) < 0.7 if masked else None
    here = np.ones(scores.shape, bool) if mask is None else mask
    request = rng.integers(0, 60, 90)
    column = np.array([rng.choice(np.flatnonzero(here[r])) for r in request])
    ranks = count(scores, mask, request, column)
    for q, (r, c) in enumerate(zip(request, column, strict=True)):
        ordered = np.sort(scores[r][here[r]])
        greater = len(ordered) - np.searchsorted(ordered, scores[r, c], side="right")
        equal = np.count_nonzero(ordered == scores[r, c]) - 1
        assert (ranks.greater[q], ranks.equal[q], ranks.candidates[q]) == (
            greater, equal, len(ordered)
        )  # fmt: skip


@pytest.mark.parametrize("count", [rank_positives, rank_positives_numpy])
@pytest.mark.parametrize("masked", [True, False])
def test_both_ways_to_count_refuse_the_same(count: Callable[..., Ranks], masked: bool) -> None:
    scores = np.array([[1.0, 2.0, 3.0], [1.0, np.nan, np.inf]])
    mask = np.ones(scores.shape, bool) if masked else None
    at = np.array([1]), np.array([0])
    with pytest.raises(
        MetricError, match="2 scores of candidates are not finite; the first is nan"
    ):
        count(scores, mask, *at)
    assert count(scores, mask, np.array([0]), np.array([0])).greater[0] == 2
    for request, column in ((0, 3), (2, 0), (-1, 0)):
        with pytest.raises(MetricError, match="masked out"):
            count(scores, mask, np.array([request]), np.array([column]))
    large = np.array([[1e30, -1e30, 3e38]], np.float32)  # their squares overflow
    first = np.ones(large.shape, bool) if masked else None
    assert count(large, first, np.array([0]), np.array([0])).greater[0] == 1


def test_requests_without_positives_have_no_value() -> None:
    scores = np.array([[1.0, 2.0], [1.0, 2.0]])
    relevant = np.array([[False, False], [True, False]])
    lists = rank_lists(scores, relevant)
    assert list(lists.defined) == [False, True]
    for name in NAMES:
        found = lists.values(RankMetric.parse(name))
        assert np.isnan(found[0]), name
        assert np.isfinite(found[1]), name
    assert np.isnan(lists.tied[0])


def test_scores_of_requests_without_positives_may_be_anything() -> None:
    scores = np.array([[np.nan, 2.0], [1.0, 2.0]])
    assert values("mrr", scores, np.array([[False, False], [True, False]]))[1] == 0.5


def test_all_positives_and_one_candidate() -> None:
    for n in (1, 4):
        lists = rank_lists(np.arange(n, dtype=float)[None], np.ones((1, n), bool))
        got = {name: lists.values(RankMetric.parse(name))[0] for name in NAMES}
        assert np.isnan(got.pop("query_auc"))
        assert got.pop("precision@3") == pytest.approx(min(n, 3) / 3)
        assert got.pop("recall@3") == min(n, 3) / n
        assert got.pop("ap@2") == pytest.approx(min(n, 2) / n)
        assert all(value == pytest.approx(1.0) for value in got.values())


def test_nothing_at_all_is_empty() -> None:
    for shape in ((0, 4), (3, 0)):
        lists = rank_lists(np.empty(shape), np.empty(shape, bool))
        for name in NAMES:
            found = lists.values(RankMetric.parse(name))
            assert len(found) == shape[0]
            assert np.isnan(found).all()


def test_empty_and_short_lists_by_mask() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    relevant = np.array([[False, False, True], [False] * 3])
    lists = rank_lists(scores, relevant, np.array([[True, False, True], [False] * 3]))
    assert list(lists.candidates) == [2, 0]
    assert lists.values(RankMetric("mrr"))[0] == 0.5
    with pytest.raises(MetricError, match="masked out"):
        rank_lists(scores, relevant, np.array([[True, True, False], [True] * 3]))
    with pytest.raises(MetricError, match="expected bool"):
        rank_lists(scores, relevant.astype(int))
    with pytest.raises(MetricError, match="expected bool"):
        rank_lists(scores, relevant[:, :2])


tables = npst.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    elements=st.integers(-2, 2).map(float),
)
cases = tables.flatmap(lambda s: st.tuples(st.just(s), npst.arrays(np.bool_, s.shape)))


@given(cases)
def test_values_are_bounded(case: tuple[np.ndarray, np.ndarray]) -> None:
    for name in NAMES:
        found = values(name, *case)
        inside = (found >= -1e-12) & (found <= 1.0 + 1e-12)
        assert (inside | np.isnan(found)).all()
        assert list(np.isnan(found) & case[1].any(axis=1)) == [
            name == "query_auc" and bool(row.all()) for row in case[1]
        ]


@given(cases, st.randoms(use_true_random=False))
def test_order_of_columns_does_not_matter(
    case: tuple[np.ndarray, np.ndarray], random: np.random.Generator
) -> None:
    order = list(range(case[0].shape[1]))
    random.shuffle(order)
    for name in NAMES:
        moved = values(name, case[0][:, order], case[1][:, order])
        np.testing.assert_allclose(moved, values(name, *case), rtol=0, atol=1e-12)


@given(cases, st.integers(1, 4), st.data())
def test_a_better_positive_is_never_worse(
    case: tuple[np.ndarray, np.ndarray], raised: int, data: st.DataObject
) -> None:
    scores, relevant = case
    better = scores.copy()
    for row in range(len(scores)):
        positive = np.flatnonzero(relevant[row])
        if len(positive):
            better[row, data.draw(st.sampled_from(list(positive)))] += raised
    for name in NAMES:
        before, after = values(name, scores, relevant), values(name, better, relevant)
        assert (np.isnan(before) | (after >= before - 1e-12)).all(), name


def test_inputs_of_the_written_down_values_have_no_ties() -> None:
    scores, relevant = inputs()
    assert len(np.unique(scores)) == scores.size
    assert relevant.any(axis=1).sum() == B
