"""The parts that the study page is made of: chapters with words, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from evaluation.drawing import Plot
from evaluation.wording import Cell


@dataclass(frozen=True)
class Table:
    """A table of numbers, aligned to the right but for the columns of words."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: frozenset[int] = frozenset({0})
    """Columns of words, aligned to the left."""


@dataclass(frozen=True)
class Panel:
    """Figures that change together when the reader chooses an option."""

    key: str
    """Prefix of the ids of the places."""
    label: str
    """What is chosen."""
    options: tuple[str, ...]
    places: tuple[str, ...]
    """Heading of each place; "" for none."""
    drawn: Mapping[str, Sequence[Plot | None]]
    """Option to one figure per place; None leaves a place empty for that option."""


@dataclass(frozen=True)
class Chapter:
    """One section of the page."""

    key: str
    title: str
    lead: str
    """One or two sentences: what is to be seen."""
    panels: tuple[Panel, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    """Caption to table; folded away under the figures, but for those of `open_tables`."""
    open_tables: frozenset[str] = frozenset()
    finding: str = ""
    """The sentence for the summary on top of the page, "" where there is nothing to say."""
    doubts: tuple[str, ...] = ()
    """Reasons not to believe a number of the chapter, one sentence each; shown as a list."""


def plots_of(chapters: Sequence[Chapter]) -> Mapping[str, Mapping[str, list[Any]]]:
    """Return panel key to option to one plotly specification (or None) per place."""
    return {
        panel.key: {
            option: [None if figure is None else asdict(figure) for figure in drawn]
            for option, drawn in panel.drawn.items()
        }
        for chapter in chapters
        for panel in chapter.panels
    }
