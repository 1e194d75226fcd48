"""How fast slate logs are made and judged off-policy, beside plain loops over rounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.bench.clock import timed
from evaluation.bench.figure import Figure, rate
from evaluation.bench.plan import BenchPlan
from evaluation.off_policy.marginals import own_place, place_marginals, uniform_weight
from evaluation.off_policy.propensity import propensities
from evaluation.off_policy.slate_estimators import iips, pi, rips, sips
from evaluation.off_policy.slates import Slates
from evaluation.trial import limit_threads
from policies.rank import Exploration, rank

ITEMS, PLACES = 10, 3
"""As in the slate examples of Open Bandit Pipeline."""
PEER_PER_CPU_S = 800.0
"""Rounds that Open Bandit Pipeline generated; see the mark."""
MARK = 100 * PEER_PER_CPU_S
LOOP_ROUNDS = 2_000
"""Rounds of the plain loop, which is slow."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SlateWork:
    """Rounds of a uniform logging policy and a softmax target over ITEMS."""

    scores: Array
    """Of the target [B, C]."""
    uniforms: Array
    """[B, K]."""
    reward: Array
    """[B, K]."""
    n_users: int

    @classmethod
    def of(cls, n: int) -> SlateWork:
        """Return `n` rounds."""
        rng = np.random.default_rng(0)
        return cls(
            rng.normal(size=(n, ITEMS)), rng.random((n, PLACES)), rng.random((n, PLACES)), n // 5
        )

    def draw(self) -> tuple[NDArray[np.int32], Array]:
        """Return the logged slates and their propensities [B, K]."""
        even = np.zeros(self.scores.shape)
        slate = rank(even, np.ones(even.shape, np.bool_), PLACES, Exploration(), self.uniforms)
        return slate.column, slate.propensity

    def judge(self) -> tuple[float, ...]:
        """Draw, weigh and estimate all rounds; return the four estimates."""
        column, logged = self.draw()
        mask, softmax = np.ones(self.scores.shape, np.bool_), Exploration("softmax")
        target = propensities(self.scores, mask, column, softmax)
        places = place_marginals(self.scores, mask, column, softmax)
        slates = Slates.of(
            self.reward,
            logged,
            target,
            user_id=np.arange(len(logged)) % self.n_users,
            place_ratio=own_place(places, column) * ITEMS,
            pseudo_weight=uniform_weight(places, column, np.full(len(logged), ITEMS)),
        )
        found = [f(slates) for f in (sips, iips, rips, pi)]
        assert all(estimate.interval().low < estimate.value for estimate in found)
        return tuple(estimate.value for estimate in found)

    def judge_by_loops(self) -> tuple[float, ...]:
        """Return what `judge` does, by plain loops over rounds, without intervals."""
        n = len(self.scores)
        whole = cascade = apart = pseudo = 0.0
        for b in range(n):
            left, slate = list(range(ITEMS)), []
            weight = [math.exp(s) for s in self.scores[b].tolist()]
            prefix, brought = 1.0, self.reward[b].tolist()
            for k in range(PLACES):
                n_left = len(left)
                at = min(int(self.uniforms[b, k] * n_left), n_left - 1)
                prefix *= weight[left[at]] / sum(weight[i] for i in left) * n_left
                cascade += prefix * brought[k]
                slate.append(left[at])
                left[at] = left[-1]  # as `policies.rank` draws, so that the results are the same
                left.pop()
            whole += prefix * sum(brought)
            table = _marginals_by_loops(weight, slate)
            own = sum(table[k][k] for k in range(PLACES)) - PLACES / ITEMS
            every = sum(map(sum, table)) - PLACES * PLACES / ITEMS
            apart += sum(table[k][k] * ITEMS * brought[k] for k in range(PLACES))
            scale = ITEMS * (ITEMS - 1) / (ITEMS - PLACES)
            pull = scale * every / PLACES + (ITEMS - 1) * (own - every / PLACES)
            pseudo += (1.0 + pull) * sum(brought)
        return whole / n, apart / n, cascade / n, pseudo / n


def _marginals_by_loops(weight: list[float], slate: list[int]) -> list[list[float]]:
    """Return P(item of the slate at place l) by summing over all slates, [place][item]."""
    total = sum(weight)
    table = [[0.0] * PLACES for _ in range(PLACES)]
    for j, item in enumerate(slate):
        w = weight[item]
        table[0][j] = w / total
        for a, first in enumerate(weight):
            if a == item:
                continue
            after = first / total
            table[1][j] += after * w / (total - first)
            for b, second in enumerate(weight):
                if b not in (a, item):
                    after_both = after * second / (total - first)
                    table[2][j] += after_both * w / (total - first - second)
    return table


def measure(plan: BenchPlan) -> tuple[Figure, ...]:
    """Time whole off-policy judgements of slate logs, and the same by plain loops."""
    limit_threads()
    n = 20 * plan.scale.n_requests
    work, small = SlateWork.of(n), SlateWork.of(min(n, LOOP_ROUNDS))
    work.judge()  # compiled before it is timed
    taken = timed(work.judge, n, plan.scale.repeats)
    loops = timed(small.judge_by_loops, len(small.reward), 1)
    figure = rate(
        "off_policy/slates",
        "rounds",
        f"{n:,} slates of {PLACES} from {ITEMS} items: drawn with propensities, conditional and "
        "marginal probabilities under a softmax target, and SIPS, IIPS, RIPS and PI with intervals "
        f"clustered by user; the mark is 100 times the {PEER_PER_CPU_S:,.0f} rounds per second at "
        "which Open Bandit Pipeline generates such slates alone",
        taken,
        loops,
        "the same by plain Python loops over rounds, as such a log is usually made: without "
        "intervals; here a baseline to be left behind, not a bound",
        MARK if plan.scale.marks_apply else None,
    )
    return (figure,)
