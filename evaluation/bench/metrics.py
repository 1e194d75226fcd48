"""How fast ranks are counted and AUC and GAUC computed from given scores, beside their floors.

The marks are those of the project. All on made-up rows: scores uniform, POSITIVE of them positive.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evaluation.bench.clock import timed
from evaluation.bench.figure import Figure, rate
from evaluation.bench.judging import COUNTING, N_USERS, counting
from evaluation.bench.plan import BenchPlan
from evaluation.classification import Weight, auc_value, gauc
from evaluation.ranking.ranks import rank_positives, rank_positives_numpy
from evaluation.trial import limit_threads

POSITIVE = 0.03
"""Share of rows that are positive, as of purchases among views."""
WEIGHTS: tuple[Weight, ...] = ("impressions", "positives", "users")

RANKS_PER_CPU_S, NUMPY_RANKS_PER_CPU_S = 200_000.0, 90_000.0
"""Marks for requests of 10,000 candidates and one positive: compiled, and in plain numpy."""
GAUC_ROWS_PER_CPU_S = 20e6
"""Mark for rows of GAUC, with all three weights."""
AUC_TIMES_SORT = 1.3
"""Mark for AUC: at most this many times one sort of the negatives."""


def measure(plan: BenchPlan) -> tuple[Figure, ...]:
    """Time ranks from scores, AUC and GAUC from rows."""
    limit_threads()
    scale = plan.scale
    figures = rank_rates(scale.n_wide_queries, scale.n_wide, scale.repeats)
    figures += pair_rates(scale.n_rows, scale.repeats)
    return figures if scale.marks_apply else tuple(replace(figure, mark=None) for figure in figures)


def rank_rates(n: int, n_candidates: int, repeats: int) -> tuple[Figure, ...]:
    """Return the rates of ranking one positive among `n_candidates` in each of `n` requests."""
    rng = np.random.default_rng(0)
    scores = rng.random((n, n_candidates), dtype=np.float32)
    mask = np.ones(scores.shape, np.bool_)
    request, column = np.arange(n), rng.integers(0, n_candidates, n)
    rank_positives(scores[:1], None, request[:1], column[:1])
    rank_positives(scores[:1], mask[:1], request[:1], column[:1])
    floor = counting(scores, column, repeats)
    work = (
        f"{n:,} requests, {n_candidates:,} candidates, one positive: ranks with ties, NaN refused"
    )
    ways = (
        ("ranks/compiled", "compiled", RANKS_PER_CPU_S, rank_positives, None),
        ("ranks/masked", "compiled, candidates by a mask", None, rank_positives, mask),
        ("ranks/numpy", "plain numpy", NUMPY_RANKS_PER_CPU_S, rank_positives_numpy, None),
    )
    return tuple(
        rate(
            name,
            "requests",
            f"{work}; {how}",
            timed(lambda: count(scores, given, request, column), n, repeats),  # noqa: B023
            floor,
            COUNTING,
            mark,
        )
        for name, how, mark, count, given in ways
    )


def pair_rates(n: int, repeats: int) -> tuple[Figure, ...]:
    """Return the rates of AUC and of GAUC on `n` rows."""
    rng = np.random.default_rng(1)
    score, label = rng.random(n, dtype=np.float32), rng.random(n) < POSITIVE
    user = rng.integers(0, N_USERS, n)
    negatives = score[~label]
    keys = (user.astype(np.uint64) << np.uint64(33)) | score.view(np.uint32).astype(np.uint64)

    def grouped() -> None:
        found = gauc(score, label, user, N_USERS)
        for weight in WEIGHTS:
            found.estimate(weight)

    grouped()  # compiled at the first call
    auc_value(score, label)
    sort = timed(lambda: np.sort(negatives), n, repeats)
    rows = f"{n:,} rows, {POSITIVE:.0%} positive"
    return (
        rate(
            "auc",
            "rows",
            f"{rows}: AUC, exact with ties; the mark is {AUC_TIMES_SORT} times the floor",
            timed(lambda: auc_value(score, label), n, repeats),
            sort,
            "numpy.sort of the negatives alone",
            sort.per_cpu_s / AUC_TIMES_SORT,
        ),
        rate(
            "gauc",
            "rows",
            f"{rows}, {N_USERS:,} users: AUC of every user, three weighted means, their errors",
            timed(grouped, n, repeats),
            timed(lambda: np.sort(keys), n, repeats),
            "numpy.sort of as many integers of 64 bits",
            GAUC_ROWS_PER_CPU_S,
        ),
    )
