"""Compiled code: the one decorator for it, and the form in which it takes parameters.

The laws of the world are scalar functions, written once; loops over rows, requests and candidates
call them. Both are compiled by numba, because a session is a sequence of small steps: with numpy
the cost of calling it dominated (measured: 122,000 impressions per processor second; see
reports/perf).
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

import numba
import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])
P = TypeVar("P")

_IMPORT = re.compile(r"^\s*(?:from|import) sim\.(\w+)", re.MULTILINE)

Block = Any
"""A NumPy record array [N] whose fields compiled code reads by name; NumPy types it as it comes."""


def kernel(function: F) -> F:
    """Compile a function at its first call and keep the machine code for later processes.

    Division by zero gives infinities as in numpy; the order of floating-point operations is kept.
    The code is kept beside the source, or in the user's cache folder where that is read-only, under
    a digest of the sources that it is made of: a kernel holds the code of those that it calls.

    A kernel is compiled into those that call it, and counts no references to arrays: it makes none
    and keeps none beyond its call. Handing the dozen arrays of a `Stage` on, and counting each by
    an atomic operation, took twice as long as the arithmetic behind it (measured: a swipe in 0.41
    instead of 0.97 microseconds, `sim.journey`).
    """
    return _compiled(function, counts_references=False)


def allocating(function: F) -> F:
    """Compile a function that makes arrays, to work in or to return; else as `kernel`.

    Those that a kernel hands back, of the ones that it was handed, it may not take: nobody counts
    them. What runs often is better passed room to work in.
    """
    return _compiled(function, counts_references=True)


def _compiled(function: F, counts_references: bool) -> F:
    folder = _cache_folder(Path(inspect.getfile(function)).resolve())
    settings: Any = numba.config
    before = settings.CACHE_DIR
    settings.CACHE_DIR = str(folder or before)
    options: dict[str, Any] = {
        "cache": folder is not None,
        "error_model": "numpy",
        "nogil": True,
        "forceinline": True,
        "_nrt": counts_references,
    }
    try:
        return cast("F", numba.njit(**options)(function))
    finally:
        settings.CACHE_DIR = before


def numbers(section: P) -> P:
    """Return the numbers of a frozen dataclass as a NumPy record that compiled code can read.

    The record has the same fields, so for a type checker it is what it was made of. Integers and
    bools become int64, floats float64, an absent number NaN, tuples and arrays of numbers
    subarrays, sections records inside the record.

    Raises:
        TypeError: a field holds something else.
    """
    values, dtype = _layout(section)
    # a record of a one-row array, not a copy of it
    return cast("P", np.array([values], dtype=dtype).view(np.recarray)[0])


def as_row(section: P) -> Sequence[P]:
    """Return what `numbers` made as the only row of a block, without copying it.

    Numba unwraps an array ten times as fast as a record.
    """
    record = cast("np.record", section)
    return cast("Sequence[P]", np.frombuffer(record.data, record.dtype))


def block(dtype: np.dtype[np.void], *columns: NDArray[Any]) -> Block:
    """Return columns [N] side by side in rows of `dtype`.

    A pair touches every field of few entities: in rows they share a cache line, and a kernel takes
    one argument in place of many.
    """
    rows = np.empty(len(columns[0]), dtype)
    for name, column in zip(dtype.names or (), columns, strict=True):
        rows[name] = column
    return rows


def _layout(section: object) -> tuple[tuple[Any, ...], np.dtype[np.void]]:
    if not is_dataclass(section):
        raise TypeError(f"{type(section).__name__} is no dataclass")
    values: list[Any] = []
    layout: list[tuple[Any, ...]] = []
    hints = _hints(cast("type", type(section)))
    for f in fields(section):
        value = getattr(section, f.name)
        if is_dataclass(value):
            inner, dtype = _layout(value)
            values.append(inner)
            layout.append((f.name, dtype))
        elif isinstance(value, tuple | list | np.ndarray):
            array = np.asarray(value)
            values.append(array)
            kind = np.float64 if array.dtype.kind == "f" else np.int64
            layout.append((f.name, kind, array.shape))
        elif value is None or hints[f.name] in (float, float | None):
            values.append(np.nan if value is None else float(value))
            layout.append((f.name, np.float64))
        elif isinstance(value, int):
            values.append(int(value))
            layout.append((f.name, np.int64))
        else:
            raise TypeError(f"{type(section).__name__}.{f.name} = {value!r} is no number")
    return tuple(values), np.dtype(layout, align=True)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _cache_folder(source: Path) -> Path | None:
    """Return where the machine code of a module's kernels is kept; None if nothing is writable.

    Besides the digest of the sources, numba itself tells processors and its own versions apart.
    """
    digest = hashlib.sha256()
    for path in sorted(_made_of(source)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    name = f"{source.stem}-{digest.hexdigest()[:16]}"
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    for place in (source.parent / "__pycache__", Path(home) / "swipelab"):
        folder = place / "kernels" / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError):
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None


@cache
def _made_of(source: Path) -> frozenset[Path]:
    """Return a module's source and those of all modules of `sim` that it imports, at any depth."""
    found, new = {source}, [source]
    while new:
        for name in _IMPORT.findall(new.pop().read_text(encoding="utf-8")):
            path = Path(__file__).resolve().with_name(f"{name}.py")
            if path not in found and path.is_file():
                found.add(path)
                new.append(path)
    return frozenset(found)
