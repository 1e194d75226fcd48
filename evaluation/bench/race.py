"""`swipelab bench scale=training`: our engine beside other libraries, and scoring beside repeats.

Every contestant runs in a process of its own with the threads that the race gives it, one after the
other on the same machine, from the same columns.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from evaluation.bench.clock import load, machine_record
from evaluation.bench.lap import FLOOR, OURS, OURS_ADAM, OURS_BLOCKS, STRIPPED, Lap, Time, run_lap
from evaluation.bench.process import in_fresh_process, threads
from evaluation.bench.race_page import Pairs, Race, show, write

RIVALS = ("torch-rechub", "DeepCTR-Torch", "FuxiCTR")
CONTESTANTS = (OURS, OURS_BLOCKS, OURS_ADAM, *RIVALS, *(name + STRIPPED for name in RIVALS))
IDS, MANY_IDS = 10_000, 100_000
"""Of each of the 20 fields: tables of 200,000 and of 2 million rows."""


@dataclass(frozen=True)
class RacePlan:
    """Sizes of a race."""

    name: str
    n_rows: int
    """Of an epoch."""
    batch_rows: int
    n_steps: int
    """Steps on large tables."""
    step_rows: int
    """Rows of such a step."""
    ids: int
    many_ids: int
    repeats: int
    world: str
    """Preset whose requests are scored."""
    n_users: int
    n_requests: int
    n_candidates: int

    @property
    def marks_apply(self) -> bool:
        """Whether the marks of the project mean anything at this scale."""
        return self.name == "training"


RACES = {
    plan.name: plan
    for plan in (
        RacePlan("training", 49_152, 4096, 24, 1024, IDS, MANY_IDS, 2, "default", 800, 1_000, 200),
        RacePlan("training_small", 96, 32, 2, 16, 50, 80, 1, "tiny", 50, 20, 5),
    )
}
"""`training` takes about six minutes on an idle machine; `training_small` tests the machinery."""


def run_race(plan: RacePlan, out: Path) -> Path:
    """Run a race and write its page and figures; return the page.

    Raises:
        OSError: the disk refuses.
    """
    before, console = load(), Console(stderr=True)
    times: list[Time] = []
    laps = _laps(plan)
    for number, lap in enumerate(laps):
        what = f"{lap.contestant}, {lap.threads} threads, {20 * lap.ids:,} table rows"
        with console.status(f"{what} ({number + 1} of {len(laps)})"), threads(lap.threads):
            times.append(in_fresh_process(run_lap, lap))
    with (
        console.status("scored pairs per second"),
        threads(1),
        tempfile.TemporaryDirectory(prefix="swipelab-bench-") as folder,
    ):
        pairs: tuple[Pairs, ...] = in_fresh_process(score_pairs, plan, Path(folder))
    command = f"swipelab bench out={out} scale={plan.name}"
    race = Race(
        plan.name, plan.marks_apply, machine_record(command), before, load(), tuple(times), pairs
    )
    show(race, Console())
    return write(race, out)


def score_pairs(plan: RacePlan, folder: Path) -> tuple[Pairs, ...]:
    """Measure scoring in this process; imports what it needs, so that the parent stays small."""
    from evaluation.bench.repeat import measure

    return measure(plan, folder)


def _laps(plan: RacePlan) -> list[Lap]:
    """Return all laps: whole epochs on one thread and on two, then steps on tables of two sizes."""
    laps = [
        Lap(name, n, plan.ids, plan.batch_rows, plan.n_rows, plan.repeats)
        for n in (1, 2)
        for name in (FLOOR, *CONTESTANTS)
    ]
    rows = plan.n_steps * plan.step_rows
    laps.append(Lap(OURS, 1, plan.ids, plan.step_rows, rows, plan.repeats))
    for name in (OURS, OURS_ADAM, *(name + STRIPPED for name in RIVALS)):
        repeats = plan.repeats if name == OURS else 1  # the others take a minute each
        laps.append(Lap(name, 1, plan.many_ids, plan.step_rows, rows, repeats))
    return laps
