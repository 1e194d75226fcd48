"""What a policy opens and imports while it works: the truth of a log, and closed parts of `sim`.

Python has no walls: a policy runs in the process of the world it is judged in. This finds the doors
people use: files opened by Python under the truth folder of a log, and imports of modules of `sim`
that hold latent state. Files that a library opens by itself (Parquet readers do) are not seen; for
those the conformance suite fits a second time on a log that has no truth.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OPEN_MODULES = frozenset(
    {
        "sim.schema",
        "sim.events",
        "sim.log",
        "sim.tick",
        "sim.attribution",
        "sim.config",
        "sim.bounds",
        "sim.rng",
        "sim.kernel",
    }
)
"""Modules of `sim` whose code a policy may use; every other one leads to latent state."""

_OURS = ("sim", "policies", "evaluation")
_PATH_EVENTS = frozenset({"open", "os.listdir", "os.scandir"})
_TRUTH, _MANIFEST = "truth", "manifest.json"

_watchers: list[list[str]] = []
_hooked: list[bool] = []


@contextmanager
def watched(found: list[str]) -> Iterator[None]:
    """Append to `found` one phrase for each trespass inside the block; nothing is prevented.

    Not for use by several threads at once.
    """
    if not _hooked:  # an audit hook stays for the life of the process; idle it costs nothing
        _hooked.append(True)
        sys.addaudithook(_on_event)
    plain, by_name = builtins.__import__, importlib.import_module

    def statement(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if level == 0 and str((globals or {}).get("__name__")).partition(".")[0] not in _OURS:
            _note_import(found, [name, *(f"{name}.{part}" for part in fromlist or ())])
        return plain(name, globals, locals, fromlist or (), level)

    def call(name: str, package: str | None = None) -> Any:
        _note_import(found, [name])
        return by_name(name, package)

    _watchers.append(found)
    builtins.__import__, importlib.import_module = statement, call
    try:
        yield
    finally:
        builtins.__import__, importlib.import_module = plain, by_name
        _watchers.pop()


def is_closed(module: str) -> bool:
    """Return whether a module is one of `sim` that policies have no business with."""
    parts = module.split(".")
    return parts[0] == "sim" and len(parts) > 1 and ".".join(parts[:2]) not in OPEN_MODULES


def in_truth(path: str) -> bool:
    """Return whether a path leads to the truth folder of a log, or into it."""
    whole = Path(path).resolve()
    return any(
        folder.name == _TRUTH and (folder.parent / _MANIFEST).exists()
        for folder in (whole, *whole.parents)
    )


def _note_import(found: list[str], names: Sequence[str]) -> None:
    closed = [name for name in names if is_closed(name) and name in sys.modules]
    if closed:
        found.append(f"imports {'.'.join(closed[0].split('.')[:2])}")


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watchers or event not in _PATH_EVENTS or not arguments:
        return
    path = arguments[0]
    if isinstance(path, str | bytes | os.PathLike):
        text = os.fsdecode(path)
        if _TRUTH in text and in_truth(text):
            _watchers[-1].append(f"opens {text}")
