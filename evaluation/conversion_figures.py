"""Figures of the conversion chapter: survival curves, and distances from the true rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from evaluation.drawing import (
    CURE_BAND,
    KM_BAND,
    Plot,
    Spec,
    error_bars,
    hover,
    percent,
    plot,
)
from evaluation.palette import KNOWN, SPARE

KM, CURE, NAIVE, TRUTH = SPARE[0], SPARE[2], KNOWN["random"], KNOWN["oracle"]
"""Inks of the conversion estimators; no shipped policy uses the first two."""

ESTIMATORS = {"naive": NAIVE, "km": KM, "cure": CURE, "truth": TRUTH}
ESTIMATOR_NAMES = {
    "naive": "naive",
    "km": "Kaplan–Meier",
    "cure": "mixture cure",
    "truth": "truth",
}
_ABOVE, _ROOM = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"}, {"t": 40}
"""A legend above the plot, and the margin that it needs."""

MAX_CURVE_POINTS = 240
"""A curve is thinned to this many points, more than a page has pixels to show."""


def conversion_curves(curves: pd.DataFrame) -> Plot:
    """Draw cumulative conversion over time since the bag click: estimates, bands and truth.

    Args:
        curves: columns estimator (naive, km, cure or truth), t_s (seconds), cumulative_conversion,
            low, high (shares), for one scenario.

    Returns:
        Figure with x in hours and y in per cent.
    """
    data: list[Spec] = []
    styles = {
        "naive": ("solid", "hv", ""),
        "km": ("solid", "hv", KM_BAND),
        "cure": ("dash", "linear", CURE_BAND),
        "truth": ("dot", "linear", ""),
    }
    for key, (dash, shape, band) in styles.items():
        known = curves[(curves["estimator"] == key) & curves["cumulative_conversion"].notna()]
        part = _thinned(known.sort_values("t_s"))
        if part.empty:
            continue
        data += _band(part.dropna(subset=["low", "high"]), band, shape) if band else []
        hours = (part["t_s"] / 3600).round(6).tolist()
        data.append(
            {
                "type": "scatter",
                "x": hours,
                "y": (100 * part["cumulative_conversion"]).round(6).tolist(),
                "mode": "lines",
                "name": ESTIMATOR_NAMES[key],
                "line": {
                    "color": ESTIMATORS[key].light,
                    "width": 2.2,
                    "dash": dash,
                    "shape": shape,
                },
                "hovertemplate": "%{x:.1f} h: %{y:.3f} %",
            }
        )
    x_title, y_title = "time since the bag click (hours)", "bought by then (% of bag clicks)"
    x = {"rangemode": "tozero"}
    return plot(data, x_title, y_title, 330, x, x | {"ticksuffix": " %"}, _ABOVE, _ROOM)


def conversion_bias(rates: pd.DataFrame, scenarios: Sequence[str]) -> Plot:
    """Draw how far each conversion estimator is from the truth, by scenario.

    Args:
        rates: columns scenario, estimator (naive, km or cure), estimate, low, high: relative
            bias as a share (-0.3 = 30 % below the truth).
        scenarios: scenarios from top to bottom.

    Returns:
        Figure with x in per cent of the truth.
    """
    data: list[Spec] = []
    present = [key for key in ("naive", "km", "cure") if key in set(rates["estimator"])]
    marks = {"naive": "x", "km": "circle", "cure": "diamond"}
    for i, key in enumerate(present):
        part = rates[rates["estimator"] == key].set_index("scenario")
        rows = [name for name in scenarios if name in part.index]
        shift = (i - (len(present) - 1) / 2) * 0.24
        part = part.loc[rows]
        data.append(
            {
                "type": "scatter",
                "x": [percent(v) for v in part["estimate"]],
                "y": [scenarios.index(name) + shift for name in rows],
                "mode": "markers",
                "name": ESTIMATOR_NAMES[key],
                "marker": {"color": ESTIMATORS[key].light, "symbol": marks[key], "size": 10},
                "error_x": error_bars(part, 100.0, ESTIMATORS[key].light),
                "hovertemplate": [
                    f"{name}, {ESTIMATOR_NAMES[key]}<br>{hover(row)} from the truth<extra></extra>"
                    for name, row in part.iterrows()
                ],
            }
        )
    x = {"zeroline": True, "zerolinecolor": TRUTH.light, "zerolinewidth": 2, "ticksuffix": " %"}
    y = {
        "tickvals": list(range(len(scenarios))),
        "ticktext": list(scenarios),
        "range": [len(scenarios) - 0.4, -0.6],
        "showgrid": False,
    }
    title, height = "off the true conversion rate by (% of it)", 120 + 58 * len(scenarios)
    return plot(data, title, "", height, x, y, _ABOVE, _ROOM)


def _band(part: pd.DataFrame, colour: str, shape: str) -> list[Spec]:
    """Return the two traces that shade an interval over time, none where it is unknown."""
    if part.empty:
        return []
    edge = {
        "type": "scatter",
        "mode": "lines",
        "x": (part["t_s"] / 3600).round(6).tolist(),
        "line": {"width": 0, "shape": shape},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    low, high = ((100 * part[end]).round(6).tolist() for end in ("low", "high"))
    return [edge | {"y": low}, edge | {"y": high, "fill": "tonexty", "fillcolor": colour}]


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """Keep at most MAX_CURVE_POINTS rows, first and last included."""
    if len(curve) <= MAX_CURVE_POINTS:
        return curve
    keep = np.linspace(0, len(curve) - 1, MAX_CURVE_POINTS).round().astype(np.int64)
    return curve.iloc[keep]
