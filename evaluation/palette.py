"""Colours and marks of policies: one fixed ink per policy in every figure, table and theme.

The six hues used first follow Okabe and Ito, "Color Universal Design" (2008), darkened for light
paper and lightened for dark paper until each has a contrast of at least 3.5:1. Every policy
also has its own mark, so that no reader depends on hue alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ink:
    """How one policy is drawn."""

    light: str
    """Hex colour on light paper; figures are built with it."""
    dark: str
    """Hex colour on dark paper; the page swaps it in."""
    mark: str
    """Plotly marker symbol."""


KNOWN = {
    "oracle": Ink("#1b1f24", "#eceff3", "star"),
    "random": Ink("#7b8088", "#8d939c", "x"),
    "popularity": Ink("#a87400", "#e8b53a", "square"),
    "recency": Ink("#2a8fb3", "#7fd3ee", "triangle-down"),
    "shared_bottom": Ink("#0067a5", "#5aa9e6", "circle"),
    "dbmtl": Ink("#c44e00", "#ff8a47", "diamond"),
    "rui3": Ink("#00795a", "#2fc79b", "triangle-up"),
    "sass": Ink("#a64d84", "#e08fc0", "pentagon"),
}
"""Inks of the policies that ship with the project; references are neutral."""

SPARE = (
    Ink("#5a4fb5", "#a39bf5", "hexagon"),
    Ink("#a8243a", "#f0788a", "triangle-left"),
    Ink("#6b7a00", "#bccb4a", "cross"),
    Ink("#7a5a3a", "#c9a27a", "triangle-right"),
    Ink("#3f5a7d", "#9db7d8", "bowtie"),
    Ink("#8a3ea8", "#cf93e6", "hourglass"),
)
"""Inks of everybody else's policies."""


def inks(policies: Iterable[str]) -> dict[str, Ink]:
    """Return the ink of each policy.

    A policy outside KNOWN takes the spare ink that its name hashes to, or the next free one, so
    that the same names get the same inks in every report; with more names than spare inks, inks
    repeat.

    Args:
        policies: policy names, in any order, repeats allowed.

    Returns:
        Name to ink, in the order given.
    """
    names = list(dict.fromkeys(policies))
    taken: dict[int, str] = {}
    chosen: dict[str, Ink] = {}
    for name in sorted(set(names) - KNOWN.keys()):
        first = zlib.crc32(name.encode()) % len(SPARE)
        slots = ((first + i) % len(SPARE) for i in range(len(SPARE)))
        slot = next((s for s in slots if s not in taken), first)
        taken.setdefault(slot, name)
        chosen[name] = SPARE[slot]
    return {name: KNOWN.get(name) or chosen[name] for name in names}
