"""A comparison of designs on the terminal, as Markdown and as tables."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from evaluation.ab.planning import SIZES, STEPS, Planning
from evaluation.ab.settings import DETECTABLE, EFFECTS, GATES, POWER, README
from evaluation.ab.study import HEADLINE, Designs
from evaluation.intervals import LEVEL
from evaluation.study_folder import CONFIG
from evaluation.templating import replace_text
from evaluation.wording import MINUS, MISSING

HEADS = (
    "policy",
    "metric",
    "design",
    "effect",
    "95 % interval",
    "p",
    "p, Holm",
    "detectable",
    "truth",
    "covered",
)

COLUMNS = ("twins", "split", "split, cuped", "switchback")
"""Designs that stand side by side on the terminal."""

READING = (
    "The truth is the effect in twins of one world under common random numbers; its interval "
    "speaks of other users. Lifts are relative. The bias of the split is what it adds to the "
    "effect because both arms share one platform, in the unit of the metric. Interleaving shows a "
    "preference in [-1, 1], which has no truth beside it, and the switchback counts a user once a "
    "block, so that its metrics per user have none either. Holm's p-values are for all policies "
    "and metrics of a design together. Detectable is the smallest effect that a design with this "
    "error finds in 80 % of experiments."
)

NAMES = {"delta": "delta method", "cuped": "CUPED", "anytime": "anytime-valid"}
"""Analyses of split traffic, by `evaluation.ab.planning`."""

PLANNING = (
    "The smallest lift that a split in halves finds in 80 % of experiments, by days of the "
    "experiment and by how many times as many users as came here, from what users did under the "
    "control. CUPED knows the logged days."
)

CURVES = (
    "Power by simulation: lifts of so many times what the delta method detects, injected into "
    "1,000 random halves of the users here, all days. At 0 x it is the size of the test, 5 % or "
    "less; anytime-valid analyses may be looked at before the end."
)


def write(designs: Designs, out: Path) -> Path:
    """Write Markdown, both tables and the config into `out`; return the Markdown's path.

    Raises:
        OSError: the folder is read-only or full.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / README).unlink(missing_ok=True)  # it comes back last: no page of another table is left
    tables = {
        EFFECTS: designs.effects,
        GATES: designs.gates,
        DETECTABLE: designs.planning.detectable,
        POWER: designs.planning.power,
    }
    for name, frame in tables.items():
        part = out / f".{name}.part"
        frame.to_parquet(part, index=False)
        part.replace(out / name)
    replace_text(out / CONFIG, designs.settings.simulation.config_yaml)
    return replace_text(out / README, markdown(designs))


