"""Shards and who steps them: the log is the same however its users are divided."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.config import ConfigError
from sim.executor import SerialExecutor
from sim.partition import shard_of
from sim.relations import Relations
from sim.world import World
from tests.sim.worlds import config, run, same


def assert_same_days(a, b):
    """Raise unless two runs made the same days."""
    for x, y in zip(a, b, strict=True):
        assert same(x.impressions, y.impressions)
        assert same(x.truth, y.truth)
        assert same(x.purchases, y.purchases)


@pytest.mark.parametrize("policy", ["random", "popularity", "oracle"])
@pytest.mark.parametrize(("n_shards", "chunks"), [(2, 1), (5, 1), (5, 3)])
def test_shards_do_not_matter(policy, n_shards, chunks):
    """Days and the state after them hold the same bytes for any number of shards."""
    whole, parts = (World(config(visits__return_gain=1.0), 3) for _ in range(2))
    expected = run(whole, policy, 2)
    found = run(parts, policy, 2, chunks=chunks, executor=SerialExecutor(n_shards))
    assert_same_days(expected, found)
    assert dict(whole.state.files()) == dict(parts.state.files())


@given(
    pairs=st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 99)), max_size=60),
    n_shards=st.integers(1, 9),
)
def test_bonds_are_divided_by_user_and_put_together_again(pairs, n_shards):
    """Each user's bonds lie in one shard, in order; together they are what they were."""
    user, streamer = np.array(pairs, np.int64).reshape(-1, 2).T
    views = np.arange(1.0, len(pairs) + 1)
    whole = Relations.empty().add(user, streamer, views, views % 2 == 0)
    parts = whole.divided(n_shards)
    assert len(parts) == n_shards
    for shard, part in enumerate(parts):
        assert (shard_of(part.key >> 32, n_shards) == shard).all()
        assert (np.diff(part.key) > 0).all()
    assert same(Relations.together(parts), whole)


@pytest.mark.parametrize("n_shards", [0, 4097])
def test_a_bad_number_of_shards_is_refused(n_shards):
    """The message names the field, the value and what is allowed."""
    with pytest.raises(ConfigError, match=f"n_shards = {n_shards}; allowed: "):
        SerialExecutor(n_shards)
