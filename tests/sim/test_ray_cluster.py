"""Shards in Ray actors: the same bytes, also after a killed actor; needs the extra `ray`."""

import importlib.util

import pytest

from sim.config import ConfigError
from sim.executor import SerialExecutor
from sim.ray_cluster import RayExecutor
from tests.sim.rankers import Mortal
from tests.sim.test_pool import write
from tests.sim.worlds import server

HAS_RAY = importlib.util.find_spec("ray") is not None


@pytest.mark.skipif(not HAS_RAY, reason="the extra `ray` is not installed")
@pytest.mark.filterwarnings("default")  # Ray's own
def test_actors_write_the_same_bytes_and_a_killed_one_is_made_good(tmp_path):
    """Five shards on two actors, one of which is killed on day 1."""
    lives = tmp_path / "lives"
    lives.mkdir()
    (lives / "a").touch()
    expected = write(tmp_path / "serial", server("popularity", 0.1), SerialExecutor())
    found = write(tmp_path / "ray", Mortal(lives), RayExecutor(2, 5))
    assert not list(lives.iterdir())
    assert found == expected


@pytest.mark.skipif(HAS_RAY, reason="the extra `ray` is installed")
def test_without_ray_one_line_says_so():
    """Before any work."""
    with pytest.raises(ConfigError, match=r"package ray is not installed; allowed: pip install"):
        RayExecutor(2)