def show(designs: Designs, console: Console) -> None:
    """Print every design's lifts side by side, what interleaving prefers, and the verdict."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in ("policy", "metric", "truth", *COLUMNS[1:]):
        table.add_column(head, justify="left" if head in HEADS[:2] else "right", no_wrap=True)
    lifts = designs.effects[designs.effects["unit"] == "lift"]
    for (policy, metric), rows in lifts.groupby(["policy", "metric"], sort=False):
        by_design = {row["design"]: row for row in rows.to_dict("records")}
        table.add_row(str(policy), str(metric), *(_marked(by_design[name]) for name in COLUMNS))
    console.print(table)
    preferred = designs.effects[designs.effects["unit"] == "preference"]
    for policy in dict.fromkeys(preferred["policy"].astype(str)):
        own = preferred[preferred["policy"] == policy].to_dict("records")
        told = (f"{row['metric']} {_marked(row)}" for row in own)
        console.print(f"{policy}, preference by interleaving: {', '.join(told)}", highlight=False)
    console.print("* p < 0.05, each by itself", highlight=False)
    console.print(summary(designs), highlight=False)
    console.print(outlook(designs), highlight=False)


def markdown(designs: Designs) -> str:
    """Return the page as Markdown, for a repository."""
    settings = designs.settings
    simulation = settings.simulation
    lines = [
        "# Online comparison by design",
        "",
        f"Written by `{designs.command}`; do not edit. World {simulation.world.name}, seed "
        f"{simulation.seed}, {simulation.days} logged days, {settings.ab_days} days of each "
        f"experiment, against {settings.control}.",
        "",
        f"**{summary(designs)}** {READING}",
        "",
        f"| {' | '.join(HEADS)} |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
        *(f"| {' | '.join(cells)} |" for cells in rows_of(designs.effects)),
        "",
        "| policy | gate | verdict | reason |",
        "|---|---|---|---|",
    ]
    for gate in designs.gates.to_dict("records"):
        verdict = "green" if gate["passes"] else "RED"
        lines.append(f"| {gate['policy']} | {gate['name']} | {verdict} | {gate['reason']} |")
    return "\n".join([*lines, *_planned(designs.planning)]) + "\n"


def _planned(plan: Planning) -> Iterator[str]:
    """Yield the part of the page for whoever plans the next experiment."""
    yield from ("", "## What the next split could find", "", PLANNING, "")
    found = plan.detectable
    times = [f"{size:g} x" for size in SIZES]
    yield f"| metric | days | users who came | analysis | {' | '.join(times)} |"
    yield "|---|--:|--:|---|" + "--:|" * len(times)
    for (metric, days, analysis), rows in found.groupby(["metric", "days", "analysis"], sort=False):
        users = rows["users"].to_numpy()[SIZES.index(1.0)]
        told = (_number(lift, "lift").removeprefix("+") for lift in rows["lift"])
        yield f"| {metric} | {days} | {users:,} | {NAMES[str(analysis)]} | {' | '.join(told)} |"
    if plan.power.empty:
        return
    yield from ("", CURVES, "")
    yield f"| metric | analysis | {' | '.join(f'{step:g} x' for step in STEPS)} |"
    yield "|---|---|" + "--:|" * len(STEPS)
    for (metric, analysis), rows in plan.power.groupby(["metric", "analysis"], sort=False):
        told = (f"{100.0 * share:.0f} %" for share in rows["power"])
        yield f"| {metric} | {NAMES[str(analysis)]} | {' | '.join(told)} |"


def summary(designs: Designs) -> str:
    """Say in one or two sentences whether the gates hold, and how often designs cover the truth."""
    red = designs.gates[~designs.gates["passes"]]
    held = (
        f"all {len(designs.gates)} gates are green."
        if red.empty
        else f"{len(red)} of {len(designs.gates)} gates are red: {', '.join(red['name'])}."
    )
    others = designs.effects[designs.effects["design"] != "twins"]
    told = others["covers_truth"].dropna()
    return f"{int(told.sum())} of {len(told)} intervals cover the truth; {held}"


def outlook(designs: Designs) -> str:
    """Say in a sentence which lift of the headline the next split would find."""
    found = designs.planning.detectable
    own = found[(found["metric"] == HEADLINE) & (found["days"] == found["days"].max())]
    by_name = {name: rows.iloc[SIZES.index(1.0)] for name, rows in own.groupby("analysis")}
    plain, cuped = by_name["delta"], by_name["cuped"]
    lifts = (_number(row["lift"], "lift").removeprefix("+") for row in (plain, cuped))
    return (
        f"A split of {plain['users']:,} users over {plain['days']} days finds lifts of {HEADLINE} "
        f"from {next(lifts)} on (with CUPED {next(lifts)}) in 80 % of experiments."
    )


def rows_of(effects: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """Yield the cells of every effect, in the order of HEADS."""
    for row in effects.to_dict("records"):
        yield _cells(row)


def _cells(row: dict[Hashable, Any]) -> tuple[str, ...]:
    unit = str(row["unit"])
    covered = row["covers_truth"]
    judged = row["design"] != "twins" and covered is not None and not pd.isna(covered)
    low, high = (_number(float(row[end]), unit) for end in ("low", "high"))
    return (
        str(row["policy"]),
        str(row["metric"]),
        str(row["design"]),
        _number(float(row["estimate"]), unit),
        MISSING if np.isnan(row["low"]) else f"{low} to {high}",
        _p(float(row["p_value"])),
        _p(float(row["p_holm"])),
        _number(float(row["detectable"]), unit).removeprefix("+"),
        _number(float(row["truth"]), unit),
        ("yes" if covered else "no") if judged else "",
    )


def _marked(row: dict[Hashable, Any]) -> str:
    star = "*" if row["p_value"] < 1.0 - LEVEL else ""
    return _number(float(row["estimate"]), str(row["unit"])) + star


def _number(value: float, unit: str) -> str:
    if np.isnan(value):
        return MISSING
    text = f"{100.0 * value:+.1f} %" if unit == "lift" else f"{value:+.3g}"
    return text.replace("-", MINUS)


def _p(value: float) -> str:
    if np.isnan(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
