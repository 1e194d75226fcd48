"""AUC, GAUC, log loss and PCOC: oracles, ties, clustered intervals, and bad input."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from sklearn.metrics import log_loss as peer_log_loss
from sklearn.metrics import roc_auc_score

from evaluation.classification import Weight, auc, auc_value, gauc, log_loss, pcoc
from evaluation.ranking.ranks import MetricError


def _rows(
    seed: int, n: int, users: int, levels: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    user = rng.integers(0, users, n)
    score = rng.random(n, dtype=np.float32)
    if levels is not None:
        score = np.floor(score * levels).astype(np.float32) / np.float32(levels)
    lean = rng.normal(0, 0.3, users)[user]
    label = rng.random(n) < np.clip(0.2 + 0.4 * (score - 0.5) + 0.2 * lean, 0.02, 0.98)
    return score, label, user


@pytest.mark.parametrize("levels", [None, 4])
def test_auc_equals_scikit_learn(levels: int | None) -> None:
    score, label, user = _rows(0, 2000, 50, levels)
    expected = roc_auc_score(label, score)
    assert auc_value(score, label) == pytest.approx(expected, abs=1e-12)
    assert auc(score, label, user, 50).value == pytest.approx(expected, abs=1e-12)
    assert auc_value(-score, label.astype(np.float32)) == pytest.approx(1 - expected, abs=1e-12)


@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("weight", ["impressions", "positives", "users"])
@pytest.mark.parametrize("sign", [1, -1])
def test_gauc_equals_a_loop_over_users(levels: int | None, weight: Weight, sign: int) -> None:
    score, label, user = _rows(1, 1500, 150, levels)
    score = sign * score - np.float32(0.5) * (sign > 0)
    size, positives = np.bincount(user, minlength=150), np.bincount(user[label], minlength=150)
    weight_of = {"impressions": size, "positives": positives, "users": np.ones(150)}[weight]
    values, weights, dropped = [], [], 0
    for who in range(150):
        own = user == who
        if not own.any():
            continue
        if label[own].all() or not label[own].any():
            dropped += 1
            continue
        values.append(roc_auc_score(label[own], score[own]))
        weights.append(weight_of[who])
    got = gauc(score, label, user, 150)
    assert got.estimate(weight).value == pytest.approx(
        np.average(values, weights=weights), abs=1e-12
    )
    assert got.dropped.value == pytest.approx(dropped / len(np.unique(user)))


def test_negative_zero_ties_with_zero() -> None:
    score = np.array([0.0, -0.0], dtype=np.float32)
    label, user = np.array([True, False]), np.array([0, 0])
    assert gauc(score, label, user, 1).estimate().value == 0.5
    assert auc_value(score, label) == 0.5


def test_log_loss_and_pcoc_equal_scikit_learn_and_sums() -> None:
    score, label, user = _rows(2, 900, 30)
    got = log_loss(score, label, user, 30)
    assert got.value == pytest.approx(peer_log_loss(label, score.astype(float)), rel=1e-9)
    assert pcoc(score, label, user, 30).value == pytest.approx(
        score.sum(dtype=float) / label.sum(), rel=1e-12
    )
    certain = log_loss(np.array([0.0, 1.0]), np.array([1, 0]), np.array([0, 1]), 2)
    assert certain.value == pytest.approx(-np.log(1e-7), rel=1e-6)


def test_labels_inside_the_unit_interval_are_allowed_for_loss_and_calibration() -> None:
    p, y, user = np.array([0.2, 0.4]), np.array([0.1, 0.5]), np.array([0, 1])
    assert pcoc(p, y, user, 2).value == pytest.approx(1.0)
    expected = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert log_loss(p, y, user, 2).value == pytest.approx(expected)


def test_auc_error_equals_a_bootstrap_of_users() -> None:
    score, label, user = _rows(3, 3000, 200, levels=20)
    rng = np.random.default_rng(0)
    copies = rng.multinomial(200, np.full(200, 1 / 200), size=400)
    whole, grouped = [], []
    for draw in copies:
        rows = np.repeat(np.arange(3000), draw[user])
        whole.append(auc_value(score[rows], label[rows]))
        # Copies of one user are users of their own.
        copy = np.concatenate([np.arange(k) for k in draw[user]])
        fresh = np.unique(user[rows] * 50 + copy, return_inverse=True)[1]
        value = gauc(score[rows], label[rows], fresh, int(fresh.max()) + 1).estimate().value
        grouped.append(value)
    assert auc(score, label, user, 200).standard_error == pytest.approx(np.std(whole), rel=0.12)
    error = gauc(score, label, user, 200).estimate().standard_error
    assert error == pytest.approx(np.std(grouped), rel=0.12)


def test_auc_interval_covers_with_clustered_rows() -> None:
    rng = np.random.default_rng(4)
    truth, hits, runs = [], 0, 400
    intervals = []
    for _ in range(runs):
        score, label, user = _rows(int(rng.integers(2**31)), 600, 60)
        intervals.append(auc(score, label, user, 60).interval())
        truth.append(intervals[-1].estimate)
    centre = np.mean(truth)
    hits = sum(i.low <= centre <= i.high for i in intervals)
    assert 0.92 < hits / runs < 0.98


@pytest.mark.parametrize("label", [np.zeros(4, dtype=bool), np.ones(4, dtype=bool)])
def test_one_class_is_undefined_not_zero(label: NDArray[np.bool_]) -> None:
    score, user = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0, 1, 1])
    assert np.isnan(auc_value(score, label))
    assert np.isnan(auc(score, label, user, 2).value)
    assert np.isnan(gauc(score, label, user, 2).estimate().value)
    assert gauc(score, label, user, 2).dropped.value == 1.0
    assert np.isnan(pcoc(score, label, user, 2).value) == (not label.any())


def test_no_rows_are_undefined() -> None:
    score, label, user = np.empty(0), np.empty(0, dtype=bool), np.empty(0, dtype=np.int64)
    for estimate in (
        auc(score, label, user, 3),
        gauc(score, label, user, 3).estimate(),
        log_loss(score, label, user, 3),
        pcoc(score, label, user, 3),
    ):
        assert np.isnan(estimate.value)
        assert estimate.n == 0


def test_bad_input_is_refused() -> None:
    score, label, user = np.array([0.1, np.nan]), np.array([True, False]), np.array([0, 1])
    with pytest.raises(MetricError, match="1 of 2 scores are not finite"):
        auc(score, label, user, 2)
    with pytest.raises(MetricError, match=r"outside \[0, 1\]; the first is nan at row 1"):
        log_loss(score, label, user, 2)
    with pytest.raises(MetricError, match="probability lie outside"):
        pcoc(np.array([0.1, 1.5]), label, user, 2)
    with pytest.raises(MetricError, match="labels of an AUC must be 0 or 1"):
        auc_value(np.array([0.1, 0.2]), np.array([0.5, 1.0]))
    with pytest.raises(MetricError, match=r"user ids span 0..1; they must be in \[0, 1\)"):
        gauc(np.array([0.1, 0.2]), label, user, 1)
    with pytest.raises(MetricError, match="one shape"):
        auc_value(np.array([0.1]), label)


rows = st.integers(2, 25).flatmap(
    lambda n: st.tuples(
        npst.arrays(np.float32, n, elements=st.sampled_from([-1.5, 0.0, 0.25, 0.5, 3.0])),
        npst.arrays(np.bool_, n),
        npst.arrays(np.int64, n, elements=st.integers(0, 3)),
    )
)


@given(rows)
def test_auc_and_gauc_by_counting_pairs(
    case: tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]],
) -> None:
    score, label, user = case

    def won(own: NDArray[np.bool_]) -> float:
        above, below = score[own & label], score[own & ~label]
        if len(above) == 0 or len(below) == 0:
            return float("nan")
        return float(np.mean([(a > b) + 0.5 * (a == b) for a, b in product(above, below)]))

    np.testing.assert_allclose(auc_value(score, label), won(np.ones_like(label)), atol=1e-12)
    np.testing.assert_allclose(auc(score, label, user, 4).value, auc_value(score, label))
    per_user = np.array([won(user == who) for who in range(4)])
    size = np.bincount(user, minlength=4)
    kept = ~np.isnan(per_user)
    expected = np.average(per_user[kept], weights=size[kept]) if kept.any() else np.nan
    np.testing.assert_allclose(gauc(score, label, user, 4).estimate().value, expected, atol=1e-12)
