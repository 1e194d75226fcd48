"""Arrow tables of a log: the columns on disk, and the way between them and the records.

Scenario and entry are written as words; the scenario of impressions is a folder
(`impressions/day=0003/scenario=swipe/`), so that any Parquet reader sees it as a column.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sim import arrow
from sim.events import PAGES, Revisits
from sim.schema import (
    ENTRIES,
    SCENARIOS,
    UNBORN,
    Catalogue,
    Follows,
    Impressions,
    Purchases,
    Refunds,
)
from sim.truth import TruthRows

R = TypeVar("R", Impressions, Purchases, Refunds, Follows, Revisits, TruthRows)

WORDS = {"scenario": SCENARIOS, "entry": ENTRIES, "page": PAGES}
"""Columns whose int8 codes are written as words."""

NOT_STORED: dict[type, set[str]] = {Impressions: {"purchase_s"}}
"""Columns of a record that are joined when a log is read."""

RUNS = {
    "session_id",
    "user_id",
    "session_start_s",
    "refer_watch_s",
    "n_candidates",
    "propensity",
    "watch_s",
    "delay_intent",
    "delay_sale_wait_s",
    "purchase_delay_s",
    "lost_delay_s",
    "refund_delay_s",
}
"""Columns that repeat one value row after row: LZ4 alone folds them best."""

NOISE = {"delay_log_price", "delay_left_s"}
"""Columns that no codec makes smaller, like the true probabilities."""

FILTERED = {"id", "request_id", "session_id", "time_s", "session_start_s", "known_s", "event_s"}
"""Columns that ascend, so that their least and greatest values let a reader skip row groups."""

_ROW_GROUP = 262_144
_BATCH = 65_536
"""Values that the encoder takes at a time."""

CATALOGUE_PARTS = {"users": "user_", "streamers": "streamer_", "products": "product_"}
"""Entity tables and the prefix of their columns in `Catalogue`."""


def to_table(
    record: Impressions | Purchases | Refunds | Follows | Revisits | TruthRows,
    drop: tuple[str, ...] = (),
) -> pa.Table:
    """Return the record as an Arrow table, without `drop` and the columns that are not stored."""
    columns: dict[str, pa.Array] = {}
    for f in fields(record):
        if f.name in NOT_STORED.get(type(record), ()) or f.name in drop:
            continue
        values = getattr(record, f.name)
        if f.name in WORDS:
            columns[f.name] = arrow.words(values, WORDS[f.name])
        else:
            columns[f.name] = arrow.column(values)
    return arrow.table(columns)


def from_table(kind: type[R], table: pa.Table, **constant: Any) -> R:
    """Return the record in `table`; `constant` fills columns that the file does not hold.

    Raises:
        KeyError: a column is missing.
    """
    arrays: dict[str, Any] = {}
    for name, dtype in kind.dtypes().items():
        if name in constant:
            arrays[name] = np.full(len(table), constant[name], dtype)
        elif name in NOT_STORED.get(kind, ()):
            arrays[name] = np.full(len(table), np.nan)
        elif name in WORDS:
            column = table.column(name).combine_chunks()
            column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
            codes = [WORDS[name].index(word) for word in column.dictionary.to_pylist()]
            lookup = np.array(codes or [0], dtype)
            arrays[name] = lookup[np.asarray(column.indices)] if len(table) else np.zeros(0, dtype)
        else:
            arrays[name] = table.column(name).to_numpy().astype(dtype, copy=False)
    return kind(**arrays)


def to_parquet(table: pa.Table) -> pa.Buffer:
    """Return the bytes of a Parquet file; they depend on the table alone.

    Encodings are chosen for little work: no dictionary is tried on numbers (most columns have too
    many values, and the attempt is what costs), whole numbers are written as differences, floats
    byte by byte, and LZ4 takes a quarter less time than zstd for a sixth more bytes. True
    probabilities and the like are noise to any codec and are copied as they are. Arrow, pandas,
    DuckDB and Polars read all of this.
    """
    encoding: dict[str, str] = {}
    codec = dict.fromkeys(table.column_names, "lz4")
    words = []
    for field in table.schema:
        kind = field.type
        if pa.types.is_dictionary(kind):
            words.append(field.name)
        elif field.name.startswith("p_") or field.name in NOISE:
            encoding[field.name], codec[field.name] = "PLAIN", "none"
        elif field.name in RUNS:
            encoding[field.name] = "PLAIN"
        elif pa.types.is_floating(kind):
            encoding[field.name] = "BYTE_STREAM_SPLIT"
        elif pa.types.is_integer(kind) and kind.bit_width >= 32:
            encoding[field.name] = "DELTA_BINARY_PACKED"
        else:
            encoding[field.name] = "PLAIN"
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=_ROW_GROUP,
        write_batch_size=_BATCH,
        compression=codec,
        use_dictionary=words or False,
        column_encoding=encoding,
        write_statistics=[name for name in table.column_names if name in FILTERED],
    )
    return sink.getvalue()


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table to a new file; the bytes depend on the table alone.

    Raises:
        OSError: the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_parquet(table))


def entity_tables(catalogue: Catalogue, day: int) -> dict[str, pa.Table]:
    """Return {entity: table} of those in the catalogue of `day` and not of the day before.

    The catalogue of a day holds everyone up to the day after, whose rooms sessions may meet after
    midnight. Tables have a column `id` and are in its order.
    """
    tables = {}
    for entity, prefix in CATALOGUE_PARTS.items():
        names = [f.name for f in fields(catalogue) if f.name.startswith(prefix)]
        joined = getattr(catalogue, f"{prefix}joined_day")
        ids = np.flatnonzero((joined > (day if day > 0 else UNBORN)) & (joined <= day + 1))
        columns = {"id": arrow.column(ids.astype(np.int32))}
        for name in names:
            columns[name.removeprefix(prefix)] = arrow.column(getattr(catalogue, name)[ids])
        tables[entity] = arrow.table(columns)
    return tables


def catalogue_from(tables: dict[str, pa.Table], n_ids: tuple[int, ...]) -> Catalogue:
    """Return the catalogue whose entities stand in `tables`, with room for `n_ids` of each."""
    columns = {}
    for (entity, prefix), n in zip(CATALOGUE_PARTS.items(), n_ids, strict=True):
        ids = tables[entity].column("id").to_numpy()
        for f in fields(Catalogue):
            if f.name.startswith(prefix):
                values = tables[entity].column(f.name.removeprefix(prefix)).to_numpy()
                empty = np.nan if values.dtype.kind == "f" else UNBORN
                column = np.full(n, empty, values.dtype)
                column[ids] = values
                columns[f.name] = column
    return Catalogue(**columns)
