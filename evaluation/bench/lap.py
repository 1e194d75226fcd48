"""One contestant at one size in a process of its own: how long an epoch takes it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

OURS, OURS_BLOCKS = "swipelab", "swipelab, blocks of policies"
OURS_ADAM, FLOOR = "swipelab, exact Adam", "bare products"
"""Contestants besides the peers: row-wise Adagrad on tables with parts of MICRO_ROWS; the same with
`ExpertBank` and `Gates`; Adam on all weights and whole batches; the matrix products of the latter
alone."""

OWN = (OURS, OURS_BLOCKS, OURS_ADAM, FLOOR)

STRIPPED = ", stripped"
"""Ends the name of a peer that computes no more than our network does."""

MICRO_ROWS = {1: 512, 2: 1024}
"""Threads -> rows that run at once: what stays in the second-level caches."""


@dataclass(frozen=True)
class Lap:
    """What is asked of a process."""

    contestant: str
    threads: int
    ids: int
    """Of each field."""
    batch_rows: int
    n_rows: int
    """Of an epoch."""
    repeats: int


@dataclass(frozen=True)
class Time:
    """What a process found; NaN where it could not run."""

    contestant: str
    version: str
    """Of the library; "" of ours. Says how to install what is missing."""
    threads: int
    ids: int
    batch_rows: int
    cpu_s: float
    """Processor seconds of an epoch, all threads; the best of the repeats."""
    wall_s: float
    """Elapsed seconds of an epoch; the best of the repeats."""
    step_s: float
    """Elapsed seconds of a step."""
    n_rows: int

    @property
    def ran(self) -> bool:
        """Whether there are figures."""
        return self.wall_s == self.wall_s

    @property
    def per_cpu_s(self) -> float:
        """Examples per processor second."""
        return self.n_rows / self.cpu_s

    @property
    def per_wall_s(self) -> float:
        """Examples per elapsed second."""
        return self.n_rows / self.wall_s


def run_lap(lap: Lap) -> Time:
    """Run a lap in this process, whose threads the environment has set."""
    import torch

    torch.set_num_threads(lap.threads)
    nan = float("nan")
    nothing = Time(
        lap.contestant, "", lap.threads, lap.ids, lap.batch_rows, nan, nan, nan, lap.n_rows
    )
    if lap.contestant in OWN:
        return _ours(lap, nothing)
    from evaluation.bench.peers import PEERS

    name = lap.contestant.removesuffix(STRIPPED)
    (peer,) = (peer for peer in PEERS if peer.name == name)
    if importlib.util.find_spec(peer.module) is None:
        return replace(nothing, version="not installed: pip install -e '.[peers]'")
    from evaluation.bench.mixture import Sizes, made_up

    sizes = Sizes(ids=lap.ids)
    with _silence():
        columns, stripped = made_up(sizes, lap.n_rows), name != lap.contestant
        contest = peer.build(sizes, columns, lap.batch_rows, stripped)
        contest.prepare(lap.n_rows)
        contest.prepare(2 * lap.batch_rows)
        contest.epoch(2 * lap.batch_rows)
        timed = _best(lambda: contest.epoch(lap.n_rows), lap.repeats)
    version = importlib.metadata.version(peer.package)
    steps = -(-lap.n_rows // lap.batch_rows)
    return replace(
        nothing, version=version, cpu_s=timed[0], wall_s=timed[1], step_s=timed[1] / steps
    )


def _ours(lap: Lap, nothing: Time) -> Time:
    from evaluation.bench.ledger import Ledger
    from evaluation.bench.mixture import BankMixture, Mixture, Ours, Sizes, made_up

    sizes = Sizes(ids=lap.ids)
    columns = made_up(sizes, lap.n_rows)
    plain = lap.contestant in (OURS_ADAM, FLOOR)
    ours = Ours(
        sizes,
        columns,
        lap.batch_rows,
        "adam" if plain else "rowwise_adagrad",
        2**24 if plain else MICRO_ROWS.get(lap.threads, max(MICRO_ROWS.values())),
        BankMixture if lap.contestant == OURS_BLOCKS else Mixture,
    )
    if lap.contestant == FLOOR:
        ledger = Ledger()
        with ledger.recording():
            ours.epoch(lap.batch_rows)
        ledger.gathers.clear()
        found = ledger.replay(lap.batch_rows, lap.repeats + 2)
        steps = lap.n_rows / lap.batch_rows
        return replace(
            nothing, cpu_s=found.cpu_s * steps, wall_s=found.wall_s * steps, step_s=found.wall_s
        )
    ours.epoch(2 * lap.batch_rows)
    rates: list[float] = []
    cpu_s, wall_s = _best(lambda: rates.append(ours.epoch(lap.n_rows).examples_per_s), lap.repeats)
    return replace(nothing, cpu_s=cpu_s, wall_s=wall_s, step_s=lap.batch_rows / max(rates))


def _best(job: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the least processor and elapsed seconds of a job."""
    cpu_s, wall_s = [], []
    for _ in range(repeats):
        begun = time.process_time(), time.perf_counter()
        job()
        cpu_s.append(time.process_time() - begun[0])
        wall_s.append(time.perf_counter() - begun[1])
    return min(cpu_s), min(wall_s)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Let nothing of what other libraries print through."""
    with (
        open(os.devnull, "w") as nowhere,  # noqa: PTH123
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
