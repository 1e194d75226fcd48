"""The chapter of a line-up that says what each policy may spend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.page import Chapter, Table
from evaluation.wording import MISSING, Cell

_TRAINER = ("epochs", "batch_rows", "learning_rate", "valid_share")
_HEADS = ("epochs, at most", "batch", "learning rate", "held out")

_STAGES = {"pretrainer": "first", "trainer": "last"}


def budgets(policies: Mapping[str, Any], names: Sequence[str]) -> Chapter:
    """What the config of each policy allows it.

    Args:
        policies: {name: config}, resolved.
        names: of the policies, in the order of the page.
    """
    rows = [row for name in names for row in _rows(name, policies.get(name) or {})]
    lead = (
        "All policies are told of the same days and trained by the same loop, which stops early on "
        "the end of the log where it holds one out. A batch counts what the stage counts: shown "
        "rows, anchors or blocks of positives. A stage within a policy is named by its place in "
        "the config."
    )
    table = Table(("policy", "stage", "width of ids", *_HEADS), tuple(rows), frozenset({0, 1}))
    words = "Training, by config"
    return Chapter("budgets", "Budgets", lead, (), {words: table}, frozenset({words}))


def _rows(policy: str, config: Mapping[str, Any], place: str = "") -> list[tuple[Cell, ...]]:
    """Return one row a stage of training, those of policies inside a policy, too."""
    width = config.get("encoder", {}).get("id_dim", MISSING)
    rows = []
    for section, words in _STAGES.items():
        if section in config:
            own = [config[section].get(name, MISSING) for name in _TRAINER]
            said = words if "pretrainer" in config else "only"
            cells = (f"{place}{said}", width, *own)
            rows.append((Cell(policy), *(Cell(str(cell)) for cell in cells)))
    for name, inner in config.items():
        if isinstance(inner, Mapping) and name not in _STAGES:
            rows += _rows(policy, inner, f"{place}{name}, ")
    return rows
