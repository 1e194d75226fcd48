"""The chapters of a line-up: what each one says in words and numbers."""

from __future__ import annotations

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

ONLINE = ("value_per_user", "page_ctr", "watch_s_per_user", "views_per_user", "gmv_cny_per_user")
"""Online metrics of the first table; the first one orders the policies everywhere."""

QUALITY = ("gauc/engage", "auc/engage", "hr@10", "ndcg@10")
"""Offline metrics beside them."""

COSTS = ("parameters", "examples_per_s", "pairs_per_s")

_BINARY = tuple(name for name in TARGETS if name != "watch")


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
    heads = (
        "policy",
        *map(wording.metric, ONLINE),
        *QUALITY,
        "parameters",
        "examples/s",
        "pairs/s",
    )
    lead = (
        f"Relative lifts over {control} among the same users, pooled over the seeds, with 95 % "
        "intervals; offline metrics against all rooms on air. Every model is trained on the same "
        "log with the same loop, features and widths. Training rows are per second of one thread "
        "beside another trial, pairs per processor second."
    )
    return Chapter(
        "online", "Deployed", lead, (), {"All policies": Table(heads, tuple(rows))},
        frozenset({"All policies"}), finding=_online_finding(numbers, policies, control),
    )  # fmt: skip


def claims(numbers: pd.DataFrame, said: Sequence[Claim]) -> Chapter:
    """What sources report of each system beside what it does here."""
    rows, seen, beyond = [], 0, 0
    for claim in said:
        found = _row(numbers, claim.policy, claim.over, claim.metric, claim.scenario)
        if found is None:
            continue
        verdict = _verdict(found, claim)
        seen, beyond = seen + 1, beyond + (verdict not in UNDECIDED)
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
        "the paired lift of the two in this world. No dial was turned to make one appear."
    )
    verb = "differs" if beyond == 1 else "differ"
    finding = (
        f"Of {seen} reported effects {beyond} {verb} from nothing beyond chance in this world."
        if seen
        else ""
    )
    table = Table(heads, tuple(rows), frozenset({0, 1, 2, 3, 6}))
    return Chapter(
        "claims", "What was reported", lead, (), {"Reported and here": table},
        frozenset({"Reported and here"}), finding=finding,
    )  # fmt: skip


def apart(numbers: pd.DataFrame, control: str) -> Chapter:
    """Which policies differ in value by no more than chance."""
    policies = by_value(numbers, control)
    rows, alike = [], 0
    for at, policy in enumerate(policies):
        tied = [name for name in policies if _alike(numbers, policy, name)]
        alike += sum(name in policies[at + 1 :] for name in tied)
        rows.append((Cell(policy), Cell(", ".join(tied) or wording.MISSING)))
    n_pairs = len(policies) * (len(policies) - 1) // 2
    leaders = ", ".join(name for name in policies if _alike(numbers, policies[0], name))
    lead = (
        f"Pairs whose paired lift in {wording.metric(ONLINE[0])} has a 95 % interval that holds 0. "
        "No correction for the number of pairs: of those without a difference about one in twenty "
        "would be missing here."
    )
    finding = f"{alike} of {n_pairs} pairs of policies differ in value by no more than chance"
    if leaders:
        finding += f"; nobody can tell {policies[0]} from {leaders}"
    table = Table(("policy", "no difference beyond chance from"), tuple(rows), frozenset({0, 1}))
    words = "Policies that cannot be told apart"
    return Chapter(
        "apart", "Differences that are noise", lead, (), {words: table}, frozenset({words}),
        finding=f"{finding}.",
    )  # fmt: skip


def _alike(numbers: pd.DataFrame, policy: str, other: str) -> bool:
    found = _row(numbers, policy, other, ONLINE[0], ALL)
    return found is not None and not (found["low"] > 0.0 or found["high"] < 0.0)


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
    tables = {}
    quality = _level(numbers, "offline", ALL)
    for head, words in (("auc", "AUC"), ("gauc", "GAUC, users weighted by impressions")):
        names = [f"{head}/{target}" for target in _BINARY]
        tables[words] = _table(quality, by_value(numbers, control), names, _BINARY)
    names = [f"auc/{target}" for target in _BINARY]
    for scenario in SCENARIOS:
        tables[f"AUC, {wording.scenario(scenario)}"] = _table(
            _level(numbers, "offline", scenario), by_value(numbers, control), names, _BINARY
        )
    lead = (
        "On the rows shown on the last day of the log, which no model was trained on. GAUC of the "
        "purchase is that of purchases among impressions."
    )
    return Chapter("targets", "By target", lead, (), tables, frozenset(tables))


def scenarios(numbers: pd.DataFrame, control: str) -> Chapter:
    """Offline quality of the first hop and lift in value, scenario by scenario."""
    policies = by_value(numbers, control)
    heads = ("policy", *map(wording.scenario, SCENARIOS))
    lifts, ranks = [], []
    for policy in policies:
        lifts.append(
            (Cell(policy), *(_lift(numbers, policy, control, ONLINE[0], s) for s in SCENARIOS))
        )
        ranks.append(
            (
                Cell(policy),
                *(_value(_level(numbers, "offline", s), policy, "auc/engage") for s in SCENARIOS),
            )
        )
    tables = {
        f"Lift of the {wording.metric(ONLINE[0])}": Table(heads, tuple(lifts)),
        "AUC of the first hop": Table(heads, tuple(ranks)),
    }
    lead = (
        f"Lifts over {control}; the first hop is a click on lists, an effective view in the swipe."
    )
    return Chapter("scenarios", "By scenario", lead, (), tables, frozenset(tables))


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
    return wording.number(float(levels[metric][policy]), metric)


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
