"""Writing a log, day by day, so that an interruption never leaves one that reads as complete.

A day's files are written first, then the state after that day, and all of them are brought to the
disk; then `manifest.json` is replaced in one step. Whatever the manifest does not name does not
exist. Writing goes on from the last day of the manifest when the same world is written to the same
folder again, after an error, a kill or a loss of power alike.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from sim import arrow
from sim.day_record import DayRecord
from sim.direct_write import DirectWriter
from sim.folder_lock import FolderLock
from sim.log import MANIFEST, VERSION, LogError, check_files, read_manifest
from sim.part_files import row_files
from sim.schedule import SLOT_S
from sim.schema import DAY_S, SCENARIOS
from sim.state import COMMON, State, state_path
from sim.tables import entity_tables, to_parquet, to_table

STATES_KEPT = 2
"""States that stay: the newest, to go on from, and the one before the last day, from which the
truth about that day's requests is computed again."""

_MOST_OPEN = 128
"""Files that wait for the disk together; a process may often have 1024 open."""


@dataclass(frozen=True)
class LogIdentity:
    """What makes a log: a folder that holds another one is refused."""

    digest: str
    """Digest of the world's config, its seed and the logging policy."""
    world: str
    seed: int
    days: int
    tick_s: float
    n_parts: int
    """Files into which each day's rows are divided by user."""


