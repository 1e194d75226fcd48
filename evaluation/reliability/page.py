"""A study of reliability as tables, as a page, as Markdown and on the terminal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from rich import box
from rich.console import Console
from rich.table import Table

from evaluation import drawing
from evaluation.environment import environment_record
from evaluation.page import Chapter, plots_of
from evaluation.publishing import new_draft
from evaluation.reliability import chapters
from evaluation.reliability.pairs import CELL
from evaluation.reliability.settings import (
    FILES,
    PAGE,
    PAIRS,
    QUESTION,
    README,
    SCORES,
    TABLE,
    ReliabilitySettings,
)
from evaluation.reliability.study import Frames
from evaluation.reliability.verdicts import known_pairs, verdicts
from evaluation.study_folder import (
    CONFIG,
    ENVIRONMENT,
    FactGroup,
    ReportError,
    fact_groups,
    facts,
    settings,
)
from evaluation.templating import replace_table, replace_text, templates
from sim.processes import interrupts_held

TERMINAL = ("method", "better policy chosen", "τ with true value", "lost by trusting it")


@dataclass(frozen=True)
class Heading:
    """What stands above and below the chapters."""

    name: str
    question: str
    command: str
    environment: tuple[FactGroup, ...]
    config: str
    """Resolved configuration, yaml."""


def write(frames: Frames, asked: ReliabilitySettings) -> Path:
    """Write tables, page and Markdown into the study's folder; return the page's path.

    All is prepared in a hidden folder inside. While it is moved, the table of verdicts is away:
    that tells a finished study from others.

    Raises:
        OSError: the folder is read-only or full.
    """
    draft = new_draft(asked.out)
    replace_text(draft / CONFIG, asked.config_yaml)
    replace_text(draft / ENVIRONMENT, json.dumps(environment_record(), indent=1) + "\n")
    replace_table(draft / SCORES, frames.scores)
    replace_table(draft / PAIRS, frames.pairs)
    replace_table(draft / TABLE, verdicts(frames.pairs, frames.scores))
    render(draft)
    with interrupts_held():
        (asked.out / TABLE).unlink(missing_ok=True)
        for name in sorted(FILES, key=TABLE.__eq__):  # the table comes last
            (draft / name).replace(asked.out / name)
        shutil.rmtree(draft)
    return asked.out / PAGE


def render(folder: Path) -> Path:
    """Draw page and Markdown from what a study of reliability left; return the page's path.

    Raises:
        ReportError: the study is not finished, or a table is broken.
        OSError: the page cannot be written.
    """
    from plotly.offline import get_plotlyjs

    frames, table, heading = _opened(folder)
    parts = (
        chapters.choices(table),
        chapters.kinds_of_error(frames.pairs),
        chapters.negatives(frames.pairs),
        chapters.gaps(frames.pairs),
        chapters.worlds(frames.pairs, frames.scores),
    )
    replace_text(folder / README, markdown(frames, table, heading, parts))
    html = (
        templates()
        .get_template("reliability.html.j2")
        .render(
            study=heading,
            chapters=parts,
            findings=[part.finding for part in parts if part.finding],
            plots=plots_of(parts),
            dark=dict(drawing.DARK),
            plotly=Markup(get_plotlyjs()),
            **_counts(frames),
        )
    )
    return replace_text(folder / PAGE, html)


def show(folder: Path, console: Console) -> None:
    """Print the usual methods of a finished study, the most reliable first."""
    _, table, _ = _opened(folder)
    usual = chapters.usual_methods(table)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in ("numbers from", *TERMINAL):
        grid.add_column(head, justify="left" if head in ("numbers from", "method") else "right")
    for source in chapters.SOURCES:
        for row in chapters.choice_rows(usual[usual["source"] == source]):
            grid.add_row(source, *(cell.text for cell in row[: len(TERMINAL)]))
    console.print(grid)


def markdown(
    frames: Frames, table: pd.DataFrame, heading: Heading, parts: tuple[Chapter, ...]
) -> str:
    """Return the findings and the usual methods as Markdown, for a repository."""
    counts = _counts(frames)
    usual = chapters.usual_methods(table)
    lines = [
        f"# {heading.question}",
        "",
        f"Written by `{heading.command}`; do not edit. {counts['policies']} policies in the worlds "
        f"{', '.join(counts['worlds'])}, {counts['seeds']} seed(s) each: {counts['pairs']} pairs, "
        f"{counts['known']} of them told apart by the truth.",
        "",
        *(f"- {part.finding}" for part in parts if part.finding),
        "",
        parts[0].lead,
    ]
    for source, words in chapters.SOURCES.items():
        own = chapters.choice_rows(usual[usual["source"] == source])
        if not own:
            continue
        lines += ["", f"## Numbers from {words}", "", f"| {' | '.join(chapters.HEADS)} |"]
        lines += ["|---" + "|--:" * (len(chapters.HEADS) - 1) + "|"]
        for row in own:
            cells = (f"{cell.text} ({cell.note})" if cell.note else cell.text for cell in row)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _opened(folder: Path) -> tuple[Frames, pd.DataFrame, Heading]:
    if not folder.is_dir():
        raise ReportError(f"study folder {folder} does not exist")
    tables = []
    for name in (SCORES, PAIRS, TABLE):
        if not (folder / name).is_file():
            raise ReportError(f"study folder {folder} has no {name}; the study has not finished")
        try:
            tables.append(pd.read_parquet(folder / name))
        except (OSError, ValueError) as error:
            raise ReportError(f"{folder / name} cannot be read: {error}") from error
    environment = facts(folder / ENVIRONMENT)
    command = str(environment.pop("command", ""))
    config = folder / CONFIG
    asked = settings(config)
    heading = Heading(
        name=str(asked.get("name") or folder.name),
        question=str(asked.get("question") or QUESTION),
        command=command,
        environment=fact_groups(environment, "made with"),
        config=config.read_text(encoding="utf-8") if config.is_file() else "",
    )
    scores, pairs, table = tables
    return Frames(scores, pairs), table, heading


def _counts(frames: Frames) -> Mapping[str, Any]:
    """Return how much there is of everything, for the head of the page."""
    cell = [*CELL, "first", "second"]
    return {
        "policies": frames.scores["policy"].nunique(),
        "worlds": list(dict.fromkeys(frames.pairs["world"])),
        "seeds": frames.pairs["seed"].nunique(),
        "pairs": len(frames.pairs.drop_duplicates(cell)),
        "known": len(known_pairs(frames.pairs).drop_duplicates(cell)),
    }
