"""Offline judgement on a made-up log: ranks by brute force, replay, pairing, and refusals."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation.offline import OfflineProtocol, comparison_rows, estimates, judge, level_rows
from evaluation.predictions import Measure
from evaluation.ranking.corrections import Correction, expected_corrected
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import MetricError
from evaluation.results import RELATIVE_LIFT, Results
from policies.heuristics import Random
from sim.schema import DAY_S, SCENARIOS, Impressions, Purchases, Requests
from sim.simulate import simulate
from sim.truth import RequestTruth
from tests.evaluation.made_up_log import (
    LOG,
    PLACES,
    PROTOCOL,
    SLATE,
    STREAMERS,
    SUBJECT,
    TABLE,
    USERS,
    MadeUpLog,
    TablePolicy,
    TablePredictor,
    judged,
)
from tests.sim.worlds import config, server


class Follower(TablePolicy):
    """Writes down what it is told, and when it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, float, int, int]] = []

    def observe(self, known: Impressions, bought: Purchases, now_s: float) -> None:
        self.seen.append(("observe", now_s, len(known), len(bought)))

    def score(self, batch: Requests) -> NDArray[np.floating]:
        self.seen.append(("score", float(batch.time_s[0]), len(batch), 0))
        return super().score(batch)


class Seer(TablePolicy):
    """Privileged; must never be asked without the truth."""

    privileged = True

    def score(self, batch: Requests) -> NDArray[np.floating]:
        raise AssertionError

    def score_with_truth(self, batch: Requests, truth: RequestTruth) -> NDArray[np.floating]:
        return super().score(batch)


def test_ranks_equal_brute_force_over_all_rooms() -> None:
    queries = judged(TablePolicy()).queries
    expected = []
    for shown in MadeUpLog().parts:
        for row in np.flatnonzero(shown.engage):
            scores = TABLE[shown.user_id[row]]
            others = np.arange(STREAMERS) != shown.refer_id[row]
            own = scores[shown.streamer_id[row]]
            better = int((scores[others] > own).sum())
            expected.append((shown.request_id[row], shown.streamer_id[row], better))
    got = zip(queries.request_id, queries.streamer_id, queries.ranks.greater, strict=True)
    assert sorted(got) == sorted(expected)
    assert (queries.ranks.candidates == STREAMERS - 1).all()
    assert set(queries.scenario) == set(PLACES)


def test_levels_are_means_over_queries_per_scenario() -> None:
    found = judged(TablePolicy())
    rows = level_rows(SUBJECT, found, PROTOCOL)
    by_key = {(r.metric, r.scenario): r for r in rows if r.slice == "all"}
    value = RankMetric.parse("hr@3").values(found.queries.ranks)
    for code in PLACES:
        own = found.queries.scenario == code
        row = by_key["hr@3", SCENARIOS[code]]
        assert (row.estimate, row.n) == (pytest.approx(value[own].mean()), own.sum())
    assert by_key["hr@3", "all"].estimate == pytest.approx(value.mean())
    assert by_key["hr@3", "all"].low < value.mean() < by_key["hr@3", "all"].high
    assert by_key["query_auc/s4", "all"].estimate == pytest.approx(
        by_key["query_auc", "all"].estimate
    )
    assert by_key["hr@3/s4", "all"].estimate > by_key["hr@3", "all"].estimate
    assert {r.metric for r in rows if "/" in r.metric} == {
        "hr@3/s4", "ndcg@3/s4", "mrr/s4", "query_auc/s4",
    }  # fmt: skip
    Results(rows).arrow()


