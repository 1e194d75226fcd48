"""The true side of a log, for evaluation only; no policy is handed anything of this module."""

from __future__ import annotations

from sim.log import Log
from sim.schema import Impressions
from sim.truth import TruthRows


def logged_truth(log: Log) -> TruthRows:
    """Return the true side of `log.impressions()`, in the same order.

    Raises:
        LogError: a file cannot be read.
    """
    parts = [TruthRows.empty()]
    for day in log.days:
        shown = log._read_day("impressions", day, Impressions)
        parts.append(log._read_day("truth/impressions", day, TruthRows).take(log.selects(shown)))
    return TruthRows.concat(parts)


def sessions_to_their_end(log: Log, day: int) -> Impressions:
    """Return all that the sessions of `day` showed, also what came after `log.as_of_s`.

    Raises:
        LogError: a file cannot be read.
    """
    return log._read_day("impressions", day, Impressions)
