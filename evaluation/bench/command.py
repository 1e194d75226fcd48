"""The verb `bench`: speeds and peak memory of each stage beside their floors, in `reports/perf`.

Every stage runs in a fresh process with one thread, so that peaks of memory belong to one stage
and processor seconds to one thread. Marks that were set for the project stand beside the figures.
"""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from evaluation.arguments import named_values
from evaluation.bench.clock import load, machine_record
from evaluation.bench.figure import KINDS, Figure, run_memory
from evaluation.bench.finished import RUN_WORKERS, long_log_figures, run_time
from evaluation.bench.page import Measurement, show, write
from evaluation.bench.plan import SCALES, BenchPlan
from evaluation.bench.process import in_fresh_process
from evaluation.bench.race import RACES, run_race
from evaluation.bench.scale import LONG_LOGS, run_scale
from evaluation.folders import require_writable
from sim.config import ConfigError
from sim.processes import one_thread

STAGES = {
    "starting": ("startup", "measure"),
    "simulating": ("world", "measure"),
    "training and scoring": ("learning", "measure"),
    "fitting at full size": ("learning", "measure_fit"),
    "judging": ("judging", "measure"),
    "counting": ("metrics", "measure"),
    "judging off-policy": ("off_policy", "measure"),
    "resampling": ("resampling", "measure"),
}
"""What is shown -> the module of `evaluation.bench` and its function; in this order."""

LONG_OUT = Path("reports/scale")
"""Where the figures of a long log go."""


@dataclass(frozen=True)
class BenchSettings:
    """What `swipelab bench` does."""

    out: Path = Path("reports/perf")
    """Where the page and the figures go."""
    scale: str = "full"
    """Key of SCALES, of RACES for training beside other libraries, or of LONG_LOGS for a long
    log."""
    study: Path = Path("reports/latest")
    """Folder of the finished `make run` whose time is taken over."""
    long: Path = LONG_OUT
    """Where a long log left the figures that are taken over."""

    @classmethod
    def parse(cls, arguments: list[str]) -> BenchSettings:
        """Return the settings that `name=value` arguments give.

        Raises:
            ConfigError: a name or value is not usable, or `out` cannot be written.
        """
        names = {"out": "DIR", "scale": "NAME", "study": "DIR", "long": "DIR"}
        given = named_values("bench", arguments, names)
        scale = given.get("scale", cls.scale)
        allowed = [*SCALES, *RACES, *LONG_LOGS]
        if scale not in allowed:
            raise ConfigError(f"scale = {scale!r}; allowed: {', '.join(allowed)}")
        for name in ("study", "long"):
            if name in given and scale not in SCALES:
                raise ConfigError(
                    f"{name} = {given[name]!r}; allowed: only with scale={' or '.join(SCALES)}, "
                    f"as scale={scale} takes nothing over"
                )
        usual = LONG_OUT if scale in LONG_LOGS else cls.out
        out = Path(given.get("out", usual)).expanduser()
        require_writable(out, "out")
        study, long = (Path(given.get(name, getattr(cls, name))) for name in ("study", "long"))
        return cls(out, scale, study.expanduser(), long.expanduser())

    @property
    def command(self) -> str:
        """The command that measures this."""
        taken_over = [
            f" {name}={folder}"
            for name in ("study", "long")
            if (folder := getattr(self, name)) != getattr(type(self), name)
        ]
        return f"swipelab bench out={self.out} scale={self.scale}{''.join(taken_over)}"


def bench(arguments: list[str]) -> Path:
    """Measure what `name=value` arguments ask for, show it, and return where the figures are.

    Raises:
        ConfigError: an argument is not usable.
        OSError: the disk refuses.
    """
    settings = BenchSettings.parse(arguments)
    if settings.scale in LONG_LOGS:
        return run_scale(LONG_LOGS[settings.scale], settings.out)
    if settings.scale in RACES:
        return run_race(RACES[settings.scale], settings.out)
    show(run_bench(settings), Console())
    return settings.out


def run_bench(settings: BenchSettings) -> Measurement:
    """Measure everything, write page and figures, and return them.

    Raises:
        OSError: the disk refuses.
    """
    scale = SCALES[settings.scale]
    load_before = load()
    figures: list[Figure] = []
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="swipelab-bench-") as folder, one_thread():
        plan = BenchPlan(scale, Path(folder))
        for number, stage in enumerate(STAGES):
            with console.status(f"{stage} ({number + 1} of {len(STAGES)})"):
                figures.extend(in_fresh_process(run_stage, plan, stage))
    peaks = {f.name.removeprefix("memory/"): f.value for f in figures if f.kind == "memory"}
    known = {name: peak for name, peak in peaks.items() if peak is not None}
    figures.append(run_memory(known, RUN_WORKERS, scale.marks_apply))
    figures += [run_time(settings.study), *long_log_figures(settings.long)]
    figures.sort(key=lambda figure: KINDS.index(figure.kind))
    machine = machine_record(settings.command)
    measured = Measurement(scale.name, machine, load_before, load(), tuple(figures))
    write(measured, settings.out)
    return measured


def run_stage(plan: BenchPlan, stage: str) -> tuple[Figure, ...]:
    """Run a stage in this process; imports what it needs, so that other processes stay small."""
    module, function = STAGES[stage]
    found: tuple[Figure, ...] = getattr(
        importlib.import_module(f"evaluation.bench.{module}"), function
    )(plan)
    return found
