"""The product limit: against lifelines without clusters, and by simulation with them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from numpy.typing import NDArray

from evaluation.kaplan_meier import conversion_curve

Waits = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]
TIMES = np.array([0.5, 1.0, 2.0, 4.0])


def clustered(rng: np.random.Generator, users: int, each: int) -> Waits:
    """Exponential delays of mean 1, a share of buyers that differs between users (mean 0.3)."""
    user = np.repeat(np.arange(users), each)
    p = rng.beta(0.6, 1.4, users)[user]
    delay = np.where(rng.random(len(user)) < p, rng.exponential(1.0, len(user)), np.inf)
    censored = rng.uniform(0.0, 6.0, len(user))
    return np.minimum(delay, censored), delay <= censored, user


def test_without_clusters_it_is_greenwood_as_in_lifelines() -> None:
    duration, bought, _ = clustered(np.random.default_rng(0), 2000, 1)
    duration = np.ceil(duration * 20) / 20  # ties
    fitter = KaplanMeierFitter().fit(duration, bought)
    got = conversion_curve(duration, bought, np.arange(2000), TIMES[::-1].copy())  # any order
    steps = fitter.survival_function_.index.to_numpy()
    at = np.searchsorted(steps, TIMES[::-1], side="right") - 1
    np.testing.assert_allclose(got.rate, 1 - fitter.survival_function_.to_numpy()[at, 0], 1e-12)
    ends = 1 - fitter.confidence_interval_.to_numpy()[at]
    np.testing.assert_allclose(got.low, ends.min(axis=1), rtol=2e-3)
    np.testing.assert_allclose(got.high, ends.max(axis=1), rtol=2e-3)
    np.testing.assert_allclose(got.design_effect, 1.0, atol=0.01)


def test_influence_is_the_effect_of_leaving_a_user_out() -> None:
    duration, bought, user = clustered(np.random.default_rng(1), 60, 5)
    got = conversion_curve(duration, bought, user, TIMES)
    log_s = []
    for one in range(60):
        kept = user != one
        curve = conversion_curve(duration[kept], bought[kept], user[kept], TIMES)
        log_s.append(np.log1p(-curve.rate))
    jackknife = 59 / 60 * np.square(log_s - np.mean(log_s, axis=0)).sum(axis=0)
    hazard = -np.log1p(-got.rate)
    half = np.log(np.log1p(-got.high) / np.log1p(-got.low)) / 2  # on the scale log(-log S)
    np.testing.assert_allclose(half / 2.001 * hazard, np.sqrt(jackknife), rtol=0.06)


def test_intervals_cover_where_users_come_back_and_greenwoods_do_not() -> None:
    rng = np.random.default_rng(2)
    runs = 600
    truth = 0.3 * -np.expm1(-TIMES)
    hits, naive = np.zeros(4), np.zeros(4)
    for _ in range(runs):
        duration, bought, user = clustered(rng, 120, 8)
        got = conversion_curve(duration, bought, user, TIMES)
        alone = conversion_curve(duration, bought, np.arange(len(user)), TIMES)
        hits += (got.low <= truth) & (truth <= got.high)
        naive += (alone.low <= truth) & (truth <= alone.high)
    assert ((hits / runs > 0.925) & (hits / runs < 0.98)).all(), hits / runs
    assert (naive[1:] / runs < 0.87).all(), naive / runs


def test_edges_of_the_curve() -> None:
    duration, bought = np.array([1.0, 2.0, 3.0]), np.array([True, True, True])
    got = conversion_curve(duration, bought, np.array([0, 1, 2]), np.array([0.5, 1.0, 3.0, 9.0]))
    assert got.rate == pytest.approx([0.0, 1 / 3, 1.0, 1.0])
    assert np.isnan(got.low).tolist() == [True, False, True, True]
    assert 0 < got.low[1] < 1 / 3 < got.high[1] <= 1
    lone = conversion_curve(duration, bought, np.zeros(3, dtype=int), np.array([1.0]))
    assert np.isnan([lone.low[0], lone.high[0]]).all()


def test_a_million_episodes_take_a_moment() -> None:
    duration, bought, user = clustered(np.random.default_rng(3), 100_000, 10)
    began = time.process_time()
    conversion_curve(duration, bought, user, np.geomspace(0.01, 6.0, 81))
    assert time.process_time() - began < 5.0
