"""What goes wrong while a log is written: kills, a full disk, a second writer, leftovers."""

import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim.folder_lock import LOCK, FolderLock
from sim.log import Log, LogError
from sim.log_writer import LogIdentity, LogWriter
from sim.schema import SWIPE, Impressions, Purchases, Refunds
from sim.simulate import simulate
from sim.state import COMMON, State, state_path, users_file
from sim.truth_log import sessions_to_their_end
from sim.world import World
from tests.sim.worlds import TICK_S, config, same, save, server

DAYS = 3
IDENTITY = LogIdentity("digest", "tiny", 3, DAYS, TICK_S, n_parts=1)
ROOT = Path(__file__).resolve().parents[2]

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@pytest.fixture(scope="module")
def days():
    """Return the days of a log, each with the state after it."""
    world = World(config(), 3)
    return [(day, world.state) for day in world.run(server("random"), DAYS)]


@pytest.fixture(scope="module")
def whole(days, tmp_path_factory):
    """Return the bytes of the log that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "log"
    write(folder, days)
    return named(folder)


def write(folder, days):
    """Write what is missing."""
    with LogWriter(folder, IDENTITY) as writer:
        for day, state in days[writer.next_day :]:
            writer.write(day, state)


def named(folder):
    """Return {name: bytes} of the manifest and of all that it names; the rest does not exist."""
    text = (folder / "manifest.json").read_bytes()
    names = json.loads(text)["files"]
    return {"manifest.json": text} | {name: (folder / name).read_bytes() for name in names}


def strays(folder):
    """Return the files that no manifest names."""
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    return found - named(folder).keys() - {LOCK}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Play all scenes of `tests.sim.killing` and return {scene: findings}."""
    folder = tmp_path_factory.mktemp("killing")
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim.killing", str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    played = {}
    for line in done.stdout.splitlines():
        found = json.loads(line)
        played.setdefault(found["scene"], []).append(found)
    return folder, played


def test_a_kill_before_any_change_of_the_folder_is_made_good(scenes, whole):
    """Killed at each file in turn, a log is incomplete or whole, and ends up byte-identical."""
    _, played = scenes
    steps = played["step"]
    assert len(steps) > 15
    assert [s["died"] for s in steps] == [True] * (len(steps) - 1) + [False]
    complete = [s["complete"] for s in steps]
    assert complete == sorted(complete)  # never before the last manifest is in its place
    assert sum(complete) < 5
    for step in steps:
        folder = Path(step["folder"])
        assert named(folder) == whole
        # only a state that lost its use may be left, where the kill came before its removal
        assert strays(folder) <= {f"{state_path(1)}/{name}" for name in (COMMON, users_file(0))}
    assert not strays(folder)


def test_kills_at_random_moments_are_made_good(scenes):
    """Four kills -9 of one simulation, wherever they fall, leave no trace."""
    folder, played = scenes
    (found,) = played["random"]
    assert found["kills"] == 4
    assert named(Path(found["folder"])) == named(folder / "simulated")
    Log.open(Path(found["folder"]))


def test_a_second_process_is_refused_until_the_first_dies(scenes, whole):
    """One clear line while the first lives; its death by kill -9 leaves no lock behind."""
    _, played = scenes
    (found,) = played["second"]
    folder = Path(found["folder"])
    assert found["refused"] == (
        f"log {folder}: another process is writing it; wait for it or choose another folder"
    )
    assert named(folder) == whole


def test_a_lock_is_free_when_its_writer_is_closed_forgotten_or_done(days, tmp_path):
    """Also within one process only one writer holds a folder."""
    first = LogWriter(tmp_path, IDENTITY)
    with pytest.raises(LogError, match="another process is writing it"):
        LogWriter(tmp_path, IDENTITY)
    first.close()
    first.close()
    with pytest.raises(LogError, match="day 0 offered to a closed writer"):
        first.write(*days[0])
    second = LogWriter(tmp_path, IDENTITY)
    second.write(*days[0])
    del second
    third = LogWriter(tmp_path, IDENTITY)
    assert third.next_day == 1
    for day in days[1:]:
        third.write(*day)
    lock = FolderLock(tmp_path)
    assert lock.acquire()
    assert LogWriter(tmp_path, IDENTITY).complete  # a complete log needs no lock to be seen
    lock.release()
    assert not lock.held


def test_a_failed_simulation_lets_go_of_its_folder(tmp_path):
    """An exception, even one that is kept with its frames, does not keep the lock."""

    def fail(day, impressions):
        raise RuntimeError

    with pytest.raises(RuntimeError) as kept:
        simulate(config(), 3, server("random"), 2, tmp_path, ranker_name="r", on_day=fail)
    assert kept.traceback
    simulate(config(), 3, server("random"), 2, tmp_path, ranker_name="r")


