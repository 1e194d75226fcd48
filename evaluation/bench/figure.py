"""One measured figure: how fast or how large, its floor, and the mark that it should reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from evaluation.bench.clock import Timing

Kind = Literal["rate", "gain", "memory", "time"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order of the page. Rates and gains should be large, memory and times small."""

PER_CPU_S = " per CPU-second"
"""Ends the unit of every rate."""

LOGGED_PER_CPU_S = 500_000.0
"""Mark of the project for logged impressions of the default world under a random policy."""
SWIPES_PER_CPU_S = 1_000_000.0
"""Mark for swipes with 20 candidates, nothing written."""
RUN_S = 360.0
"""First mark for `make run` on two cores, with at least RUN_IMPRESSIONS and RUN_POLICIES."""
RUN_IMPRESSIONS, RUN_POLICIES = 500_000, 7
PEAK_GB = 4.0
"""Mark for the memory of `make run`, and for each process of a long log."""
TIMES_ONE_WORKER = 1.7
"""Mark for two workers on two cores."""
IMPORT_S, FIRST_LOG_S = 1.0, 3.0
"""Marks for `import sim` and for the first log of the tiny world."""


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    """Key, such as ``train/dbmtl``."""
    kind: Kind
    unit: str
    """Of all numbers; per processor second where it says so."""
    value: float | None
    """None where it was not measured; `work` says why."""
    work: str
    """What was done."""
    value_wall: float | None = None
    """The same rate per elapsed second."""
    floor: float | None = None
    """What the bare kernel takes, in the same unit; None where there is none."""
    floor_wall: float | None = None
    floor_work: str = ""
    """What the bare kernel does."""
    mark: float | None = None
    """What the value should reach: at least for rates and gains, at most otherwise."""
    repeats: int = 1

    @property
    def times_floor(self) -> float | None:
        """How many times the floor's time or memory was taken; 1 is the floor itself."""
        if self.value is None or self.floor is None:
            return None
        return self.floor / self.value if self.kind == "rate" else self.value / self.floor

    @property
    def holds(self) -> bool | None:
        """Whether the mark is reached; None without a mark or a value."""
        if self.value is None or self.mark is None:
            return None
        return self.value >= self.mark if self.wants_more else self.value <= self.mark

    @property
    def wants_more(self) -> bool:
        """Whether a larger value is better."""
        return self.kind in ("rate", "gain")

    def record(self) -> dict[str, object]:
        """Return the figure as plain values for JSON, four digits each."""
        plain = {**asdict(self), "times_floor": self.times_floor, "holds": self.holds}
        return {
            key: float(f"{value:.4g}") if isinstance(value, float) else value
            for key, value in plain.items()
        }


def rate(
    name: str,
    unit: str,
    work: str,
    taken: Timing,
    floor: Timing,
    floor_work: str,
    mark: float | None = None,
) -> Figure:
    """Return the figure of a job beside its bare kernel.

    Args:
        name: key.
        unit: of the amount, such as "impressions"; the figure is in unit per CPU-second.
        work: what was done.
        taken: the job.
        floor: the kernel, for any amount of the same unit.
        floor_work: what the kernel does.
        mark: least amount per CPU-second.
    """
    return Figure(
        name=name,
        kind="rate",
        unit=f"{unit}{PER_CPU_S}",
        value=taken.per_cpu_s,
        work=work,
        value_wall=taken.per_wall_s,
        floor=floor.per_cpu_s,
        floor_wall=floor.per_wall_s,
        floor_work=floor_work,
        mark=mark,
        repeats=taken.repeats,
    )


def memory(name: str, work: str, peak_gb: float, floor_gb: float) -> Figure:
    """Return the peak of a process beside its peak when the work began."""
    return Figure(
        name=name,
        kind="memory",
        unit="GB",
        value=peak_gb,
        work=work,
        floor=floor_gb,
        floor_work="the same process when its modules were imported and the work began",
    )


def run_memory(peaks_gb: Mapping[str, float], workers: int, marked: bool) -> Figure:
    """Return the most that `make run` can hold: the parent that simulated, and its workers.

    Args:
        peaks_gb: peak of a process that simulates, fits or judges, by these names.
        workers: processes at a time.
        marked: whether the mark applies.
    """
    worker_gb = max(peaks_gb["fit"], peaks_gb["judge"])
    return Figure(
        name="memory/run",
        kind="memory",
        unit="GB",
        value=peaks_gb["simulate"] + workers * worker_gb,
        work=f"`make run`, at most: the peak of simulating plus {workers} times the larger of "
        "fitting and judging, as if all peaked together and shared nothing; deployment is not "
        "measured",
        mark=PEAK_GB if marked else None,
    )
