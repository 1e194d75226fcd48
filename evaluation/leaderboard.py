"""The leaderboard: one row per policy, one table per experiment, for reports and for a terminal."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.pooling import pooled
from evaluation.replications import Replications, apart, read
from evaluation.results import ALL, RELATIVE_LIFT
from evaluation.study_folder import TABLE as TABLE

HEADLINE = "value_per_user"
"""Metric whose online lift orders the leaderboard."""

PREFERRED = ("hr@10", "ndcg@10", "gauc/engage", "auc/engage", "pcoc/engage", "hr@10/s20", "mrr")
"""Offline metrics that the leaderboard shows first, as far as the study has them."""

MAX_SETTINGS = 4
"""Differing settings shown by name, unless it takes more; another world differs in dozens."""

MAX_WORLDS = 3
"""More worlds than this are shown by the lowest and the highest lift."""

_MAX_VALUE = 24
_GAP = 3
"""Cells between columns; two of the table's edges add to them."""

_SMALLER = ("logloss", "ece", "tie_rate", "gauc_dropped_users", "inversion")
ABOUT_THE_DATA = (
    "gauc_dropped_users", "tie_rate", "effective_rounds", "mean_weight", "unsupported",
)  # fmt: skip


@dataclass(frozen=True)
class Board:
    """The leaderboard of one experiment."""

    table: pd.DataFrame
    """See `board`."""
    world: str
    """Name of the world's preset, "" where the folder has no config."""
    seeds: tuple[int, ...]
    """World seeds in ascending order."""
    apart: tuple[tuple[str, str], ...]
    """Settings by which this experiment differs from the others that were collected with it."""
    more_apart: int
    """Further settings that differ."""
    notes: tuple[str, ...]
    """What to know before believing the table, one sentence each."""
    privileged: frozenset[str]
    """Policies that see the truth."""


def collect(paths: Iterable[Path]) -> tuple[Board, ...]:
    """Collect study folders into leaderboards, one per experiment.

    Args:
        paths: study folders, folders that hold study folders at any depth (sweeps), or results
            files.

    Returns:
        The leaderboards; studies are in one where all settings but seed and policies are equal.

    Raises:
        ResultsError: a path does not exist, holds no results, or holds broken ones.
        ReportError: a file beside the results is broken.
    """
    groups = read(paths)
    differing, more = apart(groups, MAX_SETTINGS)
    return tuple(_board(*one, more) for one in zip(groups, differing, strict=True))


def _board(group: Replications, differing: dict[str, str], more: int) -> Board:
    seeds = tuple(sorted({int(seed) for seed in group.rows["world_seed"]}))
    world = group.settings.get("world.name", "")
    table = board(group.rows)
    told = tuple(differing.items())
    return Board(table, world, seeds, told, more, group.notes, group.privileged)


def lifts(numbers: pd.DataFrame, metric: str = HEADLINE) -> pd.DataFrame:
    """Return the pooled online lifts of one metric; every control takes part with lift 0.

    Args:
        numbers: what `pooled` returned.
        metric: an online metric.

    Returns:
        Columns policy, control, scenario, estimate, low, high, n, worlds; slice "all" only.
    """
    picked = _lift_rows(numbers, metric)
    groups = picked.groupby(["control", "scenario"], sort=False)
    control = groups.agg(n=("n", "max"), worlds=("worlds", "max")).reset_index()
    control = control.assign(policy=control["control"], estimate=0.0, low=np.nan, high=np.nan)
    columns = ["policy", "control", "scenario", "estimate", "low", "high", "n", "worlds"]
    if picked.empty:
        return picked[columns]
    return pd.concat([picked[columns], control[columns]], ignore_index=True)


