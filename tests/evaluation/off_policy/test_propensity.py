"""Probabilities of given slates against what `policies.rank` records, and against enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.off_policy.marginals import own_place, place_marginals
from evaluation.off_policy.propensity import distribution, expectations, propensities
from policies.rank import Exploration, rank
from sim.schema import PAD

KINDS = [
    Exploration("greedy"),
    Exploration("epsilon", eps=0.3),
    Exploration("epsilon", eps=1.0),
    Exploration("softmax", temperature=0.4),
    Exploration("softmax", temperature=0.01),
]
NAMES = ["greedy", "epsilon", "uniform", "softmax", "sharp"]


def drawn(exploration, seed, b=200, c=7, k=4):
    """Return scores with ties, masks that may leave less than a slate, and drawn slates."""
    rng = np.random.default_rng(seed)
    scores, mask = rng.integers(0, 4, (b, c)).astype(float), rng.random((b, c)) < 0.7
    return scores, mask, rank(scores, mask, k, exploration, rng.random((b, k)))


@pytest.mark.parametrize("exploration", KINDS, ids=NAMES)
def test_it_is_what_ranking_records(exploration):
    for seed in range(3):
        scores, mask, slate = drawn(exploration, seed)
        found = propensities(scores, mask, slate.column, exploration)
        np.testing.assert_allclose(found, slate.propensity, rtol=1e-12)
    assert (slate.column == PAD).any(), "short slates are among them"


@pytest.mark.parametrize("exploration", KINDS, ids=NAMES)
def test_slates_and_places_by_enumeration(exploration):
    """Slates sum to 1, and every marginal is the sum of the slates that hold it."""
    scores, mask, slate = drawn(exploration, 5, b=25)
    found = place_marginals(scores, mask, slate.column, exploration)
    top = distribution(scores, mask, exploration)
    for b in range(len(scores)):
        candidates = np.flatnonzero(mask[b])
        length = min(slate.column.shape[1], len(candidates))
        if not length:
            assert (found[b] == 0.0).all()
            continue
        every = np.array(list(itertools.permutations(candidates, length)))
        many = (np.tile(t[b], (len(every), 1)) for t in (scores, mask))
        p = propensities(*many, every, exploration).prod(axis=1)
        assert p.sum() == pytest.approx(1.0)
        for place, shown in itertools.product(range(length), repeat=2):
            by_hand = p[every[:, place] == slate.column[b, shown]].sum()
            assert found[b, place, shown] == pytest.approx(by_hand, abs=2e-12)
        for c in candidates:
            assert top[b, c] == pytest.approx(p[every[:, 0] == c].sum(), abs=1e-12)
        own = own_place(found, slate.column)[b]
        np.testing.assert_array_equal(own[:length], np.diagonal(found[b])[:length])
        assert (own[length:] == 1.0).all()
    assert (top[~mask] == 0.0).all()


@pytest.mark.parametrize("exploration", KINDS, ids=NAMES)
def test_expected_features_by_enumeration(exploration):
    """Of each place, given what stands above, by the chances of all that could stand there."""
    scores, mask, slate = drawn(exploration, 6, b=20)
    rng = np.random.default_rng(0)
    table, entity = rng.normal(size=(9, 3)), rng.integers(0, 9, scores.shape)
    p, expected = expectations(scores, mask, slate.column, exploration, table, entity)
    np.testing.assert_array_equal(p, propensities(scores, mask, slate.column, exploration))
    for b, k in itertools.product(range(20), range(slate.column.shape[1])):
        if slate.column[b, k] == PAD:
            assert (expected[b, k] == 0.0).all()
            continue
        by_hand = np.zeros(3)
        for c in np.flatnonzero(mask[b]):
            if c not in slate.column[b, :k]:
                row = np.append(slate.column[b, :k], c)[None]
                chance = propensities(scores[[b]], mask[[b]], row, exploration)[0, k]
                by_hand += chance * table[entity[b, c]]
        np.testing.assert_allclose(expected[b, k], by_hand, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 50.0), st.floats(-30.0, 30.0))
def test_marginals_of_softmax_are_distributions(seed, temperature, shift):
    """Over all places of a whole order each item stands once; a shift of scores is nothing."""
    rng = np.random.default_rng(seed)
    scores, mask = rng.normal(size=(3, 5)), np.ones((3, 5), np.bool_)
    order = rng.permuted(np.tile(np.arange(5), (3, 1)), axis=1)
    exploration = Exploration("softmax", temperature=temperature)
    found = place_marginals(scores, mask, order, exploration)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-11)
    np.testing.assert_allclose(found.sum(axis=2), 1.0, atol=1e-11)
    moved = place_marginals(scores + shift, mask, order, exploration)
    np.testing.assert_allclose(moved, found, atol=1e-11)


def test_what_greedy_never_shows_has_no_chance():
    scores, mask = np.array([[3.0, 2.0, 1.0]]), np.ones((1, 3), np.bool_)
    greedy = Exploration("greedy")
    np.testing.assert_array_equal(propensities(scores, mask, np.array([[0, 2]]), greedy), [[1, 0]])
    np.testing.assert_array_equal(propensities(scores, mask, np.array([[1, 0]]), greedy), [[0, 1]])


def test_weights_that_underflow_are_taken_afresh():
    """A best candidate far above the others leaves them comparable among themselves."""
    scores, mask = np.array([[2000.0, 1.0, 0.0]]), np.ones((1, 3), np.bool_)
    found = propensities(scores, mask, np.array([[0, 1, 2]]), Exploration("softmax"))
    np.testing.assert_allclose(found, [[1.0, 1 / (1 + np.exp(-1.0)), 1.0]])


@pytest.mark.parametrize(
    ("scores", "column", "words"),
    [
        (np.zeros((1, 3)), [[0, 0]], "twice"),
        (np.zeros((1, 3)), [[2]], "no candidate"),
        (np.zeros((1, 3)), [[7]], "no candidate"),
        (np.array([[np.nan, 0.0, 0.0]]), [[0]], "not finite"),
        (np.zeros((2, 3)), [[0]], "must be"),
    ],
)
def test_bad_input_is_refused(scores, column, words):
    mask = np.array([[True, True, False]])
    with pytest.raises(ValueError, match=words):
        propensities(scores, mask, np.array(column), Exploration("greedy"))
