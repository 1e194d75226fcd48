"""The chapters of the study page: what each one says in words, numbers and figures.

A chapter without data says so in a sentence and has no figure.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from evaluation import figures, wording
from evaluation.agreement import MIN_POLICIES, beside, flips, online_agreement, sampled_pairs
from evaluation.leaderboard import HEADLINE, arrow, lifts, offline, verdict
from evaluation.page import Chapter, Panel, Table
from evaluation.palette import Ink
from evaluation.results import ALL
from evaluation.wording import Cell
from sim.schema import SCENARIOS

LIFTED = (
    HEADLINE, "page_ctr", "user_ctr", "clicks_per_user", "watch_s_per_user", "views_per_user",
    "follows_per_user", "likes_per_user", "comments_per_user", "bag_clicks_per_user",
    "carts_per_user", "purchases_per_user", "gmv_cny_per_user",
)  # fmt: skip
"""Online metrics in the order in which the page offers them."""

BESIDE_THE_BAR = ("page_ctr", "watch_s_per_user", "purchases_per_user")
"""Other lifts that the leaderboard shows next to the headline."""

OFFLINE_FIRST = ("hr@10", "ndcg@10", "gauc/engage", "mrr", "auc/engage")
"""Offline metrics of which the first known one is in the leaderboard and opens the scatter."""

PRIVILEGED = frozenset({"oracle"})
"""Policies that see the truth: a ceiling, never the winner."""


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


def leaderboard(table: pd.DataFrame, numbers: pd.DataFrame) -> Leaderboard:
    """Build the leaderboard.

    Args:
        table: `evaluation.leaderboard.board`, rows of one control and of policies not deployed.
        numbers: `evaluation.leaderboard.pooled`.
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
        _standing(row, control, levels, others, chosen, (left, width))
        for row in table.to_dict("records")
    )
    heads = [wording.metric(m) for m in others]
    heads += [f"{chosen} {arrow(chosen)}"] if chosen else []
    zero = 100 * (0 - left) / width
    return Leaderboard(control, standings, zero, tuple(heads), _winner(table, control))


def scenarios(
    numbers: pd.DataFrame, order: Sequence[str], ink: Mapping[str, Ink], control: str
) -> Chapter:
    """Online lift by scenario, one panel place per scenario and one option per metric."""
    title = "Where the lift comes from"
    found = {m: lifts(numbers, m) for m in LIFTED}
    found = {m: f[f["control"] == control] for m, f in found.items()}
    found = {m: f for m, f in found.items() if f["policy"].nunique() > 1}
    if not found:
        return Chapter(
            "scenarios",
            title,
            "The study deployed no policy against a control, so there is no online lift to show.",
        )
    seen = set(pd.concat(found.values())["scenario"])
    places = [name for name in (ALL, *SCENARIOS) if name in seen]
    drawn: dict[str, list[go.Figure | None]] = {}
    tables: dict[str, Table] = {}
    for metric, frame in found.items():
        name = wording.metric(metric)
        ends = np.nan_to_num(frame[["estimate", "low", "high"]].to_numpy(dtype=np.float64))
        room = 0.05 * float(np.ptp(ends)) or 0.01
        span = (min(0.0, float(ends.min())) - room, max(0.0, float(ends.max())) + room)
        parts = {s: frame[frame["scenario"] == s] for s in places}
        drawn[name] = [
            figures.lift_panel(part, order, ink, span, f"lift in {name} (%)") if len(part) else None
            for part in parts.values()
        ]
        tables[f"{name}: lift against {control}"] = _lift_table(parts, order)
    panel = Panel("lift", "Metric", tuple(drawn), tuple(wording.scenario(s) for s in places), drawn)
    lead = (
        f"Online lift against {control}, by the scenario in which it was earned; bars are 95 %"
        " intervals, paired over the same users, rooms and draws. All panels share one scale."
    )
    return Chapter("scenarios", title, lead, (panel,), tables)