def _lift_rows(numbers: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows that hold online lifts of a metric, slice "all" only."""
    return numbers[
        (numbers["metric"] == metric)
        & (numbers["kind"] == "online")
        & (numbers["unit"] == RELATIVE_LIFT)
        & (numbers["slice"] == ALL)
        & (numbers["policy"] != numbers["control"])
    ]


def offline(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the pooled offline metrics of policies over all scenarios, levels only.

    Args:
        numbers: what `pooled` returned.

    Returns:
        Columns policy, metric, estimate, low, high.
    """
    picked = numbers[
        (numbers["kind"] == "offline")
        & (numbers["policy"] != "")
        & (numbers["control"] == "")
        & (numbers["scenario"] == ALL)
        & (numbers["slice"] == ALL)
        & ~numbers["metric"].str.startswith(ABOUT_THE_DATA)
    ]
    return picked[["policy", "metric", "estimate", "low", "high"]].reset_index(drop=True)


def board(rows: pd.DataFrame) -> pd.DataFrame:
    """Build the leaderboard of the results table of one experiment.

    Returns:
        One row per policy and control, best lift first, the control itself at lift 0: columns rank
        (1 best, per control; <NA> where the policy was never deployed), policy, control, lift, low,
        high (relative, 0.05 = +5 %; NaN for the control's ends), worlds (count), by_world (the lift
        in each world as text, by seed), seeds ("0-2, 7"), studies, then one column per offline
        metric over all scenarios, in the metric's unit.
    """
    numbers = pooled(rows)
    online = lifts(numbers)
    online = online[online["scenario"] == ALL]
    metrics = offline(numbers).pivot(index="policy", columns="metric", values="estimate")
    never = sorted({str(name) for name in metrics.index} - set(online["policy"]))
    nothing = {"estimate": np.nan, "low": np.nan, "high": np.nan}
    alone = pd.DataFrame({"policy": never}).assign(control="", worlds=0, **nothing)
    table = pd.concat([part for part in (online, alone) if len(part)] or [online])
    table = table.rename(columns={"estimate": "lift"})
    table = table.sort_values(["control", "lift", "policy"], ascending=[False, False, True])
    ranks = table.groupby("control")["lift"].rank(ascending=False, method="min")
    table.insert(0, "rank", ranks.astype("Int64"))
    each = _by_world(rows)
    own = rows[rows["policy"] != ""].groupby("policy")
    seeds = {str(name): ranges(part["world_seed"]) for name, part in own}
    studies = {str(name): ", ".join(sorted(set(part["study"]))) for name, part in own}
    table["worlds"] = table["worlds"].astype("Int64")
    table["seeds"] = table["policy"].map(seeds)
    table["studies"] = table["policy"].map(studies)
    table["by_world"] = [
        each.get((str(policy), str(control)), "")
        for policy, control in zip(table["policy"], table["control"], strict=True)
    ]
    first = ["rank", "policy", "control", "lift", "low", "high"]
    first += ["worlds", "by_world", "seeds", "studies"]
    shown = [
        *(m for m in PREFERRED if m in metrics),
        *sorted({str(name) for name in metrics} - set(PREFERRED)),
    ]
    joined = table[first].merge(metrics[shown], left_on="policy", right_index=True, how="left")
    return joined.reset_index(drop=True)


def _by_world(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Write the headline lift in each world by policy and control, in per cent."""
    picked = _lift_rows(rows, HEADLINE)
    picked = picked[(picked["scenario"] == ALL) & picked["estimate"].notna()]
    out = {}
    for (policy, control), part in picked.sort_values("world_seed").groupby(["policy", "control"]):
        said = [_signed(share) for share in part["estimate"]]
        if len(said) > MAX_WORLDS:
            said = [f"{_signed(part['estimate'].min())} to {_signed(part['estimate'].max())}"]
        out[str(policy), str(control)] = f"{', '.join(said)} %"
    return out


def goodness(metric: str, values: pd.Series) -> pd.Series:
    """Return values of a metric turned so that larger is better; 1 is best for ``pcoc/T``."""
    if metric.startswith("pcoc"):
        return -values.where(values > 0).map(np.log).abs()
    return -values if metric.startswith(_SMALLER) else values


def arrow(metric: str) -> str:
    """Return the direction that is better: "↑", "↓", or "→1" for ``pcoc/T``."""
    if metric.startswith("pcoc"):
        return "→1"
    return "↓" if metric.startswith(_SMALLER) else "↑"


def verdict(lift: float, low: float, high: float) -> str:
    """Say in plain words what a lift over the control and its 95 % interval mean."""
    if np.isnan(lift):
        return "not deployed"
    if np.isnan(low) or np.isnan(high):
        return "no difference seen" if lift == 0.0 else "too few events"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "unclear"


def ranges(values: Iterable[int]) -> str:
    """Write distinct integers in order, runs of three or more as a range: "0-2, 7"."""
    left = sorted({int(value) for value in values})
    parts = []
    while left:
        run = 1
        while run < len(left) and left[run] == left[0] + run:
            run += 1
        run = run if run > 2 else 1
        parts.append(str(left[0]) if run == 1 else f"{left[0]}-{left[run - 1]}")
        left = left[run:]
    return ", ".join(parts)


def show(boards: Sequence[Board], console: Console) -> None:
    """Print leaderboards.

    Offline metrics beyond the console's width are left out, least preferred first; rank, policy,
    lift, interval and seeds always stand.
    """
    if len(boards) > 1:
        text = (
            f"{len(boards)} experiments with different settings; numbers are not pooled over them"
        )
        console.print(Text(text))
    for index, one in enumerate(boards, 1):
        _show_one(one, f"{index}. " if len(boards) > 1 else "", console)


def _show_one(board: Board, number: str, console: Console) -> None:
    frame = board.table
    worlds = f"{len(board.seeds)} world{'s' if len(board.seeds) > 1 else ''}"
    head = [f"world {board.world}"] if board.world else []
    head.append(f"{worlds} (seed {ranges(board.seeds)})")
    console.print()
    console.print(Text(f"{number}{', '.join(head)}", style="bold"))
    if board.apart:
        console.print(Text(f"differs in {_settings(board)}", "dim"))
    for control, part in frame.groupby("control", sort=False):
        text = f"value per user against {control!s}" if control else "not compared with a control"
        console.print(Text(f"\n{text}"))
        console.print(_table(part, str(control), board.privileged, console.width))
    for note in _notes(board):
        console.print(Text(note, "dim"))


def _settings(board: Board) -> str:
    """Write the settings that tell an experiment from the others."""
    short = [(k, v if len(v) <= _MAX_VALUE else f"{v[: _MAX_VALUE - 1]}…") for k, v in board.apart]
    said = ", ".join(f"{key} = {value}" for key, value in short)
    more = board.more_apart
    return said + (f" and {more} more setting{'s' if more > 1 else ''}" if more > 0 else "")


def _table(part: pd.DataFrame, control: str, privileged: frozenset[str], width: int) -> Table:
    """Return one table that fits into `width` cells."""
    rows = part.to_dict("records")
    cells = [_cells(row, control, privileged) for row in rows]
    heads = ["#", "policy", "lift ↑", "95 % interval"]
    seeds = [Text(str(row["seeds"])) for row in rows]
    columns = [[Text(head), *(row[i] for row in cells)] for i, head in enumerate(heads)]
    columns.append([Text("seeds"), *seeds])
    needed = [max(cell_len(cell.plain) for cell in column) for column in columns]
    left = width - sum(needed) - _GAP * (len(needed) - 1) - 2
    each = [Text("" if row["policy"] == control else str(row["by_world"])) for row in rows]
    own = max(cell_len(text.plain) for text in (Text("in each world"), *each)) + _GAP
    if (part["worlds"] > 1).any() and own <= left:
        heads.append("in each world")
        cells = [[*first, text] for first, text in zip(cells, each, strict=True)]
        left -= own
    shown = []
    for name in (m for m in PREFERRED if m in part and part[m].notna().any()):
        own = max(cell_len(f"{name} {arrow(name)}"), 6) + _GAP
        if own > left:
            break
        shown.append(name)
        left -= own
    policy_width = max(needed[1] + min(left, 0), 8)  # long names fold, nothing else does
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(heads[0], justify="right", style="dim", no_wrap=True)
    table.add_column(heads[1], width=policy_width, overflow="fold")
    for head in heads[2:]:
        table.add_column(head, justify="right", no_wrap=True)
    for name in shown:
        table.add_column(f"{name} {arrow(name)}", justify="right", no_wrap=True)
    table.add_column("seeds", style="dim", no_wrap=True)
    for row, first, seed in zip(rows, cells, seeds, strict=True):
        offline = ["–" if pd.isna(row[m]) else f"{row[m]:.4f}" for m in shown]
        table.add_row(*first, *(Text(text) for text in offline), seed)
    return table


def _cells(row: Mapping[Hashable, Any], control: str, privileged: frozenset[str]) -> list[Text]:
    """Return rank, policy, lift and interval of one row."""
    lift, low, high = float(row["lift"]), float(row["low"]), float(row["high"])
    name = f"{row['policy']}*" if row["policy"] in privileged else str(row["policy"])
    rank = Text("" if pd.isna(row["rank"]) else str(row["rank"]))
    if row["policy"] == control:
        return [rank, Text(name), Text("control", style="dim"), Text("")]
    if np.isnan(lift):
        return [rank, Text(name), Text("–", style="dim"), Text("not deployed", style="dim")]
    if np.isnan(low) or np.isnan(high):
        span = Text(verdict(lift, low, high), style="dim")
    else:
        span = Text(f"{_signed(low)} to {_signed(high)} %")
    style = "green" if low > 0 else "red" if high < 0 else ""
    return [rank, Text(name), Text(f"{_signed(lift)} %", style=style), span]


def _signed(share: float) -> str:
    """Write a share in per cent; from 1,000 % on, digits behind the point say nothing."""
    return f"{100 * share:+.1f}" if abs(share) < 10 else f"{100 * share:+,.3g}"


def _notes(board: Board) -> list[str]:
    notes = list(board.notes)
    if len(board.seeds) == 2 and (board.table["worlds"] > 1).any():
        notes.append(
            "two worlds say little about how much worlds differ, so these intervals are wide"
            " (t with 1 degree of freedom); a third seed narrows them most"
        )
    if board.privileged & set(board.table["policy"]):
        notes.append("* sees the truth: a ceiling, not a competitor")
    return notes
