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

from sim.schema import ENTRIES, SCENARIOS, Catalogue, Impressions, Purchases
from sim.truth import TruthRows

R = TypeVar("R", Impressions, Purchases, TruthRows)

WORDS = {"scenario": SCENARIOS, "entry": ENTRIES}
"""Columns whose int8 codes are written as words."""

NOT_STORED = {"purchase_s"}
"""Columns that are joined when a log is read."""

_COMPRESSION = "zstd"
_ROW_GROUP = 262_144

CATALOGUE_PARTS = {"users": "user_", "streamers": "streamer_", "products": "product_"}
"""Entity tables and the prefix of their columns in `Catalogue`."""


def to_table(record: Impressions | Purchases | TruthRows, drop: tuple[str, ...] = ()) -> pa.Table:
    """Return the record as an Arrow table, without `drop` and the columns that are not stored."""
    columns: dict[str, pa.Array] = {}
    for f in fields(record):
        if f.name in NOT_STORED or f.name in drop:
            continue
        values = getattr(record, f.name)
        if f.name in WORDS:
            words = pa.array(WORDS[f.name])
            columns[f.name] = pa.DictionaryArray.from_arrays(pa.array(values), words)
        else:
            columns[f.name] = pa.array(values)
    return pa.table(columns)


def from_table(kind: type[R], table: pa.Table, **constant: Any) -> R:
    """Return the record in `table`; `constant` fills columns that the file does not hold.

    Raises:
        KeyError: a column is missing.
    """
    arrays: dict[str, Any] = {}
    for name, dtype in kind.dtypes().items():
        if name in constant:
            arrays[name] = np.full(len(table), constant[name], dtype)
        elif name in NOT_STORED:
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


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table to a new file; the bytes depend on the table alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression=_COMPRESSION, row_group_size=_ROW_GROUP)


def entity_tables(catalogue: Catalogue, known: dict[str, int]) -> dict[str, pa.Table]:
    """Return {entity: table} of the entities from id `known[entity]` on, with an `id` column."""
    tables = {}
    for entity, prefix in CATALOGUE_PARTS.items():
        names = [f.name for f in fields(catalogue) if f.name.startswith(prefix)]
        low, high = known[entity], len(getattr(catalogue, names[0]))
        columns = {"id": pa.array(np.arange(low, high, dtype=np.int32))}
        for name in names:
            columns[name.removeprefix(prefix)] = pa.array(getattr(catalogue, name)[low:])
        tables[entity] = pa.table(columns)
    return tables


def catalogue_from(tables: dict[str, pa.Table]) -> Catalogue:
    """Return the catalogue whose entities stand in `tables` in the order of their ids."""
    columns = {}
    for entity, prefix in CATALOGUE_PARTS.items():
        for f in fields(Catalogue):
            if f.name.startswith(prefix):
                column = tables[entity].column(f.name.removeprefix(prefix))
                columns[f.name] = column.to_numpy()
    return Catalogue(**columns)
