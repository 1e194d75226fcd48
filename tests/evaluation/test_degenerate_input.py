"""Nothing to rank, nothing to tell apart, nothing to count: a defined result or one clear error.

The six cases, for every family of metrics: empty queries, no positives, all positives, scores that
are NaN, constant scores, one candidate. Undefined is NaN, and is left out of means; it is never 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluation.calibration.reliability import reliability
from evaluation.classification import auc, gauc, log_loss, pcoc
from evaluation.intervals import clustered_mean
from evaluation.offline import OfflineProtocol, estimates, judge, level_rows
from evaluation.ranking.corrections import CORRECTIONS, expected_corrected
from evaluation.ranking.draws import draw_negatives, sampled_ranks
from evaluation.ranking.lists import rank_lists
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.profile import rank_profile, sampled_shares
from evaluation.ranking.ranks import MetricError, Ranks, rank_positives
from evaluation.ranking.sampled import expected_values
from evaluation.ranking.sampling_fidelity import expected_fidelity
from evaluation.results import Results
from tests.evaluation.made_up_log import SUBJECT, MadeUpLog, TablePolicy

CUT = ("hr@2", "ndcg@2", "mrr@2")
NAMES = (*CUT, "mrr", "query_auc")
LISTS = (*NAMES, "recall@2", "precision@2", "ap", "ndcg")
M = 3


def metrics(names):
    return [RankMetric.parse(name) for name in names]


def whole(names, scores, relevant):
    """Return the value of each request by each metric."""
    lists = rank_lists(np.asarray(scores, float), np.asarray(relevant, bool))
    return {name: lists.values(RankMetric.parse(name)) for name in names}


def one(scores, column):
    return rank_positives(np.asarray([scores], float), None, np.array([0]), np.array([column]))


# --- ranking, full


def test_empty_queries_have_no_values():
    for value in whole(LISTS, np.zeros((0, 4)), np.zeros((0, 4))).values():
        assert len(value) == 0
        assert np.isnan(clustered_mean(value, np.zeros(0, int), 3).value)
    # requests for which no room is on air
    for value in whole(LISTS, np.zeros((2, 0)), np.zeros((2, 0))).values():
        assert np.isnan(value).all()


def test_requests_without_positives_are_undefined_and_left_out():
    values = whole(LISTS, [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], [[0, 0, 0], [1, 0, 0]])
    for name, value in values.items():
        assert np.isnan(value[0]), name
        assert value[1] > 0.0
        mean = clustered_mean(value, np.array([0, 1]), 2, "plain")
        assert mean.value == value[1], name


def test_all_positives_are_perfect_where_that_means_something():
    values = {k: float(v[0]) for k, v in whole(LISTS, [[3.0, 2.0, 1.0]], [[1, 1, 1]]).items()}
    assert np.isnan(values.pop("query_auc"))  # nothing to be above
    assert values.pop("recall@2") == pytest.approx(2 / 3)
    assert values == dict.fromkeys(values, pytest.approx(1.0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("count", [lambda s: whole(NAMES, s, [[1, 0, 0]]), lambda s: one(s[0], 0)])
def test_scores_that_are_not_finite_are_one_line(bad, count):
    with pytest.raises(MetricError, match="1 scores of candidates are not finite; the first is"):
        count([[1.0, bad, 0.0]])


@pytest.mark.parametrize("n", [2, 5, 40])
def test_constant_scores_get_what_chance_gets(n):
    ranks = one(np.zeros(n), n - 1)
    assert ranks.tied[0] == 1.0
    values = {
        name: float(RankMetric.parse(name).values(ranks)[0]) for name in ("hr@2", "query_auc")
    }
    assert values == {"hr@2": 2 / n, "query_auc": 0.5}
    listed = whole(["hr@2", "precision@2", "query_auc"], np.zeros((1, n)), np.eye(1, n))
    assert {k: float(v[0]) for k, v in listed.items()} == {
        "hr@2": pytest.approx(2 / n), "precision@2": pytest.approx(1 / n), "query_auc": 0.5
    }  # fmt: skip


def test_one_candidate_is_first_and_has_no_auc():
    ranks = one([0.3], 0)
    for metric in metrics(NAMES):
        value = float(metric.values(ranks)[0])
        assert np.isnan(value) if metric.base == "query_auc" else value == 1.0


# --- ranking, sampled and corrected


def sampled(metric, ranks):
    """Return the exact expectation with M negatives, raw and by every correction."""
    found = [expected_values(metric, ranks, M)]
    if metric.base != "query_auc":
        found += [expected_corrected(c, metric, ranks, M)[0] for c in CORRECTIONS]
    return found


@pytest.mark.parametrize("metric", metrics(NAMES), ids=NAMES)
def test_sampled_metrics_of_nothing_and_of_one_candidate(metric):
    for values in sampled(metric, Ranks.concat([])):
        assert len(values) == 0
    alone = sampled(metric, one([0.3], 0))
    if metric.base == "query_auc":
        assert np.isnan(alone[0]).all()
    else:
        assert [float(v[0]) for v in alone] == pytest.approx([1.0] * len(alone))


@pytest.mark.parametrize("n", [4, 30])
def test_sampled_constant_scores_get_what_chance_gets(n):
    ranks = one(np.zeros(n), 0)
    hit, above = (expected_values(m, ranks, M)[0] for m in metrics(("hr@2", "query_auc")))
    assert (hit, above) == (pytest.approx(2 / (M + 1)), pytest.approx(0.5))


def test_draws_of_nothing_and_of_one_candidate():
    none = np.zeros(0, np.int64)
    drawn = draw_negatives(none, none, np.zeros((0, 4), bool), M, seed=0)
    assert drawn.shape == (0, M)
    alone = draw_negatives(np.array([7]), np.array([0]), np.ones((1, 1), bool), M, seed=0)
    ranks = sampled_ranks(np.array([[0.3]]), np.array([0]), alone)
    assert ranks.candidates[0] == 1
    assert np.isnan(RankMetric.parse("query_auc").values(ranks)[0])
    assert RankMetric.parse("hr@1").values(ranks)[0] == 1.0


def test_a_profile_of_nothing_is_refused():
    with pytest.raises(MetricError):
        rank_profile(sampled_shares(Ranks.concat([]), M), 10, M)


def test_fidelity_of_one_candidate_is_exact_and_of_nothing_refused():
    ranks = {name: one([0.3], 0) for name in ("a", "b")}
    metric = RankMetric.parse("mrr")
    found = expected_fidelity(CORRECTIONS[0], metric, ranks, M)
    assert found.error == pytest.approx(0.0)  # first, sampled or not
    with pytest.raises(MetricError, match="query_auc is defined for none of the 1 queries"):
        expected_fidelity(CORRECTIONS[0], RankMetric.parse("query_auc"), ranks, M)
    nothing = dict.fromkeys(ranks, Ranks.concat([]))
    with pytest.raises(MetricError, match="each policy needs the same, at least 1"):
        expected_fidelity(CORRECTIONS[0], metric, nothing, M)


# --- classification and calibration

SCORE, USER = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0, 0, 1, 1])


@pytest.mark.parametrize("label", [np.zeros(4, bool), np.ones(4, bool)], ids=["no", "all"])
def test_one_class_has_no_auc(label):
    assert np.isnan(auc(SCORE, label, USER, 2).value)
    found = gauc(SCORE, label, USER, 2)
    assert np.isnan(found.estimate().value)
    assert found.dropped.value == 1.0
    assert np.isnan(pcoc(SCORE, label, USER, 2).value) == (not label.any())
    assert log_loss(SCORE, label, USER, 2).value > 0.0
    assert np.isfinite(reliability(SCORE, label, USER, 2).ece.value)


def test_no_rows_and_one_row():
    none = np.zeros(0)
    users = none.astype(int)
    for measure in (auc, log_loss, pcoc):
        assert np.isnan(measure(none, none.astype(bool), users, 2).value)
    assert np.isnan(reliability(none, none.astype(bool), users, 2).ece.value)
    lone = auc(np.array([0.3]), np.array([True]), np.array([0]), 1)
    assert np.isnan(lone.value)


def test_predictions_that_are_not_numbers_are_one_line():
    bad, label = np.array([0.2, np.nan, 0.6, 0.8]), np.array([True, False, True, False])
    with pytest.raises(MetricError, match="not finite"):
        auc(bad, label, USER, 2)
    with pytest.raises(MetricError, match="not finite"):
        gauc(bad, label, USER, 2)
    for measure in (log_loss, pcoc, reliability):
        with pytest.raises(MetricError, match=r"outside \[0, 1\]; the first is nan"):
            measure(bad, label, USER, 2)


def test_constant_predictions_tell_nothing_apart():
    label = np.array([True, False, True, False])
    assert auc(np.full(4, 0.5), label, USER, 2).value == 0.5
    assert gauc(np.full(4, 0.5), label, USER, 2).estimate().value == 0.5
    assert reliability(np.full(4, 0.5), label, USER, 2).ece.value == pytest.approx(0.0)


# --- a whole judgement


class Silent(MadeUpLog):
    """Nobody engages with anything."""

    def ticks(self):
        for tick in super().ticks():
            shown = tick.shown
            nothing = np.zeros(len(shown), bool)
            yield replace(tick, shown=replace(shown, click=nothing, view=nothing))


def test_a_log_without_engagement_gives_undefined_rows_and_no_zero():
    protocol = OfflineProtocol((*NAMES, "recall@2", "ap"), (M,), CORRECTIONS)
    found = judge(TablePolicy(), Silent(), protocol, fitted_until_s=0.0)
    assert len(found.queries.request_id) == 0
    for measure, estimate in estimates(found, protocol).items():
        assert np.isnan(estimate.value), measure
        assert estimate.n == 0
    rows = level_rows(SUBJECT, found, protocol)
    assert rows
    assert all(np.isnan([row.estimate, row.low, row.high]).all() for row in rows)
    Results(rows).arrow()
