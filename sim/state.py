"""What a world carries from day to day, and the files that keep it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from sim import arrow
from sim.columns import Columns, places
from sim.events import Revisits
from sim.memory import Memory
from sim.partition import shard_of
from sim.relations import Relations
from sim.schema import Impressions, Purchases, Refunds

R = TypeVar("R", Relations, Memory, Impressions, Purchases, Refunds, Revisits)

COMMON = "common.arrow"
"""File of what is not divided by user."""


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

    def common(self, n_parts: int) -> pa.Buffer:
        """Return the bytes of COMMON, where the users are divided into `n_parts` parts."""
        records = {
            name: getattr(self, name) for name in ("memory", "pending", "refunds", "revisits")
        }
        return _to_buffer({"day": self.day, "parts": n_parts}, records)

    def files(self, n_parts: int = 1) -> Iterator[tuple[str, pa.Buffer]]:
        """Yield (name, bytes) of every file of the state."""
        yield COMMON, self.common(n_parts)
        bonds = self.relations.divided(n_parts)
        owner = shard_of(self.unknown.user_id, n_parts)
        for part in range(n_parts):
            yield users_file(part), users_buffer(bonds[part], self.unknown.take(owner == part))

    @classmethod
    def load(cls, folder: Path) -> State:
        """Read the state whose `files` lie in a folder.

        Raises:
            OSError: a file cannot be read.
            pyarrow.ArrowInvalid: one holds no state.
        """
        common = _row(folder / COMMON)
        users = [_row(folder / users_file(k)) for k in range(common.column("parts")[0].as_py())]
        unknown = [_record(Impressions, "unknown", row) for row in users]
        return cls(
            day=common.column("day")[0].as_py(),
            relations=Relations.together([_record(Relations, "relations", row) for row in users]),
            memory=_record(Memory, "memory", common).reshaped,
            unknown=_together(unknown),
            pending=_record(Purchases, "pending", common),
            refunds=_record(Refunds, "refunds", common),
            revisits=_record(Revisits, "revisits", common),
        )


def state_path(day: int) -> str:
    """Return the folder of the state at the start of `day`, relative to a log."""
    return f"truth/state/day={day:04d}"


def users_file(part: int) -> str:
    """Return the name of the file with what the users of a part carry along."""
    return f"users-{part}.arrow"


def users_buffer(relations: Relations, unknown: Impressions) -> pa.Buffer:
    """Return the bytes of `users_file` with these users' bonds and impressions not yet complete."""
    return _to_buffer({}, {"relations": relations, "unknown": unknown})


def _together(parts: Sequence[Impressions]) -> Impressions:
    """Return the impressions of all users, by request and position."""
    if len(parts) == 1:
        return parts[0]
    # a request lies in one part, its positions in order
    return Impressions.merged(parts, places([part.request_id for part in parts]))


def _to_buffer(numbers: dict[str, int], records: dict[str, Columns | Memory]) -> pa.Buffer:
    """Return an Arrow IPC file (Feather) of one row.

    The columns are the numbers and, as lists, `relations.key`, `unknown.user_id` and so on: the
    records have different lengths. Not compressed: few states are ever kept.
    """
    columns = {name: arrow.column(np.array([n], np.int64)) for name, n in numbers.items()}
    for part, record in records.items():
        for f in fields(record):  # type: ignore[arg-type]
            values = arrow.column(getattr(record, f.name).reshape(-1))
            offsets = arrow.column(np.array([0, len(values)], np.int64))
            columns[f"{part}.{f.name}"] = pa.LargeListArray.from_arrays(offsets, values)
    table = arrow.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    return sink.getvalue()


def _row(path: Path) -> pa.RecordBatch:
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).get_batch(0)


def _record(kind: type[R], part: str, batch: pa.RecordBatch) -> R:
    columns: dict[str, Any] = {}
    for f in fields(kind):
        values = batch.column(f"{part}.{f.name}").values
        columns[f.name] = np.array(values.to_numpy(zero_copy_only=False))
    return kind(**columns)
