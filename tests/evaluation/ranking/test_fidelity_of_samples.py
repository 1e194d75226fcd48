"""Fidelity of sampled metrics: order and value, gamma and m from the truth."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.ranking.corrections import CORRECTIONS, RAW, Correction, corrected_values
from evaluation.ranking.draws import draw_negatives, sampled_ranks
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import MetricError, Ranks, rank_positives
from evaluation.ranking.sampling_fidelity import (
    best_correction,
    drawn_fidelity,
    expected_fidelity,
    negatives_needed,
    orders,
)
from tests.evaluation.ranking.toy import TOY, M, toy

ALL = {name: toy(name) for name in TOY}


def test_order_of_ap_turns_at_the_exact_number_of_negatives() -> None:
    turns = orders(RankMetric("ap"), ALL, range(1, 1000), replacement=True)
    found = [(m, "".join(order)) for m, order in turns]
    assert found == [(1, "ACB"), (73, "ABC"), (281, "ACB"), (438, "CAB"), (954, "CBA")]


def test_order_of_recall_turns_at_the_exact_number_of_negatives() -> None:
    # every m between the turns would take seconds; these are all the turns with their neighbours
    near = [m for turn in (228, 1061, 1263, 2479) for m in (turn - 1, turn)]
    turns = orders(RankMetric("recall", 10), ALL, [10, *near, 4000], replacement=True)
    assert [(m, "".join(order)) for m, order in turns] == [
        (10, "ACB"), (228, "ABC"), (1061, "BAC"), (1263, "BCA"), (2479, "CBA")
    ]  # fmt: skip


def test_order_of_ndcg_turns_once() -> None:
    numbers = [10, 100, 500, *range(680, 710), 5000]
    turns = orders(RankMetric("ndcg"), ALL, numbers, replacement=True)
    assert ["".join(order) for _, order in turns] == ["ACB", "CAB"]
    assert 690 <= turns[1][0] <= 700


# Share of draws in which C comes before A when the five-rank profile stands for U users: Monte
# Carlo figures of an independent run; columns raw, rank, cls, bv 1, 0.1, 0.01, 0.001.
SHARES = {
    (100, "recall@10"): (0, 0.001, 0.001, 0, 0.77, 0.96, 0.90),
    (1000, "recall@10"): (0, 0, 0, 0, 0.995, 1, 1),
    (1000, "ap"): (0, 0, 0, 0, 0.37, 1, 1),
    (1000, "ndcg"): (0, 0, 0, 0, 0, 0.43, 0.975),
}


@pytest.mark.parametrize(("users", "name"), SHARES)
def test_share_of_draws_with_the_right_order(users: int, name: str) -> None:
    ranks = {r: toy(r, users // 5) for r in "CA"}
    metric = RankMetric.parse(name)
    found = [expected_fidelity(c, metric, ranks, M, replacement=True) for c in (RAW, *CORRECTIONS)]
    got = [f.right_order for f in found]
    np.testing.assert_allclose(got, SHARES[users, name], atol=0.05)
    assert all(f.blind == (name != "ndcg") for f in found)


def test_gamma_is_chosen_by_the_truth() -> None:
    recall, ranks = RankMetric("recall", 10), {r: toy(r, 200) for r in "CA"}
    by_order, found = best_correction(recall, ranks, M, CORRECTIONS, replacement=True)
    assert by_order.gamma in (0.01, 0.001)
    assert found.right_order > 0.99
    by_value, near = best_correction(recall, ranks, M, CORRECTIONS, by="value", replacement=True)
    others = [expected_fidelity(c, recall, ranks, M, replacement=True).error for c in CORRECTIONS]
    assert near.error == min(others)
    assert by_value in CORRECTIONS


def test_gamma_falls_as_users_grow() -> None:
    gammas = [
        best_correction(
            RankMetric("ndcg"),
            {r: toy(r, copies) for r in "CA"},
            M,
            [Correction("bv", g) for g in (1.0, 0.1, 0.01, 0.001)],
            by="value",
            replacement=True,
        )[0].gamma
        for copies in (1, 1000)
    ]
    assert gammas[1] < gammas[0]


def test_number_of_negatives_is_chosen_by_the_truth() -> None:
    ranks = {r: toy(r, 2000) for r in TOY}
    ap = RankMetric("ap")
    tried = (50, 100, 400, 900, 1000, 2000, 4000)
    assert negatives_needed(RAW, ap, ranks, tried, replacement=True, right_order=0.9) == 2000
    assert negatives_needed(RAW, ap, ranks, (50, 100), replacement=True) is None
    auc = RankMetric("query_auc")
    assert negatives_needed(RAW, auc, ranks, (10, 50), replacement=True) == 10


def test_exact_moments_are_those_of_repeated_draws() -> None:
    rng = np.random.default_rng(0)
    q, n, m, repeats = 60, 40, 6, 300
    quality = rng.normal(size=(q, n))
    mask = np.ones((q, n), bool)
    column = quality.argmax(axis=1)
    query = np.arange(q)
    metric, correction = RankMetric("ndcg", 10), Correction("bv", 0.1)
    ranks, drawn = {}, np.empty((repeats, 3))
    negatives = [draw_negatives(query, column, mask, m, seed=1, repeat=i) for i in range(repeats)]
    for at, noise in enumerate((0.5, 1.0, 2.0)):
        scores = quality + noise * rng.normal(size=(q, n))
        ranks[f"{noise}"] = rank_positives(scores, mask, query, column)
        for i in range(repeats):
            seen = sampled_ranks(scores, column, negatives[i])
            values = corrected_values(correction, metric, seen, np.full(q, n), m)
            drawn[i, at] = values.mean()
    exact = expected_fidelity(correction, metric, ranks, m)
    shown = drawn_fidelity(tuple(ranks), exact.full, drawn)
    error = exact.spread / np.sqrt(repeats)
    assert (np.abs(shown.reported - exact.reported) < 4 * error).all()
    np.testing.assert_allclose(shown.spread, exact.spread, rtol=0.2)
    assert shown.right_order > 0.9
    assert exact.tau == shown.tau == pytest.approx(1.0)
    assert exact.order == ("0.5", "1.0", "2.0")


def test_drawn_order_counts_ties_one_half() -> None:
    drawn = np.array([[1.0, 1.0, 0.0], [2.0, 1.0, 3.0]])
    found = drawn_fidelity("abc", np.array([3.0, 2.0, 1.0]), drawn)
    # pairs ab: tie, right; ac: right, wrong; bc: right, wrong
    assert found.right_order == pytest.approx((0.5 + 1 + 1 + 0 + 1 + 0) / 6)
    flat = drawn_fidelity("ab", np.array([1.0, 1.0]), np.ones((2, 2)))
    assert np.isnan(flat.right_order)


def test_wrong_input_is_one_clear_error() -> None:
    metric = RankMetric("mrr")
    with pytest.raises(MetricError, match=r"queries by policy are \{\}"):
        expected_fidelity(RAW, metric, {}, 3)
    with pytest.raises(MetricError, match="'a': 0"):
        expected_fidelity(RAW, metric, {"a": Ranks.concat([])}, 3)
    alone = {"a": Ranks.untied(np.array([1, 1]), 1)}
    assert expected_fidelity(RAW, metric, alone, 3).error == 0.0
    assert orders(metric, alone, [3]) == [(3, ("a",))]
    auc, nothing = RankMetric("query_auc"), r"query_auc is defined for none of the 2 queries of 'a'"
    with pytest.raises(MetricError, match=nothing):
        expected_fidelity(RAW, auc, alone, 3)
    with pytest.raises(MetricError, match=nothing):
        orders(auc, alone, [3])
    with pytest.raises(MetricError, match="corrections is empty"):
        best_correction(metric, ALL, 3, [])
    with pytest.raises(MetricError, match=r"right_order is 1\.5"):
        negatives_needed(RAW, metric, ALL, [3], right_order=1.5)
    with pytest.raises(MetricError, match=r"drawn has shape \(1, 2\)"):
        drawn_fidelity("ab", np.zeros(2), np.zeros((1, 2)))
