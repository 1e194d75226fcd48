"""How fast users are resampled, beside drawing indices with numpy."""

from __future__ import annotations

import numpy as np

from evaluation.ab.bootstrap import resampled_sums
from evaluation.bench.clock import timed
from evaluation.bench.figure import Figure, rate
from evaluation.bench.plan import BenchPlan

USERS, DRAWS = 100_000, 1_000
MARK_CPU_S = 0.5
"""Mark of the project for USERS and DRAWS, processor seconds."""
BARE_DRAWS = 50
"""Draws of the floor, whose rate does not depend on them."""


def measure(plan: BenchPlan) -> tuple[Figure, ...]:
    """Time the multinomial cluster bootstrap of a ratio whose sums are all different."""
    scale = plan.scale
    users, draws = (USERS, DRAWS) if scale.marks_apply else (2_000, 50)
    values = np.random.default_rng(0).random((users, 2))
    resampled_sums(values[:1000], 2)  # compile
    resampled_sums(values[:300], 2)
    bare_draws = min(draws, BARE_DRAWS)

    def bare() -> None:
        rng = np.random.default_rng(0)
        for _ in range(bare_draws):
            drawn = rng.integers(0, users, users)
            values[drawn].sum(axis=0)

    return (
        rate(
            "bootstrap/users",
            "weights",
            f"multinomial cluster bootstrap of a ratio: {users:,} users, no two alike, "
            f"{draws:,} draws; the mark is {MARK_CPU_S} s for {USERS:,} and {DRAWS:,}",
            timed(lambda: resampled_sums(values, draws), float(users) * draws, scale.repeats),
            timed(bare, float(users) * bare_draws, scale.repeats),
            "plain numpy in the same run: user indices drawn, both sums gathered and added",
            USERS * DRAWS / MARK_CPU_S if scale.marks_apply else None,
        ),
    )
