"""Exactness of slates and propensities, against closed forms and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from policies.contract import FitContext
from policies.heuristics import Popularity, Random
from policies.rank import BLOCK_ROWS, Exploration, PolicyError, Server, rank
from sim.config import ConfigError
from sim.schema import PAD, Requests
from tests.policies.planted import impressions, log, no_purchases, requests

GREEDY = Exploration()
KINDS = [GREEDY, Exploration("epsilon", eps=0.3), Exploration("softmax", temperature=0.5)]


def chances(scores: NDArray[np.floating], left: list[int], explore: Exploration) -> list[float]:
    """Probability of each candidate of `left`, written as the definition reads."""
    s = np.array([scores[c] for c in left], dtype=np.float64)
    if explore.kind == "softmax":
        w = np.exp((s - s.max()) / explore.temperature)
        return [float(x) for x in w / w.sum()]
    tied = (s == s.max()) / (s == s.max()).sum()
    eps = explore.eps if explore.kind == "epsilon" else 0.0
    return [float(x) for x in eps / len(left) + (1.0 - eps) * tied]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS), st.integers(1, 5), st.integers(1, 6))
def test_every_position_has_its_exact_conditional_probability(
    seed: int, explore: Exploration, k: int, c: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, (7, c)).astype(np.float32)  # many ties
    mask = rng.random((7, c)) < 0.8
    slate = rank(scores, mask, k, explore, rng.random((7, k)))
    for b in range(7):
        left = [j for j in range(c) if mask[b, j]]
        for i in range(k):
            column, propensity = slate.column[b, i], slate.propensity[b, i]
            if not left:
                assert column == PAD
                assert propensity == 1.0
                continue
            expected = chances(scores[b], left, explore)[left.index(column)]
            assert propensity == pytest.approx(expected, rel=1e-9)
            assert propensity > 0.0
            left.remove(column)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 150), st.floats(0.0, 1.0))
def test_equal_scores_are_filled_alike_whether_they_are_known_to_be_equal(
    seed: int, k: int, c: int, share: float
) -> None:
    """One number for all cells takes a way of its own to the same slates."""
    rng = np.random.default_rng(seed)
    mask, u = rng.random((5, c)) < share, rng.random((5, k))
    one, many = np.broadcast_to(np.float32(2.0), (5, c)), np.full((5, c), np.float32(2.0))
    assert one.strides == (0, 0)
    quick, slow = rank(one, mask, k, GREEDY, u), rank(many, mask, k, GREEDY, u)
    np.testing.assert_array_equal(quick.column, slow.column)
    np.testing.assert_array_equal(quick.propensity, slow.propensity)


def test_one_number_for_all_cells_must_be_finite() -> None:
    nan = np.broadcast_to(np.float32(np.nan), (2, 3))
    with pytest.raises(ValueError, match="6 of 6 scores are not finite"):
        rank(nan, np.ones((2, 3), np.bool_), 1, GREEDY, np.full((2, 1), 0.5))
    shut = rank(nan, np.zeros((2, 3), np.bool_), 1, GREEDY, np.full((2, 1), 0.5))
    assert (shut.column == PAD).all()


@pytest.mark.parametrize("explore", KINDS, ids=lambda e: e.kind)
def test_frequencies_of_whole_slates_equal_the_product_of_propensities(
    explore: Exploration,
) -> None:
    n, scores = 40_000, np.array([0.2, 1.0, 1.0, 0.5])
    u = np.random.default_rng(1).random((n, 2))
    slate = rank(np.tile(scores, (n, 1)), np.ones((n, 4), np.bool_), 2, explore, u)
    total = 0.0
    for first, second in itertools.permutations(range(4), 2):
        left = [j for j in range(4) if j != first]
        p = chances(scores, [0, 1, 2, 3], explore)[first]
        p *= chances(scores, left, explore)[left.index(second)]
        seen = ((slate.column[:, 0] == first) & (slate.column[:, 1] == second)).mean()
        assert abs(seen - p) < 4.5 * np.sqrt(p * (1.0 - p) / n) + 1e-12
        total += p
    assert total == pytest.approx(1.0)


def test_constant_scores_are_an_exactly_uniform_draw() -> None:
    u = (np.arange(10)[:, None] + 0.5) / 10.0
    slate = rank(np.zeros((10, 10)), np.ones((10, 10), np.bool_), 1, GREEDY, u)
    assert slate.column[:, 0].tolist() == list(range(10))
    assert (slate.propensity == 0.1).all()


def test_a_long_slate_of_constant_scores_is_a_random_permutation() -> None:
    u = np.random.default_rng(0).random((24_000, 4))
    slate = rank(np.zeros((24_000, 4)), np.ones((24_000, 4), np.bool_), 4, GREEDY, u)
    kinds, counts = np.unique(slate.column, axis=0, return_counts=True)
    assert len(kinds) == 24
    assert (abs(counts - 1000) < 4.5 * np.sqrt(1000 * 23 / 24)).all()
    assert (slate.propensity == 1.0 / np.arange(4, 0, -1)).all()


def test_greedy_without_ties_is_the_sorted_order() -> None:
    scores = np.random.default_rng(0).random((50, 30))
    slate = rank(scores, np.ones((50, 30), np.bool_), 8, GREEDY, np.full((50, 8), 0.7))
    assert (slate.column == np.argsort(-scores, axis=1)[:, :8]).all()
    assert (slate.propensity == 1.0).all()


@pytest.mark.parametrize("explore", KINDS, ids=lambda e: e.kind)
@pytest.mark.parametrize("order", ["C", "F"])
def test_slate_does_not_depend_on_the_batch(explore: Exploration, order: str) -> None:
    rng = np.random.default_rng(3)
    scores = np.array(rng.integers(0, 4, (40, 25)), dtype=np.float64, order=order)  # type: ignore[call-overload]
    mask = rng.random((40, 25)) < 0.5
    u = rng.random((40, 6))
    whole = rank(scores, mask, 6, explore, u)
    for b in range(40):
        alone = rank(scores[b : b + 1], mask[b : b + 1], 6, explore, u[b : b + 1])
        assert (alone.column[0] == whole.column[b]).all()
        assert (alone.propensity[0] == whole.propensity[b]).all()


@pytest.mark.parametrize("explore", KINDS, ids=lambda e: e.kind)
def test_inputs_are_left_alone_and_edges_hold(explore: Exploration) -> None:
    scores, mask = np.arange(6.0).reshape(2, 3), np.array([[True, False, True], [False] * 3])
    before = scores.copy()
    for u in (1e-300, 1.0 - 2.0**-53):
        slate = rank(scores, mask, 4, explore, np.full((2, 4), u))
        assert set(slate.column[0, :2]) == {0, 2}
        assert (slate.column[0, 2:] == PAD).all()
        assert (slate.column[1] == PAD).all()
        assert (slate.propensity[1] == 1.0).all()
    assert (scores == before).all()
    assert rank(scores[:0], mask[:0], 4, explore, np.zeros((0, 4))).column.shape == (0, 4)
    assert (rank(scores[:, :0], mask[:, :0], 1, explore, np.ones((2, 1))).column == PAD).all()


def test_softmax_is_stable_when_scores_are_worlds_apart() -> None:
    scores = np.array([[1e4, 0.0, -1e4, -1e4]])
    mask = np.ones((1, 4), np.bool_)
    slate = rank(scores, mask, 4, Exploration("softmax", temperature=1.0), np.full((1, 4), 0.6))
    assert slate.column.tolist() == [[0, 1, 3, 2]]
    assert slate.propensity.tolist() == [[1.0, 1.0, 0.5, 1.0]]


@pytest.mark.parametrize(
    ("kind", "eps", "temperature", "field"),
    [
        ("best", 0.1, 1.0, "kind"),
        ("epsilon", 1.5, 1.0, "eps"),
        ("epsilon", "much", 1.0, "eps"),
        ("softmax", 0.1, 0.0, "temperature"),
        ("softmax", 0.1, float("nan"), "temperature"),
    ],
)
def test_exploration_names_the_field_the_value_and_what_is_allowed(
    kind: str, eps: float, temperature: float, field: str
) -> None:
    with pytest.raises(ConfigError, match=rf"Exploration\.{field} = .*; allowed: "):
        Exploration(kind, eps, temperature)


def test_rank_refuses_shapes_that_disagree() -> None:
    ones = np.ones((2, 3), np.bool_)
    with pytest.raises(ValueError, match=r"scores \(2, 4\) and mask \(2, 3\)"):
        rank(np.zeros((2, 4)), ones, 1, GREEDY, np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"uniforms \(2, 1\): must have shape"):
        rank(np.zeros((2, 3)), ones, 2, GREEDY, np.zeros((2, 1)))
    with pytest.raises(ValueError, match="slate_size = 0"):
        rank(np.zeros((2, 3)), ones, 0, GREEDY, np.zeros((2, 0)))


class Fixed(Random):
    """Returns whatever it was built with."""

    def __init__(self, scores: object) -> None:
        self.scores = scores

    def score(self, requests: Requests) -> NDArray[np.float32]:
        return self.scores  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((2, 2)), r"shape \(2, 2\); must be \[B, C\] = \(2, 3\)"),
        (np.array([[0, 1, 2], [0, np.nan, 1]]), r"1 of 6 scores are not finite \(first: nan\)"),
        ([[0, 1, 2], [0, 1, 2]], "scores are list; must be a numpy array"),
        (np.array([["a", "b", "c"]] * 2), "scores are <U1; must be a numpy array"),
    ],
)
def test_server_names_the_policy_that_scores_wrongly(scores: object, message: str) -> None:
    server = Server(Fixed(scores), GREEDY)
    batch = requests([[0, 1, 2], [3, 4, 5]])
    with pytest.raises(PolicyError, match=message) as error:
        server.rank(batch, 1, np.full((2, 1), 0.5), None)
    assert "Fixed" in str(error.value)
    assert "\n" not in str(error.value)


def test_server_ignores_masked_cells_and_sums_that_overflow() -> None:
    batch = requests([[0, 1, PAD]])
    server = Server(Fixed(np.array([[3e38, 3.1e38, np.nan]], np.float32)), GREEDY)
    assert server.rank(batch, 1, np.full((1, 1), 0.5), None).column.tolist() == [[1]]


def test_server_cuts_into_blocks_without_a_trace() -> None:
    n = BLOCK_ROWS + 7
    batch = requests(np.random.default_rng(0).permuted([range(9)] * n, axis=1).tolist())
    u = np.random.default_rng(1).random((n, 3))
    rows = impressions(list(range(9)), [True, False, True] * 3, [10.0] * 9)
    policy = Popularity(prior=0.5).fit(log(rows, 3600.0), FitContext())
    whole = Server(policy, GREEDY).rank(batch, 3, u, None)
    direct = rank(policy.score(batch), batch.mask, 3, GREEDY, u)
    assert (whole.column == direct.column).all()
    assert (whole.propensity == direct.propensity).all()
    empty = Server(policy, GREEDY).rank(batch.take(slice(0, 0)), 3, u[:0], None)
    assert empty.column.shape == (0, 3)


def test_server_forwards_events_only_to_updatable_policies() -> None:
    rows = impressions([1, 1], [True, True], [10.0, 20.0])
    policy = Popularity().fit(log(rows, 3600.0), FitContext())
    before = policy.rate_[1]
    Server(policy, GREEDY).observe(impressions([1], [False], [4000.0]), no_purchases(), 7200.0)
    assert policy.rate_[1] < before
    Server(Random(), GREEDY).observe(rows, no_purchases(), 7200.0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_one_number_for_a_row_ranks_like_equal_numbers(seed: int, slate_size: int) -> None:
    """The quick way of a constant scorer gives the slates and propensities of the general one."""
    rng = np.random.default_rng(seed)
    mask = rng.random((7, 5)) < rng.random((7, 1))
    uniforms = rng.random((7, slate_size))
    equal = rank(np.zeros((7, 5), np.float32), mask, slate_size, Exploration(), uniforms)
    one = rank(np.broadcast_to(np.float32(0), (7, 5)), mask, slate_size, Exploration(), uniforms)
    np.testing.assert_array_equal(equal.column, one.column)
    np.testing.assert_array_equal(equal.propensity, one.propensity)
