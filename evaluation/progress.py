"""Showing how far a study is: bars on a terminal, one plain line per finished stage elsewhere."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from evaluation.trial import DEPLOYING, DONE, JUDGING, STAGES, TRAINING, TrialPlan, finished_file

POLL_S = 0.5
"""How often the trials' folders are looked at."""

SPANS = {TRAINING: (0.0, 0.55), JUDGING: (0.55, 0.75), DEPLOYING: (0.75, 1.0), DONE: (1.0, 1.0)}
"""Where a trial's stages begin and end as shares of its time: typical of learned policies."""

PAST = {TRAINING: "trained", JUDGING: "judged", DEPLOYING: "deployed"}

LINES_OF_SIMULATION = 10
"""At most so many plain lines on days simulated."""


class StudyProgress:
    """Tells on stderr how far the work is and about how long the rest takes."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.is_live = console.is_terminal
        columns = (
            TextColumn("{task.description:<40}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._bars = Progress(*columns, console=console, disable=not self.is_live)
        self._console = console
        self._began_s = time.monotonic()

    @contextmanager
    def shown(self) -> Iterator[StudyProgress]:
        """Show the bars while the block runs."""
        with self._bars:
            yield self

    def say(self, text: str) -> None:
        """Write a line: between the bars on a terminal, else after the time since the start."""
        line = text if self.is_live else f"[{_clock(time.monotonic() - self._began_s)}] {text}"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def simulation(self, days: int) -> DayWatch:
        """Announce a simulation; returns what is told of every day."""
        return DayWatch(self, days)

    def trials(self, plans: Sequence[TrialPlan]) -> TrialWatch:
        """Announce trials; the watch that is returned looks at their folders."""
        return TrialWatch(self, plans)

    def step(self, text: str) -> Callable[[], None]:
        """Announce a single step; returns what to call when it is done."""
        bar, began_s = self.bar(text, 1), time.monotonic()

        def on_done() -> None:
            self._bars.update(bar, completed=1)
            if not self.is_live:
                self.say(f"{text}: done in {_clock(time.monotonic() - began_s)}")

        return on_done

    def bar(self, text: str, total: float) -> TaskID:
        """Add a bar."""
        return self._bars.add_task(text, total=total, left="")

    def update(self, bar: TaskID, done: float, text: str, left: str = "") -> None:
        """Move a bar."""
        self._bars.update(bar, completed=done, description=text, left=left)


class DayWatch:
    """Tells of the days of a simulation.

    Args:
        progress: shows it.
        days: of the whole log, some of which may be there already.
    """

    def __init__(self, progress: StudyProgress, days: int) -> None:
        self._progress, self._days = progress, days
        self._bar = progress.bar(f"simulating {days} days", days)
        self._every = max(days // LINES_OF_SIMULATION, 1)
        self._began_s = time.monotonic()
        self._first: int | None = None

    def __call__(self, day: int, impressions: int) -> None:
        """Tell that `day` is written, and how many impressions the log has now."""
        self._first = day if self._first is None else self._first
        done, days = day + 1, self._days
        left = _left(time.monotonic() - self._began_s, done - self._first, days - done)
        text = f"simulated day {done} of {days}, {impressions:,} impressions"
        self._progress.update(self._bar, done, text, left)
        if not self._progress.is_live and (done == days or done % self._every == 0):
            self._progress.say(f"{text}{left and f', {left}'}")

    def end(self) -> None:
        """Tell that the log is whole; it may have been from the beginning."""
        if self._first is None:
            self._progress.update(self._bar, self._days, f"{self._days} days: kept from before")
            if not self._progress.is_live:
                self._progress.say(f"log of {self._days} days: kept from before")


class TrialWatch:
    """Looks at the folders of trials and tells what has changed.

    Args:
        progress: shows it.
        plans: the trials.
    """

    def __init__(self, progress: StudyProgress, plans: Sequence[TrialPlan]) -> None:
        self._progress = progress
        self._plans = list(plans)
        self._whole = progress.bar(f"policies, 0 of {len(plans)} done", len(plans))
        self._bars = {plan.policy: progress.bar(f"  {plan.policy}", 1.0) for plan in plans}
        self._share = {p.policy: 1.0 if finished_file(p) else 0.0 for p in plans}
        self._told = {p.policy: [DONE] if finished_file(p) else [] for p in plans}
        self._since = dict.fromkeys(self._bars, time.monotonic())
        self._cached = sum(self._share.values())
        self._began_s = time.monotonic()
        self._turn = threading.Lock()
        for plan in plans:
            if finished_file(plan):
                progress.say(f"{plan.policy}: kept from before")
            else:  # what an interrupted run noted is not what this one does
                (plan.folder / STAGES).unlink(missing_ok=True)

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Look again and again while the block runs."""
        stop = threading.Event()

        def poll() -> None:
            while not stop.wait(POLL_S):
                self.look()

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.look()

    def look(self) -> None:
        """Look once."""
        with self._turn:
            for plan in self._plans:
                self._look_at(plan)
            done = sum(self._told[p.policy][-1:] == [DONE] for p in self._plans)
            text = f"policies, {done} of {len(self._plans)} done"
            self._progress.update(self._whole, sum(self._share.values()), text, self._time_left())

    def _look_at(self, plan: TrialPlan) -> None:
        name = plan.policy
        if self._told[name][-1:] == [DONE]:
            self._progress.update(self._bars[name], 1.0, f"  {name}: done")
            return
        noted, note = _noted(plan.folder / STAGES), ""
        if not noted:
            return
        for stage, _ in noted:
            if stage not in self._told[name]:
                self._finish_stage(name)
                self._told[name].append(stage)
                self._since[name] = time.monotonic()
        stage, share = noted[-1]
        if stage == TRAINING:
            share, note = _trained(plan.folder / "fit")
        first, last = SPANS[stage]
        self._share[name] = max(self._share[name], first + share * (last - first))
        self._progress.update(self._bars[name], self._share[name], f"  {name}: {stage}{note}")

    def _finish_stage(self, name: str) -> None:
        """Tell that the last stage that was told of is over."""
        if not self._told[name] or self._progress.is_live:
            return
        stage = self._told[name][-1]
        self._share[name] = SPANS[stage][1]
        left = self._time_left()
        spent = _clock(time.monotonic() - self._since[name])
        self._progress.say(f"{name}: {PAST[stage]} in {spent}{left and f'; policies: {left}'}")

    def _time_left(self) -> str:
        done = sum(self._share.values())
        spent_s = time.monotonic() - self._began_s
        return _left(spent_s, done - self._cached, len(self._plans) - done)


def _noted(path: Path) -> list[tuple[str, float]]:
    """Return what a trial has noted: (stage, share of it that is done), in order."""
    with suppress(FileNotFoundError):
        lines = [line.split() for line in path.read_text().splitlines()]
        return [(words[0], float(words[1])) for words in lines if len(words) == 2]
    return []


def _trained(folder: Path) -> tuple[float, str]:
    """Return which share of its steps the newest training run has made, and a note of it."""
    with suppress(OSError, ValueError, KeyError, IndexError, TypeError):
        newest = max(folder.glob("*.metrics.jsonl"), key=lambda path: path.stat().st_mtime)
        row = json.loads(newest.read_text().splitlines()[-1])
        return row["step"] / row["steps"], f", step {row['step']} of {row['steps']}"
    return 0.0, ""


def _left(spent_s: float, done: float, to_do: float) -> str:
    """Return the remaining time in words, "" while there is too little to tell from."""
    if to_do <= 0 or done <= 0.02 or spent_s < 0.5:
        return ""
    return f"about {_clock(spent_s / done * to_do)} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
