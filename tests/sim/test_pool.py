"""Shards in other processes: the same bytes, and what happens when a process ends."""

import shutil
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim.config import ConfigError
from sim.direct_write import DirectWriter
from sim.executor import Elsewhere, SerialExecutor
from sim.log import Log, LogError
from sim.mailbox import Mailbox
from sim.partition import rows_path
from sim.pool import PoolExecutor
from sim.schema import DAY_S
from sim.simulate import simulate
from sim.state import State, state_path
from sim.truth_log import logged_truth
from sim.world import World
from tests.sim.rankers import Failing, Mortal, Rooted
from tests.sim.worlds import config, same, server

DAYS = 2
FEEDBACK = {
    "visits__return_gain": 1.0,
    "drift__watch_pull": 0.05,
    "drift__preference": "gradual",
    "turnover__starvation": 1.0,
}
"""What comes back to people makes a day depend on all shards' days before."""


def write(folder, ranker, executor, n_parts=1, days=DAYS, ticks_per_day=6, **options):
    """Write a log and return {name: bytes}."""
    world = config(**FEEDBACK, ticks_per_day=ticks_per_day)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sim.partition._USERS_A_PART", -(-world.population.n_users // n_parts))
        simulate(world, 3, ranker, days, folder, ranker_name="r", executor=executor, **options)
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """Return the log that one process writes, by policy."""
    folder = tmp_path_factory.mktemp("serial")
    return {
        name: write(folder / name, server(name, 0.1), SerialExecutor())
        for name in ("random", "popularity")
    }


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory):
    """Return the log that one process writes in four parts, under a policy that observes nothing.

    Its users are those of the log in one part, so are its rows.
    """
    folder = tmp_path_factory.mktemp("parts") / "log"
    return write(folder, server("random", 0.1), SerialExecutor(), n_parts=4)


@pytest.mark.parametrize(
    ("policy", "workers", "n_shards", "chunks"),
    [("popularity", 1, 1, 1), ("random", 2, 2, 3), ("popularity", 2, 5, 1)],
)
def test_processes_write_the_same_bytes(serial, tmp_path, policy, workers, n_shards, chunks):
    """A log does not tell how many processes and shards made it."""
    executor = PoolExecutor(workers, n_shards)
    found = write(tmp_path / "log", server(policy, 0.1), executor, chunks=chunks)
    assert found == serial[policy]
    assert not active_children()


@pytest.mark.parametrize(
    ("workers", "n_shards", "made_by_shards"),
    [
        (1, None, True),
        (2, None, True),
        pytest.param(3, 4, True, marks=pytest.mark.slow),
        pytest.param(5, None, True, marks=pytest.mark.slow),  # one of the five would have nothing
        pytest.param(2, 5, False, marks=pytest.mark.slow),
    ],
)
def test_shards_make_the_same_files(
    in_parts, tmp_path, monkeypatch, workers, n_shards, made_by_shards
):
    """Where there are as many shards as parts each makes the files of its own; else rows return."""
    crews = []
    started = PoolExecutor._started
    monkeypatch.setattr(
        PoolExecutor, "_started", lambda *args: crews.append(started(*args)) or crews[-1]
    )
    executor = PoolExecutor(workers, n_shards)
    found = write(tmp_path / "log", server("random", 0.1), executor, n_parts=4)
    assert found == in_parts
    assert [crew.keeps for crew in crews] == [made_by_shards]


def test_shards_make_files_for_an_observing_ranker_too(tmp_path):
    """What became known is told to every worker, whoever keeps the rows."""
    serial, pool = (
        write(tmp_path / name, server("popularity", 0.1), executor, n_parts=4)
        for name, executor in (("serial", SerialExecutor()), ("pool", PoolExecutor(2, 4)))
    )
    assert pool == serial


def test_parts_hold_the_same_rows(in_parts, serial, tmp_path):
    """Divided by user or not, a log reads the same, and a state goes on the same."""
    logs = []
    for name, files in (("one", serial["random"]), ("four", in_parts)):
        for path, content in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(content)
        logs.append(Log.open(tmp_path / name))
    one, four = logs
    assert four.n_parts == 4
    assert same(one.impressions(), four.impressions())
    assert same(logged_truth(one), logged_truth(four))
    rows = pd.read_parquet(tmp_path / "four/impressions/day=0000", columns=["user_id"])
    assert len(rows) == len(one.between(0.0, DAY_S).impressions())
    part = pd.read_parquet(
        tmp_path / "four" / rows_path("impressions", 1, "feed", 3), partitioning=None
    )
    assert set(part["user_id"] % 4) == {3}
    states = [State.load(tmp_path / name / state_path(DAYS)) for name in ("one", "four")]
    assert len(states[0].unknown)
    assert len(states[0].relations)
    assert dict(states[0].files()) == dict(states[1].files())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_costs_no_day_where_shards_make_files(in_parts, tmp_path):
    """One line; whoever goes on, with or without workers, ends with the same bytes."""
    folder = tmp_path / "log"
    stuck = folder / rows_path("impressions", 1, "feed", 3)
    stuck.parent.mkdir(parents=True)
    stuck.symlink_to("/dev/full")
    with pytest.raises(LogError, match=r"cannot write day 1: No space left on device; 1 of 2 days"):
        write(folder, server("random", 0.1), PoolExecutor(2), n_parts=4)
    assert not active_children()
    stuck.unlink()
    shutil.copytree(folder, tmp_path / "twin")
    for path, executor in ((folder, PoolExecutor(2)), (tmp_path / "twin", SerialExecutor())):
        assert write(path, server("random", 0.1), executor, n_parts=4) == in_parts


