"""Offline judgement on a made-up log: ranks by brute force, replay, pairing, and refusals."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation.metrics import MetricError, RankMetric
from evaluation.offline import (
    Judgement,
    OfflineProtocol,
    comparison_rows,
    estimates,
    judge,
    level_rows,
)
from evaluation.results import RELATIVE_LIFT, Results, Subject
from policies.contract import FitContext
from sim.log import Log
from sim.schema import PAD, Impressions, Purchases, Requests
from sim.truth import RequestTruth
from tests.evaluation.records import impressions, purchases_of, requests

USERS, STREAMERS, SLATE = 9, 12, 3
PROTOCOL = OfflineProtocol(("hr@3", "ndcg@3", "mrr", "query_auc"), (4,))
SUBJECT = Subject("quick", 0, "table")
TABLE = np.random.default_rng(0).normal(size=(USERS, STREAMERS))


@dataclass(frozen=True)
class MadeUpTick:
    """A tick with the whole supply as candidates, minus what the session has seen."""

    now_s: float
    known: Impressions
    purchases: Purchases
    shown: Impressions

    def requests(self) -> tuple[Requests, NDArray[np.int64], NDArray[np.int32]]:
        ids, request = np.unique(self.shown.request_id, return_inverse=True)
        first = self.shown.take(np.searchsorted(self.shown.request_id, ids))
        mask = np.ones((len(ids), STREAMERS), dtype=bool)
        mask[np.arange(len(ids)), first.refer_id] = False
        every = np.tile(np.arange(STREAMERS, dtype=np.int32), (len(ids), 1))
        return requests(first, every, mask), request, self.shown.streamer_id

    def slates(self) -> tuple[Requests, NDArray[np.int64]]:
        rows = np.arange(len(self.shown)).reshape(-1, SLATE)
        first = self.shown.take(rows[:, 0])
        ids = self.shown.streamer_id[rows]
        # A slate that is shorter than the others: the last cell of the first one is padding.
        rows[0, -1], ids[0, -1] = PAD, PAD
        return requests(first, ids, ids != PAD), rows


class MadeUpLog:
    """Three ticks of ten requests each."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.parts = []
        for tick in range(3):
            n = 10 * SLATE
            request = np.repeat(np.arange(10), SLATE)
            order = rng.permuted(np.tile(np.arange(STREAMERS), (10, 1)), axis=1)
            user = rng.integers(0, USERS, 10)[request]
            streamer = order[:, :SLATE].ravel()
            clicked = rng.random(n) < 1 / (1 + np.exp(-TABLE[user, streamer]))
            shown = impressions(
                n,
                request_id=request + 10 * tick,
                user_id=user,
                streamer_id=streamer,
                scenario=(request % 3).astype(np.int8),
                refer_id=order[request, SLATE],
                click=clicked & (request % 3 != 2),
                view=clicked,
                time_s=np.full(n, 3600.0 * tick),
                known_s=3600.0 * tick + np.linspace(0, 3000, n),
            )
            self.parts.append(shown)

    def catalogue(self) -> object:
        return requests(self.parts[0].take(slice(0, 1)), np.zeros((1, 1), np.int32)).catalogue

    def ticks(self) -> Iterator[MadeUpTick]:
        old_s = [-5000.0, -4000, -100, 0]
        before = impressions(4, time_s=old_s, known_s=old_s, user_id=[0, 1, 2, 3])
        for tick, shown in enumerate(self.parts):
            known = before if tick == 0 else self.parts[tick - 1]
            yield MadeUpTick(3600.0 * tick, known, purchases_of(known, [0], [1.0]), shown)


LOG = cast("Log", MadeUpLog())


class TablePolicy:
    """Scores from a table of users and streamers."""

    def __init__(self, table: NDArray[np.float64] = TABLE) -> None:
        self.table = table

    def fit(self, log: Log, context: FitContext) -> Self:
        return self

    def score(self, batch: Requests) -> NDArray[np.floating]:
        return self.table[batch.user_id[:, None], batch.candidate_id]


class TablePredictor(TablePolicy):
    """Predicts two targets as well, the second far too high."""

    def predict(self, batch: Requests) -> dict[str, NDArray[np.floating]]:
        p = 1 / (1 + np.exp(-self.score(batch)))
        return {"purchase": np.full_like(p, 0.5), "engage": p}


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


