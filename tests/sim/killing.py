"""A log writer that is killed with SIGKILL again and again; run as `python -m tests.sim.killing`.

A process of its own, since it forks: the children need no second import of everything. It prints
one line of JSON for each scene.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sim.day_record import DayRecord
from sim.log import Log, LogError
from sim.log_writer import LogIdentity, LogWriter
from sim.simulate import simulate
from sim.state import State
from sim.world import World
from tests.sim.worlds import TICK_S, config, server

DAYS = 3
IDENTITY = LogIdentity("digest", "tiny", 3, DAYS, TICK_S, n_parts=1)

Day = tuple[DayRecord, State]


def record() -> list[Day]:
    """Return the days that all writers write, each with the state after it."""
    world = World(config(), 3)
    return [(day, world.state) for day in world.run(server("random"), DAYS)]


def write(folder: Path, days: list[Day]) -> None:
    """Write what is missing."""
    with LogWriter(folder, IDENTITY) as writer:
        for day, state in days[writer.next_day :]:
            writer.write(day, state)


def full(folder: Path) -> Log:
    """Simulate two days whole."""
    return simulate(config(), 3, server("popularity", 0.1), 2, folder, ranker_name="p")


@contextmanager
def child(job: Callable[[], object]) -> Iterator[int]:
    """Run a job in a forked child, which is killed at the end of the block."""
    pid = os.fork()
    if not pid:
        try:
            job()
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def opens(folder: Path) -> bool:
    """Return whether a folder reads as a complete log."""
    try:
        Log.open(folder)
    except LogError:
        return False
    return True


def kill_at_every_step(folder: Path, days: list[Day]) -> Iterator[dict[str, object]]:
    """Kill the writer of the last day before each file that it opens, renames or removes."""
    begun = folder / "begun"
    with LogWriter(begun, IDENTITY) as writer:
        for day in days[:-1]:
            writer.write(*day)
    for step in itertools.count():
        target = folder / f"step-{step}"
        shutil.copytree(begun, target)
        pid = os.fork()
        if not pid:
            try:
                die_at(step, str(target))
                write(target, days)
            finally:
                os._exit(0)
        _, status = os.waitpid(pid, 0)
        died = os.WIFSIGNALED(status)
        complete = opens(target)
        write(target, days)
        yield {"folder": str(target), "died": died, "complete": complete}
        if not died:
            return


def die_at(step: int, folder: str) -> None:
    """Let this process die before its `step`-th change of a folder, from 0."""
    left = step

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.remove") and str(arguments[0]).startswith(folder):
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(watch)


def kill_at_random(folder: Path, took_s: float, kills: int) -> dict[str, object]:
    """Kill one simulation at random moments, each time going on where it was."""
    rng = np.random.default_rng(0)
    complete = 0
    for wait_s in rng.uniform(0.0, took_s / 2, kills):
        with child(lambda: full(folder)):
            time.sleep(float(wait_s))
        complete += opens(folder)
    return {"folder": str(full(folder)._folder), "kills": kills, "complete": complete}


def second_writer(folder: Path, days: list[Day]) -> dict[str, object]:
    """Refuse a second process while the first lives, and let it in when that one is killed."""
    ready, tell = os.pipe()

    def job() -> None:
        writer = LogWriter(folder, IDENTITY)
        writer.write(*days[0])
        os.write(tell, b"x")
        time.sleep(60)

    with child(job):
        os.read(ready, 1)
        try:
            LogWriter(folder, IDENTITY)
            refused = ""
        except LogError as error:
            refused = str(error)
    write(folder, days)
    return {"folder": str(folder), "refused": refused}


def main() -> None:
    """Play all scenes in the folder named by the first argument."""
    folder = Path(sys.argv[1])
    days = record()
    write(folder / "written", days)
    for found in kill_at_every_step(folder, days):
        print(json.dumps({"scene": "step"} | found))
    print(json.dumps({"scene": "second"} | second_writer(folder / "second", days)))
    begun = time.perf_counter()
    full(folder / "simulated")
    took_s = time.perf_counter() - begun
    print(json.dumps({"scene": "imports", "pandas": "pandas" in sys.modules}))
    found = kill_at_random(folder / "killed", took_s, 4)
    print(json.dumps({"scene": "random"} | found))


if __name__ == "__main__":
    main()
