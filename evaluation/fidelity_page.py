"""A comparison with published figures on the terminal, as a page, as Markdown and as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.comparison import Comparison, Line
from evaluation.publishing import COMPARISON
from evaluation.study_folder import CONFIG
from evaluation.templating import replace_text, templates
from evaluation.wording import MINUS, MISSING

PAGE, README, TABLE, _ = COMPARISON

WIDEST = math.log(4.0)
"""Log ratio at the ends of the bars; figures further off stand there."""

HEADS = ("figure", "published", "generated", "off by", "allowed", "verdict")
MARKS = {"holds": "✓", "off": "✗"}
TONES = {"holds": "good", "off": "bad", "not measured": "bad"}
STYLES = {"good": "green", "bad": "red"}

QUESTION = "Does the generated world look like live streaming as it was published?"
READING = (
    "A figure holds if it lies within 10 % of the published one, a quantile within 20 %. Stand-ins "
    "take the place of figures that nobody has published of live commerce; they and what cannot be "
    "compared do not count."
)


@dataclass(frozen=True)
class Bar:
    """Where a figure and its tolerance lie on a bar, per cent from the left."""

    value: float
    low: float
    high: float


def write(comparison: Comparison, config_yaml: str, out: Path) -> Path:
    """Write page, Markdown, table and config into `out`, each in one step; return the page's path.

    Raises:
        OSError: the folder is read-only or full.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / PAGE).unlink(missing_ok=True)  # it comes back last: no page of another table is left
    part = out / f".{TABLE}.part"
    comparison.frame().to_parquet(part, index=False)
    part.replace(out / TABLE)
    replace_text(out / CONFIG, config_yaml)
    replace_text(out / README, markdown(comparison))
    return replace_text(out / PAGE, html(comparison))


def show(comparison: Comparison, console: Console) -> None:
    """Print the table and the verdict."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in HEADS:
        side = "left" if head in ("figure", "verdict") else "right"
        table.add_column(head, justify=side, no_wrap=head != "figure")  # type: ignore[arg-type]
    for group, lines in grouped(comparison):
        table.add_row(Text(group, style="bold"))
        for line in lines:
            *cells, verdict = cells_of(line)
            table.add_row(*cells, Text(verdict, style=STYLES.get(tone(line), "dim")))
    console.print(table)
    console.print(summary(comparison), highlight=False)


def html(comparison: Comparison) -> str:
    """Return the page: one file, no script."""
    return (
        templates()
        .get_template("fidelity.html.j2")
        .render(
            comparison=comparison,
            question=QUESTION,
            reading=READING,
            summary=summary(comparison),
            off=[line for line in comparison.judged if not line.is_close],
            groups=list(grouped(comparison)),
            heads=HEADS,
            cells_of=cells_of,
            bar_of=bar_of,
            tone=tone,
            mark=lambda line: MARKS.get(line.verdict, ""),
            filtered=lambda line: number(line.measured.filtered, line.published.unit),
        )
    )


def markdown(comparison: Comparison) -> str:
    """Return the page as Markdown, for a repository."""
    lines = [
        "# Fidelity",
        "",
        f"Written by `{comparison.command}`; do not edit. {QUESTION} World {comparison.world}, "
        f"seed {comparison.seed}, {comparison.days} days, ranked by {comparison.policy}.",
        "",
        f"**{summary(comparison)}** {READING}",
    ]
    for group, rows in grouped(comparison):
        lines += ["", f"## {group}", "", f"| {' | '.join(HEADS)} | filtered | n |"]
        lines.append("|---|--:|--:|--:|--:|---|--:|--:|")
        for row in rows:
            own = number(row.measured.filtered, row.published.unit)
            cells = (*cells_of(row), own, f"{row.measured.n:,}")
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
        for row in rows:
            note = f" {row.published.note}" if row.published.note else ""
            lines.append(f"- **{row.published.name}**: {row.published.source}.{note}")
    return "\n".join(lines) + "\n"


def summary(comparison: Comparison) -> str:
    """Say in one sentence how many figures hold."""
    judged = comparison.judged
    others = len(comparison.lines) - len(judged)
    return (
        f"{comparison.holding} of {len(judged)} comparable figures hold; "
        f"{others} others are shown and do not count."
    )


def grouped(comparison: Comparison) -> Iterator[tuple[str, list[Line]]]:
    """Yield (group, its lines), in the order of the figures."""
    groups = dict.fromkeys(line.published.group for line in comparison.lines)
    for group in groups:
        yield group, [line for line in comparison.lines if line.published.group == group]


def cells_of(line: Line) -> tuple[str, ...]:
    """Return the cells of a line, in the order of HEADS."""
    row, value = line.published, line.measured.value
    above = "> " if row.rule == "above" else ""
    return (
        row.name,
        above + number(row.value, row.unit),
        number(value, row.unit),
        _distance(line),
        _allowed(line),
        line.verdict,
    )


def tone(line: Line) -> str:
    """Return good, bad, or nothing where the line does not count."""
    return TONES.get(line.verdict, "") if line.is_judged else ""


def bar_of(line: Line) -> Bar | None:
    """Return where the ratio to the published figure lies, None where there is no ratio."""
    row, value = line.published, line.measured.value
    if row.rule != "relative" or math.isnan(value) or value <= 0 or row.value <= 0:
        return None
    ends = (value / row.value, max(1 - row.tolerance, 1e-9), 1 + row.tolerance)
    return Bar(*(round(50 + 50 * _clipped(math.log(x) / WIDEST), 2) for x in ends))


def number(value: float, unit: str) -> str:
    """Write a figure with three digits and its unit; a dash where there is none."""
    if math.isnan(value):
        return MISSING
    if unit == "share":
        return f"{_digits(100 * value)}\N{NO-BREAK SPACE}%"
    words = {"s": " s", "min": " min", "h": " h", "x mean": "", "a day": "", "days": " days"}
    return f"{_digits(value)}{words.get(unit, '')}".replace(" ", "\N{NO-BREAK SPACE}")


def _digits(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _distance(line: Line) -> str:
    row, value = line.published, line.measured.value
    if math.isnan(value) or row.rule == "above":
        return MISSING
    gap = row.deviation(value)
    text = f"{100 * gap:+.0f}\N{NO-BREAK SPACE}%" if row.rule == "relative" else f"{gap:+.3g}"
    return text.replace("-", MINUS)


def _allowed(line: Line) -> str:
    row = line.published
    if row.standing == "not comparable" or row.rule == "above":
        return MISSING
    if row.rule == "relative":
        return f"±{100 * row.tolerance:.0f}\N{NO-BREAK SPACE}%"
    return f"±{row.tolerance:.3g}"


def _clipped(x: float) -> float:
    return min(max(x, -1.0), 1.0)
