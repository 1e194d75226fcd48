"""The chapter of the study page on off-policy estimates, beside what deployed pages are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluation import figures, wording
from evaluation.agreement import MIN_POLICIES, agreement
from evaluation.drawing import Plot
from evaluation.page import Chapter, Panel, Table
from evaluation.palette import Ink
from evaluation.results import ALL, RELATIVE_LIFT
from evaluation.wording import Cell

SPANS = {"request": "a page", "top": "the room at the top of a page"}
"""What is valued, as rows and as the page call it; the first comes first."""

FEW = 30
"""Effective pages below which an interval is not to be believed."""

TITLE = "What would the log alone have said?"


@dataclass(frozen=True)
class _Record:
    """How one estimator did on the differences to the control."""

    metric: str
    policies: int
    held: int
    """Policies whose true difference the interval holds."""
    known: int
    """Policies that have an interval."""
    error: float
    """Mean distance to the true difference, in mean true differences: at 1 it is as far off as
    saying that no policy differs."""
    tau: float


def counterfactual(
    numbers: pd.DataFrame, order: Sequence[str], ink: Mapping[str, Ink], control: str
) -> Chapter:
    """Every estimator's value of every policy, beside the truth of the deployed one.

    Args:
        numbers: what `evaluation.pooling.pooled` returned.
        order: policies from the top of the leaderboard.
        ink: policy to ink.
        control: what differences are taken against.
    """
    rows = numbers[
        numbers["metric"].str.startswith(tuple(f"{span}_value" for span in SPANS))
        & (numbers["scenario"] == ALL)
        & (numbers["slice"] == ALL)
    ]
    found = rows[(rows["kind"] == "offline") & (rows["policy"] != "")]
    if found.empty:
        greedy = (
            "The ranking that wrote this log left nothing to chance, so that the log cannot tell"
            " what another would have brought: there are no off-policy estimates."
        )
        lead = greedy if len(rows) else "The study holds no off-policy estimates."
        return Chapter("counterfactual", TITLE, lead)
    present = [name for name in order if name in set(found["policy"])]
    gaps = rows[(rows["control"] == control) & (rows["unit"] != RELATIVE_LIFT)]
    records = sorted(_records(gaps), key=lambda record: (np.isnan(record.error), record.error))
    caption = f"Estimators beside the truth, as differences to {control}"
    tables = {caption: _record_table(records)} if records else {}
    levels = rows[rows["control"] == ""]
    for span, what in SPANS.items():
        tables[f"Worth of {what}"] = _table(levels, span, present, numbers)
        against = [name for name in present if name != control]
        if against and len(gaps):
            tables[f"Worth of {what}, against {control}"] = _table(gaps, span, against)
    drawn = _plots(rows, gaps, ink, control)
    panels = (Panel("value", "Estimator", tuple(drawn), ("",), drawn),) if drawn else ()
    lead = (
        "What the last logged day says each policy’s pages would bring, had it ranked them, by"
        " every estimator that the log allows, beside what the pages of the deployed policy are"
        " truly worth. Weights are those of greedy serving; intervals are 95 %, clustered by user."
        " The log knows purchases only until its end, and deployment goes on where its own pages"
        " lead. An error of 1 is as far off as saying that no policy differs."
    )
    return Chapter(
        "counterfactual", TITLE, lead, panels, tables, frozenset({caption}) & set(tables),
        _finding(records, numbers, present), _doubts(numbers, present),
    )  # fmt: skip


def _records(gaps: pd.DataFrame) -> list[_Record]:
    """Return how each estimator did, where the truth is known."""
    out = []
    for span in SPANS:
        truth = gaps[(gaps["metric"] == f"{span}_value") & (gaps["kind"] == "truth")]
        true = truth.set_index("policy")["estimate"]
        mine = gaps[gaps["metric"].str.startswith(f"{span}_value/")]
        for metric, part in mine.groupby("metric", sort=True):
            own = part.set_index("policy").join(true.rename("true"), how="inner")
            own = own.dropna(subset=["estimate", "true"])
            if own.empty:
                continue
            known = own.dropna(subset=["low", "high"])
            held = (known["low"] <= known["true"]) & (known["true"] <= known["high"])
            # the control is one of the policies whose order is asked for
            pair = (np.append(own[name].to_numpy(np.float64), 0.0) for name in ("estimate", "true"))
            tau = agreement(*pair)[0] if len(own) + 1 >= MIN_POLICIES else float("nan")
            size = float(own["true"].abs().mean())
            far = float((own["estimate"] - own["true"]).abs().mean())
            error = far / size if size > 0.0 else float("nan")
            out.append(_Record(str(metric), len(own), int(held.sum()), len(known), error, tau))
    return out


def _record_table(records: Sequence[_Record]) -> Table:
    rows = tuple(
        (
            Cell(record.metric, wording.meaning(record.metric)),
            Cell(wording.MISSING if np.isnan(record.error) else f"{record.error:.2f}"),
            Cell(f"{record.held} of {record.known}") if record.known else Cell(wording.MISSING),
            Cell(wording.MISSING) if np.isnan(record.tau) else wording.tau(record.tau),
            Cell(str(record.policies)),
        )
        for record in records
    )
    heads = (
        "estimate",
        "error / difference",
        "intervals that hold the truth",
        "Kendall’s τ",
        "policies",
    )
    return Table(heads, rows)


def _table(
    rows: pd.DataFrame, span: str, policies: Sequence[str], numbers: pd.DataFrame | None = None
) -> Table:
    """Return estimators down and policies across, the truth first, then what weights are worth."""
    true = rows[rows["kind"] == "truth"]
    lines: list[tuple[str, pd.DataFrame, str]] = [("truth, deployed", true, f"{span}_value")]
    if numbers is not None:
        lines += [
            ("effective pages", numbers, f"effective_rounds/{span}"),
            ("unsupported share", numbers, f"unsupported/{span}"),
        ]
    offline = rows[(rows["kind"] == "offline") & (rows["policy"] != "")]
    names = sorted(set(offline["metric"][offline["metric"].str.startswith(f"{span}_value/")]))
    lines += [(name.partition("/")[2], offline, name) for name in map(str, names)]
    body = []
    for head, source, metric in lines:
        own = (source["metric"] == metric) & (source["policy"] != "")
        part = source[own].drop_duplicates("policy").set_index("policy").reindex(list(policies))
        cells = [_cell(*ends) for ends in part[["estimate", "low", "high"]].to_numpy(np.float64)]
        if any(cell.text != wording.MISSING for cell in cells):
            body.append((Cell(head), *cells))
    return Table(("", *policies), tuple(body))


def _cell(value: float, low: float, high: float) -> Cell:
    if np.isnan(value):
        return Cell(wording.MISSING)
    if np.isnan(low) or np.isnan(high):
        return Cell(_digits(value))
    return Cell(_digits(value), f"{_digits(low)} to {_digits(high)}")


def _digits(value: float) -> str:
    text = f"{value:,.0f}" if abs(value) >= 100.0 else f"{value:.2f}"
    return text.replace("-", wording.MINUS)


def _plots(
    rows: pd.DataFrame, gaps: pd.DataFrame, ink: Mapping[str, Ink], control: str
) -> dict[str, list[Plot | None]]:
    """Return a scatter for each estimator: its difference to the control against the true lift."""
    drawn: dict[str, list[Plot | None]] = {}
    for span, what in SPANS.items():
        true = rows[
            (rows["metric"] == f"{span}_value")
            & (rows["kind"] == "truth")
            & (rows["unit"] == RELATIVE_LIFT)
            & (rows["control"] == control)
        ]
        true = true.set_index("policy")[["estimate", "low", "high"]]
        mine = gaps[gaps["metric"].str.startswith(f"{span}_value/")]
        for metric, part in mine.groupby("metric", sort=True):
            named = part.rename(columns={"estimate": "x", "low": "x_low", "high": "x_high"})
            points = named.set_index("policy")[["x", "x_low", "x_high"]].join(true, how="inner")
            points = points.dropna(subset=["x", "estimate"]).reset_index()
            if len(points):
                drawn[str(metric)] = [figures.offline_online(
                    points, ink, f"{wording.meaning(str(metric))}, less that of {control} (value)",
                    f"true lift in the worth of {what} (%)")]  # fmt: skip
    return drawn


def _doubts(numbers: pd.DataFrame, policies: Sequence[str]) -> tuple[str, ...]:
    """Name the policies that share too little with the log."""
    worth = numbers[(numbers["metric"] == "effective_rounds/top") & (numbers["estimate"] < FEW)]
    few = [name for name in policies if name in set(worth["policy"])]
    if not few:
        return ()
    return (
        f"Less than {FEW} effective pages: {', '.join(few)}. Intervals from so few weights are too"
        " short, and the largest weights may be missing altogether.",
    )


def _finding(records: Sequence[_Record], numbers: pd.DataFrame, policies: Sequence[str]) -> str:
    """Say which estimate came closest, and how little of the log a policy may share with it."""
    if not records or np.isnan(records[0].error):
        return ""
    best = records[0]
    said = f"From the log alone, {best.metric} comes closest to the true differences of policies"
    if best.known:
        said += f" (its intervals hold the truth for {best.held} of {best.known})"
    worth = numbers[(numbers["metric"] == "effective_rounds/top") & (numbers["policy"] != "")]
    worth = worth[worth["policy"].isin(policies)].drop_duplicates("policy")
    if len(worth):
        least = worth.loc[worth["estimate"].idxmin()]
        said += (
            f"; the {least['n'] / least['worlds']:,.0f} pages looked at are worth"
            f" {least['estimate']:,.0f} of {least['policy']}’s own"
        )
    return f"{said}."
