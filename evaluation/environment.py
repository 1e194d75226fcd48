"""What a result was made with: versions, machine, and digests of source, ours and plug-ins'."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import os
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

OURS = ("sim", "policies", "evaluation")
"""Our packages; `source_digest` is their digest."""

PACKAGES = ("numpy", "scipy", "pandas", "torch", "pyarrow", "lifelines", "hydra-core", "plotly")


def environment_record(command: str | None = None) -> dict[str, str]:
    """Return facts that let somebody repeat a run; the same in every run on one installation.

    Args:
        command: the command that was given; None takes the process's own.
    """
    record = {"command": command or command_line()}
    record["swipelab"] = f"{_version('swipelab')} (source {source_digest()[:12]})"
    record["python"] = platform.python_version()
    record.update({name: _version(name) for name in PACKAGES})
    record["platform"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    return record


def command_line() -> str:
    """Return the command of this process as one would type it."""
    program = Path(sys.argv[0]).name
    words = [*program.split(), *sys.argv[1:]]
    return shlex.join(words)


@cache
def source_digest() -> str:
    """Return a digest (hex) of all Python source of the three packages.

    Cached work is keyed by it, so that a result of older code is never taken for one of today's.
    """
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for package in OURS:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def plug_in_digest(node: Any) -> str | None:
    """Return a digest (hex) of the source behind the foreign classes that a config node builds.

    It covers the module of each class and of its base classes, the whole top-level package where
    that is a package, and what lies in the same folder and is imported, unless the folder is one of
    installed packages. Data files are not covered. Our own classes are left to `source_digest`.

    Args:
        node: mapping with `_target_`, perhaps nested.

    Returns:
        None where a source cannot be read: nothing can then say whether it has changed.
    """
    digest = hashlib.sha256()
    tops: dict[str, None] = {}
    for target in sorted(set(_targets(node))):
        name, _, kind = target.rpartition(".")
        try:
            found = getattr(importlib.import_module(name), kind)
        except Exception:  # whatever a plug-in raises
            return None
        homes = [name, *(base.__module__ for base in getattr(found, "__mro__", ()))]
        tops.update(dict.fromkeys(home.partition(".")[0] for home in homes))
    for top in sorted(tops):
        if top in OURS or top in sys.stdlib_module_names:
            continue
        files = _files(sys.modules.get(top))
        if not files:
            return None
        try:
            for path in _with_neighbours(files):
                digest.update(str(path).encode())
                digest.update(path.read_bytes())
        except OSError:
            return None
    return digest.hexdigest()


def _targets(node: Any) -> Iterator[str]:
    """Yield every `_target_` in a node and below it."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for value in node:
            yield from _targets(value)


def _files(module: ModuleType | None) -> list[Path]:
    """Return the source files of a top-level module or package, none where there are none."""
    if module is None:
        return []
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    if folders:
        return sorted(path for folder in folders for path in folder.rglob("*.py"))
    path = Path(module.__file__ or "")
    return [path] if path.suffix == ".py" and path.is_file() else []


def _with_neighbours(files: list[Path]) -> list[Path]:
    """Return the files and those beside their package that they import, directly or not."""
    found = dict.fromkeys(files)
    left = list(files)
    roots = {_root(path) for path in files}
    while left:
        for name in _imported(left.pop()):
            for root in roots:
                if name in OURS or {"site-packages", "dist-packages"} & set(root.parts):
                    continue
                beside = [root / f"{name}.py", *sorted((root / name).rglob("*.py"))]
                new = [path for path in beside if path not in found and path.is_file()]
                found.update(dict.fromkeys(new))
                left.extend(new)
    return sorted(found)


def _root(path: Path) -> Path:
    """Return the folder of a module, or the one that holds its outermost package."""
    folder = path.parent
    while (folder / "__init__.py").exists():
        folder = folder.parent
    return folder


def _imported(path: Path) -> set[str]:
    """Return the top-level names that a source file imports."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
