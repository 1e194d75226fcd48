"""What a world carries from day to day, and the file that keeps it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from sim import arrow
from sim.events import Revisits
from sim.memory import Memory
from sim.relations import Relations
from sim.schema import Impressions, Purchases, Refunds

R = TypeVar("R", Relations, Memory, Impressions, Purchases, Refunds, Revisits)


@dataclass(frozen=True)
class State:
    """What a world carries from day to day; everything else is a function of config and seed."""

    day: int
    """Next day to run."""
    relations: Relations
    memory: Memory
    unknown: Impressions
    """Impressions whose feedback is not complete at the start of `day`."""
    pending: Purchases
    """Purchases that no ranker was told of yet, most of them still to happen."""
    refunds: Refunds
    """Refunds that become known later."""
    revisits: Revisits
    """Visits that happen later."""

    def to_buffer(self) -> pa.Buffer:
        """Return the state as an Arrow IPC file (Feather) of one row.

        The columns are `day` and, as lists, `relations.key`, `unknown.user_id` and so on: the
        records have different lengths. Not compressed: few states are ever kept.
        """
        columns = {"day": arrow.column(np.array([self.day], np.int64))}
        for part in ("relations", "memory", "unknown", "pending", "refunds", "revisits"):
            record = getattr(self, part)
            for f in fields(record):
                values = arrow.column(getattr(record, f.name).reshape(-1))
                offsets = arrow.column(np.array([0, len(values)], np.int64))
                columns[f"{part}.{f.name}"] = pa.LargeListArray.from_arrays(offsets, values)
        table = arrow.table(columns)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)
        return sink.getvalue()

    def save(self, path: Path) -> None:
        """Write the state to one file.

        Raises:
            OSError: the disk refuses.
        """
        path.write_bytes(self.to_buffer())

    @classmethod
    def load(cls, path: Path) -> State:
        """Read a state written by `save`.

        Raises:
            OSError: the file cannot be read.
            pyarrow.ArrowInvalid: it holds no state.
        """
        with pa.OSFile(str(path)) as file:
            batch = pa.ipc.open_file(file).get_batch(0)
        return cls(
            day=batch.column("day")[0].as_py(),
            relations=_record(Relations, "relations", batch),
            memory=_record(Memory, "memory", batch).reshaped,
            unknown=_record(Impressions, "unknown", batch),
            pending=_record(Purchases, "pending", batch),
            refunds=_record(Refunds, "refunds", batch),
            revisits=_record(Revisits, "revisits", batch),
        )


def _record(kind: type[R], part: str, batch: pa.RecordBatch) -> R:
    columns: dict[str, Any] = {}
    for f in fields(kind):
        values = batch.column(f"{part}.{f.name}").values
        columns[f.name] = np.array(values.to_numpy(zero_copy_only=False))
    return kind(**columns)
