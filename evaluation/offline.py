"""Offline judgement: one policy on a held-out log, replayed tick by tick.

At each tick the policy first observes what the platform learnt since the previous one (if it is
`Updatable`), then scores. A query is a shown row that was engaged with (click on a list, effective
view in the swipe); its streamer is ranked among all rooms on air that the request could have shown.
Other positives of the same request count as candidates; recall, precision and AP judge all
positives of a request together. Probabilities are judged on shown rows, see
`evaluation.predictions`.

Every policy meets the same queries, and per-query ranks are kept, so comparisons are paired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Estimate, clustered_mean, difference, lift
from evaluation.predictions import (
    DECILE,
    Measure,
    Predictions,
    against_truth,
    by_decile,
    classify,
    inversions,
    predict_tick,
    scopes,
)
from evaluation.ranking.corrections import Correction, blind, corrected_name, expected_corrected
from evaluation.ranking.lists import RankedLists
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import MetricError, Ranks, rank_positives
from evaluation.ranking.sampled import expected_values, sampled_name
from evaluation.ranking.slices import Traits
from evaluation.results import ALL, Row, Subject
from policies.contract import Policy, Privileged, Probabilistic, Updatable, is_privileged
from sim.rng import philox4x32
from sim.schema import Requests

if TYPE_CHECKING:
    from sim.log import Log
    from sim.tick import Tick
    from sim.truth import RequestTruth, TruthRows

TruthSource = Callable[[Requests], "RequestTruth | None"]
"""Gives the truth about logged requests, or None where it is not to be had."""

PER_REQUEST = ("recall", "precision", "ap")
"""Metrics of all positives of a request together; the others have a value for each positive, for
one of which these say what ``hr`` and ``mrr`` do."""

_BLOCK_ROWS = 512
"""Requests scored at once: bounds memory, and keeps [B, C] tables in cache."""
_STREAM = 0x515545
"""Second word of the Philox key that picks queries where there are too many."""


@dataclass(frozen=True)
class OfflineProtocol:
    """What is measured.

    Raises:
        MetricError: a metric is unknown, or a number is below 1.
    """

    metrics: tuple[str, ...] = ("hr@10", "ndcg@10", "mrr", "query_auc")
    sampled_m: tuple[int, ...] = (20, 100)
    """Numbers of sampled negatives, without replacement."""
    corrections: tuple[Correction, ...] = ()
    """Corrections of the sampled metrics that are reported beside them, in exact expectation; left
    out where a metric lies in the blind spot of its negatives (`evaluation.ranking.corrections`):
    what they report there is a guess from the prior."""
    max_queries_per_tick: int | None = None
    """Judge at most this many queries a tick, picked by request id; None judges all."""

    def __post_init__(self) -> None:
        """Check every field."""
        for name in self.metrics:
            RankMetric.parse(name)
        if any(m < 1 for m in self.sampled_m):
            raise MetricError(f"sampled_m is {self.sampled_m}; every number must be at least 1")
        limit = self.max_queries_per_tick
        if limit is not None and limit < 1:
            raise MetricError(f"max_queries_per_tick is {limit}; it must be at least 1, or null")


@dataclass(frozen=True)
class Queries:
    """Where each positive stands among all rooms on air, arrays [Q]."""

    request_id: NDArray[np.int64]
    streamer_id: NDArray[np.int32]
    user_id: NDArray[np.int32]
    scenario: NDArray[np.int8]
    traits: Traits
    """What the queries are sliced by."""
    ranks: Ranks

    @property
    def by_request(self) -> tuple[NDArray[np.int64], RankedLists]:
        """The requests that have a positive: a row of each [B], and where all its positives stand.

        A limit on queries may have left out some positives of the last request of a tick.
        """
        _, first, request = np.unique(self.request_id, return_index=True, return_inverse=True)
        candidates = self.ranks.candidates[first].astype(np.int64)
        return first, RankedLists(request.astype(np.int64), self.ranks, candidates)


@dataclass(frozen=True)
class Judgement:
    """One policy on one log, before any averaging; pickles."""

    n_users: int
    """Number of users U; ids of users are below it."""
    queries: Queries
    predictions: Predictions | None
    """None where the policy predicts no probabilities."""


def judge(
    policy: Policy | Privileged,
    log: Log,
    protocol: OfflineProtocol,
    *,
    fitted_until_s: float,
    truth_for: TruthSource | None = None,
    truth: TruthRows | None = None,
) -> Judgement | None:
    """Replay a held-out log through a fitted policy.

    Args:
        policy: fitted; follows the log if `Updatable`, so it is changed by the call.
        log: the held-out part, such as the last day.
        protocol: what is measured.
        fitted_until_s: `as_of_s` of the log it was fitted on: what was known by then is not
            observed a second time.
        truth_for: source of the truth for a privileged policy.
        truth: true side of the log (`sim.truth_log.logged_truth`), for purchases that come after
            its end; without it they are judged on those inside it only.

    Returns:
        The judgement; None where the policy is privileged and the truth is not to be had.

    Raises:
        MetricError: scores or probabilities have a wrong shape, are not finite, or lie outside
            [0, 1].
    """
    n_users = log.catalogue().n_users
    queries: list[Queries] = []
    predictions: list[Predictions] = []
    for tick in log.ticks():
        follow(policy, tick, fitted_until_s)
        ranked = _rank_tick(policy, tick, protocol, truth_for)
        if ranked is None:
            return None
        queries.append(ranked)
        if isinstance(policy, Probabilistic):
            predictions.append(predict_tick(policy, tick, log.as_of_s, truth))
    return Judgement(n_users, _stack_queries(queries), Predictions.concat(predictions))


def estimates(judgement: Judgement, protocol: OfflineProtocol) -> dict[Measure, Estimate]:
    """Return {what: estimate clustered by user} of one judgement."""
    out: dict[Measure, Estimate] = {}
    queries, users = judgement.queries, judgement.n_users
    values, corrected = {"tie_rate": queries.ranks.tied}, {}
    first, lists = queries.by_request
    longest = int(queries.ranks.candidates.max(initial=1))
    metrics = [RankMetric.parse(name) for name in protocol.metrics]
    for metric in (m for m in metrics if m.base in PER_REQUEST):
        value, who = lists.values(metric), queries.user_id[first]
        for scenario, rows in scopes(queries.scenario[first]):
            out[Measure(metric.name, scenario)] = clustered_mean(value[rows], who[rows], users)
    for metric in (m for m in metrics if m.base not in PER_REQUEST):
        values[metric.name] = metric.values(queries.ranks)
        for m in protocol.sampled_m:
            values[sampled_name(metric, m)] = expected_values(metric, queries.ranks, m)
            lost = metric.base == "query_auc" or blind(metric, longest, m)
            for correction in () if lost else protocol.corrections:
                name = corrected_name(metric, m, correction)
                corrected[name] = expected_corrected(correction, metric, queries.ranks, m)[0]
    for name, value in values.items():
        for scenario, rows in scopes(queries.scenario):
            out[Measure(name, scenario)] = clustered_mean(value[rows], queries.user_id[rows], users)
    for name in (name for name in values if "/" not in name):
        for part, rows in queries.traits.slices():
            if rows.any():
                mean = clustered_mean(values[name][rows], queries.user_id[rows], users)
                out[Measure(name, ALL, part)] = mean
    for name, value in corrected.items():
        for scenario, rows in scopes(queries.scenario):
            # a correction may leave [0, 1]
            mean = clustered_mean(value[rows], queries.user_id[rows], users, "plain")
            out[Measure(name, scenario)] = mean
    if judgement.predictions is not None:
        out |= classify(judgement.predictions, users)
        out |= against_truth(judgement.predictions, users)
        out |= by_decile(judgement.predictions, users)
        out |= inversions(judgement.predictions, users)
    return out


def level_rows(subject: Subject, judgement: Judgement, protocol: OfflineProtocol) -> list[Row]:
    """Return one row per metric, scenario and slice."""
    return [
        subject.level(m.metric, m.kind, estimate.interval(), scenario=m.scenario, slice=m.slice)
        for m, estimate in estimates(judgement, protocol).items()
    ]


def comparison_rows(
    subject: Subject,
    judgement: Judgement,
    control: str,
    control_judgement: Judgement,
    protocol: OfflineProtocol,
) -> list[Row]:
    """Return the paired difference and relative lift of every number that both have.

    Raises:
        MetricError: the two were not judged on the same queries.
    """
    same = all(
        np.array_equal(getattr(judgement.queries, name), getattr(control_judgement.queries, name))
        for name in ("request_id", "streamer_id")
    )
    if not same or judgement.n_users != control_judgement.n_users:
        raise MetricError(
            f"{subject.policy} and {control} were not judged on the same queries; "
            "a paired comparison needs one log and one protocol"
        )
    base = estimates(control_judgement, protocol)
    rows = []
    for m, treated in estimates(judgement, protocol).items():
        # a decile of one policy's predictions holds other rows than that of another's
        if m in base and DECILE not in m.slice:
            pair = treated, base[m]
            gap, gain = difference(*pair).interval(), lift(*pair).interval()
            for number, make in ((gap, subject.difference), (gain, subject.lift)):
                rows.append(
                    make(m.metric, m.kind, number, control, scenario=m.scenario, slice=m.slice)
                )
    return rows


def _rank_tick(
    policy: Policy | Privileged,
    tick: Tick,
    protocol: OfflineProtocol,
    truth_for: TruthSource | None,
) -> Queries | None:
    requests, request, column = tick.requests()
    rows = _pick(np.flatnonzero(tick.shown.engage), tick.shown.request_id, protocol)
    needed, own = np.unique(request[rows], return_inverse=True)
    subset = requests.take(needed)
    parts: list[Ranks] = []
    order: list[NDArray[np.int64]] = []
    for block in subset.blocks(_BLOCK_ROWS):
        batch = subset.take(block)
        scores = scores_of(policy, batch, truth_for)
        if scores is None:
            return None
        inside = np.flatnonzero((own >= block.start) & (own < block.stop))
        position = column[rows[inside]]
        parts.append(rank_positives(scores, batch.mask, own[inside] - block.start, position))
        order.append(inside)
    if order:  # back from request order to row order
        rows = rows[np.concatenate(order)]
    shown = tick.shown
    return Queries(
        shown.request_id[rows],
        shown.streamer_id[rows],
        shown.user_id[rows],
        shown.scenario[rows],
        Traits.of(
            requests.catalogue,
            shown.entry[rows],
            shown.user_id[rows],
            shown.streamer_id[rows],
            shown.time_s[rows],
        ),
        Ranks.concat(parts),
    )


def _pick(
    rows: NDArray[np.int64], request_id: NDArray[np.int64], protocol: OfflineProtocol
) -> NDArray[np.int64]:
    limit = protocol.max_queries_per_tick
    if limit is None or len(rows) <= limit:
        return rows
    wide = request_id[rows].astype(np.uint64)
    low, high = wide & np.uint64(0xFFFFFFFF), wide >> np.uint64(32)
    # Rows of one request share its draw; the stable sort keeps them together and in order.
    draw = philox4x32((low, high, 0, 0), (0, _STREAM))[0]
    return np.sort(rows[np.argsort(draw, kind="stable")[:limit]])


def follow(policy: Policy | Privileged, tick: Tick, fitted_until_s: float) -> None:
    """Let a policy observe what the platform learnt since the tick before, if it is `Updatable`.

    Args:
        policy: fitted; changed by the call.
        tick: of the log.
        fitted_until_s: what was known by then it does not observe a second time.
    """
    if isinstance(policy, Updatable):
        known = tick.known.take(tick.known.known_s > fitted_until_s)
        bought = tick.purchases.take(tick.purchases.known_s > fitted_until_s)
        policy.observe(known.read_only, bought.read_only, tick.now_s)


def scores_of(
    policy: Policy | Privileged, batch: Requests, truth_for: TruthSource | None
) -> NDArray[np.floating] | None:
    """Return a policy's scores of logged requests [B, C].

    Returns:
        The scores; None where the policy is privileged and the truth is not to be had.
    """
    if is_privileged(policy):
        truth = None if truth_for is None else truth_for(batch)
        if truth is None:
            return None
        return cast("Privileged", policy).score_with_truth(batch.as_handed(), truth)
    return cast("Policy", policy).score(batch.as_handed())


def _stack_queries(parts: list[Queries]) -> Queries:
    return Queries(
        np.concatenate([np.empty(0, np.int64), *(p.request_id for p in parts)]),
        np.concatenate([np.empty(0, np.int32), *(p.streamer_id for p in parts)]),
        np.concatenate([np.empty(0, np.int32), *(p.user_id for p in parts)]),
        np.concatenate([np.empty(0, np.int8), *(p.scenario for p in parts)]),
        Traits.concat([p.traits for p in parts]),
        Ranks.concat([p.ranks for p in parts]),
    )
