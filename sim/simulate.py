"""Simulating a log into a folder, resumable day by day."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from sim.config import ConfigError, WorldConfig
from sim.day_record import DayRecord
from sim.executor import Executor, SerialExecutor, WorkerLost
from sim.log import VERSION, Log, LogError
from sim.log_writer import LogIdentity, LogWriter
from sim.partition import parts_of
from sim.ranker import Ranker
from sim.state import State
from sim.world import World


def simulate(
    config: WorldConfig,
    seed: int,
    ranker: Ranker,
    days: int,
    folder: Path,
    *,
    ranker_name: str,
    chunks: int = 1,
    executor: Executor | None = None,
    on_day: Callable[[int, int], None] | None = None,
) -> Log:
    """Run a world for `days` days under `ranker` and write its log.

    A folder that holds the beginning of the same log is continued; a complete one is opened. Where
    a worker process is lost, the run goes on from the last written day, to the same bytes.

    Args:
        config: the world.
        seed: its seed.
        ranker: the logging policy, not yet used; it is replayed over days already written.
        days: days from the beginning of the world.
        folder: where the log goes.
        ranker_name: says which logging policy this is; part of the log's identity.
        chunks: parts into which each tick's sessions are cut; the log does not depend on it.
        executor: who does the work, None for this process; the log does not depend on it.
        on_day: called with (day, impressions so far) after each written day.

    Raises:
        LogError: the folder holds another log or cannot be written, or workers are lost again and
            again.
        ConfigError: `days` is not in [1, 3650], the world has no ids for so many, or the ranker
            cannot be sent to a worker.
    """
    if not 1 <= days <= 3650:
        raise ConfigError(f"days = {days}; allowed: an integer in [1, 3650]")
    config.require_days(days)
    executor = executor or SerialExecutor()
    identity = LogIdentity(
        log_digest(config, seed, days, ranker_name), config.name, seed, days, config.tick_s,
        parts_of(config.population.n_users),
    )  # fmt: skip
    with LogWriter(folder, identity) as writer:
        failures, since = 0, writer.next_day
        while not writer.complete:
            own = executor.own(ranker)  # each attempt replays the days that are written
            try:
                _go_on(writer, config, seed, own, chunks=chunks, executor=executor, on_day=on_day)
            except WorkerLost as error:
                failures = 1 if writer.next_day > since else failures + 1
                since = writer.next_day
                if failures >= executor.attempts:
                    raise LogError(
                        f"log {folder}: {error}, {failures} times on day {since}; {since} of {days}"
                        " days are kept, the same command goes on; fewer workers need less memory"
                    ) from error
    return Log.open(folder)


def _go_on(
    writer: LogWriter,
    config: WorldConfig,
    seed: int,
    ranker: Ranker,
    *,
    chunks: int,
    executor: Executor,
    on_day: Callable[[int, int], None] | None,
) -> None:
    """Write the days that are missing."""
    if writer.next_day and ranker.observes:
        for tick in Log.so_far(writer.folder, writer.manifest).ticks():
            ranker.observe(tick.known, tick.purchases, tick.now_s)
    world = World(config, seed, writer.last_state())
    days = world.run(
        ranker, writer.identity.days - writer.next_day, chunks=chunks, executor=executor,
        n_parts=writer.identity.n_parts,
    )  # fmt: skip
    # the processes of a run end with it, also where writing fails
    with closing(days), _Desk(writer, executor.apart, on_day) as desk:
        for record in days:
            desk.write(record, world.state)


class _Desk:
    """Writes days, one behind the other; beside the run where other processes do its work.

    Args:
        writer: of the log.
        beside: whether to write in a thread; the run then is at most a day ahead.
        on_day: called with (day, impressions so far) after each written day.
    """

    def __init__(
        self, writer: LogWriter, beside: bool, on_day: Callable[[int, int], None] | None
    ) -> None:
        self._writer = writer
        self._on_day = on_day
        self._thread = ThreadPoolExecutor(1) if beside else None
        self._open: Future[int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the day that is being written; what it raises counts where nothing else did."""
        if self._thread is not None:
            self._thread.shutdown()
        if error is None or isinstance(error, WorkerLost):
            self._finish()

    def write(self, record: DayRecord, state: State) -> None:
        """Write a day, or begin to.

        Raises:
            LogError: this day or the one before cannot be written.
        """
        self._finish()
        if self._thread is None:
            self._writer.write(record, state)
            self._tell(record.day)
        else:
            self._open = self._thread.submit(self._write, record, state)

    def _write(self, record: DayRecord, state: State) -> int:
        self._writer.write(record, state)
        return record.day

    def _finish(self) -> None:
        waiting, self._open = self._open, None
        if waiting is not None:
            self._tell(waiting.result())

    def _tell(self, day: int) -> None:
        if self._on_day is not None:
            self._on_day(day, int(self._writer.manifest["impressions"]))


def log_digest(config: WorldConfig, seed: int, days: int, ranker_name: str) -> str:
    """Return the digest (hex) that names a log: everything that decides its bytes."""
    text = repr((VERSION, parts_of(config.population.n_users), config, seed, days, ranker_name))
    return hashlib.sha256(text.encode()).hexdigest()
