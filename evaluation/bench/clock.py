"""What a benchmark reads: processor and wall time of a job, peak memory, and the machine itself."""

from __future__ import annotations

import gc
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evaluation.environment import environment_record
from sim.processes import cores

VERSIONS = ("swipelab", "python", "numpy", "torch", "pyarrow", "platform")


@dataclass(frozen=True)
class Timing:
    """How long a job took, medians over its repeats."""

    amount: float
    """What one run of the job does: impressions, examples, pairs, queries."""
    cpu_s: float
    """Processor seconds of one run, all threads of the process."""
    wall_s: float
    """Elapsed seconds of one run."""
    repeats: int

    @property
    def per_cpu_s(self) -> float:
        """Amount per processor second."""
        return self.amount / max(self.cpu_s, 1e-9)

    @property
    def per_wall_s(self) -> float:
        """Amount per elapsed second."""
        return self.amount / max(self.wall_s, 1e-9)

    def __add__(self, other: Timing) -> Timing:
        """Return both jobs one after the other, for the amount of the first."""
        return Timing(
            self.amount,
            self.cpu_s + other.cpu_s,
            self.wall_s + other.wall_s,
            min(self.repeats, other.repeats),
        )


def timed(
    job: Callable[[], object],
    amount: float,
    repeats: int,
    prepare: Callable[[], object] | None = None,
) -> Timing:
    """Run a job several times.

    Args:
        job: what is timed.
        amount: what one run of it does.
        repeats: runs, at least 1.
        prepare: called before each run, not timed.
    """
    cpu_s, wall_s = [], []
    gc.collect()
    for _ in range(repeats):
        if prepare is not None:
            prepare()
        begun = time.process_time(), time.perf_counter()
        job()
        cpu_s.append(time.process_time() - begun[0])
        wall_s.append(time.perf_counter() - begun[1])
    return Timing(amount, statistics.median(cpu_s), statistics.median(wall_s), repeats)


def peak_gb() -> float:
    """Return the most memory, in 1e9 bytes, that this process has held resident so far.

    A process starts with the peak of the one that started it, so whoever compares stages should
    start each in a fresh process from a small one.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def machine_record(command: str) -> dict[str, str]:
    """Return what the figures were measured on: processor, cores, memory, versions.

    Args:
        command: the command that measures.
    """
    found = environment_record(command)
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "command": command,
        "processor": processor(),
        "cores": str(cores()),
        "memory": f"{memory_gb:.0f} GB",
        **{name: found[name] for name in VERSIONS},
    }


def processor() -> str:
    """Return the model of the processor, or the architecture where the system does not say."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def load() -> float:
    """Return the mean number of running processes of the last minute; NaN where unknown."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
