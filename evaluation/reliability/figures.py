"""Figures of the page on reliability, in the common look of all pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from evaluation.drawing import CLEAR, ZERO, Plot, Spec, error_bars, percent, plot
from evaluation.palette import SPARE, Ink

COIN = 50.0
"""Per cent of pairs that a coin would choose rightly."""

KINDS = {"noise": SPARE[2], "proxy": SPARE[1], "exposure": SPARE[4], "sampling": SPARE[3]}
"""Kind of error to ink."""

_HEIGHT, _LINE = 84, 25


def right_choices(table: pd.DataFrame, names: Sequence[str], ink: Ink) -> Plot:
    """Draw how often each method chooses the better policy, with intervals.

    Args:
        table: columns right, right_low, right_high (shares), one row a method, best first.
        names: of the methods, one a row.
        ink: of all of them.
    """
    shares = table.rename(columns={"right": "estimate", "right_low": "low", "right_high": "high"})
    points: Spec = {
        "type": "scatter",
        "x": [percent(value) for value in shares["estimate"]],
        "y": list(names),
        "mode": "markers",
        "marker": {"color": ink.light, "symbol": ink.mark, "size": 9},
        "error_x": error_bars(shares, 100.0, ink.light),
        "hovertemplate": "%{y}: %{x:.0f} %<extra></extra>",
    }
    line: Spec = {
        "type": "scatter",
        "x": [COIN, COIN],
        "y": [names[0], names[-1]],
        "mode": "lines",
        "line": {"color": ZERO, "width": 1.5, "dash": "dot"},
        "hovertemplate": "a coin<extra></extra>",
    }
    x = {"range": [0, 100], "ticksuffix": " %"}
    title = "pairs of policies in which the better one is chosen"
    return plot([line, points], title, "", _HEIGHT + _LINE * len(names), x, _named(names))


def error_split(table: pd.DataFrame, names: Sequence[str]) -> Plot:
    """Draw what the mistakes of each metric are made of, as bars that add up.

    Args:
        table: columns noise, proxy, exposure, sampling (shares of pairs), one row a metric.
        names: of the metrics, one a row.
    """
    data: list[Spec] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": kind,
            "x": [percent(value) for value in table[kind]],
            "y": list(names),
            "marker": {"color": ink.light},
            "hovertemplate": f"%{{y}}: {kind} %{{x:+.1f}} %<extra></extra>",
        }
        for kind, ink in KINDS.items()
    ]
    x = {"ticksuffix": " %", "zeroline": True, "zerolinecolor": ZERO}
    title = "pairs decided wrongly because of"
    height = 30 + _HEIGHT + _LINE * len(names)
    legend = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "traceorder": "normal"}
    drawn = plot(data, title, "", height, x, _named(names), legend, {"t": 34})
    return Plot(drawn.data, {**drawn.layout, "barmode": "relative"})


def by_negatives(
    lines: Mapping[str, pd.DataFrame], column: str, title: str, ink: Mapping[str, Ink]
) -> Plot:
    """Draw a rate of error over the number of sampled negatives.

    Args:
        lines: name of a line to its points: columns m, ``column`` (shares), ascending in m.
        column: what is drawn.
        title: of the y axis.
        ink: name of a line to its ink.
    """
    data: list[Spec] = [
        {
            "type": "scatter",
            "x": points["m"].tolist(),
            "y": [percent(value) for value in points[column]],
            "mode": "lines+markers",
            "name": name,
            "line": {"color": ink[name].light, "width": 2},
            "marker": {"color": ink[name].light, "symbol": ink[name].mark, "size": 8},
            "hovertemplate": f"{name}, %{{x}} negatives: %{{y:.1f}} %<extra></extra>",
        }
        for name, points in lines.items()
    ]
    ticks = sorted({int(m) for points in lines.values() for m in points["m"]})
    x = {"type": "log", "tickvals": ticks, "ticktext": [str(m) for m in ticks]}
    y = {"ticksuffix": " %", "rangemode": "tozero"}
    legend = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"}
    return plot(data, "sampled negatives", title, 340, x, y, legend, {"t": 34})


def by_gap(
    lines: Mapping[str, Sequence[float]], bands: Sequence[str], ink: Mapping[str, Ink]
) -> Plot:
    """Draw how often methods are right over the size of the true gap.

    Args:
        lines: name of a method to its share of right choices in each band; NaN leaves one out.
        bands: names of the bands.
        ink: name of a method to its ink.
    """
    data: list[Spec] = [
        {
            "type": "scatter",
            "x": list(bands),
            "y": [None if np.isnan(value) else percent(value) for value in shares],
            "mode": "lines+markers",
            "name": name,
            "line": {"color": ink[name].light, "width": 2},
            "marker": {"color": ink[name].light, "symbol": ink[name].mark, "size": 8},
            "hovertemplate": f"{name}, %{{x}}: %{{y:.0f}} %<extra></extra>",
        }
        for name, shares in lines.items()
    ]
    y = {"ticksuffix": " %", "range": [0, 104]}
    legend = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"}
    title = "the better policy is worth more by"
    return plot(data, title, "chosen rightly", 360, {"type": "category"}, y, legend, {"t": 50})


def gap_truth(parts: Mapping[str, pd.DataFrame], x_title: str, ink: Mapping[str, Ink]) -> Plot:
    """Scatter what a method says of pairs against what is true; quadrants tell right from wrong.

    Args:
        parts: name of a world to its pairs: columns first, second, gap, truth.
        x_title: of the gap.
        ink: name of a world to its ink.
    """
    data: list[Spec] = []
    for name, pairs in parts.items():
        words = [f"{a} against {b}" for a, b in zip(pairs["first"], pairs["second"], strict=True)]
        data.append(
            {
                "type": "scatter",
                "x": [round(float(value), 6) for value in pairs["gap"]],
                "y": [percent(value) for value in pairs["truth"]],
                "mode": "markers",
                "name": name,
                "text": words,
                "marker": {"color": ink[name].light, "symbol": ink[name].mark, "size": 7},
                "hovertemplate": f"{name}: %{{text}}<br>%{{x:.4g}}, %{{y:+.1f}} %<extra></extra>",
            }
        )
    zero = {"zeroline": True, "zerolinecolor": ZERO, "zerolinewidth": 1.5}
    legend = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"}
    y_title = "true lift in value per user"
    return plot(data, x_title, y_title, 420, zero, zero | {"ticksuffix": " %"}, legend, {"t": 50})


def _named(names: Sequence[str]) -> Spec:
    """Return the settings of an axis of names, from top to bottom."""
    return {
        "autorange": "reversed",
        "categoryorder": "array",
        "categoryarray": list(names),
        "showgrid": False,
        "dtick": 1,
        "ticks": "outside",
        "ticklen": 7,
        "tickcolor": CLEAR,
    }
