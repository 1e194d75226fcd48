"""What a race of training engines found, on the terminal, as a page and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from evaluation.bench.lap import FLOOR, OURS, OURS_ADAM, OURS_BLOCKS, OWN, STRIPPED, Time
from evaluation.bench.page import BUSY_LOAD, NONE, number, replace_text

PAGE, FIGURES = "training.md", "training.json"


@dataclass(frozen=True)
class Pairs:
    """How fast a policy scores."""

    policy: str
    n_requests: int
    n_candidates: int
    once_per_cpu_s: float
    """Pairs per processor second of `score`, each request's and each room's side once."""
    repeat_per_cpu_s: float
    """The same scores by the whole network on every pair; NaN where there is no one network."""

    @property
    def gain(self) -> float:
        """How many times faster it is than the repeat."""
        return self.once_per_cpu_s / self.repeat_per_cpu_s


@dataclass(frozen=True)
class Mark:
    """A figure with what the project set out to reach."""

    name: str
    value: float
    """NaN where it was not measured."""
    at_least: bool
    bound: float

    @property
    def holds(self) -> bool | None:
        """Whether it is reached; None where it was not measured."""
        if math.isnan(self.value):
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass(frozen=True)
class Race:
    """A finished race."""

    scale: str
    marks_apply: bool
    machine: dict[str, str]
    load_before: float
    load_after: float
    times: tuple[Time, ...]
    pairs: tuple[Pairs, ...]

    def epochs(self, n_threads: int) -> list[Time]:
        """Return the whole epochs on so many threads, in the order in which they ran."""
        first = self.times[0]
        same = (first.ids, first.batch_rows)
        return [t for t in self.times if t.threads == n_threads and (t.ids, t.batch_rows) == same]

    def steps(self) -> list[Time]:
        """Return the steps on tables of two sizes."""
        return [t for t in self.times if t.batch_rows != self.times[0].batch_rows]

    def marks(self) -> tuple[Mark, ...]:
        """Return the figures that have marks."""
        one, two = self.epochs(1), self.epochs(2)
        own = {name: _of(one, name).per_cpu_s for name in (OURS, OURS_BLOCKS, OURS_ADAM)}
        best = max(own.values())
        plain = max((t.per_cpu_s for t in one if _is_stripped(t)), default=math.nan)
        usual = max(
            (t.per_cpu_s for t in one if _is_peer(t) and not _is_stripped(t)), default=math.nan
        )
        both = max(_of(two, name).per_wall_s for name in (OURS, OURS_BLOCKS, OURS_ADAM))
        few = _of([t for t in self.steps() if t.ids == self.times[0].ids], OURS).step_s
        large = [t for t in self.steps() if t.ids != self.times[0].ids]
        many = _of(large, OURS).step_s
        quickest = min((t.step_s for t in large if _is_peer(t)), default=math.nan)
        return (
            Mark("one thread, examples per CPU-second", best, True, 18_000.0),
            Mark("one thread, stretch", best, True, 20_000.0),
            Mark("one thread, times the fastest peer as it comes", best / usual, True, 1.5),
            Mark("one thread, times the fastest peer, stripped", best / plain, True, 1.5),
            Mark("two threads, examples per second", both, True, 30_000.0),
            Mark("step on 2 million rows over that on 200,000", many / few, False, 1.3),
            Mark("step on 2 million rows, times faster than any peer", quickest / many, True, 5.0),
        )


def write(race: Race, folder: Path) -> Path:
    """Write page and figures, each in one step, and return the page.

    Raises:
        OSError: the folder is read-only or full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / FIGURES, json_text(race))
    replace_text(folder / PAGE, markdown(race))
    return folder / PAGE


