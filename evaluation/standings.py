"""The leaderboard as the page shows it: a line per policy with bar, interval and words."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evaluation import wording
from evaluation.leaderboard import HEADLINE, arrow, lifts, verdict
from evaluation.results import ALL
from evaluation.wording import Cell

BESIDE_THE_BAR = ("page_ctr", "watch_s_per_user", "purchases_per_user")
"""Other lifts that the leaderboard shows next to the headline."""

OFFLINE_FIRST = ("hr@10", "ndcg@10", "gauc/engage", "mrr", "auc/engage")
"""Offline metrics of which the first known one is in the leaderboard and opens the scatter."""


@dataclass(frozen=True)
class Standing:
    """One line of the leaderboard."""

    rank: str
    policy: str
    role: str
    """"control", "sees the truth", or ""."""
    level: Cell
    lift: Cell
    interval: str
    verdict: str
    tone: str
    """"good", "bad" or ""."""
    bar: tuple[float, float, float] | None
    """Left end, estimate and right end of the interval in per cent of the width of the cell."""
    more: tuple[Cell, ...]


@dataclass(frozen=True)
class Leaderboard:
    """The leaderboard and the sentence that sums it up."""

    control: str
    standings: tuple[Standing, ...]
    zero: float
    """Where no lift is, in per cent of the width of the bar."""
    more: tuple[str, ...]
    """Heads of the columns `more`."""
    finding: str


def leaderboard(
    table: pd.DataFrame, numbers: pd.DataFrame, privileged: frozenset[str]
) -> Leaderboard:
    """Build the leaderboard.

    Args:
        table: `evaluation.leaderboard.board`, rows of one control and of policies not deployed.
        numbers: `evaluation.pooling.pooled`.
        privileged: policies that see the truth: a ceiling, never the winner.
    """
    control = next((c for c in table["control"] if c), "")
    levels = _levels(numbers, HEADLINE)
    others = {m: _lifts_by_policy(numbers, m, control) for m in BESIDE_THE_BAR}
    others = {m: by_policy for m, by_policy in others.items() if by_policy}
    chosen = next((m for m in OFFLINE_FIRST if m in table), "")
    ends = np.nan_to_num(table[["lift", "low", "high"]].to_numpy(dtype=np.float64))
    left, right = float(ends.min(initial=0.0)), float(ends.max(initial=0.0))
    left, right = (left - 0.03 * (right - left), right + 0.03 * (right - left))
    width = (right - left) or 1.0
    standings = tuple(
        _standing(row, control, privileged, levels, others, chosen, (left, width))
        for row in table.to_dict("records")
    )
    heads = [wording.metric(m) for m in others]
    heads += [f"{chosen} {arrow(chosen)}"] if chosen else []
    zero = 100 * (0 - left) / width
    return Leaderboard(control, standings, zero, tuple(heads), _winner(table, control, privileged))


def _standing(
    row: Mapping[Hashable, Any],
    control: str,
    privileged: frozenset[str],
    levels: Mapping[str, float],
    others: Mapping[str, Mapping[str, Cell]],
    chosen: str,
    scale: tuple[float, float],
) -> Standing:
    """Return the line of one policy; `scale` is the left end and the width of the bars."""
    policy = str(row["policy"])
    lift, low, high = float(row["lift"]), float(row["low"]), float(row["high"])
    is_control = policy == control
    ends = (lift, lift) if np.isnan(low) or np.isnan(high) else (low, high)
    at = [100 * (value - scale[0]) / scale[1] for value in (ends[0], lift, ends[1])]
    more = [by_policy.get(policy, Cell(wording.MISSING)) for by_policy in others.values()]
    more = [Cell("0") for _ in more] if is_control else more
    if chosen:
        more.append(wording.number(float(row[chosen]), chosen))
    return Standing(
        rank="" if pd.isna(row["rank"]) else str(row["rank"]),
        policy=policy,
        role="control" if is_control else "sees the truth" if policy in privileged else "",
        level=wording.number(levels.get(policy, np.nan), HEADLINE),
        lift=Cell("0") if is_control else wording.lift(lift),
        interval="" if is_control else wording.interval(low, high),
        verdict="" if is_control else verdict(lift, low, high),
        tone="good" if low > 0 else "bad" if high < 0 else "",
        bar=None if is_control or np.isnan(lift) else (at[0], at[1], at[2]),
        more=tuple(more),
    )


def _levels(numbers: pd.DataFrame, metric: str) -> dict[str, float]:
    """Return the pooled online level of a metric by policy, all scenarios."""
    picked = numbers[
        (numbers["metric"] == metric)
        & (numbers["kind"] == "online")
        & (numbers["control"] == "")
        & (numbers["scenario"] == ALL)
        & (numbers["slice"] == ALL)
    ]
    return dict(zip(picked["policy"], picked["estimate"], strict=True))


def _lifts_by_policy(numbers: pd.DataFrame, metric: str, control: str) -> dict[str, Cell]:
    """Return the pooled online lift of a metric by policy, or why it means nothing."""
    found = lifts(numbers, metric)
    found = found[(found["scenario"] == ALL) & (found["control"] == control)]
    cells = {}
    for row in found[["policy", "estimate", "low", "high"]].to_dict("records"):
        value, low, high = (float(row[end]) for end in ("estimate", "low", "high"))
        few = verdict(value, low, high) == "too few events"
        cells[str(row["policy"])] = Cell("too few events") if few else wording.lift(value)
    return cells


def _winner(table: pd.DataFrame, control: str, privileged: frozenset[str]) -> str:
    """Say who won, by how much, and how much of the reachable was reached."""
    deployed = table[table["lift"].notna() & ~table["policy"].isin(privileged)]
    if deployed["policy"].nunique() < 2:
        return ""
    best = deployed.loc[deployed["lift"].idxmax()]
    if best["policy"] == control:
        return f"No policy without the truth is worth more per user than {control}, the control."
    lift, low, high = (float(best[c]) for c in ("lift", "low", "high"))
    text = f"{best['policy']} leads: {wording.lift(lift).text} value per user against {control}"
    if np.isnan(low):
        text += f" ({verdict(lift, low, high)})"
    else:
        text += f" (95 % interval {wording.interval(low, high)})"
        text += "" if low > 0 else ", which chance alone could explain"
    ceiling = table[table["policy"].isin(privileged)]["lift"].dropna()
    if len(ceiling) and ceiling.max() > 0 and lift > 0:
        text += f"; that is {100 * lift / ceiling.max():.0f} % of what the truth would gain"
    return text + "."
