"""Reward models against scikit-learn, folds by user, and the choice of thresholds."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from evaluation.off_policy import single_action as sa
from evaluation.off_policy import tuning
from evaluation.off_policy.reward_model import cross_fit, fit_line, fold_of
from evaluation.off_policy.rounds import OffPolicyError, Rounds
from tests.evaluation.off_policy.bandits import bandit


def made(seed=0, n=400):
    rng = np.random.default_rng(seed)
    features = rng.normal([0.0, 5.0, -2.0], [1.0, 3.0, 0.2], (n, 3))
    logit = features @ [0.5, -0.2, 1.0] + 2.5
    return features, (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float), rng


def test_ridge_and_logistic_equal_scikit_learn():
    features, reward, _ = made()
    n, strength = len(features), 0.01
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    ridge = Ridge(alpha=n * strength, tol=1e-12).fit(scaled, reward)
    logistic = LogisticRegression(C=1 / (n * strength), tol=1e-10, max_iter=1000)
    logistic.fit(scaled, reward)
    found = fit_line(features, reward, "ridge", strength).predict(features)
    np.testing.assert_allclose(found, ridge.predict(scaled), atol=1e-10)
    found = fit_line(features, reward, "logistic", strength).predict(features)
    np.testing.assert_allclose(found, logistic.predict_proba(scaled)[:, 1], atol=1e-6)


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_rewards_without_spread_are_predicted(kind, level):
    features, _, _ = made()
    features[:, 1] = 3.0  # a column that says nothing
    line = fit_line(features, np.full(len(features), level), kind)
    np.testing.assert_allclose(line.predict(features), level, atol=0.01)
    assert (line.slope == 0.0).all() or np.abs(line.slope).max() < 1e-9


def test_no_prediction_has_seen_its_user():
    """A change of one user's rewards changes no prediction for the user's own fold."""
    features, reward, rng = made()
    user = rng.integers(0, 40, len(features))
    fold = fold_of(user)
    wanted = np.stack([features, features + 1.0], axis=1)
    before = cross_fit(features, reward, fold, wanted)
    assert before.shape == (len(features), 2)
    moved = np.where(user == user[0], 1.0 - reward, reward)
    after = cross_fit(features, moved, fold, wanted)
    own = fold == fold[0]
    np.testing.assert_array_equal(after[own], before[own])
    assert (after[~own] != before[~own]).all()


def test_folds_hold_whole_users_evenly():
    user = np.repeat(np.arange(3000), 2)
    fold = fold_of(user, 3)
    assert (fold[::2] == fold[1::2]).all()
    assert set(np.unique(fold)) == {0, 1, 2}
    assert np.bincount(fold).min() > 0.9 * 2000
    assert (fold_of(user, 3, seed=1) != fold).any()


def test_cross_fitting_keeps_dr_unbiased_where_fitting_on_itself_does_not():
    """Features that tell rows apart: a model that saw its own rows explains their luck away."""
    rng = np.random.default_rng(0)
    world = bandit(2)
    errors = {"crossed": [], "seen": []}
    for _ in range(900):
        n = 40
        x = rng.choice(6, n, p=world.p_context)
        action = (world.p_logging[x].cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
        reward = (rng.random(n) < world.p_reward[x, action]).astype(float)
        table = np.concatenate(
            [np.eye(6)[x][:, None].repeat(5, 1), np.eye(5)[None].repeat(n, 0)], 2
        )
        table = np.concatenate([table, rng.normal(size=(n, 5, 10))], axis=2)
        chosen = table[np.arange(n), action]
        crossed = cross_fit(chosen, reward, fold_of(np.arange(n)), table)
        seen = fit_line(chosen, reward).predict(table)
        for name, q in (("crossed", crossed), ("seen", seen)):
            rounds = Rounds.of(action, reward, world.p_logging[x], world.p_target[x], q=q)
            errors[name].append(sa.dr(rounds).value - world.value)
    z = {k: np.mean(v) / (np.std(v) / np.sqrt(len(v))) for k, v in errors.items()}
    assert abs(z["crossed"]) < 3.5, z
    assert abs(z["seen"]) > 3.5, z


def test_thresholds_ascend_in_bias_and_the_first_has_none():
    grid = tuning.thresholds(np.r_[0.0, 0.0, np.arange(1.0, 101.0)])
    assert grid[0] == np.inf
    assert (np.diff(grid) < 0.0).all()
    assert tuning.thresholds(np.zeros(3)) == (np.inf,)


def test_the_choice_weighs_spread_against_bias():
    """By hand: the bound of each candidate, its least one taken, all of them reported."""
    rounds = bandit(4).draw(np.random.default_rng(0), 100, 3)
    found = tuning.tuned_clipped_ips(rounds)
    first = sa.ips(rounds)
    for parameter, bound in zip(found.tried, found.bounds, strict=True):
        one = sa.clipped_ips(rounds, parameter)
        by_hand = one.standard_error**2 + (one.value - first.value) ** 2
        assert bound == pytest.approx(by_hand)
    at = int(np.argmin(found.bounds))
    assert found.parameter == found.tried[at]
    assert found.estimate.value == sa.clipped_ips(rounds, found.parameter).value


def test_even_weights_are_left_alone():
    """Where the policies agree nothing is to be saved, and a wrong model is not trusted."""
    n = 500
    q = np.full(n, 0.9)
    even = Rounds(np.ones(n), np.ones(n), np.arange(n), n, q, q)
    for choose in (tuning.tuned_clipped_ips, tuning.tuned_switch_dr, tuning.tuned_dros):
        assert choose(even).parameter == np.inf


def test_tuning_lowers_the_error_where_weights_are_wild():
    """Over 300 logs the tuned estimates err less than those they start from."""
    rng = np.random.default_rng(1)
    world = bandit(8)
    p = np.full_like(world.p_logging, 0.01)
    p[:, 0] = 0.96
    wild = type(world)(world.p_context, p, world.p_target, world.p_reward, world.q, world.group)
    pairs = {"dr": (sa.dr, tuning.tuned_dros), "switch": (sa.dr, tuning.tuned_switch_dr)}
    error = {name: np.zeros(2) for name in pairs}
    for _ in range(300):
        rounds = wild.draw(rng, 60, 2)
        for name, (plain, tuned) in pairs.items():
            both = plain(rounds).value, tuned(rounds).estimate.value
            error[name] += (np.array(both) - wild.value) ** 2
    for name, (plain, tuned) in error.items():
        assert tuned < plain, name


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fit_line(np.zeros((0, 2)), np.zeros(0)), "0 rounds"),
        (lambda: fit_line(np.zeros((2, 2)), np.zeros(2), "ridge", 0.0), "strength = 0"),
        (lambda: fit_line(np.zeros((2, 2)), np.array([0.0, 2.0]), "logistic"), "logistic model"),
        (lambda: fold_of(np.arange(3), 1), "folds = 1"),
        (
            lambda: cross_fit(np.zeros((2, 1)), np.zeros(2), np.zeros(2, int), np.zeros((2, 1))),
            "one fold",
        ),
    ],
)
def test_bad_input_is_one_line(make, words):
    with pytest.raises(OffPolicyError, match=words):
        make()
