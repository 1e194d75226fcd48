"""Simulating a log into a folder, resumable day by day."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from sim.config import ConfigError, WorldConfig
from sim.log import VERSION, Log
from sim.log_writer import LogIdentity, LogWriter
from sim.ranker import Ranker
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
    on_day: Callable[[int, int], None] | None = None,
) -> Log:
    """Run a world for `days` days under `ranker` and write its log.

    A folder that holds the beginning of the same log is continued; a complete one is opened.

    Args:
        config: the world.
        seed: its seed.
        ranker: the logging policy, not yet used; it is replayed over days already written.
        days: days from the beginning of the world.
        folder: where the log goes.
        ranker_name: says which logging policy this is; part of the log's identity.
        chunks: parts into which each tick's sessions are cut; the log does not depend on it.
        on_day: called with (day, impressions so far) after each written day.

    Raises:
        LogError: the folder holds another log or cannot be written.
        ConfigError: `days` is not in [1, 3650].
    """
    if not 1 <= days <= 3650:
        raise ConfigError(f"days = {days}; allowed: an integer in [1, 3650]")
    identity = LogIdentity(
        log_digest(config, seed, days, ranker_name), config.name, seed, days, config.tick_s
    )
    with LogWriter(folder, identity) as writer:
        if not writer.complete:
            _go_on(writer, config, seed, ranker, days, chunks=chunks, on_day=on_day)
    return Log.open(folder)


def _go_on(
    writer: LogWriter,
    config: WorldConfig,
    seed: int,
    ranker: Ranker,
    days: int,
    *,
    chunks: int,
    on_day: Callable[[int, int], None] | None,
) -> None:
    """Write the days that are missing."""
    if writer.next_day:
        for tick in Log.so_far(writer.folder, writer.manifest).ticks():
            ranker.observe(tick.known, tick.purchases, tick.now_s)
    world = World(config, seed, writer.last_state())
    for record in world.run(ranker, days - writer.next_day, chunks=chunks):
        writer.write(record, world.state)
        if on_day is not None:
            on_day(record.day, int(writer.manifest["impressions"]))


def log_digest(config: WorldConfig, seed: int, days: int, ranker_name: str) -> str:
    """Return the digest (hex) that names a log: everything that decides its bytes."""
    text = repr((VERSION, config, seed, days, ranker_name))
    return hashlib.sha256(text.encode()).hexdigest()
