"""A line-up as tables, as a page, as Markdown and on the terminal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf
from rich import box
from rich.console import Console
from rich.table import Table as Grid

from evaluation import drawing
from evaluation.environment import environment_record
from evaluation.lineup import chapters
from evaluation.lineup.budgets import budgets
from evaluation.lineup.claim import Claim
from evaluation.lineup.settings import (
    COSTS,
    FILES,
    PAGE,
    QUESTION,
    README,
    TABLE,
    LineupSettings,
)
from evaluation.lineup.study import Lineup
from evaluation.page import Chapter, Table
from evaluation.pooling import pooled
from evaluation.publishing import new_draft
from evaluation.study_folder import (
    CONFIG,
    ENVIRONMENT,
    FactGroup,
    ReportError,
    fact_groups,
    facts,
)
from evaluation.templating import replace_table, replace_text, templates
from sim.processes import interrupts_held


@dataclass(frozen=True)
class Heading:
    """What stands above and below the chapters."""

    name: str
    question: str
    command: str
    environment: tuple[FactGroup, ...]
    config: str
    """Resolved configuration, yaml."""


def write(lineup: Lineup, asked: LineupSettings) -> Path:
    """Write tables, page and Markdown into the line-up's folder; return the page's path.

    All is prepared in a hidden folder inside. While it is moved, the results are away: that tells
    a finished line-up from others.

    Raises:
        OSError: the folder is read-only or full.
    """
    draft = new_draft(asked.out)
    replace_text(draft / CONFIG, asked.config_yaml)
    replace_text(draft / ENVIRONMENT, json.dumps(environment_record(), indent=1) + "\n")
    replace_table(draft / COSTS, lineup.costs)
    replace_table(draft / TABLE, lineup.rows)
    render(draft)
    with interrupts_held():
        (asked.out / TABLE).unlink(missing_ok=True)
        for name in sorted(FILES, key=TABLE.__eq__):  # the table comes last
            (draft / name).replace(asked.out / name)
        shutil.rmtree(draft)
    return asked.out / PAGE


def render(folder: Path) -> Path:
    """Draw page and Markdown from what a line-up left; return the page's path.

    Raises:
        ReportError: the line-up is not finished, or a table is broken.
        OSError: the page cannot be written.
    """
    lineup, heading, parts = _opened(folder)
    counts = _counts(lineup, heading)
    replace_text(folder / README, markdown(heading, parts, counts))
    html = (
        templates()
        .get_template("lineup.html.j2")
        .render(
            study=heading,
            chapters=parts,
            findings=[part.finding for part in parts if part.finding],
            plots={},  # all is said in tables, so the page needs no library
            dark=dict(drawing.DARK),
            plotly="",
            **counts,
        )
    )
    return replace_text(folder / PAGE, html)


def show(folder: Path, console: Console) -> None:
    """Print the first columns of a finished line-up's first table."""
    _, _, parts = _opened(folder)
    (table,) = parts[0].tables.values()
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    shown = 1 + len(chapters.ONLINE)
    for at, head in enumerate(table.head[:shown]):
        grid.add_column(head, justify="left" if at in table.words else "right")
    for row in table.rows:
        grid.add_row(*(cell.text for cell in row[:shown]))
    console.print(grid)


def markdown(heading: Heading, parts: tuple[Chapter, ...], counts: Mapping[str, Any]) -> str:
    """Return all chapters as Markdown, for a repository."""
    lines = [
        f"# {heading.question}",
        "",
        f"Written by `{heading.command}`; do not edit. {counts['policies']} policies, "
        f"{counts['seeds']} seed(s) of the world {counts['world']}.",
        "",
        *(f"- {part.finding}" for part in parts if part.finding),
    ]
    for part in parts:
        lines += ["", f"## {part.title}", "", part.lead]
        for caption, table in part.tables.items():
            lines += ["", f"**{caption}**", "", *_grid(table)]
    return "\n".join(lines) + "\n"


def _grid(table: Table) -> list[str]:
    sides = ["---" if at in table.words else "--:" for at in range(len(table.head))]
    lines = [f"| {' | '.join(table.head)} |", f"|{'|'.join(sides)}|"]
    for row in table.rows:
        cells = (f"{cell.text} ({cell.note})" if cell.note else cell.text for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _opened(folder: Path) -> tuple[Lineup, Heading, tuple[Chapter, ...]]:
    if not folder.is_dir():
        raise ReportError(f"study folder {folder} does not exist")
    tables = []
    for name in (TABLE, COSTS, CONFIG):
        if not (folder / name).is_file():
            raise ReportError(f"study folder {folder} has no {name}; the line-up has not finished")
        if name == CONFIG:
            continue
        try:
            tables.append(pd.read_parquet(folder / name))
        except (OSError, ValueError) as error:
            raise ReportError(f"{folder / name} cannot be read: {error}") from error
    lineup = Lineup(*tables)
    text = (folder / CONFIG).read_text(encoding="utf-8")
    asked: Any = OmegaConf.create(text)
    environment = facts(folder / ENVIRONMENT)
    command = str(environment.pop("command", ""))
    heading = Heading(
        name=str(asked.name),
        question=str(asked.question or QUESTION),
        command=command,
        environment=fact_groups(environment, "made with"),
        config=text,
    )
    said = [Claim(**claim) for claim in OmegaConf.to_container(asked.lineup).get("claims") or ()]  # type: ignore[union-attr]
    numbers, control = pooled(lineup.rows), str(asked.control)
    inside: Any = OmegaConf.to_container(asked.policies)
    parts = (
        chapters.online(numbers, lineup.costs, control),
        budgets(inside, chapters.by_value(numbers, control)),
        chapters.apart(numbers, control, lineup.rows["world_seed"].nunique()),
        chapters.claims(numbers, said),
        chapters.targets(numbers, control),
        chapters.scenarios(numbers, control),
        chapters.calibration(numbers, control),
    )
    return lineup, heading, parts


def _counts(lineup: Lineup, heading: Heading) -> Mapping[str, Any]:
    """Return how much there is of everything, for the head of the page."""
    return {
        "policies": lineup.rows.loc[lineup.rows["policy"] != "", "policy"].nunique(),
        "seeds": lineup.rows["world_seed"].nunique(),
        "world": OmegaConf.create(heading.config).world.name,
    }
