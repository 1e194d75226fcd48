"""Judging policies: offline on logs, online in twins of one world, and against the truth.

Public names are imported when they are first used, so that `swipelab --help` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evaluation.intervals import Estimate as Estimate
    from evaluation.intervals import Interval as Interval
    from evaluation.results import Results as Results
    from evaluation.results import ResultsError as ResultsError
    from evaluation.results import Row as Row
    from evaluation.results import Subject as Subject

_HOMES = {
    "Estimate": "intervals",
    "Interval": "intervals",
    "Results": "results",
    "ResultsError": "results",
    "Row": "results",
    "Subject": "results",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module.

    Raises:
        AttributeError: there is no such name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'evaluation' has no attribute {name!r}")
    return getattr(importlib.import_module(f"evaluation.{_HOMES[name]}"), name)
