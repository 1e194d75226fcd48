"""The verb `bench`: speeds and peak memory of each stage beside their floors, in `reports/perf`.

Every stage runs in a fresh process with one thread, so that peaks of memory belong to one stage
and processor seconds to one thread. Marks that were set for the project stand beside the figures.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from evaluation.arguments import named_values
from evaluation.bench.clock import load, machine_record
from evaluation.bench.figure import (
    RUN_IMPRESSIONS,
    RUN_POLICIES,
    RUN_S,
    Figure,
    run_memory,
)
from evaluation.bench.page import Measurement, show, write
from evaluation.bench.plan import SCALES, BenchPlan
from evaluation.bench.process import in_fresh_process
from evaluation.bench.race import RACES, run_race
from evaluation.bench.scale import LONG_LOGS, run_scale
from evaluation.folders import require_writable
from sim.config import ConfigError
from sim.processes import one_thread

STAGES = {
    "simulating": ("world", "measure"),
    "training and scoring": ("learning", "measure"),
    "fitting at full size": ("learning", "measure_fit"),
    "judging": ("judging", "measure"),
    "counting": ("metrics", "measure"),
    "judging off-policy": ("off_policy", "measure"),
    "resampling": ("resampling", "measure"),
}
"""What is shown -> the module of `evaluation.bench` and its function; in this order."""

RUN_WORKERS = 2
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

    @classmethod
    def parse(cls, arguments: list[str]) -> BenchSettings:
        """Return the settings that `name=value` arguments give.

        Raises:
            ConfigError: a name or value is not usable, or `out` cannot be written.
        """
        names = {"out": "DIR", "scale": "NAME", "study": "DIR"}
        given = named_values("bench", arguments, names)
        scale = given.get("scale", cls.scale)
        allowed = [*SCALES, *RACES, *LONG_LOGS]
        if scale not in allowed:
            raise ConfigError(f"scale = {scale!r}; allowed: {', '.join(allowed)}")
        usual = LONG_OUT if scale in LONG_LOGS else cls.out
        out = Path(given.get("out", usual)).expanduser()
        require_writable(out, "out")
        return cls(out, scale, Path(given.get("study", cls.study)).expanduser())


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
    figures.append(run_time(settings.study))
    figures.sort(key=lambda figure: ("rate", "memory", "time").index(figure.kind))
    command = f"swipelab bench out={settings.out} scale={settings.scale}"
    measured = Measurement(scale.name, machine_record(command), load_before, load(), tuple(figures))
    write(measured, settings.out)
    return measured


def run_stage(plan: BenchPlan, stage: str) -> tuple[Figure, ...]:
    """Run a stage in this process; imports what it needs, so that other processes stay small."""
    module, function = STAGES[stage]
    found: tuple[Figure, ...] = getattr(
        importlib.import_module(f"evaluation.bench.{module}"), function
    )(plan)
    return found


def run_time(study: Path) -> Figure:
    """Return how long the study in a folder took, where it was one uninterrupted `make run`."""
    mark = f"`make run` with at least {RUN_IMPRESSIONS:,} impressions and {RUN_POLICIES} policies"
    whole_s, reason = _whole_run_s(study)
    return Figure(
        name="time/run",
        kind="time",
        unit="s elapsed",
        value=whole_s,
        work=f"{mark}: {reason}",
        mark=RUN_S,
    )


def _whole_run_s(study: Path) -> tuple[float | None, str]:
    from evaluation.study import TIMINGS
    from evaluation.study_folder import WORLD

    try:
        timings = json.loads((study / TIMINGS).read_text())
        facts = json.loads((study / WORLD).read_text())
        spans = timings["fit_judge_deploy_s"]
        busy_s = sum(sum(parts) for parts in spans.values())
        whole_s, simulate_s = float(timings["study_s"]), float(timings["simulate_s"])
        n = int(str(facts["impressions"]).replace(",", ""))
    except FileNotFoundError:
        return None, f"not measured, there is no finished run in {study}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, f"not measured, the files in {study} cannot be read"
    what = f"{len(spans)} policies, {n:,} impressions"
    if n < RUN_IMPRESSIONS or len(spans) < RUN_POLICIES:
        return None, f"not measured, {study} holds a smaller study ({what})"
    # a resumed study takes less time than the parts that it found finished
    if whole_s < simulate_s + busy_s / RUN_WORKERS or simulate_s * 1e6 < n:
        return None, f"not measured, {study} was not made in one go by {RUN_WORKERS} workers"
    return whole_s, f"the last run in {study}, {what}"
