"""What is counted of each day of a log, and what becomes of it: records that the tallies share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sim.log import Airings
from sim.schema import SWIPE, Impressions

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """A figure of generated data."""

    value: float
    """NaN where nothing was there to measure."""
    n: int
    """What it rests on: cards, stays, users x days, pairs, rooms, returns."""
    filtered: float = float("nan")
    """The same over users who entered, commented and liked; NaN where that means nothing."""


@dataclass(frozen=True)
class DayRecord:
    """What happened to the sessions that began on one day."""

    day: int
    shown: Impressions
    """As everything turned out in the end."""
    airings: Airings
    """At least those of the day."""
    delay_s: NDArray[np.floating]
    """True delays of all purchases that come of these impressions, however late [P]."""


def stays_of(shown: Impressions) -> NDArray[np.bool_]:
    """Return which impressions [N] brought the user into the room."""
    return np.asarray(shown.click | (shown.scenario == SWIPE))


def ratio(part: float, whole: float) -> float:
    """Return part / whole, NaN where there is nothing to divide by."""
    return float(part / whole) if whole > 0 else float("nan")


def share(part: float, whole: float) -> Measured:
    """Return part / whole as a figure that rests on `whole`."""
    return Measured(ratio(part, whole), int(whole))


@dataclass
class Histogram:
    """Counts of positive numbers on a grid of a tenth of a per cent: quantiles of any many."""

    counts: dict[int, int] = field(default_factory=dict)
    n: int = 0
    total: float = 0.0

    STEP = 1e-3
    LEAST = 1e-3

    def add(self, values: NDArray[np.floating]) -> None:
        """Count values [N]; those below LEAST count as LEAST in quantiles."""
        if not len(values):
            return
        exact = np.asarray(values, np.float64)
        cell = np.rint(np.log(np.maximum(exact, self.LEAST)) / self.STEP).astype(np.int64)
        for key, count in zip(*np.unique(cell, return_counts=True), strict=True):
            self.counts[int(key)] = self.counts.get(int(key), 0) + int(count)
        self.n += len(exact)
        self.total += float(exact.sum())

    def quantile(self, q: float) -> Measured:
        """Return the least value that a share `q` of the values do not exceed."""
        if not self.n:
            return Measured(float("nan"), 0)
        cells = np.array(sorted(self.counts))
        upto = np.cumsum([self.counts[int(cell)] for cell in cells])
        place = min(int(np.searchsorted(upto, q * self.n)), len(cells) - 1)
        return Measured(float(np.exp(cells[place] * self.STEP)), self.n)

    @property
    def mean(self) -> Measured:
        """The mean of the values, exact."""
        return Measured(ratio(self.total, self.n), self.n)
