"""The chapters of a line-up: what each one says in words and numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from evaluation import wording
from evaluation.lineup.claim import Claim
from evaluation.page import Chapter, Table
from evaluation.predictions import NEEDS
from evaluation.results import ALL, RELATIVE_LIFT
from evaluation.wording import MISSING, Cell
from sim.schema import SCENARIOS, TARGETS

ONLINE = (
    "value_per_user",
    "page_ctr",
    "watch_s_per_user",
    "views_per_user",
    "purchases_per_user",
    "gmv_cny_per_user",
)
"""Online metrics of the first table; the first one orders the policies everywhere."""

QUALITY = ("gauc/engage", "auc/engage", "hr@10", "ndcg@10")
"""Offline metrics beside them."""

COSTS = {
    "parameters": "parameters",
    "fit_s": "fit, s",
    "examples_per_s": "examples/s",
    "pairs_per_s": "pairs/s",
}
"""Of `evaluation.lineup.study.COST_COLUMNS`, with their heads."""

_BINARY = tuple(name for name in TARGETS if name != "watch")

_EVENTUAL = "purchase"
"""The target whose labels are not known on the spot: judged by slices, each a horizon."""


def online(numbers: pd.DataFrame, costs: pd.DataFrame, control: str) -> Chapter:
    """What each policy does to users when it is deployed, and what it costs.

    Args:
        numbers: of `evaluation.pooling.pooled`.
        costs: see `evaluation.lineup.study.COST_COLUMNS`.
        control: what lifts are measured against.
    """
    policies = by_value(numbers, control)
    mean = costs.groupby("policy")[list(COSTS)].mean()
    quality = _level(numbers, "offline", ALL)
    rows = []
    for policy in policies:
        cost = mean[mean.index == policy]
        rows.append(
            (
                Cell(policy),
                *(_lift(numbers, policy, control, metric, ALL) for metric in ONLINE),
                *(_value(quality, policy, metric) for metric in QUALITY),
                *(_count(cost, name) for name in COSTS),
            )
        )
    heads = ("policy", *map(wording.metric, ONLINE), *QUALITY, *COSTS.values())
    lead = (
        f"Relative lifts over {control} among the same users, pooled over the seeds, with 95 % "
        "intervals. Offline, GAUC and AUC are those of the first hop on the rows shown on the last "
        "day of the log, HR and NDCG rank all rooms on air. A fit replays the log, learns in all "
        "its stages and stops early, on one thread beside another trial; examples are what its "
        "last stage counts, shown rows or blocks of positives. Pairs are per processor second, in "
        "a batch for which no vector of a room is kept from before."
    )
    return Chapter(
        "online", "Deployed", lead, (), {"All policies": Table(heads, tuple(rows))},
        frozenset({"All policies"}), finding=_online_finding(numbers, policies, control),
    )  # fmt: skip


def claims(numbers: pd.DataFrame, said: Sequence[Claim]) -> Chapter:
    """What sources report of each system beside what it does here."""
    rows = []
    verdicts: dict[bool, list[str]] = {True: [], False: []}
    """By whether an effect was reported, or that there was none."""
    for claim in said:
        found = _row(numbers, claim.policy, claim.over, claim.metric, claim.scenario)
        if found is None:
            continue
        verdict = _verdict(found, claim)
        verdicts[claim.reported != 0.0].append(verdict)
        rows.append(
            (
                Cell(claim.policy),
                Cell(claim.over),
                Cell(wording.metric(claim.metric)),
                Cell(wording.scenario(claim.scenario)),
                wording.lift(claim.reported),
                wording.lift(found["estimate"], found["low"], found["high"]),
                Cell(verdict),
            )
        )
    heads = ("policy", "over", "metric", "scenario", "reported", "here", "verdict")
    lead = (
        "The lift that the source reports of a system over another one, on its platform, beside "
        "the paired lift of the two in this world. No dial was turned to make one appear. Each is "
        "tested by itself at 5 %: where nothing differs, one in twenty would seem to."
    )
    finding = " ".join(
        f"Of {len(found)} {words} {_told(found)}."
        for words, found in (
            ("reported effects", verdicts[True]),
            ("effects reported to be none", verdicts[False]),
        )
        if found
    )
    table = Table(heads, tuple(rows), frozenset({0, 1, 2, 3, 6}))
    return Chapter(
        "claims", "What was reported", lead, (), {"Reported and here": table},
        frozenset({"Reported and here"}), finding=finding,
    )  # fmt: skip


def _told(verdicts: Sequence[str]) -> str:
    """Return how many differences are beyond chance, and how many had too few events."""
    beyond, few = sum(v not in UNDECIDED for v in verdicts), verdicts.count(FEW)
    told = f"{beyond} {'differs' if beyond == 1 else 'differ'} from nothing beyond chance here"
    return f"{told}, {few} had too few events" if few else told


def apart(numbers: pd.DataFrame, control: str, n_seeds: int) -> Chapter:
    """Which policies these seeds do not tell apart in value."""
    policies = by_value(numbers, control)
    tied = {
        policy: [name for name in policies if _tells_apart(numbers, policy, name) is False]
        for policy in policies
    }
    rows = [(Cell(policy), Cell(", ".join(tied[policy]) or MISSING)) for policy in policies]
    asked = [_tells_apart(numbers, a, b) for a, b in itertools.combinations(policies, 2)]
    n_pairs = len(asked) - asked.count(None)
    seeds = "1 seed does" if n_seeds == 1 else f"{n_seeds} seeds do"
    lead = (
        f"Pairs whose paired lift in {wording.metric(ONLINE[0])} has a 95 % interval that holds 0: "
        f"{seeds} not tell them apart, which does not say that they are alike. No correction for "
        "the number of pairs: of those without a difference about one in twenty would be missing "
        "here."
    )
    finding = f"{asked.count(False)} of {n_pairs} pairs of policies are not told apart in value"
    if leaders := ", ".join(tied[policies[0]]):
        finding += f"; the first, {policies[0]}, is not told apart from {leaders}"
    table = Table(("policy", "not told apart from"), tuple(rows), frozenset({0, 1}))
    words = "Policies that are not told apart"
    return Chapter(
        "apart", "What these seeds do not tell apart", lead, (), {words: table},
        frozenset({words}), finding=f"{finding}.",
    )  # fmt: skip


def _tells_apart(numbers: pd.DataFrame, policy: str, other: str) -> bool | None:
    """Return whether two policies differ beyond chance; None where they were not compared."""
    found = _row(numbers, policy, other, ONLINE[0], ALL)
    if found is None or np.isnan(found["low"]) or np.isnan(found["high"]):
        return None
    return bool(found["low"] > 0.0 or found["high"] < 0.0)


NOISE, FEW = "no difference beyond chance", "too few events"
UNDECIDED = (NOISE, FEW)
UNREPORTED = "a difference where none is reported"


def _verdict(found: pd.Series, claim: Claim) -> str:
    low, high = float(found["low"]), float(found["high"])
    if np.isnan(low) or np.isnan(high):
        return FEW
    if low <= 0.0 <= high:
        return NOISE
    if claim.reported == 0.0:
        return UNREPORTED
    if (found["estimate"] > 0.0) != (claim.reported > 0.0):
        return "the other way"
    return "as reported" if low <= claim.reported <= high else "same direction"


def targets(numbers: pd.DataFrame, control: str) -> Chapter:
    """Offline quality target by target."""
    policies, tables = by_value(numbers, control), {}
    for head, words in (("auc", "AUC"), ("gauc", "GAUC, users weighted by impressions")):
        tables[words] = _by_target(numbers, policies, head, ALL)
    for scenario in SCENARIOS:
        words = f"AUC, {wording.scenario(scenario)}"
        tables[words] = _by_target(numbers, policies, "auc", scenario)
    lead = (
        "On the rows shown on the last day of the log, which no model was trained on; engage is "
        "the first hop, a click on lists and an effective view in the swipe. Purchases among "
        "impressions, as they were known after the time in the head, or as they will have been "
        "in the end, which only a simulator knows."
    )
    return Chapter("targets", "By target", lead, (), tables, frozenset(tables))


def _by_target(numbers: pd.DataFrame, policies: Sequence[str], head: str, scenario: str) -> Table:
    """Return one metric of every binary target; of the purchase, at every horizon."""
    whole = _level(numbers, "offline", scenario)
    names = [name for name in _BINARY if name != _EVENTUAL]
    columns = {name: f"{head}/{name}" for name in names}
    parts = [whole]
    metric = f"{head}/{_EVENTUAL}"
    own = numbers[
        (numbers["metric"] == metric)
        & (numbers["scenario"] == scenario)
        & (numbers["control"] == "")
    ]
    for horizon in sorted(h for h in own["slice"].unique() if "," not in h and h != ALL):
        at = own[own["slice"] == horizon].set_index("policy")["estimate"]
        columns[f"{_EVENTUAL}, {horizon}"] = f"{metric}, {horizon}"
        parts.append(at.rename(f"{metric}, {horizon}").to_frame())
    return _table(pd.concat(parts, axis=1), policies, [*columns.values()], [*columns])


def scenarios(numbers: pd.DataFrame, control: str) -> Chapter:
    """Lift in value, scenario by scenario."""
    heads = ("policy", *map(wording.scenario, SCENARIOS))
    lifts = tuple(
        (Cell(policy), *(_lift(numbers, policy, control, ONLINE[0], s) for s in SCENARIOS))
        for policy in by_value(numbers, control)
    )
    words = f"Lift of the {wording.metric(ONLINE[0])}"
    tables = {words: Table(heads, lifts)}
    return Chapter("scenarios", "By scenario", f"Over {control}.", (), tables, frozenset(tables))


def calibration(numbers: pd.DataFrame, control: str) -> Chapter:
    """Predicted against true probabilities."""
    truth = _level(numbers, "truth", ALL)
    policies = by_value(numbers, control)
    tables = {
        words: _table(truth, policies, [f"{head}/{target}" for target in TARGETS], TARGETS)
        for head, words in (
            ("pcoc_true", "Mean prediction over mean true probability"),
            ("ece_true", "Expected calibration error against the truth"),
        )
    }
    heads = [f"{child} above {parent}" for child, parent in NEEDS.items()]
    tables["Share of shown rows with inverted probabilities"] = _table(
        _level(numbers, "offline", ALL), policies, [f"inversion/{child}" for child in NEEDS], heads
    )
    lead = "On the shown rows of the last day; a simulator knows the probability of each."
    return Chapter(
        "calibration", "Calibration against the truth", lead, (), tables, frozenset(tables)
    )


def by_value(numbers: pd.DataFrame, control: str) -> tuple[str, ...]:
    """Return the deployed policies by lift in value, best first; the control has lift 0."""
    own = numbers[
        (numbers["metric"] == ONLINE[0])
        & (numbers["control"] == control)
        & (numbers["scenario"] == ALL)
        & (numbers["unit"] == RELATIVE_LIFT)
    ]
    lifts = dict(zip(own["policy"], own["estimate"], strict=True)) | {control: 0.0}
    return tuple(sorted(lifts, key=lambda name: (-lifts[name], name)))


def _online_finding(numbers: pd.DataFrame, policies: tuple[str, ...], control: str) -> str:
    best = policies[0]
    found = _row(numbers, best, control, ONLINE[0], ALL)
    if found is None:
        return ""
    beyond = float(found["low"]) > 0.0 or float(found["high"]) < 0.0
    return (
        f"{best} has the largest lift of {len(policies)}: it is worth "
        f"{wording.lift(found['estimate']).text} more than {control} to a user "
        f"({wording.interval(found['low'], found['high'])}){'' if beyond else ', ' + NOISE}."
    )


def _row(
    numbers: pd.DataFrame, policy: str, control: str, metric: str, scenario: str
) -> pd.Series | None:
    own = numbers[
        (numbers["policy"] == policy)
        & (numbers["control"] == control)
        & (numbers["metric"] == metric)
        & (numbers["scenario"] == scenario)
        & (numbers["slice"] == ALL)
        & (numbers["kind"] == "online")
        & (numbers["unit"] == RELATIVE_LIFT)
    ]
    return own.iloc[0] if len(own) else None


def _lift(numbers: pd.DataFrame, policy: str, control: str, metric: str, scenario: str) -> Cell:
    found = _row(numbers, policy, control, metric, scenario)
    if found is None:
        return Cell(MISSING)
    return wording.lift(found["estimate"], found["low"], found["high"])


def _level(numbers: pd.DataFrame, kind: str, scenario: str) -> pd.DataFrame:
    """Return levels as a frame, one row a policy and one column a metric."""
    own = numbers[
        (numbers["kind"] == kind)
        & (numbers["control"] == "")
        & (numbers["scenario"] == scenario)
        & (numbers["slice"] == ALL)
    ]
    return own.pivot(index="policy", columns="metric", values="estimate")


def _value(levels: pd.DataFrame, policy: str, metric: str) -> Cell:
    if policy not in levels.index or metric not in levels.columns:
        return Cell(MISSING)
    return wording.number(float(levels[metric][policy]), metric.partition(",")[0])


def _table(
    levels: pd.DataFrame, policies: Sequence[str], metrics: Sequence[str], heads: Sequence[str]
) -> Table:
    rows = tuple(
        (Cell(policy), *(_value(levels, policy, metric) for metric in metrics))
        for policy in policies
        if policy in levels.index and levels.loc[policy].reindex(list(metrics)).notna().any()
    )
    return Table(("policy", *heads), rows)


def _count(cost: pd.DataFrame, name: str) -> Cell:
    value = float(cost[name].mean())
    return Cell(MISSING if np.isnan(value) else f"{float(f'{value:.3g}'):,.0f}")
