"""The true side of a log, for evaluation only; no policy is handed anything of this module."""

from __future__ import annotations

import numpy as np

from sim.log import Log
from sim.schema import Impressions, Purchases
from sim.tables import from_table
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


def logged_purchases(log: Log) -> Purchases:
    """Return every purchase that the selected impressions lead to, reported by then or not.

    They stand by day of the session, request, streamer and ordinal. `known_s` is infinite where
    the report is lost.

    Raises:
        LogError: a file cannot be read.
    """
    parts = [Purchases.empty()]
    for day in log.days:
        shown = log._read_day("impressions", day, Impressions)
        bought = from_table(Purchases, log._read(f"truth/purchases/day={day:04d}/part-0.parquet"))
        selected = shown.request_id[log.selects(shown)]
        parts.append(bought.take(np.isin(bought.request_id, selected)))
    return Purchases.concat(parts)


def sessions_to_their_end(log: Log, day: int) -> Impressions:
    """Return all that the sessions of `day` showed, also what came after `log.as_of_s`.

    Raises:
        LogError: a file cannot be read.
    """
    return log._read_day("impressions", day, Impressions)
