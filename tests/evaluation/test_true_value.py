"""The true value of a policy against what its deployments bring on average."""

import numpy as np
import pytest

from evaluation.deployment import deploy
from evaluation.intervals import difference
from evaluation.true_value import expected_worth, true_value
from policies.contract import FitContext
from policies.heuristics import Popularity, Random
from policies.oracle import Oracle
from sim.log import Log
from sim.schema import DAY_S
from sim.world import World
from tests.sim.worlds import TICK_S, config, run


def fitted(kind):
    """Return a policy that needs no training."""
    return kind().fit(Log.nothing(TICK_S, DAY_S), FitContext())


@pytest.fixture(scope="module")
def world():
    """Return a world of many users before its first day."""
    return World(config(population__n_users=3000), 2)


def test_it_is_what_happens_on_average(world):
    """Realised and expected value differ by luck only, and the expected one is less noisy."""
    true = true_value(fitted(Popularity), world)
    realised = deploy(fitted(Popularity), world, world.state, 1).ultimate.estimate("value_per_user")
    gap = realised.value - true.per_user.value
    assert abs(gap) < 4 * difference(realised, true.per_user).standard_error
    assert true.standard_error < realised.standard_error
    assert true.per_user.n == realised.n


def test_the_oracle_is_worth_most(world):
    """Values order policies whose order is known, far beyond their errors."""
    best, plain = true_value(fitted(Oracle), world), true_value(fitted(Random), world)
    gap = difference(best.per_user, plain.per_user)
    assert gap.value > 10 * gap.standard_error > 0


def test_days_add_users_and_the_world_stays_as_it_is(world):
    """More days reach more users; the world that is asked does not move on."""
    seen = []
    two = true_value(fitted(Random), world, 2, on_day=seen.append)
    one = true_value(fitted(Random), world)
    assert seen == [1, 2]
    assert two.per_user.n > one.per_user.n
    assert two.impressions > 1.5 * one.impressions
    assert world.state.day == 0


def test_worth_is_the_weighted_sum_of_probabilities(world):
    """By hand, on logged rows."""
    truth = run(world.fork(), "random", 1)[0].truth.take(slice(0, 50))
    objective = world.config.objective
    by_hand = sum(
        w * getattr(truth, f"p_{t}").astype(float) for t, w in objective.weights().items()
    )
    np.testing.assert_allclose(expected_worth(truth, objective), by_hand)
