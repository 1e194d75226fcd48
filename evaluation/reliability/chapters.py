"""The chapters of the page on reliability: what each one says in words, numbers and figures."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from evaluation import wording
from evaluation.page import Chapter, Panel, Table
from evaluation.palette import SPARE, inks
from evaluation.ranking.corrections import RAW
from evaluation.reliability import figures
from evaluation.reliability.pairs import METHOD
from evaluation.reliability.verdicts import (
    GAPS,
    KINDS,
    LEAST,
    by_band,
    by_world,
    errors,
    flips,
    known_pairs,
)
from evaluation.results import ALL
from evaluation.wording import Cell

HEADS = (
    "method",
    "better policy chosen",
    "τ with true value",
    "lost by trusting it",
    "sure and wrong",
    "undecided",
    "false alarms",
    "pairs",
)

BANDS = (
    f"< {100 * GAPS[0]:.0f} %",
    *(f"{100 * a:.0f} to {100 * b:.0f} %" for a, b in itertools.pairwise(GAPS)),
    f"> {100 * GAPS[-1]:.0f} %",
)

COMMON = ("hr@10", "ndcg@10", "recall@10", "mrr", "query_auc", "auc/engage", "gauc/engage",
          "logloss/engage", "auc/purchase", "ece/engage", "request_value/snsips",
          "request_value/sips", "request_value/cascade_dr", "top_value/snips", "top_value/dr",
          "top_value/dm")  # fmt: skip
"""Metrics that people use first; the others are in the table."""

SOURCES = {
    "logged": "the log as it is",
    "randomised": "a randomised day",
    "off_policy": "off-policy estimates from the log",
}


def label(method: pd.Series) -> str:
    """Name a method: "hr@10/s20_cls", "auc/engage, top of page"."""
    name = str(method["metric"])
    if method["m"]:
        name += f"/s{method['m']}"
    if method["correction"] != RAW.name:
        name += f"_{method['correction']}"
    return name if method["slice"] == ALL else f"{name}, top of page"


def choices(table: pd.DataFrame) -> Chapter:
    """How often each method chooses the better policy.

    Args:
        table: of `evaluation.reliability.verdicts.verdicts`.
    """
    title = "Which number chooses the better policy?"
    if table.empty:
        return Chapter(
            "choices",
            title,
            "The truth tells no two policies of this study apart, so that no method can be right or"
            " wrong; more users or more days of deployment would.",
        )
    drawn, usual, all_ = {}, {}, {}
    for source, words in SOURCES.items():
        own = table[table["source"] == source]
        if own.empty:
            continue
        common = usual_methods(own)
        shown = common if len(common) else own
        names = [label(row) for _, row in shown.iterrows()]
        drawn[words] = [figures.right_choices(shown, names, SPARE[0])]
        usual[f"Usual methods, {words}"] = Table(HEADS, choice_rows(shown))
        all_[f"All methods, {words}"] = Table(HEADS, choice_rows(own))
    lead = (
        "A pair of policies counts where the truth tells them apart. A coin would be right in half"
        " of them. “Lost by trusting it” is what the policy with the best number lacks in true"
        " value to the best of all; “sure and wrong” are pairs that a 95 % interval decides for the"
        " worse policy; “false alarms” are pairs of equal worth, to within "
        f"{100 * LEAST:g} %, of which it is sure to see a difference."
        " Intervals are over simulated worlds. A"
        " method that not every policy has a number for judges fewer, and other, pairs."
    )
    panel = Panel("choices", "Numbers from", tuple(drawn), ("",), drawn)
    return Chapter(
        "choices", title, lead, (panel,) if drawn else (),
        usual | all_, frozenset(usual), _choice_finding(table),
    )  # fmt: skip


def kinds_of_error(pairs: pd.DataFrame) -> Chapter:
    """What the mistakes of ranking and classification metrics are made of."""
    table = errors(pairs)
    drawn = {}
    plain = table[table["correction"] == RAW.name]
    for m in sorted(set(plain["m"])):
        own = plain[(plain["m"] == m) & plain["metric"].isin(COMMON)]
        own = own[own["pairs"] >= plain["pairs"].max() / 2]
        own = own.sort_values(["wrong", "metric"], ascending=[False, True])
        if len(own):
            words = f"{m} sampled negatives" if m else "all candidates"
            drawn[words] = [figures.error_split(own, [label(row) for _, row in own.iterrows()])]
    lead = (
        "Noise: wrong on randomised traffic, but within the interval of its few users. Proxy error:"
        " wrong there and sure of it; the metric asks for something else than value. Exposure: what"
        " it adds that the logging policy chose who could be engaged with, and led the day."
        " Sampling: what ranking against sampled negatives adds. They sum to all mistakes; a bar to"
        " the left is an error that undoes another. Metrics of few pairs are in the table alone."
    )
    rows = tuple(
        (
            Cell(label(row)),
            *(_percent(row[name]) for name in KINDS),
            Cell(str(row["pairs"])),
        )
        for _, row in table.iterrows()
    )
    heads = ("metric", *KINDS, "pairs")
    panel = Panel("kinds", "Ranked against", tuple(drawn), ("",), drawn)
    return Chapter(
        "kinds", "What mistakes are made of", lead, (panel,) if drawn else (),
        {"Shares of pairs": Table(heads, rows)}, finding=_kind_finding(plain),
    )  # fmt: skip


def negatives(pairs: pd.DataFrame) -> Chapter:
    """How often sampled metrics turn the order of full ones, by their number and by the gap."""
    table = flips(pairs)
    title = "How many negatives are enough?"
    if table.empty:
        return Chapter("negatives", title, "The study asked for no sampled negatives.")
    lead = (
        "Left, how often one draw of negatives prefers the other policy than the full metric does;"
        " right, than the truth does; negatives are drawn for each policy by itself. Corrections"
        " are those of Krichene and Rendle (KDD 2020). A metric cut at k is blind where a negative"
        " stands for more than k rooms: what a correction says there is a guess."
    )
    drawn = {}
    for at, band in enumerate(("any size", *BANDS), start=-1):
        own = table[table["band"] == at]
        if own.empty:
            continue
        lines = {
            label(pd.Series({"metric": metric, "m": 0, "correction": how, "slice": ALL})): part
            for (metric, how), part in own.groupby(["metric", "correction"], sort=True)
        }
        ink = inks(lines)
        drawn[band] = [
            figures.by_negatives(lines, column, words, ink)
            for column, words in (("flipped", "unlike the full metric"), ("wrong", "wrong"))
        ]
    rows = tuple(
        (
            Cell(str(row["metric"])),
            Cell(str(row["correction"])),
            Cell(str(row["m"])),
            Cell("any size" if row["band"] < 0 else BANDS[int(row["band"])]),
            _percent(row["flipped"]),
            _percent(row["wrong"]),
            Cell(str(row["pairs"])),
        )
        for _, row in table.iterrows()
    )
    heads = ("metric", "correction", "negatives", "true gap", "flipped", "wrong", "pairs")
    panel = Panel(
        "negatives", "True gap", tuple(drawn), ("unlike the full metric", "unlike the truth"), drawn
    )
    return Chapter(
        "negatives", title, lead, (panel,),
        {"Shares of pairs": Table(heads, rows, frozenset({0, 1, 3}))},
        finding=_flip_finding(table),
    )  # fmt: skip


def gaps(pairs: pd.DataFrame) -> Chapter:
    """Reliability by the size of the true gap."""
    found = by_band(pairs)
    plain = found[(found["m"] == 0) & (found["correction"] == RAW.name) & (found["slice"] == ALL)]
    drawn, tables = {}, {}
    for source, words in SOURCES.items():
        own = plain[plain["source"] == source]
        shown = own[own["metric"].isin(COMMON)]
        if shown.empty:
            continue
        lines = {
            str(metric): part.set_index("band")["right"].reindex(range(len(BANDS))).tolist()
            for metric, part in shown.groupby("metric", sort=True)
        }
        drawn[words] = [figures.by_gap(lines, BANDS, inks(lines))]
        tables[f"Right choices, {words}"] = _band_table(own)
    lead = (
        "A metric that only tells good from bad is of little use between two candidates for"
        " deployment: what counts is the left end."
    )
    panel = Panel("gaps", "Numbers from", tuple(drawn), ("",), drawn)
    return Chapter("gaps", "Small gaps and large ones", lead, (panel,) if drawn else (), tables)


def worlds(pairs: pd.DataFrame, scores: pd.DataFrame) -> Chapter:
    """Agreement of orders world by world, and every pair in sight."""
    known = known_pairs(pairs)
    full = known[(known["m"] == 0) & (known["correction"] == RAW.name) & (known["slice"] == ALL)]
    names = list(dict.fromkeys(pairs["world"]))
    ink = inks(names)
    drawn = {}
    for source, words in SOURCES.items():
        for metric in COMMON:
            own = full[(full["metric"] == metric) & (full["source"] == source)]
            if own.empty:
                continue
            parts = {name: own[own["world"] == name] for name in names}
            parts = {name: part for name, part in parts.items() if len(part)}
            drawn[f"{metric}, {words}"] = [
                figures.gap_truth(parts, f"gap in {metric}, better to the right", ink)
            ]
    found = by_world(pairs, scores)
    wide = found.pivot_table(index=list(METHOD), columns="world", values="tau", sort=True)
    wide = wide[[name for name in names if name in wide]].reset_index()
    rows = tuple(
        (
            Cell(label(row)),
            Cell(SOURCES[str(row["source"])]),
            *(_tau(row[name]) for name in names if name in wide),
        )
        for _, row in wide.iterrows()
    )
    heads = ("method", "numbers from", *(name for name in names if name in wide))
    lead = (
        "Every point is a pair of policies in one world: right of the line the method speaks for"
        " the first, above it the truth does. The table has Kendall’s τ of each method with the"
        " true value, world by world."
    )
    panel = Panel("pairs", "Method", tuple(drawn), ("",), drawn)
    return Chapter(
        "worlds", "World by world", lead, (panel,) if drawn else (),
        {"Kendall’s τ with the true value": Table(heads, rows, frozenset({0, 1}))},
    )  # fmt: skip


def usual_methods(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of COMMON methods against all candidates."""
    return table[table["metric"].isin(COMMON) & (table["m"] == 0)]


