"""What a fitted policy costs: its parameters, the speed of its training and of its scoring."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import numpy as np

from policies.contract import Policy, Trained, Updatable
from sim.log import Log
from sim.schema import Impressions, Purchases, Requests

REQUESTS = 1_000
"""That are scored for a speed, at most."""

REPEATS = 5
"""Timings, of which the median counts."""


@dataclass(frozen=True)
class Cost:
    """Of one policy; NaN where it has no such number."""

    parameters: float
    examples_per_s: float
    """Training rows per second of the last phase, without evaluation."""
    pairs_per_s: float
    """Scored pairs of request and candidate per processor second, in a batch after news: nothing
    is kept from the one before, as at the first requests of a tick."""


def cost_of(policy: Policy, log: Log) -> Cost:
    """Time the scoring of a log's busiest requests, and ask a trained policy for the rest.

    Args:
        policy: fitted; a copy is told that time has passed, so that it keeps nothing.
        log: its last day holds requests.
    """
    requests, twin = busiest_requests(log, REQUESTS), copy.deepcopy(policy)
    spent_s = []
    for _ in range(REPEATS):
        if isinstance(twin, Updatable):
            twin.observe(Impressions.empty(), Purchases.empty(), log.end_s)
        begun_s = time.process_time()
        twin.score(requests.as_handed())
        spent_s.append(time.process_time() - begun_s)
    pairs_per_s = int(requests.mask.sum()) / max(float(np.median(spent_s)), 1e-9)
    if not isinstance(policy, Trained):
        return Cost(np.nan, np.nan, pairs_per_s)
    fit = policy.training
    return Cost(float(fit.parameters), fit.examples_per_s, pairs_per_s)


def busiest_requests(log: Log, n: int) -> Requests:
    """Return `n` requests of the last day's busiest tick, spread evenly over it.

    All its requests where there are not so many.
    """
    day = log.between(log.end_s - log.day_s, log.end_s)
    requests, _, _ = max(day.ticks(), key=lambda tick: len(tick.shown)).requests()
    rows = np.unique(np.linspace(0, len(requests) - 1, n).astype(np.int64))
    return requests.take(rows)
