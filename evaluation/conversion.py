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

ULTIMATE, LATEST = "ultimate", "latest"
ESTIMATED = ("naive", "km", "cure")
_TITLE = "Purchases that come late"
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_HORIZON = re.compile(r"(\d+(?:\.\d+)?)(s|min|h|d)")
_PREFIX, _READABLE = "cvr/", "cvr_readable_s"


def conversion(
    numbers: pd.DataFrame, curves: pd.DataFrame, warnings: Sequence[str] = ()
) -> Chapter:
    """Build the chapter.

    Args:
        numbers: `evaluation.pooling.pooled`; its rows ``cvr/...`` are used.
        curves: `evaluation.study_folder.CURVE_COLUMNS`, may be empty.
        warnings: reasons not to believe an estimate, one sentence each.
    """
    rates = _rates(numbers)
    drawn_curves = _curves_panel(curves)
    readable = _readable(numbers)
    judged = [h for h in _horizons(rates) if _bias(rates, h) is not None]
    if not judged and drawn_curves is None:
        return Chapter(
            "conversion",
            _TITLE,
            "The study made no survival estimate of the"
            " conversion rate, so there is nothing to compare with the truth.",
            doubts=tuple(warnings),
        )
    tables = {
        f"Conversion rate of bag clicks, {_named(h, readable)}": _rate_table(rates, h, readable)
        for h in judged
    }
    lead = (
        "A purchase may come days after the product-bag click, so recent clicks look like"
        " failures. The naive rate counts them so; Kaplan–Meier treats them as not yet known, up"
        " to the last time that it can read; only the mixture cure model guesses what comes"
        " later, which is the ultimate rate. Only a simulator knows the truth. Intervals are"
        " clustered by user."
    )
    bias_panel = _bias_panel(rates, judged, readable) if judged else None
    panels = tuple(p for p in (drawn_curves, bias_panel) if p is not None)
    main = frozenset(list(tables)[:2])
    finding = _finding(rates, judged, readable)
    if warnings:
        some = "a doubt" if len(warnings) == 1 else f"{len(warnings)} doubts"
        finding = f"{finding} The data raise {some}, listed in the chapter.".strip()
    return Chapter("conversion", _TITLE, lead, panels, tables, main, finding, tuple(warnings))


def _rates(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return columns scenario, slice, estimator, estimate, low, high of the conversion rows."""
    picked = numbers[numbers["metric"].str.startswith(_PREFIX) & (numbers["policy"] == "")]
    columns = ["scenario", "slice", "estimator", "estimate", "low", "high"]
    estimator = picked["metric"].str.removeprefix(_PREFIX)
    return picked.assign(estimator=estimator)[columns].reset_index(drop=True)


def _horizons(rates: pd.DataFrame) -> list[str]:
    """Return the horizons: ultimate, latest, then from long to short."""
    first = {ULTIMATE: 0, LATEST: 1}

    def seconds(name: str) -> float:
        found = _HORIZON.fullmatch(name)
        return float(found[1]) * _SECONDS[found[2]] if found else np.inf

    return sorted(set(rates["slice"]), key=lambda name: (first.get(name, 2), -seconds(name), name))


def _readable(numbers: pd.DataFrame) -> dict[str, float]:
    """Return the last readable time of Kaplan-Meier by scenario, seconds; mean over worlds."""
    found = numbers[numbers["metric"] == _READABLE]
    return {str(k): float(v) for k, v in zip(found["scenario"], found["estimate"], strict=True)}


def _named(horizon: str, readable: dict[str, float]) -> str:
    """Name a horizon; the latest one differs between scenarios and is that of all together."""
    if horizon == ULTIMATE:
        return "ultimate"
    if horizon != LATEST:
        return f"horizon {horizon}"
    until = f" ({wording.span(readable[ALL])} over all)" if ALL in readable else ""
    return f"last readable time{until}"


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


def _bias_panel(rates: pd.DataFrame, horizons: Sequence[str], readable: dict[str, float]) -> Panel:
    drawn: dict[str, list[Plot | None]] = {}
    for horizon in horizons:
        bias = _bias(rates, horizon)
        if bias is None:
            continue
        names = _ordered(list(bias["scenario"]))
        worded = bias.assign(scenario=bias["scenario"].map(wording.scenario))
        titles = [wording.scenario(n) for n in names]
        option = _named(horizon, readable).removeprefix("horizon ")
        drawn[option] = [figures.conversion_bias(worded, titles)]
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


def _rate_table(rates: pd.DataFrame, horizon: str, readable: dict[str, float]) -> Table:
    """Return conversion rates with intervals, and the distance of each from the truth."""
    part = rates[rates["slice"] == horizon]
    numbers = part[["estimate", "low", "high"]].to_numpy(dtype=np.float64).tolist()
    known: dict[tuple[str, str], list[float]] = dict(
        zip(zip(part["scenario"], part["estimator"], strict=True), numbers, strict=True)
    )
    given = set(part.loc[part["estimate"].notna(), "estimator"])
    present = [key for key in ESTIMATED if key in given]
    rows = []
    for scenario in _ordered([name for name, key in known if key == "truth"]):
        truth = known[scenario, "truth"][0]
        until = wording.span(readable[scenario]) if scenario in readable else ""
        name = Cell(
            wording.scenario(scenario), f"by {until}" if horizon == LATEST and until else ""
        )
        cells = [name, wording.probability(truth)]
        for key in present:
            value, low, high = known.get((scenario, key), [np.nan] * 3)
            cells.append(wording.probability(value, low, high))
            cells.append(wording.lift(value / truth - 1 if truth > 0 else np.nan))
        rows.append(tuple(cells))
    heads = [h for key in present for h in (figures.ESTIMATOR_NAMES[key], "off by")]
    return Table(("scenario", "truth", *heads), tuple(rows))


def _finding(rates: pd.DataFrame, horizons: Sequence[str], readable: dict[str, float]) -> str:
    """Say how far off each estimator is, at the longest time at which each says something."""
    told: set[str] = set()
    parts = []
    for horizon in horizons:
        bias = _bias(rates, horizon)
        if bias is None:
            continue
        off = _worst(bias[~bias["estimator"].isin(told)])
        said = [
            f"{figures.ESTIMATOR_NAMES[key]} {wording.lift(off[key]).text}"
            for key in ESTIMATED
            if key in off
        ]
        if said:
            when = "ultimately" if horizon == ULTIMATE else f"at {_when(horizon, readable)}"
            parts.append(f"{', '.join(said)} {when}")
        told |= set(off)
    if not parts:
        return ""
    return f"Distance of conversion rates from the truth: {'; '.join(parts)}."


def _when(horizon: str, readable: dict[str, float]) -> str:
    if horizon != LATEST:
        return f"{horizon}"
    until = f", {wording.span(readable[ALL])}" if ALL in readable else ""
    return f"the last readable time{until}"


def _worst(bias: pd.DataFrame) -> dict[str, float]:
    """Return estimator to bias over all scenarios, or else in its worst scenario."""
    whole = bias[bias["scenario"] == ALL]
    by_size = bias.assign(size=bias["estimate"].abs()).sort_values("size")
    told = by_size if whole.empty else whole
    return dict(zip(told["estimator"], told["estimate"].astype(float), strict=True))