@needs_full
@pytest.mark.parametrize(
    "name",
    [
        "impressions/day=0001/scenario=channel/part-0.parquet",
        "purchases/day=0001/part-0.parquet",
        f"{state_path(2)}/{users_file(0)}",
        "manifest.json.draft",
    ],
)
def test_a_full_disk_costs_one_line_and_no_day(days, whole, tmp_path, name):
    """What was published stays, and the next run goes on to the same bytes."""
    with LogWriter(tmp_path, IDENTITY) as writer:
        writer.write(*days[0])
        before = named(tmp_path)
        full = tmp_path / name
        full.parent.mkdir(parents=True, exist_ok=True)
        full.symlink_to("/dev/full")
        with pytest.raises(LogError) as caught:
            writer.write(*days[1])
        assert str(caught.value) == (
            f"log {tmp_path}: cannot write day 1: No space left on device; "
            "1 of 3 days are kept, the same command goes on"
        )
        assert writer.next_day == 1
    full.unlink()
    assert named(tmp_path) == before
    with pytest.raises(LogError, match="incomplete, 1 of 3 days"):
        Log.open(tmp_path)
    write(tmp_path, days)
    assert named(tmp_path) == whole
    assert not strays(tmp_path)


def test_a_log_of_many_parts_needs_few_open_files(tmp_path):
    """Of a large world there are more files a day than a process may have open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_open = len([*Path("/proc/self/fd").iterdir()]) if Path("/proc/self/fd").exists() else 100
    identity = replace(IDENTITY, days=1, n_parts=32)  # 361 files
    world = World(config(), 3)
    (day,) = world.run(server("random"), 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 150, limits[1]))
    try:
        with LogWriter(tmp_path, identity) as writer:
            writer.write(day, world.state)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert same(sessions_to_their_end(Log.open(tmp_path), 0), day.impressions)


def test_another_number_of_parts_is_another_log(tmp_path, monkeypatch):
    """Days that are divided otherwise could not be read."""
    simulate(config(), 3, server("random"), 1, tmp_path, ranker_name="r")
    monkeypatch.setattr("sim.partition._USERS_A_PART", 100)
    with pytest.raises(LogError, match="with other settings; choose another folder"):
        simulate(config(), 3, server("random"), 1, tmp_path, ranker_name="r")


def test_leftovers_of_an_unpublished_day_change_nothing(days, whole, tmp_path):
    """Whatever lies where the next day will be written is written over."""
    with LogWriter(tmp_path, IDENTITY) as writer:
        writer.write(*days[0])
    for name in whole:
        path = tmp_path / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"PAR1 and then the light went out" * 10_000)
    (tmp_path / "manifest.json.draft").write_text('{"days_written": 3')
    write(tmp_path, days)
    assert named(tmp_path) == whole


def test_a_published_file_that_broke_is_found_before_going_on(days, tmp_path):
    """Nothing is added to a log whose earlier days cannot be read."""
    with LogWriter(tmp_path, IDENTITY) as writer:
        writer.write(*days[0])
    part = tmp_path / "truth/impressions/day=0000/scenario=swipe/part-0.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(LogError, match=r"file truth/.*/part-0.parquet is \d+ bytes instead of"):
        LogWriter(tmp_path, IDENTITY)
    state = tmp_path / state_path(1) / users_file(0)
    state.write_bytes(bytes(state.stat().st_size))
    part.write_bytes(part.read_bytes() + b"1")
    with (
        LogWriter(tmp_path, IDENTITY) as writer,
        pytest.raises(LogError, match=r"cannot read truth/state/day=0001: [^\n]+$"),
    ):
        writer.last_state()


def test_only_states_of_use_are_kept(days, whole, tmp_path):
    """The newest, and the one before the last day."""
    write(tmp_path, days)
    kept = sorted(p.name for p in (tmp_path / "truth/state").iterdir())
    assert kept == ["day=0002", "day=0003"]
    for day, name in ((2, state_path(2)), (3, state_path(3))):
        state, saved = days[day - 1][1], State.load(tmp_path / name)
        assert saved.day == state.day == day
        for part in ("relations", "unknown", "pending", "refunds"):
            assert same(getattr(saved, part), getattr(state, part))
            for column in vars(getattr(saved, part)).values():
                assert column.flags.writeable
    table = pd.read_feather(tmp_path / state_path(3) / users_file(0))
    assert len(table["unknown.user_id"][0]) == len(days[2][1].unknown)


def test_an_empty_state_is_kept(tmp_path):
    """A world in which nothing has happened has a state as well."""
    state = World(config(), 3).state
    assert same(state.unknown, Impressions.empty())
    assert same(state.pending, Purchases.empty())
    assert same(state.refunds, Refunds.empty())
    save(state, tmp_path / "state")
    loaded = State.load(tmp_path / "state")
    assert same(loaded.memory, state.memory)
    assert same(loaded.unknown, state.unknown)
    assert same(loaded.pending, state.pending)


def test_pandas_reads_the_same_values(days, tmp_path):
    """Names, types and values of a file are those of the record, without code of ours."""
    write(tmp_path, days)
    record = days[1][0].impressions
    own = record.take(record.scenario == SWIPE)
    table = pd.read_parquet(
        tmp_path / "impressions/day=0001/scenario=swipe/part-0.parquet", partitioning=None
    )
    assert [*table.columns] == [n for n in vars(own) if n not in ("scenario", "purchase_s")]
    for name in table.columns.drop("entry"):
        assert table[name].dtype == getattr(own, name).dtype
        np.testing.assert_array_equal(table[name].to_numpy(), getattr(own, name))
    assert set(table["entry"]) <= {"page", "interest", "bait", "task"}


def test_writing_does_not_import_pandas(scenes):
    """It would take longer than writing a day."""
    _, played = scenes
    assert played["imports"] == [{"scene": "imports", "pandas": False}]
