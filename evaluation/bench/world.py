"""How fast the world runs, beside the same arithmetic without a world around it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.bench.clock import peak_gb, timed
from evaluation.bench.figure import LOGGED_PER_CPU_S, SWIPES_PER_CPU_S, Figure, memory, rate
from evaluation.bench.plan import BenchPlan
from policies.heuristics import Random
from policies.rank import Exploration, Server
from sim.config import WorldConfig, build
from sim.kernel import allocating, numbers
from sim.log import Log
from sim.normal import sigmoid
from sim.parameters import WatchConfig
from sim.rng import four_uniforms
from sim.schema import SCENARIOS, Impressions
from sim.simulate import simulate
from sim.tables import to_table, write_table
from sim.watch import WatchNumbers, draw_watch_s
from sim.world import World

_FEW_STREAMERS = 120
"""Of whom about twenty are on air at a time."""

SLOTS = 12
"""Rows of the kernel's table of rooms on air."""

KERNEL = (
    "one bare compiled loop: one Philox block an impression; affinity as a dot product of 16 "
    "numbers; click and stay by their logistic laws, watch time by its inverse law; for each "
    "request the mask of all candidates without one that was seen, and uniform choices from it"
)


def measure(plan: BenchPlan) -> tuple[Figure, ...]:
    """Write the log of the plan for its memory, then time simulations of `speed_days` days."""
    scale, began_gb = plan.scale, peak_gb()
    config: WorldConfig = build(plan.config().world)
    log = _write(config, scale.log_days, plan.log)
    peak = peak_gb()
    shown = log.impressions()
    n_requests = len(np.unique(shown.request_id))
    n = _run(config, scale.speed_days)  # also compiles

    def written() -> None:
        with tempfile.TemporaryDirectory(dir=plan.folder) as folder:
            _write(config, scale.speed_days, Path(folder) / "log")

    kernel = timed(
        bare_world(len(shown), n_requests, _mean_candidates(shown), config.watch),
        len(shown),
        scale.repeats,
    )
    table, file = to_table(shown), plan.folder / "impressions.parquet"
    one_file = timed(lambda: write_table(table, file), len(shown), scale.repeats)
    work = (
        f"days of the {config.name} world: {scale.speed_days}; random policy, {n:,} impressions, "
        f"{len(shown) / n_requests:.1f} a request; building the world counts"
    )
    mark = LOGGED_PER_CPU_S if scale.marks_apply else None
    unit = "impressions"
    return (
        rate(
            "simulate", unit, work, timed(lambda: _run(config, scale.speed_days), n, scale.repeats),
            kernel, KERNEL,
        ),
        rate(
            "simulate+log", unit, "the same, with the typed log, its truth and states written",
            timed(written, n, scale.repeats), kernel + one_file,
            "the kernel above, and the columns of the impressions in one Parquet file", mark,
        ),
        _swipes(plan, config),
        memory(
            "memory/simulate",
            f"simulating and writing {scale.log_days} days, {len(log.impressions()):,} impressions",
            peak, began_gb,
        ),
    )  # fmt: skip


def _swipes(plan: BenchPlan, config: WorldConfig) -> Figure:
    """Measure a world of many users in which there is only the swipe, among few rooms."""
    scale = plan.scale
    narrow = _swipe_only(config, scale.swipe_users)
    days = list(World(narrow, 0).run(_random(), 1))
    shown = days[0].impressions
    n, n_candidates = _run(narrow, scale.speed_days), _mean_candidates(shown)
    kernel = timed(
        bare_world(len(shown), len(shown), n_candidates, config.watch), len(shown), scale.repeats
    )
    return rate(
        "simulate/swipes", "swipes",
        f"a world of {scale.swipe_users:,} users with nothing but the swipe and {n_candidates} "
        f"candidates on average; days: {scale.speed_days}; random policy, {n:,} swipes, truth "
        "included, nothing written; building the world counts",
        timed(lambda: _run(narrow, scale.speed_days), n, scale.repeats), kernel, KERNEL,
        SWIPES_PER_CPU_S if scale.marks_apply else None,
    )  # fmt: skip


def _swipe_only(config: WorldConfig, n_users: int) -> WorldConfig:
    """Return a world with so many users, in which everybody swipes among about twenty rooms."""
    nothing = {
        name: replace(getattr(config, name), traffic_share=0.0)
        for name in SCENARIOS
        if name != "swipe"
    }
    return replace(
        config,
        **nothing,
        swipe=replace(config.swipe, traffic_share=1.0, supply_share=1.0),
        population=replace(config.population, n_users=n_users, n_streamers=_FEW_STREAMERS),
    )


def _mean_candidates(shown: Impressions) -> int:
    return round(float(shown.n_candidates.mean()))


def _run(config: WorldConfig, days: int) -> int:
    """Run a new world; return how many impressions there were."""
    return sum(day.n_impressions for day in World(config, 0).run(_random(), days))


def bare_world(
    n: int, n_requests: int, n_candidates: int, watch: WatchConfig
) -> Callable[[], None]:
    """Return a function that does the arithmetic of `n` impressions and nothing else.

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
    user, slate = rng.integers(0, len(interest), n), np.arange(n) * n_requests // n
    seen, slot = rng.integers(0, n_candidates, n_requests), rng.integers(0, SLOTS, n_requests)
    law, watch_s = numbers(WatchNumbers.of(watch)), np.empty(n)

    def run() -> None:
        _bare_world(law, interest, content, on_air, user, slate, seen, slot, watch_s)

    run()  # compiles
    return run


@allocating
def _bare_world(
    law: WatchNumbers,
    interest: NDArray[np.float32],
    content: NDArray[np.float32],
    on_air: NDArray[np.bool_],
    user: NDArray[np.int64],
    slate: NDArray[np.int64],
    seen: NDArray[np.int64],
    slot: NDArray[np.int64],
    watch_s: NDArray[np.float64],
) -> None:
    mask = np.empty(on_air.shape[1], np.bool_)
    for i in range(len(user)):
        request = slate[i]
        if i == 0 or request != slate[i - 1]:
            n_open, row = 0, slot[request]
            for c in range(len(mask)):
                mask[c] = on_air[row, c]
                n_open += on_air[row, c]
            mask[seen[request]] = False
            n_open -= 1
        u = four_uniforms(0, 0, user[i], i, 0, 0)
        nth, room = int(u[3] * n_open), 0
        while nth > 0 or not mask[room]:
            nth -= mask[room]
            room += 1
        affinity = 0.0
        for k in range(content.shape[1]):
            affinity += interest[user[i], k] * content[room, k]
        clicked = u[0] < sigmoid(3.5 * affinity - 1.0)
        engaged = clicked and u[1] < sigmoid(3.5 * affinity - 1.5)
        watch_s[i] = draw_watch_s(law, engaged, 3.5 * affinity, u[2])


def _random() -> Server:
    return Server(Random(), Exploration(kind="greedy"))


def _write(config: WorldConfig, days: int, folder: Path) -> Log:
    return simulate(config, 0, _random(), days, folder, ranker_name="random")
