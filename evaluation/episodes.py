"""Waiting for a purchase: episodes from a log, censored at its end, and the truth about them.

An episode opens when the feedback of an engaging impression is complete (the log's `known_s`, from
which delays count) and closes with the purchase, or unfinished with the end of observation. Axis
letter: N episodes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from sim.config import WorldConfig
from sim.delay_law import logged_delays
from sim.schema import Impressions
from sim.truth import TruthRows

SHORTEST_S = 1.0
"""Shorter waits count as this long; parametric delay families need positive durations."""


@dataclass(frozen=True)
class Episodes:
    """Waiting times from the start of an episode to the purchase, arrays [N]."""

    row: NDArray[np.int64]
    """Row of the impression in the table that the episodes were taken from."""
    user_id: NDArray[np.int32]
    scenario: NDArray[np.int8]
    duration_s: NDArray[np.float64]
    """Until the purchase if there is one, else until the end of observation; seconds."""
    purchased: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of episodes N."""
        return len(self.row)

    def take(self, rows: NDArray[np.bool_]) -> Episodes:
        """Return the episodes where `rows` [N] holds."""
        return Episodes(
            self.row[rows],
            self.user_id[rows],
            self.scenario[rows],
            self.duration_s[rows],
            self.purchased[rows],
        )


class Delays(Protocol):
    """Laws of the delays of N purchases; `sim.delay_law.DelayLaw` is one."""

    def cdf(self, t_s: float) -> NDArray[np.floating]:
        """Return P(delay <= t_s | the purchase takes place) [N]."""

    def take(self, rows: NDArray[np.bool_]) -> Delays:
        """Return the laws of some rows (mask [N])."""


@dataclass(frozen=True)
class ConversionTruth:
    """The truth about the same episodes."""

    probability: NDArray[np.floating]
    """[N] probability that the episode ever ends in a purchase, however long it takes; competing
    events are in it: a purchase that they prevent never ends an episode."""
    delays: Delays
    """Laws of the delay [N], given that the purchase takes place; p F(W) is Aalen-Johansen's
    cumulative incidence of purchases at W."""
    horizon_s: float = np.inf
    """No purchase is attributed later than this; infinite where there is no such rule."""

    def take(self, rows: NDArray[np.bool_]) -> ConversionTruth:
        """Return the truth about some episodes (mask [N])."""
        return replace(self, probability=self.probability[rows], delays=self.delays.take(rows))

    def rate(self, horizon_s: float) -> float:
        """Return the mean of p_i F_i(W); F is 1 for an infinite horizon, NaN of nothing."""
        if not len(self.probability):
            return float("nan")
        share = 1.0 if np.isinf(horizon_s) else self.delays.cdf(horizon_s)
        return float((self.probability * share).mean())


def episodes(
    impressions: Impressions,
    as_of_s: float,
    start: Literal["bag_click", "engage"] = "bag_click",
) -> Episodes:
    """Return the episodes that `start` opened, censored at the moment the log speaks of.

    Args:
        impressions: rows of a log, with the purchases known at `as_of_s`.
        as_of_s: end of observation, seconds.
        start: the event that opens an episode.
    """
    opened = impressions.bag_click if start == "bag_click" else impressions.engage
    row = np.flatnonzero(opened & (impressions.known_s < as_of_s))
    begin = impressions.known_s[row]
    purchase_s = impressions.purchase_s[row]
    purchased = purchase_s <= as_of_s  # False for NaN
    end = np.where(purchased, purchase_s, as_of_s)
    return Episodes(
        row.astype(np.int64),
        impressions.user_id[row],
        impressions.scenario[row],
        np.maximum(end - begin, SHORTEST_S),
        purchased,
    )


def conversion_truth(
    truth: TruthRows, shown: Impressions, opened: Episodes, config: WorldConfig
) -> ConversionTruth:
    """Return the truth about episodes that bag clicks opened.

    Args:
        truth: true side of the impressions that the episodes were taken from, in the same order.
        shown: these impressions.
        opened: the episodes.
        config: the world that made the log.

    Raises:
        ValueError: the truth has too few rows for the episodes.
    """
    if len(opened) and int(opened.row.max()) >= len(truth):
        raise ValueError(
            f"truth has {len(truth)} rows, but an episode comes from row {opened.row.max()}"
        )
    own, seen = truth.take(opened.row), shown.take(opened.row)
    law = logged_delays(config.delay, config.visits.hour_weights, seen, own)
    return ConversionTruth(own.p_purchase_given_bag, law, law.horizon_s)
