"""How fast ranks and metrics are computed, beside bare counting, and what a judgement holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.bench.clock import Timing, peak_gb, timed
from evaluation.bench.figure import Figure, memory, rate
from evaluation.bench.plan import JUDGED, BenchPlan
from evaluation.offline import Judgement, OfflineProtocol, Queries, estimates, judge
from evaluation.ranking.ranks import rank_positives
from evaluation.ranking.slices import Traits
from evaluation.trial import limit_threads
from sim.config import build
from sim.log import Log
from sim.schema import DAY_S, ENTRIES, SCENARIOS

BLOCK_CELLS = 1 << 18
"""Cells that the kernel compares at a time."""
N_USERS = 4000
"""Users of the made-up queries."""
COUNTING = (
    "bare numpy: count_nonzero(scores > positive), by row or in blocks, whichever is faster; "
    "no mask, no ties, no metric"
)


def measure(plan: BenchPlan) -> tuple[Figure, ...]:
    """Judge a fitted policy on the last day for its memory, then time metrics on made-up scores."""
    limit_threads()
    began_gb = peak_gb()
    scale, log = plan.scale, Log.open(plan.log)
    config = plan.config()
    protocol = OfflineProtocol(
        (*(f"{base}@{k}" for base in ("hr", "ndcg") for k in config.ks), "mrr", "query_auc"),
        (config.sampled_m,),
    )
    policy = build(config.policies[JUDGED]).load(plan.judged)
    last_day = log.between((scale.log_days - 1) * DAY_S, log.end_s)
    judgement = judge(policy, last_day, protocol, fitted_until_s=0.0)
    assert judgement is not None, "only a privileged policy has no judgement"
    estimates(judgement, protocol)
    work = f"judging {JUDGED} on the last day, {len(judgement.queries.request_id):,} queries"
    judging = memory("memory/judge", work, peak_gb(), began_gb)
    n_candidates = round(float(log.impressions().n_candidates.mean()))
    sizes = ((scale.n_queries, n_candidates), (scale.n_wide_queries, scale.n_wide))
    figures = [metric_rate(q, c, protocol, scale.repeats) for q, c in sizes]
    return (*figures, judging)


def metric_rate(n: int, n_candidates: int, protocol: OfflineProtocol, repeats: int) -> Figure:
    """Return the rate of `n` queries among `n_candidates`, from scores to estimates."""
    rng = np.random.default_rng(0)
    scores = rng.random((n, n_candidates), dtype=np.float32)
    mask = np.ones(scores.shape, np.bool_)
    request, column = np.arange(n), rng.integers(0, n_candidates, n)
    user_id = rng.integers(0, N_USERS, n, dtype=np.int32)
    scenario = rng.integers(0, len(SCENARIOS), n, dtype=np.int8)

    traits = Traits(
        rng.integers(0, len(ENTRIES), n, dtype=np.int8),
        rng.random(n) < 0.1,
        rng.random(n) < 0.1,
        rng.integers(0, 10, n, dtype=np.int8),
    )

    def judged() -> None:
        ranks = rank_positives(scores, mask, request, column)
        streamer_id = column.astype(np.int32)
        queries = Queries(request, streamer_id, user_id, scenario, traits, ranks)
        estimates(Judgement(N_USERS, queries, None), protocol)

    judged()  # tables of the sampled metrics are made once and kept
    names = ", ".join(protocol.metrics)
    return rate(
        f"metrics/{n_candidates}",
        "queries",
        f"{n:,} queries among {n_candidates:,} candidates: ranks with ties, {names}, each also "
        f"with {protocol.sampled_m[0]} sampled negatives, by scenario, with intervals",
        timed(judged, n, repeats),
        counting(scores, column, repeats),
        COUNTING,
    )


def counting(scores: NDArray[np.float32], column: NDArray[np.integer], repeats: int) -> Timing:
    """Return how long bare counting takes: scores [Q, C], columns of the positives [Q]."""
    own = scores[np.arange(len(scores)), column]
    step = max(1, BLOCK_CELLS // scores.shape[1])

    def by_row() -> None:
        for row, positive in zip(scores, own, strict=True):
            np.count_nonzero(row > positive)

    def in_blocks() -> None:
        for low in range(0, len(scores), step):
            block = slice(low, low + step)
            np.count_nonzero(scores[block] > own[block, None], axis=1)

    ways = [timed(way, len(scores), repeats) for way in (by_row, in_blocks)]
    return min(ways, key=lambda timing: timing.cpu_s)
