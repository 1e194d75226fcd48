"""Who exists: prefixes, arrivals, profiles."""

import dataclasses

import numpy as np

from sim.population import ever
from sim.world import World
from tests.sim.worlds import config, same


def test_larger_populations_have_the_same_beginning():
    """Attributes are functions of (seed, id): growing changes nobody who was there."""
    small, large = World(config(), 5), World(config(population__n_users=400), 5)
    n = 300
    for name in ("attention", "social", "intent", "age_band", "price_sensitivity"):
        np.testing.assert_array_equal(
            getattr(small.population.users, name)[:n], getattr(large.population.users, name)[:n]
        )
    before = dataclasses.replace(small.population.streamers)
    small.population.grow(20)
    after = small.population.streamers
    assert len(after) == ever(150, 0.02, 20) > len(before)
    assert same(after.take(slice(0, len(before))), before)


def test_turnover_holds_the_size():
    """Arrivals replace departures: the number present stays near the configured one."""
    world = World(config(turnover__streamers_per_day=0.05), 1)
    world.population.grow(60)
    streamers = world.population.streamers
    present = [
        int(((streamers.joined_day <= d) & (streamers.left_day > d)).sum()) for d in (0, 20, 40, 60)
    ]
    assert all(abs(n - 150) < 5 * np.sqrt(150) for n in present)
    assert (streamers.left_day > streamers.joined_day).all()


def test_no_turnover_means_nobody_leaves():
    """Rates of zero freeze the population."""
    world = World(config(turnover__streamers_per_day=0.0, turnover__users_per_day=0.0), 1)
    world.population.grow(30)
    assert len(world.population.users) == 300
    assert (world.population.users.left_day > 10**6).all()


def test_profile_signal_is_a_dial():
    """Observed spend tier follows latent intent with the signal on, and not with it off."""
    big = {"population__n_users": 4000}
    on = World(config(population__profile_signal=0.9, **big), 2).population.users
    off = World(config(population__profile_signal=0.0, **big), 2).population.users
    assert np.corrcoef(on.intent, on.spend_tier)[0, 1] > 0.7
    assert abs(np.corrcoef(off.intent, off.spend_tier)[0, 1]) < 0.08


def test_interest_vectors_are_unit():
    """Affinities are cosines."""
    world = World(config(), 3)
    for vectors in (
        world.population.users.attention,
        world.population.users.commerce,
        world.population.streamers.content,
        world.population.products.content,
    ):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