def json_text(race: Race) -> str:
    """Return all figures as JSON; null where there is none."""
    record = {
        **asdict(race),
        "marks": [{**asdict(mark), "holds": mark.holds} for mark in race.marks()],
    }
    return json.dumps(_plain(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def show(race: Race, console: Console) -> None:
    """Print the tables."""
    for title, heads, rows in tables(race):
        table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
        for place, head in enumerate(heads):
            table.add_column(head, justify="left" if place == 0 else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def markdown(race: Race) -> str:
    """Return the page."""
    lines = [
        "# Training beside other libraries, and scoring beside repeats",
        "",
        f"Written by `{race.machine['command']}`; do not edit. "
        f"The same figures are in [{FIGURES}]({FIGURES}).",
        "",
    ]
    if not race.marks_apply:
        lines += [f"Scale {race.scale!r}: it tests the benchmark; its figures say little.", ""]
    if race.load_before > BUSY_LOAD:
        busy = f"The machine was busy (load {race.load_before:.1f} at the start)"
        lines += [f"**{busy}: elapsed times mean little.**", ""]
    for title, heads, rows in tables(race):
        lines += [f"## {title}", "", f"| {' | '.join(heads)} |"]
        lines += ["|---" + "|--:" * (len(heads) - 1) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
    lines += [*READING, "", "## Machine", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in race.machine.items()]
    lines.append(f"| load before, after | {race.load_before:.2f}, {race.load_after:.2f} |")
    return "\n".join(lines) + "\n"


def tables(race: Race) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Return (title, heads, rows) of every table."""
    return [
        (
            "Marks",
            ("figure", "measured", "mark", "holds"),
            [
                (
                    mark.name,
                    _figure(mark.value),
                    ("≥ " if mark.at_least else "≤ ") + number(mark.bound),
                    {None: NONE, True: "yes", False: "no"}[mark.holds],
                )
                for mark in (race.marks() if race.marks_apply else ())
            ],
        ),
        ("One thread, whole epochs", _EPOCH_HEADS, _epoch_rows(race.epochs(1))),
        ("Two threads, whole epochs", _EPOCH_HEADS, _epoch_rows(race.epochs(2))),
        (
            "Steps on tables of two sizes, one thread",
            ("contestant", "table rows", "batch", "ms a step"),
            [
                (
                    t.contestant,
                    f"{20 * t.ids:,}",
                    f"{t.batch_rows:,}",
                    _figure(1e3 * t.step_s) if t.ran else t.version,
                )
                for t in race.steps()
            ],
        ),
        (
            "Scored pairs, one thread",
            ("policy", "sides once, pairs per CPU-second", "network on every pair", "times"),
            [
                (
                    p.policy,
                    _figure(p.once_per_cpu_s),
                    _figure(p.repeat_per_cpu_s),
                    _figure(p.gain),
                )
                for p in race.pairs
            ],
        ),
    ]


_EPOCH_HEADS = (
    "contestant",
    "version",
    "examples per CPU-second",
    "examples per second",
    "× fastest peer",
    "share of the floor",
)


def _epoch_rows(times: Sequence[Time]) -> list[tuple[str, ...]]:
    fastest = max((t.per_wall_s for t in times if _is_peer(t)), default=math.nan)
    floor = _of(times, FLOOR).per_wall_s
    return [
        (
            t.contestant,
            t.version or NONE,
            _figure(t.per_cpu_s),
            _figure(t.per_wall_s),
            _figure(t.per_wall_s / fastest),
            _figure(t.per_wall_s / floor),
        )
        for t in times
    ]


READING = (
    "How to read it: a mixture of experts over 20 sparse fields (ids uniform, width 16), 8",
    "experts [128, 64], one linear gate and one tower [32, 1] for each of 3 targets, binary",
    "cross-entropy, learning rate 0.001; an epoch begins with columns in numpy and includes each",
    "library's own data path, shuffling and bookkeeping; in a process of its own, after two",
    "batches to warm up, the best of the repeats. Peers run twice: as they come, with their own",
    "defaults for what the task leaves open (hidden layers in gates, decay or L2 of tables: a",
    "larger function than ours), and **stripped** of these to our function, but for the batch",
    "normalisation of torch-rechub and the clipping of FuxiCTR's loop, which have no switch.",
    "Peers learn tables by dense Adam, as they do by default. **swipelab** learns tables by",
    "row-wise Adagrad and runs a batch in parts that stay in cache, all other weights by Adam;",
    "**swipelab, blocks of policies** is the same with the experts and gates that policies are",
    "built of, which stand on a first layer that serving can split; **swipelab, exact Adam** is",
    "Adam on everything and whole batches, the same algorithm as the peers'. **bare products** is",
    "the floor: the matrix products of a step of the latter, forward and backward, on operands",
    "that lie ready, and nothing else. FuxiCTR's package has no MMoE (its repository has); the",
    "benchmark puts one together from the package's blocks. A step of ours is timed by the",
    "trainer, one of a peer is the epoch over its steps.",
    "",
    "Scored pairs: whole calls of `score` from requests on, features included, from cold caches,",
    "beside the same features for every pair and the whole network on all of them.",
)


def _is_peer(time: Time) -> bool:
    return time.ran and time.contestant not in OWN


def _is_stripped(time: Time) -> bool:
    return time.ran and time.contestant.endswith(STRIPPED)


def _of(times: Sequence[Time], contestant: str) -> Time:
    (found,) = (t for t in times if t.contestant == contestant)
    return found


def _figure(value: float) -> str:
    return NONE if math.isnan(value) else number(value)


def _plain(value: object) -> object:
    """Return the value with four digits a number, and None for what is not finite."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value
