"""Methods give the numbers that a study reports, and sampled ones the error of a draw."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.offline import OfflineProtocol, estimates
from evaluation.predictions import Measure
from evaluation.ranking.corrections import RAW, Correction
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import Ranks
from evaluation.reliability.methods import Method, Sampling, scores_of
from tests.evaluation.made_up_log import TablePolicy, TablePredictor, judged

METRICS = tuple(map(RankMetric.parse, ("hr@3", "ndcg@3", "recall@3", "mrr", "query_auc", "ap")))
SAMPLING = Sampling(
    tuple(map(RankMetric.parse, ("hr@3", "mrr", "query_auc"))), (4, 6), (Correction("cls"),)
)


def test_numbers_are_those_of_a_study() -> None:
    protocol = OfflineProtocol(tuple(m.name for m in METRICS), (4,))
    judgement = judged(TablePredictor(), protocol)
    reported = estimates(judgement, protocol)
    found = scores_of(judgement, METRICS, SAMPLING, "logged")
    for metric in METRICS:
        mine = found[Method(metric.name, "logged")].estimate
        theirs = reported[Measure(metric.name, "all")]
        assert mine.value == pytest.approx(theirs.value, abs=1e-12)
        assert mine.standard_error == pytest.approx(theirs.standard_error, abs=1e-12)
    for metric in SAMPLING.metrics:
        mine = found[Method(metric.name, "logged", m=4)].estimate
        assert mine.value == pytest.approx(reported[Measure(f"{metric.name}/s4", "all")].value)
    # probabilities are judged at the top of the page, where every policy predicts
    classes = {m: s for m, s in found.items() if m.metric in ("auc/engage", "logloss/engage")}
    assert {m.slice for m in classes} == {"top"}
    for method, score in classes.items():
        assert score.estimate.value == reported[Measure(method.metric, "all", "top")].value


def test_only_metrics_with_a_cut_off_are_corrected_and_only_logged_ones_sampled() -> None:
    judgement = judged(TablePolicy())
    logged = scores_of(judgement, METRICS, SAMPLING, "logged")
    corrected = {m for m in logged if m.correction != RAW.name}
    assert {(m.metric, m.m) for m in corrected} == {("hr@3", 4), ("hr@3", 6)}
    randomised = scores_of(judgement, METRICS, SAMPLING, "randomised")
    assert {m.m for m in randomised} == {0}
    assert {m.source for m in randomised} == {"randomised"}


def test_the_error_of_a_draw_is_that_of_draws() -> None:
    judgement = judged(TablePolicy())
    ranks = judgement.queries.ranks
    score = scores_of(judgement, (), SAMPLING, "logged")[Method("hr@3", "logged", m=4)]
    rng = np.random.default_rng(5)
    metric, drawn = RankMetric.parse("hr@3"), []
    for _ in range(4000):
        better = rng.hypergeometric(ranks.greater, ranks.candidates - 1 - ranks.greater, 4)
        sampled = Ranks(
            better.astype(ranks.greater.dtype),
            np.zeros_like(ranks.equal),
            np.full_like(ranks.candidates, 5),
        )
        drawn.append(metric.values(sampled).mean())
    assert (ranks.equal == 0).all()
    assert score.estimate.value == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / 60)
    assert score.draw_error == pytest.approx(np.std(drawn), rel=0.05)