def test_recall_and_ap_judge_requests_with_all_their_positives() -> None:
    protocol = OfflineProtocol(("recall@3", "precision@3", "ap"), ())
    got = estimates(judged(TablePolicy(), protocol), protocol)
    recall, precision, ap = [], [], []
    for shown in MadeUpLog().parts:
        for request in np.unique(shown.request_id):
            own = np.flatnonzero((shown.request_id == request) & shown.engage)
            if not len(own):
                continue
            scores = np.delete(TABLE[shown.user_id[own[0]]], shown.refer_id[own[0]])
            positive = np.delete(np.isin(np.arange(STREAMERS), shown.streamer_id[own]),
                                 shown.refer_id[own[0]])  # fmt: skip
            hit = positive[np.argsort(-scores)]
            recall.append(hit[:3].sum() / hit.sum())
            precision.append(hit[:3].sum() / 3)
            ap.append((np.cumsum(hit) / np.arange(1, len(hit) + 1))[hit].mean())
    for name, values in (("recall@3", recall), ("precision@3", precision), ("ap", ap)):
        number = got[Measure(name, "all")]
        assert (number.n, number.value) == (len(values), pytest.approx(np.mean(values)))


def test_corrected_metrics_stand_beside_the_sampled_ones() -> None:
    corrections = (Correction("cls"), Correction("bv", 0.1))
    protocol = OfflineProtocol(("hr@3", "mrr", "query_auc"), (4, 50), corrections)
    found = judged(TablePolicy(), protocol)
    got = {m.metric: e for m, e in estimates(found, protocol).items() if m.scenario == "all"}
    for correction in corrections:
        expected = expected_corrected(correction, RankMetric("hr", 3), found.queries.ranks, 4)[0]
        assert got[f"hr@3/s4_{correction.name}"].value == pytest.approx(expected.mean())
        # four negatives cannot tell rank 1 from rank 2, on which mrr rests: nothing is claimed
        assert f"mrr/s4_{correction.name}" not in got
        assert f"mrr/s50_{correction.name}" in got
    # all others as negatives leave nothing to correct
    assert got["hr@3/s50_cls"].value == pytest.approx(got["hr@3"].value)
    assert not any(name.startswith("query_auc/") and "_" in name[10:] for name in got)
    Results(level_rows(SUBJECT, found, protocol)).arrow()


def test_a_policy_that_writes_into_what_it_is_handed_is_stopped() -> None:
    class OpensAll(TablePolicy):
        def score(self, batch: Requests) -> NDArray[np.floating]:
            batch.supply.valid[:] = True
            return super().score(batch)

    class Renames(Follower):
        def observe(self, known: Impressions, bought: Purchases, now_s: float) -> None:
            known.watch_s[:] = 0.0

    for policy in (OpensAll(), Renames()):
        with pytest.raises(ValueError, match="read-only"):
            judged(policy)


def test_a_batch_shows_no_later_list_than_its_own(tmp_path: Path) -> None:
    beyond: list[set[int]] = []

    class Looks(Random):
        def score(self, batch: Requests) -> NDArray[np.floating]:
            shown = range(len(batch.supply.streamer_id))
            if len(np.unique(batch.scenario)) == 1:  # in the order of time: earlier ones may show
                shown = range(int(batch.row.max()) + 1, len(batch.supply.streamer_id))
            beyond.append(set(shown) - set(batch.row.tolist()))
            return super().score(batch)

    log = simulate(config(), 3, server("random"), 2, tmp_path / "log", ranker_name="r")
    protocol = replace(PROTOCOL, max_queries_per_tick=5)
    judge(Looks(), log.between(DAY_S, 2 * DAY_S), protocol, fitted_until_s=DAY_S)
    assert beyond
    assert not set().union(*beyond)
    last = list(log.as_of(1.5 * DAY_S).ticks())[-1]
    on_air = np.flatnonzero(last.supply.valid.any(axis=1)) % (144 + 24)
    assert on_air.max() == 72  # the slot at noon has begun, later ones are not known


