"""Writing a log, day by day, so that an interruption never leaves one that reads as complete.

A day's files are written first, then the state after that day, then `manifest.json` is replaced in
one step; whatever the manifest does not name does not exist. Writing goes on from the last day of
the manifest when the same world is written to the same folder again.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sim.log import MANIFEST, VERSION, LogError, read_manifest
from sim.schedule import SLOT_S
from sim.schema import DAY_S, SCENARIOS
from sim.tables import entity_tables, to_table, write_table
from sim.world import DayRecord, State


@dataclass(frozen=True)
class LogIdentity:
    """What makes a log: a folder that holds another one is refused."""

    digest: str
    """Digest of the world's config, its seed and the logging policy."""
    world: str
    seed: int
    days: int
    tick_s: float


class LogWriter:
    """Appends days to a log folder.

    Args:
        folder: created if missing.
        identity: what is written; a folder with another identity is refused.

    Raises:
        LogError: the folder holds another log, or is no folder.
    """

    def __init__(self, folder: Path, identity: LogIdentity) -> None:
        self.folder = folder
        self.identity = identity
        self.manifest = self._open()

    @property
    def next_day(self) -> int:
        """First day that is not yet written."""
        return int(self.manifest["days_written"])

    @property
    def complete(self) -> bool:
        """Whether every day is written."""
        return self.next_day >= self.identity.days

    def last_state(self) -> State | None:
        """Return the state after the last written day, None at the beginning."""
        if self.next_day == 0:
            return None
        return State.load(self.folder / state_path(self.next_day))

    def write(self, record: DayRecord, state: State) -> None:
        """Write one day and the state after it.

        Raises:
            LogError: the day is not the next one, or the disk refuses.
        """
        if record.day != self.next_day:
            raise LogError(f"log {self.folder}: day {record.day} offered; next is {self.next_day}")
        try:
            files = self._write_files(record, state)
        except OSError as error:
            raise LogError(f"log {self.folder}: cannot write day {record.day}: {error}") from error
        counts = {
            "users": record.catalogue.n_users,
            "streamers": record.catalogue.n_streamers,
            "products": record.catalogue.n_products,
        }
        self.manifest["files"].update(files)
        self.manifest["entities"] = counts
        self.manifest["impressions"] += len(record.impressions)
        self.manifest["purchases"] += len(record.purchases)
        self.manifest["days_written"] = record.day + 1
        self._publish()

    def _open(self) -> dict[str, Any]:
        if self.folder.exists() and not self.folder.is_dir():
            raise LogError(f"log {self.folder}: is a file; allowed: a folder")
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
            "day_s": DAY_S,
            "impressions": 0,
            "purchases": 0,
            "entities": {"users": 0, "streamers": 0, "products": 0},
            "files": {},
        }

    def _write_files(self, record: DayRecord, state: State) -> dict[str, int]:
        day = f"day={record.day:04d}"
        tables: dict[str, pa.Table] = {}
        shown, truth = to_table(record.impressions, drop=("scenario",)), to_table(record.truth)
        for code, scenario in enumerate(SCENARIOS):
            rows = pa.array(np.flatnonzero(record.impressions.scenario == code))
            part = f"{day}/scenario={scenario}/part-0.parquet"
            tables[f"impressions/{part}"] = pc.take(shown, rows)
            tables[f"truth/impressions/{part}"] = pc.take(truth, rows)
        tables[f"purchases/{day}/part-0.parquet"] = to_table(record.purchases)
        tables[f"on_air/{day}/part-0.parquet"] = on_air_table(record)
        for entity, table in entity_tables(record.catalogue, self.manifest["entities"]).items():
            tables[f"{entity}/{day}/part-0.parquet"] = table
        for name, table in tables.items():
            write_table(table, self.folder / name)
        state_file = self.folder / state_path(record.day + 1)
        state_file.parent.mkdir(parents=True, exist_ok=True)
        state.save(state_file)
        names = [*tables, state_path(record.day + 1)]
        return {name: (self.folder / name).stat().st_size for name in names}

    def _publish(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f"{MANIFEST}.draft"
        with draft.open("w") as file:
            json.dump(self.manifest, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.folder / MANIFEST)


def state_path(day: int) -> str:
    """Return where the state at the start of `day` lies, relative to the log."""
    return f"truth/state/day={day:04d}.npz"


def on_air_table(record: DayRecord) -> pa.Table:
    """Return who is on air in which slot of the day and its first hours after."""
    on_air = record.on_air
    columns = {
        "slot": pa.array(on_air.slot),
        "time_s": pa.array(on_air.slot * float(SLOT_S)),
        "streamer_id": pa.array(on_air.streamer_id),
        "room_id": pa.array(on_air.room_id),
        "room_start_s": pa.array(on_air.start_s),
        "product_id": pa.array(on_air.product_id),
    }
    for code, scenario in enumerate(SCENARIOS):
        columns[f"in_{scenario}"] = pa.array(on_air.in_scenario[:, code])
    return pa.table(columns)
