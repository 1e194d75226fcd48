"""The common look of the page's figures: colours on light and dark paper, axes, error bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evaluation.palette import KNOWN, SPARE

TEXT, GRID, ZERO, HOVER = "#454b54", "#e6e5df", "#a3a8af", "#ffffff"
CLEAR = "rgba(0,0,0,0)"
KM_BAND, CURE_BAND = "rgba(90,79,181,0.16)", "rgba(107,122,0,0.16)"

DARK: Mapping[str, str] = {
    **{ink.light: ink.dark for ink in (*KNOWN.values(), *SPARE)},
    TEXT: "#b6bcc5",
    GRID: "#2b2f35",
    ZERO: "#6c737c",
    HOVER: "#22262c",
    KM_BAND: "rgba(163,155,245,0.20)",
    CURE_BAND: "rgba(188,202,75,0.20)",
}
"""Light colour to its counterpart on dark paper."""


Spec = dict[str, Any]
"""A part of a plot in plotly's own terms, ready for JSON."""


@dataclass(frozen=True)
class Plot:
    """One plot in plotly's own terms; plain, because plotly's Python objects cost 50 ms each."""

    data: list[Spec]
    """Traces."""
    layout: Spec


def plot(
    data: list[Spec],
    x_title: str,
    y_title: str,
    height: int,
    x: Spec,
    y: Spec,
    legend: Spec | None = None,
    margin: Spec | None = None,
) -> Plot:
    """Return a plot with the page's quiet look; it neither zooms nor traps a scrolling thumb.

    Args:
        data: traces.
        x_title: title of the x axis with its unit.
        y_title: title of the y axis with its unit, "" where its ticks are names.
        height: pixels.
        x: further settings of the x axis.
        y: further settings of the y axis.
        legend: settings of the legend, None for none.
        margin: pixels by side, over the usual ones.
    """
    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": GRID,
        "showline": True,
        "fixedrange": True,
        "automargin": True,
    }

    def title(text: str) -> Spec:
        return {"text": text, "standoff": 10, "font": {"size": 12.5}}

    layout = {
        "height": height,
        "showlegend": legend is not None,
        "legend": legend or {},
        "dragmode": False,
        "hovermode": "closest",
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {
            "family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif",
            "size": 12.5,
            "color": TEXT,
        },
        "hoverlabel": {"bgcolor": HOVER, "bordercolor": GRID, "font": {"color": TEXT}},
        "margin": {"l": 8, "r": 14, "t": 10, "b": 8} | (margin or {}),
        "xaxis": axis | {"nticks": 7, "title": title(x_title)} | x,
        "yaxis": axis | {"title": title(y_title)} | y,
    }
    return Plot(data, layout)


def percent(share: float) -> float:
    """Return a share in per cent, rounded so that equal numbers are written alike."""
    return round(100 * float(share), 6)


def hover(row: pd.Series) -> str:
    """Word a share and its interval in per cent, for hovering."""
    text = f"{100 * row['estimate']:+.1f} %"
    if np.isnan(row["low"]) or np.isnan(row["high"]):
        return text
    return f"{text} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"


def error_bar(row: pd.Series, scale: float, colour: str) -> Spec:
    """Return plotly's error bar for one point, empty where there is no interval."""
    return error_bars(row.to_frame().T, scale, colour)


def error_bars(rows: pd.DataFrame, scale: float, colour: str) -> Spec:
    """Return plotly's error bars for the points of one trace."""
    middle = rows["estimate"].to_numpy(dtype=np.float64)
    up = np.nan_to_num(rows["high"].to_numpy(dtype=np.float64) - middle).clip(min=0)
    down = np.nan_to_num(middle - rows["low"].to_numpy(dtype=np.float64)).clip(min=0)
    return {
        "type": "data",
        "array": np.round(scale * up, 6).tolist(),
        "symmetric": False,
        "arrayminus": np.round(scale * down, 6).tolist(),
        "color": colour,
        "thickness": 1.6,
        "width": 0,
    }


def padded(values: NDArray[np.float64]) -> list[float]:
    """Return an axis range that leaves room for labels beside the outermost points."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = (high - low or abs(high) or 1.0) * 0.14
    return [round(low - room, 9), round(high + room, 9)]