@pytest.mark.parametrize("ticks_per_day", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_files_outlast_their_writing(tmp_path, monkeypatch, ticks_per_day):
    """They lie in memory that is used again, however slow the disk is."""
    dials = {"n_parts": 2, "days": 4, "ticks_per_day": ticks_per_day}
    expected = write(tmp_path / "serial", server("random"), SerialExecutor(), **dials)
    writes = DirectWriter.write

    def slow(self, path, content):
        time.sleep(0.02)
        return writes(self, path, content)

    monkeypatch.setattr(DirectWriter, "write", slow)
    assert write(tmp_path / "pool", server("random"), PoolExecutor(2), **dials) == expected


def test_a_killed_worker_is_made_good_where_shards_make_files(in_parts, tmp_path):
    """What it kept of the day is lost with it, and made again."""
    lives = tmp_path / "lives"
    lives.mkdir()
    for name in ("a", "b"):
        (lives / name).touch()
    ranker = Mortal(lives, day=1.6, policy="random")
    assert not ranker.observes
    assert write(tmp_path / "log", ranker, PoolExecutor(2), n_parts=4) == in_parts
    assert not list(lives.iterdir())


def test_a_killed_worker_is_made_good(serial, tmp_path):
    """SIGKILL of a process, on two attempts in a row, leaves no trace in the log."""
    lives = tmp_path / "lives"
    lives.mkdir()
    for name in ("a", "b"):
        (lives / name).touch()
    told = []
    found = write(
        tmp_path / "log",
        Mortal(lives),
        PoolExecutor(2, attempts=3),
        on_day=lambda day, n: told.append(day),
    )
    assert not list(lives.iterdir())
    assert found == serial["popularity"]
    assert told == [0, 1]


def test_workers_that_are_killed_again_and_again_end_the_run(serial, tmp_path):
    """One line says how far it came; the same command goes on later, by any means."""
    lives, folder = tmp_path / "lives", tmp_path / "log"
    lives.mkdir()
    for number in range(9):
        (lives / str(number)).touch()
    with pytest.raises(LogError) as refused:
        write(folder, Mortal(lives), PoolExecutor(1, attempts=2))
    assert str(refused.value).startswith(f"log {folder}: worker process ")
    assert str(refused.value).endswith(
        "ended (signal 9), 2 times on day 1; 1 of 2 days are kept, the same command goes on; "
        "fewer workers need less memory"
    )
    assert not active_children()
    assert write(folder, server("popularity", 0.1), SerialExecutor()) == serial["popularity"]


def test_an_error_in_a_worker_is_raised_here(tmp_path):
    """Its type and message come across, and the place where it arose."""
    with pytest.raises(RuntimeError, match="Odd: a and b") as raised:
        write(tmp_path / "log", Failing(tmp_path), PoolExecutor(1))
    cause = raised.value.__cause__
    assert isinstance(cause, Elsewhere)
    module, file, _ = cause.places[-1]
    assert (module, file[-10:]) == ("tests.sim.rankers", "rankers.py")
    assert not active_children()


def test_a_ranker_that_does_not_pickle_is_refused_before_work(tmp_path):
    """One line names it and says what is allowed."""
    with pytest.raises(ConfigError, match=r"ranker Rooted cannot be sent .* allowed: executor=ser"):
        write(tmp_path / "log", Rooted(), PoolExecutor(1))
    assert not active_children()


def test_an_error_of_the_reader_ends_the_processes(serial, tmp_path):
    """Neither an exception while days are told nor one while they are read leaves workers."""

    def fail(day, impressions):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "log", server("popularity", 0.1), PoolExecutor(1), on_day=fail)
    assert not active_children()
    assert write(tmp_path / "log", server("popularity", 0.1), None) == serial["popularity"]
    days = World(config(), 3).run(server("random"), 3, executor=PoolExecutor(1))
    next(days)
    assert active_children()
    days.close()
    assert not active_children()


@pytest.mark.parametrize(
    ("arguments", "field"),
    [((0,), "workers = 0"), ((2, 1), "n_shards = 1"), ((2, None, 0), "attempts = 0")],
)
def test_bad_numbers_are_refused(arguments, field):
    """The message names the field, the value and what is allowed."""
    with pytest.raises(ConfigError, match=f"{field}; allowed: "):
        PoolExecutor(*arguments)


def test_a_mailbox_grows_and_keeps_what_it_is_asked_to_keep():
    """Arrays come back whole; those that are not kept lie where the next ones will."""
    box = Mailbox()
    small = {"n": 3, "x": np.arange(5), "none": np.zeros(0, np.float32)}
    kept = box.get(box.put(small), keep=True)
    lent = box.get(box.put(small), keep=False)
    assert not lent["x"].flags.writeable
    large = box.get(box.put([np.arange(200_000), np.ones(3)]), keep=False)
    np.testing.assert_array_equal(large[0], np.arange(200_000))
    np.testing.assert_array_equal(kept["x"], np.arange(5))
    assert (kept["n"], len(kept["none"]), kept["none"].dtype) == (3, 0, np.float32)
    box.put([np.full(5, 7)])
    np.testing.assert_array_equal(kept["x"], np.arange(5))
