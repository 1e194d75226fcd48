"""Plots of the study page, as plotly figures without titles of their own.

Every figure is built with light-paper colours; the page swaps them by `evaluation.drawing.DARK`.
Arguments are frames of the tidy results table with one row per point; intervals are the columns
`low` and `high` in the unit of `estimate`, NaN where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from evaluation.drawing import CLEAR, ZERO, Plot, Spec, error_bar, hover, padded, percent, plot
from evaluation.labels import label_places
from evaluation.palette import Ink


def lift_panel(
    lifts: pd.DataFrame,
    order: Sequence[str],
    ink: Mapping[str, Ink],
    span: tuple[float, float],
    title: str,
) -> Plot:
    """Draw the online lift of every policy in one scenario, with intervals.

    Args:
        lifts: columns policy, estimate, low, high; relative lift as a share (0.05 = +5 %).
        order: policies from top to bottom.
        ink: policy to ink.
        span: range of the x axis as a share, equal in all panels so that they compare.
        title: x axis title with unit.

    Returns:
        Figure with one trace per policy; x in per cent.
    """
    data: list[Spec] = []
    rows = {str(row["policy"]): row for _, row in lifts.iterrows()}
    shown = [name for name in order if name in rows]
    for name in shown:
        row = rows[name]
        data.append(
            {
                "type": "scatter",
                "x": [percent(row["estimate"])],
                "y": [name],
                "mode": "markers",
                "name": name,
                "marker": {"color": ink[name].light, "symbol": ink[name].mark, "size": 10},
                "error_x": error_bar(row, 100.0, ink[name].light),
                "hovertemplate": hover(row),
            }
        )
    x = {
        "range": [100 * span[0], 100 * span[1]],
        "zeroline": True,
        "zerolinecolor": ZERO,
        "zerolinewidth": 1.5,
        "ticksuffix": " %",
    }
    y = {
        "autorange": "reversed",
        "categoryorder": "array",
        "categoryarray": shown,
        "showgrid": False,
        "dtick": 1,
        "ticks": "outside",
        "ticklen": 7,
        "tickcolor": CLEAR,
    }
    return plot(data, title, "", 70 + 27 * len(shown), x, y)


def offline_online(
    points: pd.DataFrame, ink: Mapping[str, Ink], x_title: str, y_title: str
) -> Plot:
    """Scatter an offline metric against the online lift, one labelled point per policy.

    Args:
        points: columns policy, x, x_low, x_high (offline metric), estimate, low, high (lift).
        ink: policy to ink.
        x_title: name and unit of the offline metric.
        y_title: name and unit of the lift.

    Returns:
        Figure with one trace per policy; y in per cent.
    """
    data: list[Spec] = []
    places = label_places(
        points["x"].to_numpy(dtype=np.float64),
        points["estimate"].to_numpy(dtype=np.float64),
        [len(name) for name in points["policy"]],
    )
    for place, (_, row) in zip(places, points.iterrows(), strict=True):
        name = str(row["policy"])
        across = row.rename(
            {
                "x": "estimate",
                "x_low": "low",
                "x_high": "high",
                "estimate": "y",
                "low": "y_low",
                "high": "y_high",
            }
        )
        data.append(
            {
                "type": "scatter",
                "x": [float(row["x"])],
                "y": [percent(row["estimate"])],
                "mode": "markers+text",
                "name": name,
                "text": [name],
                "textposition": place,
                "textfont": {"color": ink[name].light, "size": 12},
                "marker": {"color": ink[name].light, "symbol": ink[name].mark, "size": 11},
                "error_x": error_bar(across, 1.0, ink[name].light),
                "error_y": error_bar(row, 100.0, ink[name].light),
                "cliponaxis": False,
                "hovertemplate": f"offline %{{x:.4g}}<br>online {hover(row)}",
            }
        )
    x = {"range": padded(points[["x", "x_low", "x_high"]].to_numpy(dtype=np.float64))}
    y = {
        "ticksuffix": " %",
        "zeroline": True,
        "zerolinecolor": ZERO,
        "range": padded(100 * points[["estimate", "low", "high"]].to_numpy(dtype=np.float64)),
    }
    return plot(data, x_title, y_title, 400, x, y)


def sampled_full(
    pairs: pd.DataFrame, ink: Mapping[str, Ink], full: str, sampled: str, flipped: set[str]
) -> Plot:
    """Draw each policy's rank by the full metric and by the sampled one; crossings are flips.

    Args:
        pairs: columns policy, full, sampled (metric values) and full_rank, sampled_rank (1 best).
        ink: policy to ink.
        full: name of the full metric.
        sampled: name of the sampled metric.
        flipped: policies that take part in a flip, drawn strongly.

    Returns:
        Slope figure; y is the rank with 1 on top.
    """
    data: list[Spec] = []
    for _, row in pairs.iterrows():
        name = str(row["policy"])
        strong = name in flipped
        data.append(
            {
                "type": "scatter",
                "x": [0, 1],
                "y": [float(row["full_rank"]), float(row["sampled_rank"])],
                "mode": "lines+markers+text",
                "name": name,
                "cliponaxis": False,
                "text": [f"{name}  {row['full']:.3f}  ", f"  {row['sampled']:.3f}  {name}"],
                "textposition": ["middle left", "middle right"],
                "textfont": {"color": ink[name].light, "size": 12},
                "line": {"color": ink[name].light, "width": 3 if strong else 1.2},
                "marker": {"color": ink[name].light, "symbol": ink[name].mark, "size": 9},
                "hovertemplate": f"{full} {row['full']:.4f}<br>{sampled} {row['sampled']:.4f}",
            }
        )
    x = {
        "range": [-0.75, 1.75],
        "tickvals": [0, 1],
        "side": "top",
        "showgrid": False,
        "ticktext": ["all rooms on air", "sampled rooms"],
    }
    y = {"range": [len(pairs) + 0.6, 0.4], "dtick": 1, "showgrid": False}
    x_title, y_title = "ranked against (numbers: value of the metric)", "rank (1 is best)"
    margin = {"t": 62, "b": 16}
    return plot(data, x_title, y_title, 96 + 30 * len(pairs), x, y, margin=margin)