def choice_rows(table: pd.DataFrame) -> tuple[tuple[Cell, ...], ...]:
    """Return the cells of every method of a table of verdicts, in the order of HEADS."""
    return tuple(
        (
            Cell(label(row)),
            _percent(row["right"], row["right_low"], row["right_high"]),
            _tau(row["tau"]),
            _percent(row["regret"]),
            _percent(row["misled"]),
            _percent(row["undecided"]),
            _percent(row["false_alarms"]),
            Cell(str(row["pairs"])),
        )
        for _, row in table.iterrows()
    )


def _band_table(table: pd.DataFrame) -> Table:
    rows = []
    for metric, part in table.groupby("metric", sort=True):
        found = zip(part["band"], part["right"], part["pairs"], strict=True)
        by_size = {band: Cell(_percent(right).text, f"of {n}") for band, right, n in found}
        cells = (by_size.get(band, Cell(wording.MISSING)) for band in range(len(BANDS)))
        rows.append((Cell(str(metric)), *cells))
    return Table(("method", *BANDS), tuple(rows))


def _choice_finding(table: pd.DataFrame) -> str:
    """Say which of the usual numbers from the log is the best, and which the worst."""
    usual = usual_methods(table)
    usual = usual[(usual["source"] != "randomised") & (usual["pairs"] >= table["pairs"].max() / 2)]
    if len(usual) < 2:
        return ""
    best, worst = usual.iloc[0], usual.iloc[-1]
    if not best["right_low"] > worst["right_high"]:
        return (
            f"No usual number stands out: {label(best)} chooses the better policy in {_of(best)}, "
            f"{label(worst)} in {_of(worst)}."
        )
    told = (
        f"Of the usual numbers that a log gives for all policies, {label(best)} chooses the better "
        f"policy most often ({_of(best)}) and {label(worst)} least ({_of(worst)}); a coin, 50 %."
    )
    if usual[["false_alarms"]].isna().to_numpy().any():
        return told
    alarms = (f"{label(row)} in {100 * row['false_alarms']:.0f} %" for row in (worst, best))
    return f"{told} Of policies of equal worth they are sure of a difference: {', '.join(alarms)}."


