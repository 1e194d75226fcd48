"""How fast the world runs, beside the same arithmetic without a world around it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import expit

from evaluation.bench_clock import peak_gb, timed
from evaluation.bench_figure import IMPRESSIONS_PER_CPU_S, Figure, memory, rate
from evaluation.bench_plan import BenchPlan
from policies.heuristics import Random
from policies.rank import Exploration, Server
from sim.config import WorldConfig, build
from sim.log import Log
from sim.parameters import WatchConfig
from sim.rng import philox4x32
from sim.schema import DAY_S
from sim.simulate import simulate
from sim.tables import to_table, write_table
from sim.watch import draw_watch_s
from sim.world import World

BLOCK = 2048
"""Impressions of the kernel at a time, about as many as a step of all sessions of a tick shows."""
SLOTS = 12
"""Rows of the kernel's table of rooms on air."""

KERNEL = (
    "bare numpy, in blocks: one Philox block an impression; affinity as a dot product of 16 "
    "numbers; click and stay by their logistic laws, watch time by its inverse law; for each "
    "request the mask of all candidates without one that was seen, and uniform choices from it"
)


def measure(plan: BenchPlan) -> tuple[Figure, ...]:
    """Write the log of the plan for its memory, then time simulations of `speed_days` days."""
    scale, began_gb = plan.scale, peak_gb()
    config: WorldConfig = build(plan.config().world)
    log = _write(config, scale.log_days, plan.log)
    peak = peak_gb()
    shown = log.between(0.0, scale.speed_days * DAY_S).impressions()
    n, n_requests = len(shown), len(np.unique(shown.request_id))

    def alone() -> None:
        for _ in World(config, 0).run(_random(), scale.speed_days):
            pass

    def written() -> None:
        with tempfile.TemporaryDirectory(dir=plan.folder) as folder:
            _write(config, scale.speed_days, Path(folder) / "log")

    kernel = timed(
        bare_world(n, n_requests, round(float(shown.n_candidates.mean())), config.watch),
        n,
        scale.repeats,
    )
    table, file = to_table(shown), plan.folder / "impressions.parquet"
    one_file = timed(lambda: write_table(table, file), n, scale.repeats)
    work = (
        f"days of the {config.name} world: {scale.speed_days}; random policy, {n:,} impressions "
        f"of {n_requests:,} requests"
    )
    mark = IMPRESSIONS_PER_CPU_S if scale.marks_apply else None
    unit = "impressions"
    return (
        rate(
            "simulate", unit, f"{work}; building the world counts",
            timed(alone, n, scale.repeats), kernel, KERNEL, mark,
        ),
        rate(
            "simulate+log", unit, "the same, with the typed log, its truth and states written",
            timed(written, n, scale.repeats), kernel + one_file,
            "the kernel above, and the columns of the impressions in one Parquet file", mark,
        ),
        memory(
            "memory/simulate",
            f"simulating and writing {scale.log_days} days, {len(log.impressions()):,} impressions",
            peak, began_gb,
        ),
    )  # fmt: skip


def bare_world(
    n: int, n_requests: int, n_candidates: int, watch: WatchConfig
) -> Callable[[], None]:
    """Return a kernel that does the arithmetic of `n` impressions and nothing else.

    Args:
        n: impressions.
        n_requests: requests of which they are the slates, at most `n`.
        n_candidates: rooms on air.
        watch: law of the watch time.
    """
    rng = np.random.default_rng(0)
    interest, content = rng.normal(size=(2, 4096, 16)).astype(np.float32)
    interest /= np.linalg.norm(interest, axis=1, keepdims=True)
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    on_air = np.ones((SLOTS, n_candidates), np.bool_)
    user = rng.integers(0, len(interest), n)
    slate = np.arange(n) * n_requests // n
    seen, slot = rng.integers(0, n_candidates, n_requests), rng.integers(0, SLOTS, n_requests)

    def kernel() -> None:
        for low in range(0, n, BLOCK):
            own = slice(low, low + BLOCK)
            who, of = user[own], slate[own]
            first, last = of[0], of[-1] + 1
            u = (philox4x32((who, of, 0, 0), (0, 0)) + 0.5) * 2.0**-32
            mask = on_air[slot[first:last]]
            mask[np.arange(last - first), seen[first:last]] = False
            cells = np.flatnonzero(mask)
            start = cells.searchsorted(np.arange(last - first) * n_candidates)
            n_open = np.diff(start, append=len(cells))
            request = of - first
            nth = (u[3] * n_open[request]).astype(np.int64)
            room = cells[np.minimum(start[request] + nth, len(cells) - 1)] % n_candidates
            affinity = np.float32(3.5) * np.einsum("nk,nk->n", interest[who], content[room])
            clicked = u[0] < expit(affinity - 1.0)
            engaged = clicked & (u[1] < expit(affinity - 1.5))
            draw_watch_s(watch, engaged, affinity, u[2])

    return kernel


def _random() -> Server:
    return Server(Random(), Exploration(kind="greedy"))


def _write(config: WorldConfig, days: int, folder: Path) -> Log:
    return simulate(config, 0, _random(), days, folder, ranker_name="random")
