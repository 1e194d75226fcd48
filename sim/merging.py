"""Putting together what shards did, in the order in which one shard would have done it.

The records of a shard ascend by request, and no two shards share one. Wherever only some of the
rows are wanted, those alone are put together: a day's rows are moved once, from where a shard left
them to the columns of a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sim.kernel import kernel
from sim.relations import Relations
from sim.schema import Impressions
from sim.truth import TruthRows

R = TypeVar("R", Impressions, TruthRows)
Rows = NDArray[np.int64]
Runs = NDArray[np.int64]

_LAST = 2**63 - 1
"""No key is greater."""


def in_order(parts: Sequence[R]) -> R:
    """Return the rows of shards in the order of one; of a single shard, its own record."""
    if len(parts) == 1:
        return parts[0]
    at = places([part.request_id for part in parts])
    return gathered(parts, [np.arange(len(part)) for part in parts], at)


def relations_in_order(parts: Sequence[Relations]) -> Relations:
    """Return the bonds of all users from those of the shards."""
    if len(parts) == 1:
        return parts[0]
    at = places([part.key for part in parts])
    runs = [_runs(np.arange(len(place)), place) for place in at]
    n = sum(map(len, at))
    whole = Relations(np.empty(n, np.int64), np.empty(n, np.float32), np.empty(n, np.bool_))
    for f in fields(Relations):
        _put([getattr(part, f.name) for part in parts], runs, getattr(whole, f.name))
    return whole


def day_places(ticks: Sequence[Sequence[Impressions]], rows: Sequence[Rows]) -> list[Rows]:
    """Return where chosen rows stand among all that are chosen of a day.

    Args:
        ticks: what each shard did, tick by tick.
        rows: those that are chosen of each part, ascending; shard by shard, tick by tick.

    Returns:
        For each part the places of its rows.
    """
    chosen, at, before = iter(rows), [], 0
    for tick in ticks:
        own = [part.request_id[some] for part, some in zip(tick, chosen, strict=False)]
        at += [place + before for place in places(own)]
        before += sum(map(len, own))
    return at


def gathered(parts: Sequence[R], rows: Sequence[Rows], at: Sequence[Rows]) -> R:
    """Return the record in whose rows `at[i]` stand the rows `rows[i]` of `parts[i]`."""
    kind = type(parts[0])
    runs = [_runs(own, place) for own, place in zip(rows, at, strict=True)]
    columns = {name: np.empty(sum(map(len, at)), dtype) for name, dtype in kind.dtypes().items()}
    for name, whole in columns.items():
        _put([getattr(part, name) for part in parts], runs, whole)
    return kind(**columns)


def places(keys: Sequence[NDArray[np.int64]]) -> list[Rows]:
    """Return where each row of ascending keys, of which no two parts share one, stands in all."""
    if len(keys) == 1:
        return [np.arange(len(keys[0]))]
    ends = np.cumsum([0, *map(len, keys)])
    place = np.empty(ends[-1], np.int64)
    _merge(np.concatenate(keys), ends, ends[:-1].copy(), place)
    return np.split(place, ends[1:-1])


@kernel
def _merge(
    keys: NDArray[np.int64], ends: NDArray[np.int64], at: NDArray[np.int64], place: Rows
) -> None:
    """Merge runs of ascending keys.

    Args:
        keys: run after run [N].
        ends: where the runs begin, and the end [runs + 1].
        at: where they begin [runs]; written over.
        place: receives the place of each key [N].
    """
    n, runs = 0, len(at)
    while n < len(keys):
        first, least, second = -1, 0, _LAST
        for run in range(runs):
            if at[run] == ends[run + 1]:
                continue
            key = int(keys[at[run]])
            if first < 0 or key < least:
                if first >= 0:
                    second = least
                first, least = run, key
            elif key < second:
                second = key
        # sessions and users are runs of keys: whoever is first stays so for a while
        while at[first] < ends[first + 1] and keys[at[first]] <= second:
            place[at[first]] = n
            at[first] += 1
            n += 1


def _put(columns: Sequence[NDArray[Any]], runs: Sequence[Runs], whole: NDArray[Any]) -> None:
    # compiled code moves the same bytes whatever they mean
    kind = np.dtype(f"u{whole.itemsize}")
    for column, own in zip(columns, runs, strict=True):
        _move(column.view(kind), own, whole.view(kind))


def _runs(rows: Rows, at: Rows) -> Runs:
    """Return (row, place, length) of rows that follow each other here and there [runs, 3].

    The rows of a session do: an index for each row would be most of what is read.
    """
    if not len(rows):
        return np.empty((0, 3), np.int64)
    breaks = (np.diff(rows) != 1) | (np.diff(at) != 1)
    first = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    return np.stack([rows[first], at[first], np.diff(first, append=len(rows))], axis=1)


@kernel
def _move(column: NDArray[np.unsignedinteger], runs: Runs, to: NDArray[np.unsignedinteger]) -> None:
    for run in range(len(runs)):
        row, place, n = runs[run, 0], runs[run, 1], runs[run, 2]
        for i in range(n):
            to[place + i] = column[row + i]