def _kind_finding(table: pd.DataFrame) -> str:
    """Say how much of the error of ranking metrics goes back to exposure."""
    own = table[(table["m"] == 0) & table["metric"].isin(("hr@10", "ndcg@10", "mrr"))]
    if own.empty:
        return ""
    told = [
        f"{row['metric']} {100 * row['wrong']:.0f} %, on randomised traffic"
        f" {100 * (row['noise'] + row['proxy']):.0f} %"
        for _, row in own.iterrows()
    ]
    return f"Pairs decided wrongly against all candidates: {'; '.join(told)}."


def _flip_finding(table: pd.DataFrame) -> str:
    """Say how often sampling turns the order, at the fewest and the most negatives."""
    own = table[(table["band"] == -1) & (table["correction"] == RAW.name)]
    own = own[own["metric"] == "ndcg@10"].sort_values("m")
    if len(own) < 2:
        return ""
    few, many = own.iloc[0], own.iloc[-1]
    return (
        f"Sampled ndcg@10 prefers another policy than the full one in {100 * few['flipped']:.0f} % "
        f"of pairs with {few['m']} negatives and in {100 * many['flipped']:.0f} % with {many['m']}."
    )


def _of(row: pd.Series) -> str:
    ends = [100 * float(row[end]) for end in ("right_low", "right_high")]
    note = "" if np.isnan(ends).any() else f", {ends[0]:.0f} to {ends[1]:.0f}"
    return f"{100 * row['right']:.0f} %{note}"


def _percent(value: float, low: float = np.nan, high: float = np.nan) -> Cell:
    """Write a share in whole per cent, as few pairs deserve."""
    if np.isnan(value):
        return Cell(wording.MISSING)
    note = "" if np.isnan(low) or np.isnan(high) else f"{100 * low:.0f} to {100 * high:.0f}"
    text = f"{round(100 * value)}"  # an integer has no negative zero
    return Cell(f"{text.replace('-', wording.MINUS)}\N{NO-BREAK SPACE}%", note)


def _tau(value: float) -> Cell:
    return Cell(wording.MISSING) if np.isnan(value) else wording.tau(value)
