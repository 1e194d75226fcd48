"""Shards in Ray actors: the same bytes as of one process and of a pool, whatever is killed."""

import importlib.util
import logging
import time
from pathlib import Path

import pytest

from sim.config import ConfigError
from sim.direct_write import DirectWriter
from sim.executor import SerialExecutor
from sim.log import LogError
from sim.pool import PoolExecutor
from sim.ray_cluster import RayExecutor
from tests.sim.rankers import Failing, Mortal, Rooted
from tests.sim.test_pool import write
from tests.sim.worlds import server

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed"
)
STORE_BYTES = 100 * 2**20


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """Return the log that one process writes."""
    folder = tmp_path_factory.mktemp("serial") / "log"
    return write(folder, server("popularity", 0.1), SerialExecutor())


@pytest.fixture
def cluster():
    """Join a small cluster, as whoever has one would before a run."""
    import ray

    ray.init(
        num_cpus=2, object_store_memory=STORE_BYTES, include_dashboard=False, log_to_driver=False,
        logging_level=logging.ERROR,
    )  # fmt: skip
    yield ray
    ray.shutdown()


def lives(folder: Path, number: int) -> Path:
    """Return a folder with as many files as processes are to be killed."""
    folder.mkdir()
    for name in range(number):
        (folder / str(name)).touch()
    return folder


@needs_ray
def test_a_cluster_of_its_own_is_started_and_stopped(serial, tmp_path):
    """Five shards on two actors, one of which is killed on day 1: a second cluster goes on."""
    import ray

    folder = lives(tmp_path / "lives", 1)
    found = write(tmp_path / "log", Mortal(folder), RayExecutor(2, 5))
    assert not list(folder.iterdir())
    assert found == serial
    assert not ray.is_initialized()


@needs_ray
@pytest.mark.slow
def test_actors_of_a_cluster_write_the_same_bytes(serial, cluster, tmp_path):
    """A log does not tell how many actors and shards made it, nor which of them were killed."""
    pool = write(tmp_path / "pool", server("popularity", 0.1), PoolExecutor(2, 5))
    assert pool == serial
    for workers, n_shards, chunks in ((1, 1, 1), (2, 2, 3), (2, 5, 1)):
        found = write(
            tmp_path / f"{n_shards}", server("popularity", 0.1), RayExecutor(workers, n_shards),
            chunks=chunks,
        )  # fmt: skip
        assert found == serial, (workers, n_shards)
    folder = lives(tmp_path / "lives", 2)
    found = write(tmp_path / "killed", Mortal(folder), RayExecutor(2, 2, attempts=3))
    assert not list(folder.iterdir())
    assert found == serial
    assert cluster.is_initialized(), "a cluster that was there stays"


@needs_ray
@pytest.mark.slow
def test_actors_make_the_files_of_their_parts(tmp_path, monkeypatch):
    """They travel through the object store; also where an actor is killed and the disk is slow."""
    expected = write(tmp_path / "serial", server("random", 0.1), SerialExecutor(), n_parts=4)
    folder, writes = lives(tmp_path / "lives", 1), DirectWriter.write

    def slow(self, path, content):
        time.sleep(0.02)
        return writes(self, path, content)

    monkeypatch.setattr(DirectWriter, "write", slow)
    ranker = Mortal(folder, day=1.6, policy="random")
    assert write(tmp_path / "ray", ranker, RayExecutor(2), n_parts=4) == expected
    assert not list(folder.iterdir())


@needs_ray
@pytest.mark.slow
def test_a_run_that_cannot_go_on_says_so_and_can_be_taken_up(serial, cluster, tmp_path):
    """Actors that are killed again and again, and errors in an actor, end in one line."""
    folder = lives(tmp_path / "lives", 9)
    with pytest.raises(LogError) as refused:
        write(tmp_path / "log", Mortal(folder), RayExecutor(1, attempts=2))
    assert str(refused.value).endswith(
        "a Ray actor ended (ActorDiedError), 2 times on day 1; 1 of 2 days are kept, "
        "the same command goes on; fewer workers need less memory"
    )
    assert write(tmp_path / "log", server("popularity", 0.1), SerialExecutor()) == serial
    with pytest.raises(RuntimeError, match="Odd: a and b"):
        write(tmp_path / "odd", Failing(tmp_path), RayExecutor(1))
    with pytest.raises(ConfigError, match=r"ranker Rooted cannot be sent .* allowed: executor=ser"):
        write(tmp_path / "rooted", Rooted(), RayExecutor(1))


def test_without_ray_one_line_says_so(monkeypatch):
    """Before any work."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"package ray is not installed; allowed: pip install"):
        RayExecutor(2)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [((0,), "workers = 0"), ((2, 1), "n_shards = 1"), ((2, None, 0), "attempts = 0")],
)
def test_bad_numbers_are_refused(arguments, field):
    """The message names the field, the value and what is allowed."""
    with pytest.raises(ConfigError, match=f"{field}; allowed: "):
        RayExecutor(*arguments)
