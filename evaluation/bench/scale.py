"""How a run grows: a long log written by a pool of workers, and what two workers gain over one.

`swipelab bench scale=100m` writes a log of a hundred million impressions and keeps time, memory of
every process day by day, bytes and bonds; `reports/scale` says what follows from the figures.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from multiprocessing import active_children
from pathlib import Path

from evaluation.bench.clock import load, machine_record
from evaluation.overrides import composed
from policies.heuristics import Random
from policies.rank import Exploration, Server
from sim.config import WorldConfig, build
from sim.executor import Executor, SerialExecutor
from sim.log import Log, read_manifest
from sim.pool import PoolExecutor
from sim.simulate import simulate
from sim.state import State, state_path


@dataclass(frozen=True)
class LongLog:
    """What is run."""

    name: str
    world: str
    """Preset."""
    impressions: int
    """The log has whole days until it holds at least about so many."""
    workers: int
    pairs: int
    """Pairs of shorter runs, by one process and by `workers`, one after the other."""
    pair_days: int


LONG_LOGS = {
    plan.name: plan
    for plan in (
        LongLog("10k", "tiny", 10_000, 2, 1, 1),
        LongLog("10m", "large", 10_000_000, 2, 1, 25),
        LongLog("100m", "large", 100_000_000, 2, 2, 25),
    )
}
"""`10k` tests the machinery, `10m` takes two minutes, `100m` six and 8 GB of disk."""


@dataclass(frozen=True)
class DayMemory:
    """What the processes hold at the end of a day, in 1e9 bytes; peaks since they began."""

    day: int
    impressions: int
    wall_s: float
    parent_gb: float
    parent_peak_gb: float
    worker_gb: float
    """The largest."""
    worker_peak_gb: float


@dataclass(frozen=True)
class ScaleRecord:
    """Everything measured."""

    plan: LongLog
    machine: dict[str, str]
    load_before: float
    load_after: float
    pairs_s: list[tuple[float, float]]
    """Elapsed seconds of each pair: one process, then the workers."""
    speedup: float
    """Median over the pairs."""
    pair_impressions: int
    wall_s: float
    cpu_s: float
    """All processes of the long run."""
    impressions: int
    days: int
    log_bytes: int
    state_bytes: int
    """The state after the last day."""
    bonds: int
    memory: list[DayMemory]


def run_scale(plan: LongLog, out: Path) -> Path:
    """Measure, write `out/NAME.json` and return its path.

    Raises:
        OSError: the disk refuses.
        LogError: the disk refuses the log.
    """
    (config,) = composed("simulate", [f"world={plan.world}"], swept=False)
    world: WorldConfig = build(config.world)
    before = load()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="swipelab-scale-", dir=out) as scratch:
        folder = Path(scratch)
        per_day = _count(_timed(world, 1, SerialExecutor(), folder / "one")[1])
        pairs = [_pair(plan, world, folder / f"pair-{i}") for i in range(plan.pairs)]
        days = math.ceil(plan.impressions / per_day)
        record = _long(plan, world, days, folder / "long", pairs, before)
    path = out / f"{plan.name}.json"
    path.write_text(json.dumps(asdict(record), indent=1) + "\n")
    return path


def _pair(plan: LongLog, world: WorldConfig, folder: Path) -> tuple[float, float]:
    alone = _timed(world, plan.pair_days, SerialExecutor(), folder / "alone")[0]
    return alone, _timed(world, plan.pair_days, PoolExecutor(plan.workers), folder / "pool")[0]


def _timed(world: WorldConfig, days: int, executor: Executor, folder: Path) -> tuple[float, Log]:
    begun_s = time.perf_counter()
    log = simulate(
        world, 0, Server(Random(), Exploration()), days, folder, ranker_name="random",
        executor=executor,
    )  # fmt: skip
    return time.perf_counter() - begun_s, log


def _count(log: Log) -> int:
    return int(read_manifest(log._folder)["impressions"])


def _long(
    plan: LongLog,
    world: WorldConfig,
    days: int,
    folder: Path,
    pairs: list[tuple[float, float]],
    load_before: float,
) -> ScaleRecord:
    memory: list[DayMemory] = []
    begun = time.perf_counter(), _cpu_s()

    def note(day: int, impressions: int) -> None:
        own = _memory_gb(os.getpid())
        others = [_memory_gb(child.pid or 0) for child in active_children()] or [(0.0, 0.0)]
        now, peak = (max(column) for column in zip(*others, strict=True))
        wall_s = time.perf_counter() - begun[0]
        memory.append(DayMemory(day, impressions, wall_s, *own, now, peak))

    simulate(
        world, 0, Server(Random(), Exploration()), days, folder, ranker_name="random",
        executor=PoolExecutor(plan.workers), on_day=note,
    )  # fmt: skip
    last = folder / state_path(days)
    return ScaleRecord(
        plan=plan,
        machine=machine_record(f"swipelab bench scale={plan.name}"),
        load_before=load_before,
        load_after=load(),
        pairs_s=pairs,
        speedup=statistics.median(alone / together for alone, together in pairs),
        pair_impressions=memory[min(plan.pair_days, days) - 1].impressions,
        wall_s=time.perf_counter() - begun[0],
        cpu_s=_cpu_s() - begun[1],
        impressions=memory[-1].impressions,
        days=days,
        log_bytes=sum(read_manifest(folder)["files"].values()),
        state_bytes=sum(path.stat().st_size for path in last.iterdir()),
        bonds=len(State.load(last).relations.key),
        memory=memory,
    )


def _cpu_s() -> float:
    """Return processor seconds of this process and of its children that ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _memory_gb(pid: int) -> tuple[float, float]:
    """Return what a process holds resident, and the most it held; zeros where unknown."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    found = {key: value for key, _, value in (line.partition(":") for line in lines)}
    kilobytes = [int(found.get(key, "0 kB").split()[0]) for key in ("VmRSS", "VmHWM")]
    return kilobytes[0] * 1024 / 1e9, kilobytes[1] * 1024 / 1e9
