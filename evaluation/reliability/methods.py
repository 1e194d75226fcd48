"""Methods: the ways in which a log gives a number for a policy, by which one would choose it.

A method is a metric, the log that it is taken on, and what is done to its candidates. Three sources
tell errors apart:

    logged      the held-out day as the logging policy left it
    randomised  the same day of the same users, every slate uniform: labels without exposure bias
    off_policy  the logged day, weighted by propensities (`evaluation.off_policy`)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluation.intervals import Estimate, clustered_mean
from evaluation.leaderboard import ABOUT_THE_DATA
from evaluation.off_policy.valuation import Valuation
from evaluation.offline import PER_REQUEST, Judgement
from evaluation.predictions import TOP, Predictions, class_metrics
from evaluation.ranking.corrections import RAW, Correction, expected_reports
from evaluation.ranking.metrics import RankMetric
from evaluation.results import ALL

Source = Literal["logged", "randomised", "off_policy", "truth"]
"""Where a number comes from; "truth" is the simulator's, which no method has."""


@dataclass(frozen=True, order=True)
class Method:
    """One way to get a number for a policy."""

    metric: str
    """Name in the results table, such as ``ndcg@10`` or ``auc/engage``; or an estimator's."""
    source: Source
    slice: str = ALL
    """Rows that are judged: ALL, or TOP of the page."""
    m: int = 0
    """Sampled negatives; 0 ranks against all candidates."""
    correction: str = RAW.name
    """Of the sampled metric."""


@dataclass(frozen=True)
class Score:
    """What a method says of a policy."""

    estimate: Estimate
    """Clustered by user; of a sampled metric its expectation over the negatives."""
    draw_error: float = 0.0
    """Standard deviation over draws of the negatives, unit of the metric."""


@dataclass(frozen=True)
class Sampling:
    """Which sampled metrics are asked for."""

    metrics: tuple[RankMetric, ...]
    negatives: tuple[int, ...]
    """Numbers m, uniform without replacement."""
    corrections: tuple[Correction, ...] = ()
    """Of those with a cut-off, beside the uncorrected."""


def scores_of(
    judgement: Judgement, metrics: Sequence[RankMetric], sampling: Sampling, source: Source
) -> dict[Method, Score]:
    """Return every number that one judgement gives.

    Args:
        judgement: of one policy on one log.
        metrics: ranking metrics against all candidates.
        sampling: sampled ones; only asked of the logged source, where practice has them.
        source: of the judgement.
    """
    out: dict[Method, Score] = {}
    queries, users = judgement.queries, judgement.n_users
    first, lists = queries.by_request
    for metric in metrics:
        if metric.base in PER_REQUEST:
            value, who = lists.values(metric), queries.user_id[first]
        else:
            value, who = metric.values(queries.ranks), queries.user_id
        out[Method(metric.name, source)] = Score(clustered_mean(value, who, users))
    if source == "logged":
        out |= _sampled(judgement, sampling)
    if judgement.predictions is not None:
        out |= _classified(judgement.predictions, users, source)
    return out


def estimator_scores(valuation: Valuation) -> dict[Method, Score]:
    """Return the numbers of all off-policy estimators, of the top room and of a page."""
    return {
        Method(f"{span}_value/{name}", "off_policy"): Score(finding.estimate)
        for span, panel in valuation.panels()
        for name, finding in panel.findings.items()
    }


def _sampled(judgement: Judgement, sampling: Sampling) -> dict[Method, Score]:
    out: dict[Method, Score] = {}
    queries, users = judgement.queries, judgement.n_users
    reports = [
        (correction, metric)
        for metric in sampling.metrics
        for correction in (RAW, *(sampling.corrections if metric.k else ()))
    ]
    for m in sampling.negatives:
        means, variances = expected_reports(reports, queries.ranks, m)
        for (correction, metric), mean, variance in zip(reports, means, variances, strict=True):
            judged = ~np.isnan(mean)
            spread = float(np.sqrt(variance[judged].sum()))
            # a correction may leave [0, 1]
            estimate = clustered_mean(mean, queries.user_id, users, "plain")
            method = Method(metric.name, "logged", m=m, correction=correction.name)
            out[method] = Score(estimate, spread / max(int(judged.sum()), 1))
    return out


def _classified(predictions: Predictions, users: int, source: Source) -> dict[Method, Score]:
    out: dict[Method, Score] = {}
    for index, part, kind, rows, labels in predictions.judged():
        if kind != "offline":  # purchases that ever come are nobody's to see
            continue
        target = predictions.targets[index]
        p, user = predictions.probability[index][rows], predictions.user_id[rows]
        where = TOP if part.startswith(TOP) else ALL
        for name, estimate in class_metrics(target, p, labels[rows], user, users).items():
            if not name.startswith(ABOUT_THE_DATA):
                out[Method(name, source, where)] = Score(estimate)
    return out
