"""Where the marks of the dials' pictures stand, in pixels; the templates draw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evaluation.luck import DRAWS, SharedLuck

if TYPE_CHECKING:
    from evaluation.dials.board import Moved, Turned

LEFT, WIDTH, TOP, HEIGHT = 56.0, 300.0, 64.0, 130.0
"""Of the area of a panel; panels stand side by side in rows of two."""
ACROSS, DOWN = 376.0, 204.0
"""From panel to panel."""
BAR_LEFT, BAR_WIDTH, BAR_STEP = 210.0, 440.0, 84.0


@dataclass(frozen=True)
class Mark:
    """One setting of one measure."""

    x: float
    y: float
    top: float
    """Of the interval; equal to `bottom` where there is none."""
    bottom: float
    setting: str
    text: str


@dataclass(frozen=True)
class Panel:
    """One measure over the settings of a dial."""

    x: float
    """Left edge."""
    y: float
    """Upper edge."""
    title: str
    expected: str
    marks: tuple[Mark, ...]
    ticks: tuple[tuple[float, str], ...]
    """(y, label) of the lines across."""


@dataclass(frozen=True)
class Bar:
    """How many times smaller a variance is under common random numbers."""

    y: float
    width: float
    draws: str
    text: str


def panels(turned: Turned) -> tuple[Panel, ...]:
    """Return one panel per measure, those that move first."""
    return tuple(_panel(moved, turned, i) for i, moved in enumerate(turned.moved))


def bars(luck: tuple[SharedLuck, ...]) -> tuple[tuple[float, str, tuple[Bar, ...]], ...]:
    """Return (y, pair, bars by kind of independent draws) on a logarithmic axis from 1."""
    most = max(row.times_smaller(draws) for row in luck for draws in DRAWS)
    decades = max(np.log10(most), 1.0)
    out = []
    for i, row in enumerate(luck):
        y = TOP + 16 + BAR_STEP * i
        own = []
        for j, draws in enumerate(DRAWS[1:]):
            times = row.times_smaller(draws)
            width = BAR_WIDTH * max(float(np.log10(times)), 0.0) / decades
            own.append(Bar(y + 22 * j, width, draws, f"{times:.3g} ×"))
        out.append((y, row.pair, tuple(own)))
    return tuple(out)


def _panel(moved: Moved, turned: Turned, i: int) -> Panel:
    from evaluation.dials.page import ends, number

    left, top = ACROSS * (i % 2) + LEFT, DOWN * (i // 2) + TOP
    values = np.array([level.value for level in moved.levels])
    low, high = np.array([ends(level) for level in moved.levels]).T
    low, high = np.where(np.isnan(low), values, low), np.where(np.isnan(high), values, high)
    finite = np.concatenate([low, high])[np.isfinite(np.concatenate([low, high]))]
    bottom, upper = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if moved.expected == "still" or upper == bottom:  # show that nothing much happens
        middle = (bottom + upper) / 2
        reach = max(upper - bottom, 0.5 * abs(middle), 1e-9)
        bottom, upper = middle - reach, middle + reach
    pad = 0.08 * (upper - bottom)
    bottom, upper = bottom - pad, upper + pad

    def at(value: float) -> float:
        return round(top + HEIGHT * (upper - value) / (upper - bottom), 1)

    step = WIDTH / len(values)
    marks = tuple(
        Mark(round(left + step * (k + 0.5), 1), at(v), at(h), at(lo), setting, number(v))
        for k, (v, lo, h, setting) in enumerate(
            zip(values, low, high, turned.settings, strict=True)
        )
        if np.isfinite(v)
    )
    ticks = tuple((at(v), number(v)) for v in np.linspace(bottom + pad, upper - pad, 3))
    return Panel(left, top, moved.measure, moved.expected, marks, ticks)
