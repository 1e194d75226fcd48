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
from evaluation.ranking.metrics import RankMetric
from evaluation.reliability.methods import Method, Sampling, Score, estimator_scores, scores_of
from evaluation.reliability.pairs import Cell, pair_frame, score_frame
from evaluation.reliability.settings import PAIRS, SCORES, ReliabilitySettings
from evaluation.settings import StudySettings
from evaluation.simulation import UNREAD, code_digest, digest, log_key
from evaluation.study import CORRECTIONS, ranking_metrics
from evaluation.templating import replace_table
from evaluation.trial import Trial, limit_threads

CUT = 10
"""Cut-off of the sampled metrics."""


@dataclass(frozen=True)
class Frames:
    """All worlds together; columns in `evaluation.reliability.pairs`."""

    scores: pd.DataFrame
    pairs: pd.DataFrame


def judge_methods(settings: ReliabilitySettings) -> Frames:
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
            frames.append(_frames_of(cell, settings.negatives, name, progress))
    scores, pairs = (
        pd.concat([getattr(frame, part) for frame in frames], ignore_index=True)
        for part in ("scores", "pairs")
    )
    return Frames(scores, pairs)


def _frames_of(
    cell: StudySettings, negatives: tuple[int, ...], name: str, progress: StudyProgress
) -> Frames:
    """Return the frames of one world, from the cache where they are there."""
    folder = _place(cell, negatives)
    before = _kept(folder)
    if before is not None:
        progress.say(f"{name}: kept from before")
        return before
    progress.say(name)
    contest = hold_contest(cell, _protocol(cell), progress, randomised_days=1)
    done = progress.step(f"{name}: every method beside the truth")
    found = _cell(cell, contest, _sampling(negatives))
    judged = Frames(score_frame(found), pair_frame(found))
    if UNREAD not in folder.name:
        folder.mkdir(parents=True, exist_ok=True)
        for part, frame in ((SCORES, judged.scores), (PAIRS, judged.pairs)):
            replace_table(folder / part, frame)
    contest.forget_unread()
    done()
    return judged


def _kept(folder: Path) -> Frames | None:
    """Return the frames of a world that are kept; None where they are not there, or not whole."""
    try:
        return Frames(*(pd.read_parquet(folder / part) for part in (SCORES, PAIRS)))
    except (OSError, ValueError):  # a broken file, such as a full disk leaves, is written anew
        return None


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
    return tuple(map(RankMetric.parse, ranking_metrics(sorted({*cell.ks, CUT}))))


def _sampling(negatives: tuple[int, ...]) -> Sampling:
    names = (f"hr@{CUT}", f"ndcg@{CUT}", "mrr", "query_auc")
    return Sampling(tuple(map(RankMetric.parse, names)), negatives, CORRECTIONS)


def _protocol(cell: StudySettings) -> OfflineProtocol:
    """Return what a trial is to keep ranks for; metrics are made of them afterwards."""
    return OfflineProtocol(tuple(metric.name for metric in _metrics(cell)), sampled_m=())


def _place(cell: StudySettings, negatives: tuple[int, ...]) -> Path:
    """Return where the frames of a world lie, under a digest of everything that decides them."""
    codes = [code_digest(node) for node in (*cell.policies.values(), cell.logging.policy)]
    unread = UNREAD if any(code.startswith(UNREAD) for code in codes) else ""
    key = digest(
        log_key(cell.simulation), sorted(map(repr, cell.policies.items())), codes, cell.deploy_days,
        cell.ks, negatives, source_digest(),
    )  # fmt: skip
    return cell.work / "reliability" / f"{unread}{key}"
