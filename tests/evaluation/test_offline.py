"""Offline judgement on a made-up log: ranks by brute force, replay, pairing, and refusals."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
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
from evaluation.predictions import Measure, reference_rows
from evaluation.results import RELATIVE_LIFT, Results, Subject
from policies.contract import FitContext
from policies.heuristics import Random
from sim.log import Log
from sim.schema import DAY_S, PAD, SCENARIOS, Impressions, Purchases, Requests
from sim.simulate import simulate
from sim.truth import RequestTruth
from sim.truth_log import logged_truth
from tests.evaluation.records import impressions, purchases_of, requests
from tests.sim.worlds import config, server

USERS, STREAMERS, SLATE = 9, 12, 3
PROTOCOL = OfflineProtocol(("hr@3", "ndcg@3", "mrr", "query_auc"), (4,))
SUBJECT = Subject("quick", 0, "table")
PLACES = tuple(SCENARIOS.index(name) for name in ("channel", "tab", "swipe"))
"""Scenarios of the made-up log."""
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
        # Slates shorter than the longest one end in padding.
        rows, ids = (np.pad(t, ((0, 0), (0, 1)), constant_values=PAD) for t in (rows, ids))
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
                scenario=np.array(PLACES, np.int8)[request % 3],
                refer_id=order[request, SLATE],
                click=clicked & (request % 3 != 2),
                view=clicked,
                position=np.tile(np.arange(SLATE), 10),
                time_s=np.full(n, 3600.0 * tick),
                known_s=3600.0 * tick + np.linspace(0, 3000, n),
            )
            self.parts.append(shown)

    as_of_s = 3 * 3600.0 + 1800.0

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


class PlacePredictor(TablePredictor):
    """Says that a room is half as likely at each lower position."""

    def predict_at(
        self, batch: Requests, position: NDArray[np.int32]
    ) -> dict[str, NDArray[np.floating]]:
        return {name: p * 0.5**position for name, p in self.predict(batch).items()}


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
    assert set(queries.scenario) == set(PLACES)


def test_levels_are_means_over_queries_per_scenario() -> None:
    found = judged(TablePolicy())
    rows = level_rows(SUBJECT, found, PROTOCOL)
    by_key = {(r.metric, r.scenario): r for r in rows}
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


def test_probabilities_are_judged_on_shown_rows() -> None:
    found = judged(TablePredictor())
    assert found.predictions is not None
    assert found.predictions.targets == ("engage", "purchase")  # order of TARGETS
    shown = Impressions.concat(MadeUpLog().parts)
    p = 1 / (1 + np.exp(-TABLE[shown.user_id, shown.streamer_id]))
    np.testing.assert_allclose(found.predictions.probability[0], p, rtol=1e-6)
    np.testing.assert_array_equal(found.predictions.label[0], shown.target("engage"))


def test_classification_rows_come_with_every_target() -> None:
    found = judged(TablePredictor())
    rows = level_rows(SUBJECT, found, PROTOCOL)
    by_key = {(r.metric, r.scenario, r.slice): r for r in rows}
    assert by_key["auc/engage", "all", "top"].estimate > 0.6
    assert by_key["pcoc/engage", "all", "top"].estimate == pytest.approx(1, abs=0.2)
    assert np.isnan(by_key["pcoc/engage", "all", "top"].low)  # nine users: too few for an interval
    # nobody bought: no AUC, not 0
    assert np.isnan(by_key["auc/purchase", "all", "top, 1h"].estimate)
    assert by_key["logloss/purchase", "all", "top, 1h"].estimate == pytest.approx(np.log(2))
    assert not {r.slice for r in rows if "purchase" in r.metric} - {"top, 1h"}

    class Unsure(TablePredictor):
        def predict(self, batch: Requests) -> dict[str, NDArray[np.floating]]:
            return {"engage": np.full(batch.mask.shape, np.nan)}

    broken = judged(Unsure())
    with pytest.raises(MetricError, match="probability lie outside"):
        level_rows(SUBJECT, broken, PROTOCOL)


def test_without_positions_only_the_top_is_judged_with_them_everything_shown() -> None:
    shown = Impressions.concat(MadeUpLog().parts)
    top = shown.position == 0
    clicks = shown.target("engage")
    plain = estimates(judged(TablePredictor()), PROTOCOL)
    p = 1 / (1 + np.exp(-TABLE[shown.user_id, shown.streamer_id]))
    expected = p[top].sum() / clicks[top].sum()
    assert plain[Measure("pcoc/engage", "all", "top")].value == pytest.approx(expected, rel=1e-6)
    assert Measure("pcoc/engage", "all") not in plain
    placed = estimates(judged(PlacePredictor()), PROTOCOL)
    assert placed[Measure("pcoc/engage", "all", "top")].value == pytest.approx(expected, rel=1e-6)
    found = judged(PlacePredictor()).predictions
    assert found is not None
    at = p * 0.5**shown.position
    np.testing.assert_allclose(found.probability[0], at, rtol=1e-6)


def test_true_probabilities_are_calibrated_where_they_were_shown(tmp_path: Path) -> None:
    log = simulate(config(), 3, server("popularity", 0.5), 2, tmp_path / "log", ranker_name="p")
    rows = reference_rows(Subject("quick", 3, ""), log, log.catalogue().n_users)
    by_key = {(r.metric, r.scenario, r.slice): r for r in rows}
    whole = by_key["pcoc/engage", "channel", "all"]
    assert whole.low - 0.02 < 1 < whole.high + 0.02
    # at the top the same rooms are likelier: judged against all rows this would pass for a fault
    truth, shown = logged_truth(log), log.impressions()
    channel = shown.scenario == 0
    at_top = truth.p_engage[channel] / 0.85 ** shown.position[channel]
    assert at_top.mean() / shown.engage[channel].mean() > 1.3
    bought = by_key["pcoc/purchase", "all", "ultimate"]
    assert bought.low < 1 < bought.high
    assert all(r.kind == "truth" for r in rows)
    assert {r.slice for r in rows} == {"all", "top", "ultimate", "top, ultimate"}


def test_purchases_have_a_window_and_an_end(tmp_path: Path) -> None:
    class Half(Random):
        def predict_at(
            self, batch: Requests, position: NDArray[np.int32]
        ) -> dict[str, NDArray[np.floating]]:
            return {"purchase": np.full(batch.mask.shape, 0.5)}

        def predict(self, batch: Requests) -> dict[str, NDArray[np.floating]]:
            return {"purchase": np.full(batch.mask.shape, 0.5)}

    log = simulate(config(), 3, server("random"), 2, tmp_path / "log", ranker_name="r")
    day = log.between(DAY_S, 2 * DAY_S)
    truth, shown = logged_truth(day), day.impressions()
    protocol = replace(PROTOCOL, max_queries_per_tick=5)
    found = judge(Half(), day, protocol, fitted_until_s=DAY_S, truth=truth)
    assert found is not None
    got = estimates(found, protocol)
    over = 2 * DAY_S - shown.known_s >= 3600
    soon = over & (shown.purchase_s - shown.known_s <= 3600)
    window = got[Measure("pcoc/purchase", "all", "1h")]
    assert (window.n, window.value) == (over.sum(), pytest.approx(0.5 * over.sum() / soon.sum()))
    ever = got[Measure("pcoc/purchase", "all", "ultimate", "truth")]
    assert ever.value == pytest.approx(0.5 * len(shown) / truth.will_purchase.sum())
    assert truth.will_purchase.sum() > soon.sum() > 0
    with pytest.raises(MetricError, match="another log"):
        judge(Half(), day, protocol, fitted_until_s=DAY_S, truth=truth.take(slice(1, None)))


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
