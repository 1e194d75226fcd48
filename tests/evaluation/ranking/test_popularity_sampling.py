"""Negatives by popularity, and ties met with replacement: closed forms against enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.ranking.draws import draw_negatives, sampled_ranks
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import MetricError, Ranks, rank_positives
from evaluation.ranking.sampled import (
    Shares,
    expected_by_share,
    expected_values,
    share_law,
    simulated_values,
    weigh_positives,
)
from sim.schema import PAD

NAMES = ("hr@1", "hr@2", "recall@2", "precision@2", "ndcg@2", "ndcg", "mrr", "ap", "query_auc")
SCORES = np.array([[2.0, 3.0, 2.0, 2.0, 0.0]])
WEIGHT = np.array([[9.0, 1.0, 2.0, 0.5, 4.0]])
ONE = np.array([0])


def _all_draws(m: int) -> tuple[np.ndarray, Ranks]:
    draws = np.array(list(itertools.product([1, 2, 3, 4], repeat=m)), np.int32)
    tiled = np.tile(SCORES, (len(draws), 1))
    return draws, sampled_ranks(tiled, np.zeros(len(draws), np.int64), draws)


@pytest.mark.parametrize("m", [1, 2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_expectation_by_popularity_equals_enumeration(name: str, m: int) -> None:
    metric = RankMetric.parse(name)
    draws, seen = _all_draws(m)
    p = np.prod(WEIGHT[0][draws] / WEIGHT[0, 1:].sum(), axis=1)
    shares = weigh_positives(SCORES, np.ones((1, 5), bool), ONE, WEIGHT)
    got = expected_by_share(metric, shares, m)[0]
    assert got == pytest.approx(p @ metric.values(seen), abs=1e-12)


@pytest.mark.parametrize("m", [1, 2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_tied_positive_with_replacement_equals_enumeration(name: str, m: int) -> None:
    metric = RankMetric.parse(name)
    ranks = rank_positives(SCORES, None, ONE, ONE)
    got = expected_values(metric, ranks, m, replacement=True)[0]
    assert got == pytest.approx(metric.values(_all_draws(m)[1]).mean(), abs=1e-12)


@given(st.integers(2, 50), st.integers(1, 60), st.data())
def test_laws_of_shares_sum_to_one_and_keep_the_mean(n: int, m: int, data: st.DataObject) -> None:
    greater = data.draw(st.integers(0, n - 1))
    equal = data.draw(st.integers(0, n - 1 - greater))
    ranks = Ranks(*(np.array([x], np.int32) for x in (greater, equal, n)))
    law = share_law(Shares.of_ranks(ranks), m)
    assert (law >= 0.0).all()
    assert law.sum() == pytest.approx(1.0, abs=1e-12)
    mean = m * (greater + equal / 2) / (n - 1)
    assert law[0] @ np.arange(m + 1) == pytest.approx(mean, abs=1e-9)


def test_equal_weights_are_uniform_sampling() -> None:
    rng = np.random.default_rng(0)
    scores, mask = rng.integers(0, 9, (50, 20)).astype(float), rng.random((50, 20)) < 0.8
    column = mask.argmax(axis=1)
    ranks = rank_positives(scores, mask, np.arange(50), column)
    shares = weigh_positives(scores, mask, column, np.full((50, 20), 3.0))
    for name in NAMES:
        metric = RankMetric.parse(name)
        got = expected_by_share(metric, shares, 7)
        peer = expected_values(metric, ranks, 7, replacement=True)
        np.testing.assert_allclose(got, peer, atol=1e-12)


@pytest.mark.parametrize("replacement", [True, False])
def test_draws_by_popularity_follow_the_weights(replacement: bool) -> None:
    repeats, weight = 20_000, np.array([1.0, 0.0, 2.0, 5.0, 2.0])
    drawn = draw_negatives(
        np.arange(repeats),
        np.zeros(repeats, np.int64),
        np.ones((repeats, 5), bool),
        2,
        seed=4,
        replacement=replacement,
        weight=np.tile(weight, (repeats, 1)),
    )
    p = weight[2:] / 9.0
    expected = 2.0 * p
    if not replacement:  # first drawn, or second after another one
        others = [np.delete(p, i) for i in range(3)]
        expected = p + np.array(
            [(o * own / (1 - o)).sum() for o, own in zip(others, p, strict=True)]
        )
        assert (drawn[:, 0] != drawn[:, 1]).all()
    seen = np.bincount(drawn.ravel(), minlength=5)
    assert seen[0] == seen[1] == 0, "the positive and what has no weight are never drawn"
    np.testing.assert_allclose(seen[2:] / repeats, expected, atol=0.02)


def test_too_few_with_weight_are_padded() -> None:
    weight = np.array([[1.0, 0.0, 2.0], [1.0, 0.0, 0.0]])
    at, mask = np.array([0, 0]), np.ones((2, 3), bool)
    drawn = draw_negatives(at, at, mask, 2, seed=0, weight=weight)
    assert sorted(drawn[0]) == [PAD, 2]
    assert list(drawn[1]) == [PAD, PAD]
    again = draw_negatives(at, at, mask, 2, seed=0, weight=weight, replacement=True)
    assert [list(row) for row in again] == [[2, 2], [PAD, PAD]]


@pytest.mark.parametrize("replacement", [True, False])
def test_simulated_expectation_holds_the_exact_one(replacement: bool) -> None:
    rng = np.random.default_rng(1)
    q, n, m = 40, 12, 4
    scores, mask = rng.random((q, n)), np.ones((q, n), bool)
    column, ids = rng.integers(0, n, q), np.arange(q)
    weight = rng.random((q, n)) if replacement else None
    metric = RankMetric("ndcg")
    got = simulated_values(
        metric, scores, mask, ids, column, weight, m,
        repeats=400, seed=9, replacement=replacement,
    )  # fmt: skip
    if weight is not None:
        exact = expected_by_share(metric, weigh_positives(scores, mask, column, weight), m)
    else:
        exact = expected_values(metric, rank_positives(scores, mask, ids, column), m)
    z = (got.mean - exact) / np.maximum(got.standard_error, 1e-12)
    spread = z[got.standard_error > 0]
    assert np.abs(spread).max() < 4.5
    assert 0.7 < spread.std() < 1.3


def test_nothing_to_draw_from_is_undefined() -> None:
    weight = np.array([[1.0, 0.0]])
    shares = weigh_positives(np.array([[1.0, 2.0]]), np.ones((1, 2), bool), ONE, weight)
    assert np.isnan(expected_by_share(RankMetric("mrr"), shares, 3)).all()


def test_wrong_input_is_one_clear_error() -> None:
    mask = np.ones((1, 2), bool)
    with pytest.raises(MetricError, match=r"weight is -1.0 at query 0, column 1"):
        weigh_positives(np.ones((1, 2)), mask, ONE, np.array([[1.0, -1.0]]))
    with pytest.raises(MetricError, match=r"weight is nan at query 0, column 0"):
        draw_negatives(ONE, ONE, mask, 1, seed=0, weight=np.array([[np.nan, 1.0]]))
    with pytest.raises(MetricError, match=r"weight \(1, 3\) and mask \(1, 2\)"):
        weigh_positives(np.ones((1, 2)), mask, ONE, np.ones((1, 3)))
    with pytest.raises(MetricError, match="must be finite"):
        weigh_positives(np.array([[1.0, np.nan]]), mask, ONE, np.ones((1, 2)))
    with pytest.raises(MetricError, match="repeats is 1"):
        simulated_values(
            RankMetric("mrr"), np.ones((1, 2)), mask, ONE, ONE, None, 1, repeats=1, seed=0
        )
