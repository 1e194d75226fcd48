"""What a result was made with: versions, machine, and a digest of our own source."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shlex
import sys
from functools import cache
from pathlib import Path

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
    for package in ("sim", "policies", "evaluation"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
