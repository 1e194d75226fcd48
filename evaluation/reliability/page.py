"""A study of reliability as tables, as a page, as Markdown and on the terminal."""

from __future__ import annotations

import json
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
from evaluation.reliability import chapters
from evaluation.reliability.pairs import CELL
from evaluation.reliability.settings import (
    PAGE,
    PAIRS,
    README,
    SCORES,
    TABLE,
    ReliabilitySettings,
)
from evaluation.reliability.study import Judged
from evaluation.reliability.verdicts import judged as told_apart
from evaluation.reliability.verdicts import verdicts
from evaluation.study_folder import (
    CONFIG,
    ENVIRONMENT,
    FactGroup,
    ReportError,
    fact_groups,
    facts,
    settings,
)
from evaluation.templating import replace_text, templates

QUESTION = "Which offline number picks the better policy?"
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


def write(judged: Judged, asked: ReliabilitySettings) -> Path:
    """Write tables, page and Markdown into the study's folder; return the page's path.

    Raises:
        OSError: the folder is read-only or full.
    """
    out = asked.out
    out.mkdir(parents=True, exist_ok=True)
    for name in (PAGE, README, TABLE):  # they come back last: nothing is left of other tables
        (out / name).unlink(missing_ok=True)
    table = verdicts(judged.pairs, judged.scores)
    replace_text(out / CONFIG, asked.config_yaml)
    replace_text(out / ENVIRONMENT, json.dumps(environment_record(), indent=1) + "\n")
    for name, frame in ((SCORES, judged.scores), (PAIRS, judged.pairs), (TABLE, table)):
        part = out / f".{name}.part"
        frame.to_parquet(part, index=False)
        part.replace(out / name)
    return render(out)


def render(folder: Path) -> Path:
    """Draw page and Markdown from what a study of reliability left; return the page's path.

    Raises:
        ReportError: a table is missing or broken.
        OSError: the page cannot be written.
    """
    from plotly.offline import get_plotlyjs

    judged, heading = _opened(folder)
    table = verdicts(judged.pairs, judged.scores)
    parts = (
        chapters.choices(table),
        chapters.kinds_of_error(judged.pairs),
        chapters.negatives(judged.pairs),
        chapters.gaps(judged.pairs),
        chapters.worlds(judged.pairs, judged.scores),
    )
    replace_text(folder / README, markdown(judged, table, heading, parts))
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
            **_counts(judged),
        )
    )
    return replace_text(folder / PAGE, html)


def show(judged: Judged, console: Console) -> None:
    """Print the usual methods against all candidates, the most reliable first."""
    table = verdicts(judged.pairs, judged.scores)
    usual = chapters.usual_methods(table)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in ("numbers from", *TERMINAL):
        grid.add_column(head, justify="left" if head in ("numbers from", "method") else "right")
    for source in chapters.SOURCES:
        for row in chapters.choice_rows(usual[usual["source"] == source]):
            grid.add_row(source, *(cell.text for cell in row[: len(TERMINAL)]))
    console.print(grid)


def markdown(
    judged: Judged, table: pd.DataFrame, heading: Heading, parts: tuple[Chapter, ...]
) -> str:
    """Return the findings and the usual methods as Markdown, for a repository."""
    counts = _counts(judged)
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


def _opened(folder: Path) -> tuple[Judged, Heading]:
    if not folder.is_dir():
        raise ReportError(f"study folder {folder} does not exist")
    frames = []
    for name in (SCORES, PAIRS):
        try:
            frames.append(pd.read_parquet(folder / name))
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
    return Judged(*frames), heading


def _counts(judged: Judged) -> Mapping[str, Any]:
    """Return how much there is of everything, for the head of the page."""
    cell = [*CELL, "first", "second"]
    return {
        "policies": judged.scores["policy"].nunique(),
        "worlds": list(dict.fromkeys(judged.pairs["world"])),
        "seeds": judged.pairs["seed"].nunique(),
        "pairs": len(judged.pairs.drop_duplicates(cell)),
        "known": len(told_apart(judged.pairs).drop_duplicates(cell)),
    }