def offline_online(numbers: pd.DataFrame, ink: Mapping[str, Ink], control: str) -> Chapter:
    """Offline metrics against the online lift: a scatter, and Kendall's tau of every metric."""
    title = "Would an offline metric have picked it?"
    online = lifts(numbers)
    online = online[(online["scenario"] == ALL) & (online["control"] == control)]
    online = online.drop_duplicates("policy").set_index("policy")
    metrics = offline(numbers)
    agreement = online_agreement(metrics, online["estimate"])
    if agreement.empty:
        return Chapter(
            "agreement",
            title,
            f"This needs at least {MIN_POLICIES} policies that were"
            " both judged offline and deployed; the study has fewer.",
        )
    known = sorted(agreement["metric"], key=wording.metric_order)
    first = next((m for m in OFFLINE_FIRST if m in known), known[0])
    drawn: dict[str, list[go.Figure | None]] = {}
    for metric in [first, *(m for m in known if m != first)]:
        part = metrics[metrics["metric"] == metric].set_index("policy")
        part = part.rename(columns={"estimate": "x", "low": "x_low", "high": "x_high"})
        points = part.drop(columns="metric").join(online[["estimate", "low", "high"]], how="inner")
        points = points.dropna(subset=["x", "estimate"]).reset_index()
        drawn[f"{metric} {arrow(metric)}"] = [figures.offline_online(
            points, ink, f"{wording.offline(metric)}, last logged day",
            f"lift in value per user against {control} (%)")]  # fmt: skip
    common = agreement[agreement["metric"].map(lambda m: wording.is_common(str(m)))]
    common = agreement if common.empty else common
    caption = "How far common offline metrics order the policies as deployment does"
    tables = {caption: _agreement_table(common)}
    if len(common) < len(agreement):
        tables["All offline metrics"] = _agreement_table(agreement)
    tau = common["tau"]
    best, worst = (wording.listed(common["metric"][tau == end]) for end in (tau.max(), tau.min()))
    lead = (
        "Each point is a policy: its offline metric on the last logged day against its online"
        " lift. Kendall’s τ is 1 where the metric orders policies as deployment does, 0 where"
        " it knows nothing, −1 where it reverses them."
    )
    finding = f"Offline, closest to the online order of policies: {best}"
    finding += f" (Kendall’s {wording.tau_is(float(tau.max()))})"
    if tau.max() > tau.min():
        finding += f"; furthest from it: {worst} ({wording.tau_is(float(tau.min()))})"
    panel = Panel("scatter", "Offline metric", tuple(drawn), ("",), drawn)
    return Chapter("agreement", title, lead, (panel,), tables, frozenset({caption}), f"{finding}.")


def sampling(numbers: pd.DataFrame, ink: Mapping[str, Ink]) -> Chapter:
    """Sampled metrics beside full ones: a slope figure of ranks, and the flips in a table."""
    title = "What sampling does to the order"
    metrics = offline(numbers)
    drawn: dict[str, list[go.Figure | None]] = {}
    rows: list[tuple[Cell, ...]] = []
    for full, sampled in sampled_pairs(sorted(set(metrics["metric"]), key=wording.metric_order)):
        pairs = beside(metrics, full, sampled)
        if len(pairs) < 2:
            continue
        turned = flips(pairs)
        involved = {name for pair in turned for name in pair}
        drawn[sampled] = [figures.sampled_full(pairs, ink, full, sampled, involved)]
        total = len(pairs) * (len(pairs) - 1) // 2
        said = "; ".join(f"{b} above {a}" for a, b in turned) or "none"
        rows.append((Cell(sampled), Cell(f"{len(turned)} of {total}"), Cell(said)))
    if not drawn:
        return Chapter(
            "sampling",
            title,
            "This needs at least two policies that were judged both"
            " against all rooms on air and against sampled ones; the study has fewer.",
        )
    caption = "Pairs of policies that the sampled metric puts the wrong way round"
    table = Table(("sampled metric", "pairs turned", "wrongly put"), tuple(rows), frozenset({0, 2}))
    lead = (
        "The same held-out requests, ranked against all rooms on air (left) and against a few"
        " sampled ones (right). Every crossing is a pair of policies in the wrong order; thick"
        " lines belong to policies that take part in one."
    )
    finding = (
        f"Judged by {rows[0][0].text} instead of the full metric,"
        f" {rows[0][1].text} pairs of policies change their order."
    )
    panel = Panel("slope", "Metric", tuple(drawn), ("",), drawn)
    tables = {caption: table}
    return Chapter("sampling", title, lead, (panel,), tables, frozenset({caption}), finding)


