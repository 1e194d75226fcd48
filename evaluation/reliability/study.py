"""A study of reliability: one contest a world, each method beside the truth in all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from evaluation.contest import Contest, hold_contest
from evaluation.environment import source_digest
from evaluation.offline import OfflineProtocol
from evaluation.progress import StudyProgress
from evaluation.ranking.corrections import Correction
from evaluation.ranking.metrics import RankMetric
from evaluation.reliability.methods import Method, Sampling, Score, estimator_scores, scores_of
from evaluation.reliability.pairs import Cell, pair_frame, score_frame
from evaluation.reliability.settings import PAIRS, SCORES, ReliabilitySettings
from evaluation.settings import StudySettings
from evaluation.simulation import UNREAD, code_digest, digest, log_key
from evaluation.trial import Trial, limit_threads

CUT = 10
"""Cut-off of the sampled metrics."""

CORRECTIONS = (Correction("cls"), Correction("bv", 0.1))
"""Of metrics with a cut-off; 0.1 is what their source favours (KDD 2020)."""


@dataclass(frozen=True)
class Judged:
    """All worlds together; columns in `evaluation.reliability.pairs`."""

    scores: pd.DataFrame
    pairs: pd.DataFrame


def judge_methods(settings: ReliabilitySettings) -> Judged:
    """Hold the contest of every world that is not there yet, and score every method in it.

    Finished trials and worlds are kept in the `work` of the settings under a digest of everything
    that decides them, so that the same command goes on where it was interrupted.

    Raises:
        LogError: a cached log is broken.
        TrialError: a policy breaks its contract or raises.
    """
    limit_threads()
    progress = StudyProgress()
    frames = []
    with progress.shown():
        for at, cell in enumerate(settings.cells, start=1):
            name = f"{cell.world.name}, seed {cell.seed} ({at} of {len(settings.cells)})"
            frames.append(_judged(cell, settings.negatives, name, progress))
    scores, pairs = (
        pd.concat([getattr(frame, part) for frame in frames], ignore_index=True)
        for part in ("scores", "pairs")
    )
    return Judged(scores, pairs)


def _judged(
    cell: StudySettings, negatives: tuple[int, ...], name: str, progress: StudyProgress
) -> Judged:
    """Return the frames of one world, from the cache where they are there."""
    folder = _place(cell, negatives)
    if all((folder / part).exists() for part in (SCORES, PAIRS)):
        progress.say(f"{name}: kept from before")
        return Judged(*(pd.read_parquet(folder / part) for part in (SCORES, PAIRS)))
    progress.say(name)
    contest = hold_contest(cell, _protocol(cell), progress, randomised_days=1)
    done = progress.step(f"{name}: every method beside the truth")
    found = _cell(cell, contest, _sampling(negatives))
    judged = Judged(score_frame(found), pair_frame(found))
    folder.mkdir(parents=True, exist_ok=True)
    for part, frame in ((SCORES, judged.scores), (PAIRS, judged.pairs)):
        draft = folder / f".{part}.part"
        frame.to_parquet(draft, index=False)
        draft.replace(folder / part)
    contest.forget_unread()
    done()
    return judged


def _cell(cell: StudySettings, contest: Contest, sampling: Sampling) -> Cell:
    metrics = _metrics(cell)
    return Cell(
        cell.world.name,
        cell.seed,
        {trial.policy: trial.deployment.expected.per_user for trial in contest.trials},
        {trial.policy: dict(_scores(trial, metrics, sampling)) for trial in contest.trials},
    )


def _scores(
    trial: Trial, metrics: tuple[RankMetric, ...], sampling: Sampling
) -> Iterator[tuple[Method, Score]]:
    if trial.judgement is not None:
        yield from scores_of(trial.judgement, metrics, sampling, "logged").items()
    if trial.randomised is not None:
        yield from scores_of(trial.randomised, metrics, sampling, "randomised").items()
    if trial.valuation is not None:
        yield from estimator_scores(trial.valuation).items()


def _metrics(cell: StudySettings) -> tuple[RankMetric, ...]:
    cut = [f"{kind}@{k}" for kind in ("hr", "ndcg", "recall") for k in cell.ks]
    return tuple(RankMetric.parse(name) for name in (*cut, "mrr", "query_auc", "ap"))


def _sampling(negatives: tuple[int, ...]) -> Sampling:
    names = (f"hr@{CUT}", f"ndcg@{CUT}", "mrr", "query_auc")
    return Sampling(tuple(map(RankMetric.parse, names)), negatives, CORRECTIONS)


def _protocol(cell: StudySettings) -> OfflineProtocol:
    """Return what a trial is to keep ranks for; metrics are made of them afterwards."""
    return OfflineProtocol(tuple(metric.name for metric in _metrics(cell)), sampled_m=())


def _place(cell: StudySettings, negatives: tuple[int, ...]) -> Path:
    """Return where the frames of a world lie, under a digest of everything that decides them."""
    codes = [code_digest(node) for node in cell.policies.values()]
    unread = UNREAD if any(code.startswith(UNREAD) for code in codes) else ""
    key = digest(
        log_key(cell.simulation), sorted(map(repr, cell.policies.items())), codes, cell.deploy_days,
        cell.ks, negatives, source_digest(),
    )  # fmt: skip
    return cell.work / "reliability" / f"{unread}{key}"