def judged(policy: TablePolicy, protocol: OfflineProtocol = PROTOCOL) -> Judgement:
    found = judge(policy, LOG, protocol, fitted_until_s=0.0)
    assert found is not None
    return found


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
    assert set(queries.scenario) == {0, 1, 2}


def test_levels_are_means_over_queries_per_scenario() -> None:
    found = judged(TablePolicy())
    rows = level_rows(SUBJECT, found, PROTOCOL)
    by_key = {(r.metric, r.scenario): r for r in rows}
    value = RankMetric.parse("hr@3").values(found.queries.ranks)
    for code, scenario in enumerate(("channel", "tab", "swipe")):
        own = found.queries.scenario == code
        row = by_key["hr@3", scenario]
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


def test_probabilities_are_judged_on_shown_rows() -> None:
    found = judged(TablePredictor())
    assert found.predictions is not None
    assert found.predictions.targets == ("engage", "purchase")  # order of TARGETS
    # One padded cell per tick hides a row, which no slate of a real log does.
    hidden = np.isnan(found.predictions.probability[0])
    assert hidden.sum() == 3
    shown = Impressions.concat(MadeUpLog().parts)
    p = 1 / (1 + np.exp(-TABLE[shown.user_id, shown.streamer_id]))
    np.testing.assert_allclose(found.predictions.probability[0][~hidden], p[~hidden], rtol=1e-6)
    np.testing.assert_array_equal(found.predictions.label[0], shown.target("engage"))


def test_classification_rows_come_with_every_target() -> None:
    found = judged(TablePredictor())
    assert found.predictions is not None
    kept = ~np.isnan(found.predictions.probability[0])
    whole = replace(
        found.predictions,
        probability=found.predictions.probability[:, kept],
        label=found.predictions.label[:, kept],
        user_id=found.predictions.user_id[kept],
        scenario=found.predictions.scenario[kept],
    )
    rows = level_rows(SUBJECT, replace(found, predictions=whole), PROTOCOL)
    by_key = {(r.metric, r.scenario): r for r in rows}
    assert by_key["auc/engage", "all"].estimate > 0.6
    assert by_key["gauc/engage", "all"].estimate > 0.5
    assert by_key["pcoc/engage", "all"].estimate == pytest.approx(1, abs=0.1)
    assert np.isnan(by_key["pcoc/engage", "all"].low)  # nine users are too few for an interval
    assert 0 < by_key["gauc/engage", "all"].low < by_key["gauc/engage", "all"].high < 1
    assert np.isnan(by_key["auc/purchase", "all"].estimate)  # nobody bought: no AUC, not 0
    assert by_key["logloss/purchase", "all"].estimate == pytest.approx(np.log(2))
    with pytest.raises(MetricError, match="probability lie outside"):
        level_rows(SUBJECT, found, PROTOCOL)


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
    hr = [estimates(j, PROTOCOL)["hr@3", "all"].value for j in (treated, control)]
    assert hr[1] == pytest.approx(3 / (STREAMERS - 1))  # a constant scorer gets exactly k / n
    assert gap.estimate == pytest.approx(hr[0] - hr[1])
    assert gap.control == "constant"
    same = comparison_rows(SUBJECT, treated, "twin", treated, PROTOCOL)
    mrr = [r for r in same if r.metric == "mrr"]
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
        ({"metrics": ("recall@3",)}, "'recall' is unknown"),
        ({"sampled_m": (0,)}, "sampled_m is"),
        ({"max_queries_per_tick": 0}, "max_queries_per_tick is 0"),
    ],
)
def test_protocols_check_their_fields(fields: dict[str, object], message: str) -> None:
    with pytest.raises(MetricError, match=message):
        OfflineProtocol(**fields)  # type: ignore[arg-type]


def test_predictions_of_unknown_targets_are_refused() -> None:
    class Odd(TablePolicy):
        def predict(self, batch: Requests) -> dict[str, NDArray[np.floating]]:
            return {"joy": self.score(batch)}

    class Flat(TablePolicy):
        def predict(self, batch: Requests) -> dict[str, NDArray[np.floating]]:
            return {"engage": np.zeros(len(batch))}

    with pytest.raises(MetricError, match="target 'joy' is unknown"):
        judged(Odd())
    with pytest.raises(MetricError, match=r"'engage' have shape \(10,\)"):
        judged(Flat())