def _standing(
    row: Mapping[Hashable, Any],
    control: str,
    levels: Mapping[str, float],
    others: Mapping[str, Mapping[str, float]],
    chosen: str,
    scale: tuple[float, float],
) -> Standing:
    """Return the line of one policy; `scale` is the left end and the width of the bars."""
    policy = str(row["policy"])
    lift, low, high = float(row["lift"]), float(row["low"]), float(row["high"])
    is_control = policy == control
    ends = (lift, lift) if np.isnan(low) or np.isnan(high) else (low, high)
    at = [100 * (value - scale[0]) / scale[1] for value in (ends[0], lift, ends[1])]
    more = [wording.lift(lifts_.get(policy, np.nan)) for lifts_ in others.values()]
    more = [Cell("0") for _ in more] if is_control else more
    if chosen:
        more.append(wording.number(float(row[chosen]), chosen))
    return Standing(
        rank="" if pd.isna(row["rank"]) else str(row["rank"]),
        policy=policy,
        role="control" if is_control else "sees the truth" if policy in PRIVILEGED else "",
        level=wording.number(levels.get(policy, np.nan), HEADLINE),
        lift=Cell("0") if is_control else wording.lift(lift),
        interval="" if is_control else wording.interval(low, high),
        verdict="" if is_control else verdict(lift, low, high),
        tone="good" if low > 0 else "bad" if high < 0 else "",
        bar=None if is_control or np.isnan(lift) else (at[0], at[1], at[2]),
        more=tuple(more),
    )


def _agreement_table(agreement: pd.DataFrame) -> Table:
    """Return Kendall's tau by metric, best first."""
    rows = tuple(
        (
            Cell(f"{row['metric']} {arrow(row['metric'])}", wording.meaning(row["metric"])),
            wording.tau(row["tau"]),
            Cell(str(row["policies"])),
            Cell("could be chance" if row["p_value"] > 0.05 else "clear"),
        )
        for row in agreement.to_dict("records")
    )
    heads = ("offline metric", "Kendall’s τ", "policies", "at the 5 % level")
    return Table(heads, rows, frozenset({0, 3}))


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


def _lifts_by_policy(numbers: pd.DataFrame, metric: str, control: str) -> dict[str, float]:
    """Return the pooled online lift of a metric by policy, all scenarios."""
    found = lifts(numbers, metric)
    found = found[(found["scenario"] == ALL) & (found["control"] == control)]
    return dict(zip(found["policy"], found["estimate"], strict=True))


def _winner(table: pd.DataFrame, control: str) -> str:
    """Say who won, by how much, and how much of the reachable was reached."""
    deployed = table[table["lift"].notna() & ~table["policy"].isin(PRIVILEGED)]
    if deployed["policy"].nunique() < 2:
        return ""
    best = deployed.loc[deployed["lift"].idxmax()]
    if best["policy"] == control:
        return f"No policy without the truth is worth more per user than {control}, the control."
    lift, low, high = (float(best[c]) for c in ("lift", "low", "high"))
    text = f"{best['policy']} leads: {wording.lift(lift).text} value per user against {control}"
    if not np.isnan(low):
        text += f" (95 % interval {wording.interval(low, high)})"
        text += "" if low > 0 else ", which chance alone could explain"
    ceiling = table[table["policy"].isin(PRIVILEGED)]["lift"].dropna()
    if len(ceiling) and ceiling.iloc[0] > 0 and lift > 0:
        text += f"; that is {100 * lift / ceiling.iloc[0]:.0f} % of what the truth would gain"
    return text + "."


def _lift_table(parts: Mapping[str, pd.DataFrame], order: Sequence[str]) -> Table:
    """Return lifts with intervals, policies down and scenarios across."""
    indexed = {s: part.set_index("policy") for s, part in parts.items() if len(part)}
    rows = []
    for policy in order:
        cells = [Cell(policy)]
        for part in indexed.values():
            found = part[part.index == policy][["estimate", "low", "high"]].to_numpy(np.float64)
            cells.append(wording.lift(*found[0]) if len(found) else Cell(wording.MISSING))
        rows.append(tuple(cells))
    return Table(("policy", *(wording.scenario(s) for s in indexed)), tuple(rows))
