"""Placement of the names beside the points of a scatter plot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def label_places(
    x: NDArray[np.float64], y: NDArray[np.float64], lengths: Sequence[int]
) -> list[str]:
    """Choose where each label goes so that labels meet neither each other nor a point.

    Greedy, in the order of the points, in units of a plot 620 wide and 330 high.
    """

    def scaled(values: NDArray[np.float64], size: float) -> NDArray[np.float64]:
        spread = float(np.ptp(values)) or 1.0
        return np.asarray((values - values.min()) / spread * size, dtype=np.float64)

    px, py = scaled(x, 480.0), scaled(y, 250.0)
    offsets = {
        # corners first: a cross of intervals runs through the point
        "top right": (1.0, 12.0),
        "bottom right": (1.0, -12.0),
        "top left": (-1.0, 12.0),
        "bottom left": (-1.0, -12.0),
        "top center": (0.0, 17.0),
        "bottom center": (0.0, -17.0),
        "middle right": (1.0, 0.0),
        "middle left": (-1.0, 0.0),
    }
    boxes = [(float(a), float(b), 8.0, 8.0) for a, b in zip(px, py, strict=True)]
    places: list[str] = []
    for i, letters in enumerate(lengths):
        half = 3.6 * letters
        costs: dict[str, float] = {}
        for rank, (name, (side, rise)) in enumerate(offsets.items()):
            box = (px[i] + side * (half + 7), py[i] + rise, half, 8.0)
            others = (b for j, b in enumerate(boxes) if j != i)
            hits = sum(_overlap(box, other) for other in others)
            outside = max(0.0, -40 - (box[0] - half)) + max(0.0, box[0] + half - 540)
            costs[name] = hits + outside + 0.01 * rank
        best = min(costs, key=lambda name: costs[name])
        side, rise = offsets[best]
        boxes.append((float(px[i] + side * (half + 7)), float(py[i] + rise), half, 8.0))
        places.append(best)
    return places


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Return the overlapping area of two boxes given as centre x, centre y, half width, height."""
    sides = (
        min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i] - a[i + 2], b[i] - b[i + 2])
        for i in (0, 1)
    )
    width, height = sides
    return max(0.0, width) * max(0.0, height)
