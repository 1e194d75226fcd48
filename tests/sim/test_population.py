"""Who exists: prefixes, arrivals, profiles."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import spearmanr

from sim.config import ConfigError
from sim.parameters import ID_SCHEMES
from sim.schema import UNBORN
from sim.world import World
from tests.sim.worlds import config, run, same


def born(table):
    """Return those who exist."""
    return table.take(table.joined_day != UNBORN)


def test_growing_changes_nobody_who_was_there():
    """Attributes are functions of (seed, id), and a larger population begins as a smaller one."""
    world = World(config(), 5)
    before = world.population.users, world.population.streamers, world.population.products
    born = [table.joined_day != UNBORN for table in before]
    world.population.grow(20)
    after = world.population.users, world.population.streamers, world.population.products
    for old, new, rows in zip(before, after, born, strict=True):
        assert same(new.take(rows), old.take(rows))
        assert (new.joined_day != UNBORN).sum() > rows.sum()


@pytest.mark.parametrize("scheme", ID_SCHEMES)
def test_ids_tell_what_their_scheme_says(scheme):
    """Shuffled ids correlate with neither age nor category, the others give one of them away."""
    large = config(population__id_scheme=scheme, population__n_streamers=600)
    population = World(large, 5).population
    population.grow(40)
    for table in (population.users, population.streamers, population.products):
        ids = np.flatnonzero(table.joined_day != UNBORN)
        late = table.joined_day[ids] > 0
        age = abs(spearmanr(ids, late).statistic)
        assert age > 0.5 if scheme == "sequential" else age < 0.08
    streamers = population.streamers
    ids = np.flatnonzero(streamers.joined_day != UNBORN)
    category = abs(spearmanr(ids, streamers.category[ids]).statistic)
    assert category > 0.9 if scheme == "by_category" else category < 0.12
    ids = np.flatnonzero(population.products.joined_day != UNBORN)
    category = abs(spearmanr(ids, population.products.category[ids]).statistic)
    assert category > 0.9 if scheme == "by_category" else category < 0.12 or scheme == "sequential"


def test_a_world_does_not_outlive_its_ids():
    """Running longer than ids are reserved is refused, by the name of the field."""
    with pytest.raises(ConfigError, match=r"PopulationConfig.id_days = 3; allowed: at least 4"):
        run(World(config(population__id_days=3), 1), "random", 4)


def test_shelves_hold_their_size_and_renew_themselves():
    """Each place holds one product at a time, each product is sold once, at the stated rate."""
    world = World(config(turnover__share_per_day=0.1, turnover__streamers=0.0), 3)
    shelves, n = world.population.shelves, 150
    who, place = (a.reshape(-1) for a in np.mgrid[:n, :8])
    at = [shelves.at(who, place, np.full(len(who), day)) for day in range(60)]
    assert all(len(np.unique(day)) == len(who) for day in at)
    renewed = np.mean([(a != b).mean() for a, b in pairwise(at)])
    assert renewed == pytest.approx(0.1, abs=0.005)
    later = np.concatenate(at[1:])
    assert (shelves.owner[later] == np.tile(who, 59)).all()


def test_turnover_holds_the_size():
    """Arrivals replace departures: the number present stays near the configured one."""
    world = World(config(turnover__share_per_day=0.05), 1)
    world.population.grow(60)
    streamers = world.population.streamers
    streamers = streamers.take(streamers.joined_day != UNBORN)
    present = [
        int(((streamers.joined_day <= d) & (streamers.left_day > d)).sum()) for d in (0, 20, 40, 60)
    ]
    assert all(abs(n - 150) < 5 * np.sqrt(150) for n in present)
    assert (streamers.left_day > streamers.joined_day).all()


def test_no_turnover_means_nobody_leaves():
    """Rates of zero freeze the population."""
    world = World(config(turnover__share_per_day=0.0), 1)
    world.population.grow(30)
    assert len(world.population.users) == 300
    assert (world.population.users.left_day > 10**6).all()


def test_profile_signal_is_a_dial():
    """Observed spend tier follows latent intent with the signal on, and not with it off."""
    big = {"population__n_users": 4000}
    on = born(World(config(population__profile_signal=0.9, **big), 2).population.users)
    off = born(World(config(population__profile_signal=0.0, **big), 2).population.users)
    assert np.corrcoef(on.intent, on.spend_tier)[0, 1] > 0.7
    assert abs(np.corrcoef(off.intent, off.spend_tier)[0, 1]) < 0.08


def test_interest_vectors_are_unit():
    """Affinities are cosines."""
    world = World(config(), 3)
    for vectors in (
        born(world.population.users).attention,
        born(world.population.users).commerce,
        born(world.population.streamers).content,
        born(world.population.products).content,
    ):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