def test_replay_tells_a_follower_only_what_is_new_before_it_asks() -> None:
    policy = Follower()
    judge(policy, LOG, PROTOCOL, fitted_until_s=-500.0)
    n = 10 * SLATE
    observed = [entry for entry in policy.seen if entry[0] == "observe"]
    # Of four old rows two are news; the purchase ten seconds after an old row is not.
    assert [entry[1:] for entry in observed] == [(0.0, 2, 0), (3600.0, n, 1), (7200.0, n, 1)]
    kinds = [entry[0] for entry in policy.seen]
    assert kinds == ["observe", "score"] * 3
    assert all(entry[2] <= 10 for entry in policy.seen if entry[0] == "score")


def test_a_privileged_policy_is_judged_with_truth_or_not_at_all() -> None:
    assert judge(Seer(), LOG, PROTOCOL, fitted_until_s=0.0) is None
    assert judge(Seer(), LOG, PROTOCOL, fitted_until_s=0.0, truth_for=lambda _: None) is None
    truth = cast("RequestTruth", object())
    found = judge(Seer(), LOG, PROTOCOL, fitted_until_s=0.0, truth_for=lambda _: truth)
    assert found is not None
    plain = judged(TablePolicy())
    np.testing.assert_array_equal(found.queries.ranks.greater, plain.queries.ranks.greater)


def test_comparisons_are_paired_query_by_query() -> None:
    treated, control = judged(TablePolicy()), judged(TablePolicy(np.zeros((USERS, STREAMERS))))
    rows = comparison_rows(SUBJECT, treated, "constant", control, PROTOCOL)
    gap = next(
        r for r in rows if (r.metric, r.scenario) == ("hr@3", "all") and r.unit != RELATIVE_LIFT
    )
    hr = [estimates(j, PROTOCOL)[Measure("hr@3", "all")].value for j in (treated, control)]
    assert hr[1] == pytest.approx(3 / (STREAMERS - 1))  # a constant scorer gets exactly k / n
    assert gap.estimate == pytest.approx(hr[0] - hr[1])
    assert gap.control == "constant"
    same = comparison_rows(SUBJECT, treated, "twin", treated, PROTOCOL)
    mrr = [r for r in same if r.metric == "mrr" and r.scenario not in ("feed", "detail")]
    assert mrr
    assert all(r.estimate == 0 and np.isnan(r.low) for r in mrr)  # alike is not "exactly equal"
    few = judged(TablePolicy(), replace(PROTOCOL, max_queries_per_tick=3))
    with pytest.raises(MetricError, match="table and other were not judged on the same queries"):
        comparison_rows(SUBJECT, treated, "other", few, PROTOCOL)


def test_a_limit_picks_the_same_queries_for_every_policy() -> None:
    limited = replace(PROTOCOL, max_queries_per_tick=4)
    one, other = judged(TablePolicy(), limited), judged(TablePolicy(-TABLE), limited)
    assert len(one.queries.ranks) == 12
    np.testing.assert_array_equal(one.queries.request_id, other.queries.request_id)
    full = judged(TablePolicy()).queries
    every = set(zip(full.request_id, full.streamer_id, strict=True))
    assert set(zip(one.queries.request_id, one.queries.streamer_id, strict=True)) <= every


def test_judgements_pickle() -> None:
    found = judged(TablePredictor())
    back = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(back.queries.ranks.greater, found.queries.ranks.greater)


def test_scores_that_are_not_numbers_stop_the_judgement() -> None:
    table = TABLE.copy()
    table[3, 4] = np.nan
    with pytest.raises(MetricError, match="not finite"):
        judged(TablePolicy(table))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metrics": ("coverage@3",)}, "'coverage' is unknown"),
        ({"sampled_m": (0,)}, "sampled_m is"),
        ({"max_queries_per_tick": 0}, "max_queries_per_tick is 0"),
    ],
)
def test_protocols_check_their_fields(fields: dict[str, object], message: str) -> None:
    with pytest.raises(MetricError, match=message):
        OfflineProtocol(**fields)  # type: ignore[arg-type]
