"""The leaderboard: one row per policy, pooled over worlds, from the results of one or many studies.

Worlds are independent draws, so a policy's lift is the plain mean over worlds and its interval is
that of a random-effects mean: the variance of one world's estimate is the larger of the
mean squared standard error within worlds and the sample variance between worlds
(DerSimonian & Laird, "Meta-analysis in clinical trials", 1986, with equal weights).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.results import ALL, RELATIVE_LIFT, Results, ResultsError

HEADLINE = "value_per_user"
"""Metric whose online lift orders the leaderboard."""

TABLE = "results.parquet"
Z95 = 1.959964
KEYS = ["policy", "control", "scenario", "slice", "metric", "unit", "kind"]
"""Columns that say what a number is about, apart from the world."""

PREFERRED = ("hr@10", "ndcg@10", "gauc/engage", "auc/engage", "pcoc/engage", "hr@10/s20", "mrr")
"""Offline metrics that the leaderboard shows first, as far as the study has them."""

_SMALLER = ("logloss", "tie_rate", "gauc_dropped_users")
_ABOUT_THE_DATA = ("gauc_dropped_users", "tie_rate")


def collect(paths: Iterable[Path]) -> pd.DataFrame:
    """Collect study folders into a leaderboard.

    Args:
        paths: study folders, folders that hold study folders at any depth (sweeps), or results
            files.

    Returns:
        One row per policy and control, best lift first, the control itself at lift 0: columns rank
        (1 best, per control; <NA> where the policy was never deployed), policy, control, lift, low,
        high (relative, 0.05 = +5 %; NaN for the control's ends), worlds (count), seeds ("0, 1"),
        studies, then one column per offline metric over all scenarios, in the metric's unit.

    Raises:
        ResultsError: a path does not exist, holds no results, or holds broken ones.
    """
    return board(read(paths))


def read(paths: Iterable[Path]) -> pd.DataFrame:
    """Read and stack the results tables under `paths`; rows that a sweep repeats are kept once.

    Raises:
        ResultsError: a path does not exist, holds no results, or holds broken ones.
    """
    files: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise ResultsError(f"study folder {path} does not exist")
        found = [path] if path.is_file() else sorted(path.rglob(TABLE))
        if not found:
            raise ResultsError(f"study folder {path} has no {TABLE} in it or below it")
        files.update(dict.fromkeys(found))
    if not files:
        raise ResultsError("no study folder was given; name at least one")
    frame = pd.concat([Results.read(file).to_pandas() for file in files], ignore_index=True)
    return frame.drop_duplicates(["study", "world_seed", *KEYS, "estimate"], ignore_index=True)


def pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """Average every estimate over worlds.

    Args:
        rows: results table, any number of worlds.

    Returns:
        One row per KEYS, columns KEYS, estimate, low, high (95 %), n (summed) and worlds (count).
        A number known from one world keeps its own interval; NaN estimates are left out.
    """
    known = rows[rows["estimate"].notna()]
    half = (known["high"] - known["low"]) / (2 * Z95)
    grouped = known.assign(within=half**2).groupby(KEYS, sort=False)
    out = grouped.agg(
        estimate=("estimate", "mean"),
        low=("low", "first"),
        high=("high", "first"),
        n=("n", "sum"),
        worlds=("estimate", "size"),
        between=("estimate", "var"),
        within=("within", "mean"),
    ).reset_index()
    one_world = np.fmax(out["between"].to_numpy(), out["within"].to_numpy())
    spread = Z95 * np.sqrt(one_world / out["worlds"].to_numpy())
    many = out["worlds"] > 1
    out["low"] = out["low"].where(~many, out["estimate"] - spread)
    out["high"] = out["high"].where(~many, out["estimate"] + spread)
    return out.drop(columns=["between", "within"])


def lifts(numbers: pd.DataFrame, metric: str = HEADLINE) -> pd.DataFrame:
    """Return the pooled online lifts of one metric; every control takes part with lift 0.

    Args:
        numbers: what `pooled` returned.
        metric: an online metric.

    Returns:
        Columns policy, control, scenario, estimate, low, high, n, worlds; slice "all" only.
    """
    picked = numbers[
        (numbers["metric"] == metric)
        & (numbers["kind"] == "online")
        & (numbers["unit"] == RELATIVE_LIFT)
        & (numbers["slice"] == ALL)
        & (numbers["policy"] != numbers["control"])
    ]
    groups = picked.groupby(["control", "scenario"], sort=False)
    control = groups.agg(n=("n", "max"), worlds=("worlds", "max")).reset_index()
    control = control.assign(policy=control["control"], estimate=0.0, low=np.nan, high=np.nan)
    columns = ["policy", "control", "scenario", "estimate", "low", "high", "n", "worlds"]
    if picked.empty:
        return picked[columns]
    return pd.concat([picked[columns], control[columns]], ignore_index=True)


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
        & ~numbers["metric"].str.startswith(_ABOUT_THE_DATA)
    ]
    return picked[["policy", "metric", "estimate", "low", "high"]].reset_index(drop=True)


def board(rows: pd.DataFrame) -> pd.DataFrame:
    """Build the leaderboard of a results table; see `collect` for the columns."""
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
    own = rows[rows["policy"] != ""].groupby("policy")
    seeds = {str(name): _listed(part["world_seed"]) for name, part in own}
    studies = {str(name): _listed(part["study"]) for name, part in own}
    table["worlds"] = table["worlds"].astype("Int64")
    table["seeds"] = table["policy"].map(seeds)
    table["studies"] = table["policy"].map(studies)
    first = ["rank", "policy", "control", "lift", "low", "high", "worlds", "seeds", "studies"]
    shown = [
        *(m for m in PREFERRED if m in metrics),
        *sorted({str(name) for name in metrics} - set(PREFERRED)),
    ]
    joined = table[first].merge(metrics[shown], left_on="policy", right_index=True, how="left")
    return joined.reset_index(drop=True)


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
        return "no interval"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "unclear"


def show(frame: pd.DataFrame, console: Console) -> None:
    """Print a leaderboard that `collect` or `board` returned, one table per control.

    Offline metrics beyond the console's width are left out, least preferred first.
    """
    first = ("rank", "policy", "control", "lift", "low", "high", "worlds", "seeds", "studies")
    metrics = [name for name in PREFERRED if name in frame and name not in first]
    metrics = metrics[: max(0, (console.width - 66) // 13)]
    for control, part in frame.groupby("control", sort=False):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("#", justify="right", style="dim")
        table.add_column("policy", no_wrap=True)
        table.add_column(
            f"value per user vs {control!s} ↑" if control else "value per user ↑",
            justify="right",
            no_wrap=True,
        )
        table.add_column("95 % interval", justify="right", no_wrap=True)
        for name in metrics:
            table.add_column(f"{name} {arrow(name)}", justify="right", no_wrap=True)
        table.add_column("seeds", style="dim")
        for row in part.to_dict("records"):
            lift, low, high = float(row["lift"]), float(row["low"]), float(row["high"])
            cells = [Text("" if pd.isna(row["rank"]) else str(row["rank"])), Text(row["policy"])]
            if row["policy"] == control:
                cells += [Text("control", style="dim"), Text("")]
            elif np.isnan(lift):
                cells += [Text("not deployed", style="dim"), Text("")]
            else:
                style = "green" if low > 0 else "red" if high < 0 else ""
                span = "" if np.isnan(low) else f"{100 * low:+.1f} to {100 * high:+.1f} %"
                cells += [Text(f"{100 * lift:+.1f} %", style=style), Text(span)]
            cells += [Text("–" if pd.isna(row[m]) else f"{row[m]:.4f}") for m in metrics]
            table.add_row(*cells, Text(str(row["seeds"])))
        console.print(table)


def _listed(values: pd.Series) -> str:
    """Return the distinct values in order, separated by commas."""
    return ", ".join(str(value) for value in np.unique(values.to_numpy()))
