"""Structs of arrays: what the records of the world can all do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Self, TypeVar, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.integer]
T = TypeVar("T", bound=np.generic)


def locked(array: NDArray[T]) -> NDArray[T]:
    """Return the array for reading only: itself where it is so already, else a view."""
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def places(keys: Sequence[Ints]) -> list[NDArray[np.int64]]:
    """Return where each row of ascending keys, of which no two parts share one, stands in all."""
    order = np.argsort(np.concatenate(keys), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return np.split(place, np.cumsum([len(key) for key in keys])[:-1])


class Columns:
    """Row selection, concatenation and length, shared by the struct-of-arrays records."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]

    def take(self, rows: Ints | Bools | slice) -> Self:
        """Return the record restricted to `rows` (indices, mask [N], or slice)."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        if isinstance(rows, np.ndarray):  # `ndarray.take` outruns indexing
            if rows.dtype == np.bool_:
                if len(rows) != len(self):
                    raise IndexError(f"mask of {len(rows)} rows; allowed: {len(self)}")
                rows = np.flatnonzero(rows)
            picked = {name: column.take(rows, axis=0) for name, column in columns.items()}
        else:
            picked = {name: column[rows] for name, column in columns.items()}
        return replace(self, **picked)  # type: ignore[type-var]

    @property
    def read_only(self) -> Self:
        """The record on read-only views, as it is handed to policies."""
        views = {f.name: locked(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]
        return type(self)(**views)

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Stack records of the same kind; `parts` must not be empty."""
        names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
        return cls(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})

    @classmethod
    def gathered(cls, parts: Sequence[Self], rows: Sequence[Ints]) -> Self:
        """Stack the rows `rows[i]` of `parts[i]`, without stacking the parts; all must exist."""
        ends = np.cumsum([len(own) for own in rows])
        columns: dict[str, NDArray[np.generic]] = {}
        for name, dtype in cls.dtypes().items():
            of_parts = [getattr(part, name) for part in parts]
            columns[name] = np.empty((ends[-1], *of_parts[0].shape[1:]), dtype)
            for column, own, end in zip(of_parts, rows, ends, strict=True):
                # without a mode numpy writes to a buffer first; rows are there, so none is clipped
                column.take(own, axis=0, out=columns[name][end - len(own) : end], mode="clip")
        return cls(**columns)

    @classmethod
    def merged(cls, parts: Sequence[Self], at: Sequence[Ints]) -> Self:
        """Put row i of part j at row `at[j][i]` of one record, see `places`."""
        columns: dict[str, NDArray[np.generic]] = {}
        for name, dtype in cls.dtypes().items():
            columns[name] = np.empty(sum(len(part) for part in parts), dtype)
            for part, rows in zip(parts, at, strict=True):
                columns[name][rows] = getattr(part, name)
        return cls(**columns)

    @classmethod
    @cache
    def dtypes(cls) -> dict[str, np.dtype[np.generic]]:
        """Return {column: dtype} as annotated."""
        hints = get_type_hints(cls)
        names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
        return {n: np.dtype(get_args(get_args(hints[n])[1])[0]) for n in names}

    @classmethod
    def empty(cls) -> Self:
        """Return the record with no rows."""
        return cls(**{name: np.zeros(0, dtype) for name, dtype in cls.dtypes().items()})
