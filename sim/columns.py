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
    """Return a read-only view; the array itself stays as it is."""
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


class Columns:
    """Row selection, concatenation and length, shared by the struct-of-arrays records."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]

    def take(self, rows: Ints | Bools | slice) -> Self:
        """Return the record restricted to `rows` (indices, mask [N], or slice)."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        if isinstance(rows, np.ndarray):  # `ndarray.take` outruns indexing
            if rows.dtype == np.bool_:
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
        """Stack the rows of `rows[i]` in `parts[i]`, without stacking the parts."""
        ends = np.cumsum([len(own) for own in rows])
        columns: dict[str, NDArray[np.generic]] = {}
        for name, dtype in cls.dtypes().items():
            columns[name] = np.empty(ends[-1], dtype)
            for part, own, end in zip(parts, rows, ends, strict=True):
                # with a mode numpy writes to `out` at once
                getattr(part, name).take(own, out=columns[name][end - len(own) : end], mode="clip")
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
