"""The chapters of the study page: what each one says in words, numbers and figures.

A chapter without data says so in a sentence and has no figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from evaluation import figures, wording
from evaluation.agreement import MIN_POLICIES, beside, flips, online_agreement, sampled_pairs
from evaluation.drawing import Plot
from evaluation.leaderboard import HEADLINE, arrow, goodness, lifts, offline, verdict
from evaluation.page import Chapter, Panel, Table
from evaluation.palette import Ink
from evaluation.results import ALL
from evaluation.standings import OFFLINE_FIRST
from evaluation.wording import Cell
from sim.schema import SCENARIOS

LIFTED = (
    HEADLINE, "page_ctr", "user_ctr", "clicks_per_user", "watch_s_per_user", "views_per_user",
    "follows_per_user", "likes_per_user", "comments_per_user", "bag_clicks_per_user",
    "carts_per_user", "purchases_per_user", "gmv_cny_per_user",
)  # fmt: skip
"""Online metrics in the order in which the page offers them."""


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
    drawn: dict[str, list[Plot | None]] = {}
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
        tables[f"{name}: lift against {control}"] = _lift_table(parts, order, control)
    panel = Panel("lift", "Metric", tuple(drawn), tuple(wording.scenario(s) for s in places), drawn)
    lead = (
        f"Online lift against {control}, by the scenario in which it was earned; bars are 95 %"
        " intervals, paired over the same users, rooms and draws. All panels share one scale."
    )
    return Chapter("scenarios", title, lead, (panel,), tables)


def offline_online(
    numbers: pd.DataFrame, ink: Mapping[str, Ink], control: str, privileged: frozenset[str]
) -> Chapter:
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
    drawn: dict[str, list[Plot | None]] = {}
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
        " it knows nothing, −1 where it reverses them. A log favours policies that rank like the"
        " one that wrote it."
    )
    finding = _pick(metrics, online["estimate"], first, privileged)
    if tau.max() > tau.min():
        finding += f"Closest to the online order of policies: {best}"
        finding += f" (Kendall’s {wording.tau_is(float(tau.max()))}); furthest from it: {worst}"
        finding += f" ({wording.tau_is(float(tau.min()))})"
    else:
        finding += "Common offline metrics are equally close to the online order of policies"
        finding += f" (Kendall’s {wording.tau_is(float(tau.max()))})"
    panel = Panel("scatter", "Offline metric", tuple(drawn), ("",), drawn)
    return Chapter("agreement", title, lead, (panel,), tables, frozenset({caption}), f"{finding}.")


def sampling(numbers: pd.DataFrame, ink: Mapping[str, Ink]) -> Chapter:
    """Sampled metrics beside full ones: a slope figure of ranks, and the flips in a table."""
    title = "What sampling does to the order"
    metrics = offline(numbers)
    drawn: dict[str, list[Plot | None]] = {}
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
    turned_pairs = rows[0][1].text
    finding = f"Judged by {rows[0][0].text} instead of the full metric, "
    if turned_pairs.startswith("0 "):
        finding += "no pair of policies changes its order."
    else:
        finding += f"{turned_pairs} pairs of policies change their order."
    panel = Panel("slope", "Metric", tuple(drawn), ("",), drawn)
    tables = {caption: table}
    return Chapter("sampling", title, lead, (panel,), tables, frozenset({caption}), finding)


def _pick(metrics: pd.DataFrame, lift: pd.Series, metric: str, privileged: frozenset[str]) -> str:
    """Say whether an offline metric picks the policy that deployment does, of those in the dark."""
    values = metrics[metrics["metric"] == metric].set_index("policy")["estimate"].dropna()
    fair = [name for name in values.index if name in lift.index and name not in privileged]
    if len(fair) < 2:
        return ""
    picked, best = goodness(metric, values.loc[fair]).idxmax(), lift.loc[fair].idxmax()
    if picked == best:
        return f"{metric} would have picked {best} too. "
    return f"{metric} would have picked {picked}, deployment picks {best}. "


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


def _lift_table(parts: Mapping[str, pd.DataFrame], order: Sequence[str], control: str) -> Table:
    """Return lifts with intervals, or why there is none; policies down and scenarios across."""
    missing = Cell(wording.MISSING)
    indexed = {s: part.set_index("policy") for s, part in parts.items() if len(part)}
    rows = []
    for policy in order:
        cells = [Cell(policy)]
        for part in indexed.values():
            found = part[part.index == policy][["estimate", "low", "high"]].to_numpy(np.float64)
            cells.append(
                _lift_cell(found[0].tolist(), policy == control) if len(found) else missing
            )
        rows.append(tuple(cells))
    return Table(("policy", *(wording.scenario(s) for s in indexed)), tuple(rows))


def _lift_cell(numbers: Sequence[float], is_control: bool) -> Cell:
    lift, low, high = numbers
    cell = wording.lift(lift, low, high)
    if cell.note or is_control or np.isnan(lift):
        return cell
    return Cell(cell.text, verdict(lift, low, high))
