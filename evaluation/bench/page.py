"""The figures of a benchmark on the terminal, as a page of Markdown, and as JSON."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.bench.figure import PER_CPU_S, Figure

PAGE, FIGURES = "README.md", "speed.json"
NONE = "–"
BUSY_LOAD = 0.5
"""Load before the benchmark from which on the machine counts as busy."""

HEADS = ("figure", "measured", "unit", "elapsed", "floor", "× floor", "mark", "holds")
"""Columns of the page."""
SHOWN = ("figure", "measured", "unit", "floor", "× floor", "mark", "holds")
"""Columns on the terminal."""


@dataclass(frozen=True)
class Measurement:
    """A finished benchmark."""

    scale: str
    machine: dict[str, str]
    """What it was measured on, facts by name."""
    load_before: float
    """Running processes in the minute before; NaN where unknown."""
    load_after: float
    figures: tuple[Figure, ...]

    @property
    def was_busy(self) -> bool:
        """Whether others used the machine when the benchmark began."""
        return self.load_before > BUSY_LOAD


def write(measured: Measurement, folder: Path) -> None:
    """Write page and figures; each is replaced in one step, so that no half-written one is left.

    Raises:
        OSError: the folder is read-only or full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / FIGURES, json_text(measured))
    replace_text(folder / PAGE, markdown(measured))


def json_text(measured: Measurement) -> str:
    """Return all figures as JSON."""
    record = {
        "scale": measured.scale,
        "machine": measured.machine,
        "load_before": _round(measured.load_before),
        "load_after": _round(measured.load_after),
        "figures": [figure.record() for figure in measured.figures],
    }
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def show(measured: Measurement, console: Console) -> None:
    """Print the table of figures; the elapsed rates are on the page only."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.caption = f"rates are{PER_CPU_S}"
    for head in SHOWN:
        side = "left" if head in ("figure", "unit", "holds") else "right"
        table.add_column(head, justify=side, no_wrap=True)  # type: ignore[arg-type]
    styles = {"yes": "green", "no": "red"}
    for figure in measured.figures:
        cell = dict(zip(HEADS, row(figure, short), strict=True))
        cell["unit"] = cell["unit"].removesuffix(PER_CPU_S)
        holds = Text(cell["holds"], style=styles.get(cell["holds"], ""))
        table.add_row(*(cell[head] for head in SHOWN if head != "holds"), holds)
    console.print(table)
    if measured.was_busy:
        console.print(_busy(measured))


def row(figure: Figure, write_number: Callable[[float | None], str]) -> tuple[str, ...]:
    """Return the cells of a figure, in the order of HEADS."""
    ratio = figure.times_floor
    at = "≥ " if figure.wants_more else "≤ "
    return (
        figure.name,
        write_number(figure.value),
        figure.unit,
        write_number(figure.value_wall),
        write_number(figure.floor),
        NONE if ratio is None else f"{ratio:.3g}",
        NONE if figure.mark is None else at + write_number(figure.mark),
        {None: NONE, True: "yes", False: "no"}[figure.holds],
    )


def number(value: float | None) -> str:
    """Write a figure with three digits, thousands apart; a dash where there is none."""
    if value is None:
        return NONE
    return f"{float(f'{value:.3g}'):,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def short(value: float | None) -> str:
    """Write a figure with three digits and k or M, for narrow terminals."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if value is not None and abs(value) >= 0.9995 * size:
            return number(value / size) + letter
    return number(value)


def markdown(measured: Measurement) -> str:
    """Return the page."""
    lines = [
        "# Speed and memory",
        "",
        f"Written by `{measured.machine['command']}`; do not edit. "
        f"The same figures, with the floors per elapsed second, are in [{FIGURES}]({FIGURES}).",
        "",
    ]
    if measured.scale != "full":
        lines += [f"Scale {measured.scale!r}: it tests the benchmark; its figures say little.", ""]
    if measured.was_busy:
        lines += [f"**{_busy(measured)}**", ""]
    heads = [*HEADS]
    lines += [f"| {' | '.join(heads)} |", "|---|--:|---|--:|--:|--:|--:|---|"]
    lines += [f"| {' | '.join(row(figure, number))} |" for figure in measured.figures]
    lines += ["", *READING, "", "## What was done, and what the floors are", ""]
    for figure in measured.figures:
        floor = f" *Floor:* {figure.floor_work}." if figure.floor_work else ""
        lines.append(f"- **{figure.name}**: {figure.work}.{floor}")
    lines += ["", "## Machine", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in measured.machine.items()]
    lines.append(f"| load before, after | {measured.load_before:.2f}, {measured.load_after:.2f} |")
    return "\n".join(lines) + "\n"


READING = (
    "How to read it: rates are per processor second of one thread, beside the same rate per",
    "elapsed second; medians over the repeats. The floor was measured in the same run on the same",
    "machine: a bare kernel that does the arithmetic at the heart of the job and nothing around",
    "it, described below. **× floor** is how many times the floor's time (or memory) the job",
    "takes. A mark is what the project set out to reach.",
)


def _busy(measured: Measurement) -> str:
    return (
        f"The machine was busy (load {measured.load_before:.1f} at the start): elapsed times mean "
        "little, and processor times are too long."
    )


def _round(value: float) -> float | None:
    return round(value, 2) if value == value else None


def replace_text(path: Path, text: str) -> None:
    """Write a text file in one step, so that no half-written one is left.

    Raises:
        OSError: the folder is read-only or full.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