class LogWriter:
    """Appends days to a log folder; no other process can until the log is complete or closed.

    Args:
        folder: created if missing.
        identity: what is written; a folder with another identity is refused.

    Raises:
        LogError: the folder holds another log, or is no folder, or is being written, or a file of
            the days already written is broken.
    """

    def __init__(self, folder: Path, identity: LogIdentity) -> None:
        self.folder = folder
        self.identity = identity
        self._lock = FolderLock(folder)
        self._direct = DirectWriter()
        self.manifest = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others write the folder; what was written stays."""
        self._lock.release()

    @property
    def next_day(self) -> int:
        """First day that is not yet written."""
        return int(self.manifest["days_written"])

    @property
    def complete(self) -> bool:
        """Whether every day is written."""
        return self.next_day >= self.identity.days

    def last_state(self) -> State | None:
        """Return the state after the last written day, None at the beginning.

        Raises:
            LogError: its file cannot be read.
        """
        if self.next_day == 0:
            return None
        name = state_path(self.next_day)
        try:
            return State.load(self.folder / name)
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            reason = str(error).splitlines()[0]
            raise LogError(f"log {self.folder}: cannot read {name}: {reason}") from error

    def write(self, record: DayRecord, state: State) -> None:
        """Write one day and the state after it.

        Raises:
            LogError: the day is not the next one, the writer is closed, or the disk refuses; the
                days before stay as they are.
        """
        if record.day != self.next_day:
            raise LogError(f"log {self.folder}: day {record.day} offered; next is {self.next_day}")
        if not self._lock.held:
            raise LogError(f"log {self.folder}: day {record.day} offered to a closed writer")
        try:
            sizes = self._write_files(record, state)
            manifest = self._extended(record, sizes)
            self._publish(manifest)
        except OSError as error:
            raise LogError(
                f"log {self.folder}: cannot write day {record.day}: {error.strerror or error}; "
                f"{self.next_day} of {self.identity.days} days are kept, the same command goes on"
            ) from error
        self.manifest = manifest
        self._drop_old_states()
        if self.complete:
            self.close()

    def _open(self) -> dict[str, Any]:
        if self.folder.exists() and not self.folder.is_dir():
            raise LogError(f"log {self.folder}: is a file; allowed: a folder")
        manifest = self._read()
        if manifest["days_written"] >= self.identity.days:
            return manifest
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            locked = self._lock.acquire()
        except OSError as error:
            raise LogError(
                f"log {self.folder}: cannot be written: {error.strerror or error}"
            ) from error
        if not locked:
            raise LogError(
                f"log {self.folder}: another process is writing it; wait for it or choose "
                "another folder"
            )
        manifest = self._read()  # again: it may have grown before the lock was ours
        check_files(self.folder, manifest)
        return manifest

    def _read(self) -> dict[str, Any]:
        if (self.folder / MANIFEST).exists():
            manifest = read_manifest(self.folder)
            if manifest["digest"] != self.identity.digest:
                raise LogError(
                    f"log {self.folder}: holds world {manifest['world']} seed {manifest['seed']} "
                    f"days {manifest['days']} with other settings; choose another folder"
                )
            return manifest
        return {
            "version": VERSION,
            "digest": self.identity.digest,
            "world": self.identity.world,
            "seed": self.identity.seed,
            "days": self.identity.days,
            "days_written": 0,
            "tick_s": self.identity.tick_s,
            "parts": self.identity.n_parts,
            "day_s": DAY_S,
            "impressions": 0,
            "purchases": 0,
            "refunds": 0,
            "revisits": 0,
            "entities": {"users": 0, "streamers": 0, "products": 0},
            "files": {},
        }

    def _write_files(self, record: DayRecord, state: State) -> dict[str, int]:
        """Write the day's files, wait until the disk has them and return {name: bytes}."""
        sizes: dict[str, int] = {}
        opened: list[int] = []
        try:
            for name, content in self._contents(record, state):
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                opened.append(self._direct.write(path, content))
                sizes[name] = content.size
                if len(opened) == _MOST_OPEN:
                    _sync(opened)
            _sync(opened)
        finally:
            for descriptor in opened:
                os.close(descriptor)
        return sizes

    def _contents(self, record: DayRecord, state: State) -> Iterator[tuple[str, pa.Buffer]]:
        """Yield (name, bytes) of every file of the day."""
        day, n_parts = f"day={record.day:04d}", self.identity.n_parts
        after = state_path(record.day + 1)
        if record.files is not None:
            yield from record.files.items()
            yield f"{after}/{COMMON}", state.common(n_parts)
        else:
            shown = [(tick.impressions, tick.truth) for tick in record.ticks]
            yield from row_files(record.day, shown, range(n_parts), n_parts)
            yield from ((f"{after}/{name}", content) for name, content in state.files(n_parts))
        yield f"purchases/{day}/part-0.parquet", to_parquet(to_table(record.purchases))
        yield f"refunds/{day}/part-0.parquet", to_parquet(to_table(record.refunds))
        yield f"revisits/{day}/part-0.parquet", to_parquet(to_table(record.revisits))
        yield f"truth/purchases/{day}/part-0.parquet", to_parquet(to_table(record.ultimate))
        yield f"follows/{day}/part-0.parquet", to_parquet(to_table(record.follows))
        yield f"on_air/{day}/part-0.parquet", to_parquet(on_air_table(record))
        for entity, table in entity_tables(record.catalogue, record.day).items():
            yield f"{entity}/{day}/part-0.parquet", to_parquet(table)

    def _extended(self, record: DayRecord, sizes: dict[str, int]) -> dict[str, Any]:
        """Return the manifest with the day."""
        files, old = self.manifest["files"] | sizes, state_path(record.day + 1 - STATES_KEPT)
        files = {name: size for name, size in files.items() if not name.startswith(f"{old}/")}
        return self.manifest | {
            "files": files,
            "entities": {
                "users": record.catalogue.n_users,
                "streamers": record.catalogue.n_streamers,
                "products": record.catalogue.n_products,
            },
            "impressions": self.manifest["impressions"] + record.n_impressions,
            "purchases": self.manifest["purchases"] + len(record.purchases),
            "refunds": self.manifest["refunds"] + len(record.refunds),
            "revisits": self.manifest["revisits"] + len(record.revisits),
            "days_written": record.day + 1,
        }

    def _publish(self, manifest: dict[str, Any]) -> None:
        draft = self.folder / f"{MANIFEST}.draft"
        with draft.open("w") as file:
            json.dump(manifest, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.folder / MANIFEST)
        # the new name must be on the disk before a state that only the old one knows is removed
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _drop_old_states(self) -> None:
        """Remove states that the manifest no longer names; one that resists does no harm."""
        for path in (self.folder / state_path(0)).parent.glob("*/*"):
            if path.relative_to(self.folder).as_posix() not in self.manifest["files"]:
                with contextlib.suppress(OSError):
                    path.unlink()
                    path.parent.rmdir()  # refused until it is empty


def _sync(opened: list[int]) -> None:
    """Wait until the disk has the files, all of which are on their way, and close them."""
    for descriptor in opened:
        os.fsync(descriptor)
    while opened:
        os.close(opened.pop())


def on_air_table(record: DayRecord) -> pa.Table:
    """Return who is on air in which slot of the day and its first hours after."""
    on_air = record.on_air
    columns = {
        "slot": arrow.column(on_air.slot),
        "time_s": arrow.column(on_air.slot * float(SLOT_S)),
        "streamer_id": arrow.column(on_air.streamer_id),
        "room_id": arrow.column(on_air.room_id),
        "room_start_s": arrow.column(on_air.start_s),
        "product_id": arrow.column(on_air.product_id),
    }
    for code, scenario in enumerate(SCENARIOS):
        columns[f"in_{scenario}"] = arrow.column(on_air.in_scenario[:, code])
    return arrow.table(columns)
