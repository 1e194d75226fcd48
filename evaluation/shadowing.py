"""Our top-level names are common words: find out when another package on the path hides one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SUSPECTS = ("sim", "policies", "conf")
"""Our other top-level names, which another package on the path could hide."""


def shadowed() -> list[str]:
    """Return one line for each of our packages that another one on the path hides."""
    root = Path(__file__).resolve().parent.parent
    lines = []
    for name in SUSPECTS:
        spec = importlib.util.find_spec(name)
        place = Path(spec.origin).resolve() if spec and spec.origin else None
        if place is None or place.parent.parent != root:
            lines.append(
                f"package {name!r} is {place or 'missing'}, not {root / name}; "
                "run `swipelab` rather than `python -m`, or rename the other package"
            )
    return lines
