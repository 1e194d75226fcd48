"""The chapter about delayed purchases: survival curves, and the bias of conversion estimators."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from evaluation import conversion_figures as figures
from evaluation import wording
from evaluation.drawing import Plot
from evaluation.page import Chapter, Panel, Table
from evaluation.results import ALL
from evaluation.wording import Cell
from sim.schema import SCENARIOS

ULTIMATE = "ultimate"
ESTIMATED = ("naive", "km", "cure")
_TITLE = "Purchases that come late"
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_HORIZON = re.compile(r"(\d+(?:\.\d+)?)(s|min|h|d)")
_PREFIX = "cvr/"


def conversion(
    numbers: pd.DataFrame, curves: pd.DataFrame, warnings: Sequence[str] = ()
) -> Chapter:
    """Build the chapter.

    Args:
        numbers: `evaluation.leaderboard.pooled`; its rows ``cvr/...`` are used.
        curves: `evaluation.study_folder.CURVE_COLUMNS`, may be empty.
        warnings: reasons not to believe an estimate, one sentence each.
    """
    rates = _rates(numbers)
    drawn_curves = _curves_panel(curves)
    judged = [h for h in _horizons(rates) if _bias(rates, h) is not None]
    if not judged and drawn_curves is None:
        return Chapter(
            "conversion",
            _TITLE,
            "The study made no survival estimate of the"
            " conversion rate, so there is nothing to compare with the truth.",
        )
    tables = {f"Conversion rate of bag clicks, horizon {h}": _rate_table(rates, h) for h in judged}
    lead = (
        "A purchase may come days after the product-bag click, so recent clicks look like"
        " failures. The naive rate counts them so; Kaplan–Meier treats them as not yet known,"
        " and the mixture cure model also guesses what is never seen. Only a simulator"
        " knows the truth."
    )
    bias_panel = _bias_panel(rates, judged) if judged else None
    panels = tuple(p for p in (drawn_curves, bias_panel) if p is not None)
    main = frozenset(list(tables)[:1])
    finding = _finding(rates, judged)
    if warnings:
        finding = f"{finding} Doubts that the data themselves raise: {'; '.join(warnings)}.".strip()
    return Chapter("conversion", _TITLE, lead, panels, tables, main, finding)


def _rates(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return columns scenario, slice, estimator, estimate, low, high of the conversion rows."""
    picked = numbers[numbers["metric"].str.startswith(_PREFIX) & (numbers["policy"] == "")]
    columns = ["scenario", "slice", "estimator", "estimate", "low", "high"]
    estimator = picked["metric"].str.removeprefix(_PREFIX)
    return picked.assign(estimator=estimator)[columns].reset_index(drop=True)


def _horizons(rates: pd.DataFrame) -> list[str]:
    """Return the horizons, ultimate first, then from long to short."""

    def seconds(name: str) -> float:
        found = _HORIZON.fullmatch(name)
        return float(found[1]) * _SECONDS[found[2]] if found else np.inf

    return sorted(set(rates["slice"]), key=lambda name: (-seconds(name), name))


def _at(rates: pd.DataFrame, horizon: str) -> dict[str, pd.DataFrame]:
    """Return estimator to columns estimate, low, high by scenario, at one horizon."""
    part = rates[rates["slice"] == horizon]
    return {
        str(key): rows.drop_duplicates("scenario").set_index("scenario")
        for key, rows in part.groupby("estimator", sort=False)
    }


def _bias(rates: pd.DataFrame, horizon: str) -> pd.DataFrame | None:
    """Return the relative bias of each estimator by scenario; None where there is no truth."""
    by = _at(rates, horizon)
    if "truth" not in by:
        return None
    truth = by["truth"]["estimate"]
    truth = truth[truth > 0]
    parts = []
    for key in ESTIMATED:
        if key not in by:
            continue
        ratio = by[key][["estimate", "low", "high"]].div(truth, axis=0) - 1
        parts.append(ratio.dropna(subset="estimate").assign(estimator=key).reset_index())
    bias = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return None if bias.empty else bias


def _ordered(names: Sequence[str]) -> list[str]:
    return [name for name in (*SCENARIOS, ALL) if name in set(names)]


def _bias_panel(rates: pd.DataFrame, horizons: Sequence[str]) -> Panel:
    drawn: dict[str, list[Plot | None]] = {}
    for horizon in horizons:
        bias = _bias(rates, horizon)
        if bias is None:
            continue
        names = _ordered(list(bias["scenario"]))
        worded = bias.assign(scenario=bias["scenario"].map(wording.scenario))
        titles = [wording.scenario(n) for n in names]
        drawn[horizon] = [figures.conversion_bias(worded, titles)]
    return Panel(
        "bias", "Horizon after the bag click", tuple(drawn), ("Distance from the truth",), drawn
    )


def _curves_panel(curves: pd.DataFrame) -> Panel | None:
    names = _ordered(list(curves["scenario"]))
    plots: list[Plot | None] = [
        figures.conversion_curves(curves[curves["scenario"] == name]) for name in names
    ]
    if not plots:
        return None
    return Panel("curves", "", ("",), tuple(wording.scenario(n) for n in names), {"": plots})


def _rate_table(rates: pd.DataFrame, horizon: str) -> Table:
    """Return conversion rates with intervals, and the distance of each from the truth."""
    part = rates[rates["slice"] == horizon]
    numbers = part[["estimate", "low", "high"]].to_numpy(dtype=np.float64).tolist()
    known: dict[tuple[str, str], list[float]] = dict(
        zip(zip(part["scenario"], part["estimator"], strict=True), numbers, strict=True)
    )
    present = [key for key in ESTIMATED if key in set(part["estimator"])]
    rows = []
    for scenario in _ordered([name for name, key in known if key == "truth"]):
        truth = known[scenario, "truth"][0]
        cells = [Cell(wording.scenario(scenario)), wording.probability(truth)]
        for key in present:
            value, low, high = known.get((scenario, key), [np.nan] * 3)
            cells.append(wording.probability(value, low, high))
            cells.append(wording.lift(value / truth - 1 if truth > 0 else np.nan))
        rows.append(tuple(cells))
    heads = [h for key in present for h in (figures.ESTIMATOR_NAMES[key], "off by")]
    return Table(("scenario", "truth", *heads), tuple(rows))


def _finding(rates: pd.DataFrame, horizons: Sequence[str]) -> str:
    """Say how far off each estimator is over all scenarios, or else where it is worst."""
    bias = _bias(rates, horizons[0]) if horizons else None
    if bias is None:
        return ""
    whole = bias[bias["scenario"] == ALL]
    by_size = bias.assign(size=bias["estimate"].abs()).sort_values("size")
    told = by_size if whole.empty else whole
    off = dict(zip(told["estimator"], told["estimate"].astype(float), strict=True))
    said = [
        f"{figures.ESTIMATOR_NAMES[key]} {wording.lift(off[key]).text}"
        for key in ESTIMATED
        if key in off
    ]
    when = ULTIMATE if horizons[0] == ULTIMATE else f"{horizons[0]}"
    where = "in its worst scenario" if whole.empty else "over all scenarios"
    return f"Distance from the true {when} conversion rate {where}: {', '.join(said)}."
