"""A line-up: one contest a seed, every number in one table, and what training and scoring cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import pandas as pd

from evaluation import offline, online
from evaluation.contest import Contest, hold_contest
from evaluation.environment import source_digest
from evaluation.intervals import lift
from evaluation.lineup.claim import Claim
from evaluation.lineup.settings import COSTS, TABLE, LineupSettings
from evaluation.progress import StudyProgress
from evaluation.results import ALL, Results, Row, Subject
from evaluation.settings import StudySettings
from evaluation.simulation import UNREAD, code_digest, digest, log_key
from evaluation.study import offline_protocol
from evaluation.templating import replace_table
from evaluation.trial import Trial, limit_threads

COST_COLUMNS = ("world_seed", "policy", "parameters", "examples_per_s", "pairs_per_s", "fit_s")


VALUE = "value_per_user"
"""The online metric by which policies are told apart."""


@dataclass(frozen=True)
class Lineup:
    """All seeds together."""

    rows: pd.DataFrame
    """See `evaluation.results`; comparisons with the control and with the other policy of a claim
    in all metrics, of all pairs of policies in value."""
    costs: pd.DataFrame
    """COST_COLUMNS; NaN where a policy is not trained."""


def line_up(settings: LineupSettings) -> Lineup:
    """Hold the contest of every seed that is not there yet, and tabulate it.

    Finished trials and seeds are kept in the `work` of the settings under a digest of everything
    that decides them, so that the same command goes on where it was interrupted.

    Raises:
        LogError: a cached log is broken.
        TrialError: a policy breaks its contract or raises.
    """
    limit_threads()
    progress = StudyProgress()
    parts = []
    with progress.shown():
        for at, cell in enumerate(settings.cells, start=1):
            name = f"{cell.world.name}, seed {cell.seed} ({at} of {len(settings.cells)})"
            parts.append(_of_seed(cell, settings.claims, name, progress))
    rows, costs = (
        pd.concat([getattr(part, of) for part in parts], ignore_index=True)
        for of in ("rows", "costs")
    )
    return Lineup(rows, costs)


def _of_seed(
    cell: StudySettings, claims: tuple[Claim, ...], name: str, progress: StudyProgress
) -> Lineup:
    """Return the tables of one seed, from the cache where they are there."""
    folder = _place(cell, claims)
    try:
        kept = Lineup(*(pd.read_parquet(folder / part) for part in (TABLE, COSTS)))
    except (OSError, ValueError):  # not there, or broken by a full disk: made anew
        kept = None
    if kept is not None:
        progress.say(f"{name}: kept from before")
        return kept
    progress.say(name)
    contest = hold_contest(cell, offline_protocol(cell), progress)
    results = Results()
    results.extend(_rows(cell, claims, contest))
    found = Lineup(results.to_pandas(), _costs(cell, contest))
    if UNREAD not in folder.name:
        folder.mkdir(parents=True, exist_ok=True)
        for part, frame in ((TABLE, found.rows), (COSTS, found.costs)):
            replace_table(folder / part, frame)
    contest.forget_unread()
    return found


def _rows(cell: StudySettings, claims: tuple[Claim, ...], contest: Contest) -> Iterator[Row]:
    protocol = offline_protocol(cell)
    by_name = {trial.policy: trial for trial in contest.trials}
    control = by_name[cell.control]
    for trial in contest.trials:
        subject = Subject(cell.name, cell.seed, trial.policy)
        if trial.judgement is not None:
            yield from offline.level_rows(subject, trial.judgement, protocol)
        yield from online.level_rows(subject, trial.deployment.observed, "online")
        others = {claim.over for claim in claims if claim.policy == trial.policy}
        compared = others | {control.policy} - {trial.policy}
        for name in sorted(compared):
            yield from _against(subject, trial, by_name[name])
        for other in contest.trials:
            if other.policy not in compared and other.policy != trial.policy:
                yield _value_against(subject, trial, other)


def _against(subject: Subject, trial: Trial, other: Trial) -> Iterator[Row]:
    """Yield the paired comparisons of two deployments among the same users."""
    pairs = trial.deployment.observed, other.policy, other.deployment.observed
    yield from online.comparison_rows(subject, *pairs, "online")


def _value_against(subject: Subject, trial: Trial, other: Trial) -> Row:
    """Return the paired lift in value alone: what tells any two policies apart."""
    pair = (one.deployment.observed.estimate(VALUE, ALL) for one in (trial, other))
    return subject.lift(VALUE, "online", lift(*pair).interval(), other.policy, scenario=ALL)


def _costs(cell: StudySettings, contest: Contest) -> pd.DataFrame:
    rows = [
        (cell.seed, trial.policy, *astuple(trial.cost), trial.fit_s)
        for trial in contest.trials
        if trial.cost is not None
    ]
    return pd.DataFrame(rows, columns=list(COST_COLUMNS))


def _place(cell: StudySettings, claims: tuple[Claim, ...]) -> Path:
    """Return where the tables of a seed lie, under a digest of everything that decides them."""
    codes = [code_digest(node) for node in (*cell.policies.values(), cell.logging.policy)]
    unread = UNREAD if any(code.startswith(UNREAD) for code in codes) else ""
    key = digest(
        cell.name, log_key(cell.simulation), sorted(map(repr, cell.policies.items())), codes,
        cell.control, cell.deploy_days, cell.ks, cell.sampled_m, claims, source_digest(),
    )  # fmt: skip
    return cell.work / "lineup" / f"{unread}{key}"
