"""Generated data beside published figures: which agree, which do not, which cannot be compared."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from evaluation.environment import environment_record
from evaluation.fidelity import measure
from evaluation.progress import StudyProgress
from evaluation.published import PUBLISHED, Published
from evaluation.settings import FidelitySettings
from evaluation.simulation import UNREAD, advice, drop_broken, log_key, write_log
from evaluation.tally import Measured

NOTHING = Measured(float("nan"), 0)


@dataclass(frozen=True)
class Line:
    """One published figure and the generated one."""

    published: Published
    measured: Measured
    log_days: int
    """Length of the log that was measured."""

    @property
    def is_judged(self) -> bool:
        """Whether the comparison means something and decides on the verdict."""
        return self.published.standing == "target" and self.has_window

    @property
    def has_window(self) -> bool:
        """Whether the log is as long as the figure asks."""
        return self.published.days in (None, self.log_days)

    @property
    def is_close(self) -> bool:
        """Whether the generated figure lies within the tolerance, judged or not."""
        return self.published.holds(self.measured.value)

    @property
    def verdict(self) -> str:
        """One word or two: holds, off, stand-in, not comparable, or what is lacking."""
        if self.published.standing == "not comparable":
            return "not comparable"
        if not self.has_window:
            return f"needs {self.published.days} days"
        if math.isnan(self.measured.value):
            return "not measured"
        if self.published.standing == "stand-in":
            return f"stand-in, {'close' if self.is_close else 'off'}"
        return "holds" if self.is_close else "off"


@dataclass(frozen=True)
class Comparison:
    """Every figure of one log."""

    world: str
    seed: int
    days: int
    policy: str
    """Who ranked while the log was written."""
    command: str
    lines: tuple[Line, ...]

    @property
    def judged(self) -> tuple[Line, ...]:
        """The lines that decide on the verdict."""
        return tuple(line for line in self.lines if line.is_judged)

    @property
    def holding(self) -> int:
        """How many of those hold."""
        return sum(line.is_close for line in self.judged)

    @property
    def passes(self) -> bool:
        """Whether all of them hold."""
        return self.holding == len(self.judged)

    def frame(self) -> pd.DataFrame:
        """Return one row per figure."""
        return pd.DataFrame(
            {
                "world": self.world,
                "world_seed": self.seed,
                "days": self.days,
                "key": line.published.key,
                "group": line.published.group,
                "figure": line.published.name,
                "unit": line.published.unit,
                "kind": line.published.kind,
                "standing": line.published.standing,
                "published": line.published.value,
                "generated": line.measured.value,
                "filtered": line.measured.filtered,
                "n": line.measured.n,
                "deviation": line.published.deviation(line.measured.value),
                "rule": line.published.rule,
                "tolerance": line.published.tolerance,
                "verdict": line.verdict,
                "source": line.published.source,
                "note": line.published.note,
            }
            for line in self.lines
        )


def compared(found: Mapping[str, Measured], log_days: int) -> tuple[Line, ...]:
    """Return a line per published figure, in their order.

    Args:
        found: figures of a log by key.
        log_days: its length.
    """
    return tuple(Line(row, found.get(row.key, NOTHING), log_days) for row in PUBLISHED)


def compare(settings: FidelitySettings) -> Comparison:
    """Write the log of a world, or take it from the cache, and compare it.

    The log stays in `settings.work`, so that the same command goes on where it was interrupted.

    Raises:
        LogError: the cached log is broken.
        TrialError: the logging policy raises.
    """
    simulation = settings.simulation
    folder = settings.work / "logs" / log_key(simulation)
    progress = StudyProgress()
    with progress.shown(), advice(folder):
        drop_broken(folder, progress)
        log = write_log(simulation, folder, progress)
        done = progress.step("measuring")
        lines = compared(measure(log), simulation.days)
        done()
    if UNREAD in folder.name:
        shutil.rmtree(folder, ignore_errors=True)
    return Comparison(
        simulation.world.name,
        simulation.seed,
        simulation.days,
        simulation.logging.name,
        environment_record()["command"],
        lines,
    )
