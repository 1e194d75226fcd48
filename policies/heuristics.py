"""Policies without a model: random, popularity, recency. They bound what learning is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from policies.contract import FitContext
from sim.config import require
from sim.schema import Floats, Impressions, Purchases, Requests

if TYPE_CHECKING:
    from sim.log import Log

_ZERO = bytes(4)
_STATE = "popularity.npz"


class Random:
    """Scores every candidate alike, so that `policies.rank` draws uniformly, with exact propensity.

    The usual logging policy: every candidate has support.
    """

    def fit(self, log: Log, context: FitContext) -> Self:
        """Return self; there is nothing to learn."""
        return self

    def score(self, requests: Requests) -> NDArray[np.float32]:
        """Return zeros, float32 [B, C]; one number for all cells, which `rank` is quick with."""
        # a tenth of what `broadcast_to` takes, which small batches feel
        return np.ndarray(requests.mask.shape, np.float32, _ZERO, strides=(0, 0))

    def chart(self, n_streamers: int) -> NDArray[np.float32]:
        """Return zeros, float32 [S]."""
        return np.zeros(n_streamers, np.float32)


class Recency:
    """Newest live first."""

    def fit(self, log: Log, context: FitContext) -> Self:
        """Return self; there is nothing to learn."""
        return self

    def score(self, requests: Requests) -> NDArray[np.float64]:
        """Return the start of each candidate's live in seconds, float64 [B, C]."""
        return requests.room_start_s


class Popularity:
    """Recent engage rate of each streamer, the same for every user.

    The score is the smoothed rate (E + a r) / (N + a): N impressions and E engagements (click on
    lists, effective view in the swipe) of the streamer, each halved in weight every
    `half_life_s` since it was known; r = sum of E / sum of N over all streamers; a = `prior`.
    An unseen streamer scores r. Smoothing towards the mean is the posterior mean of a
    beta-binomial rate (Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.4).

    A rate and not a count, because counts also measure how often a streamer was shown.

    Args:
        half_life_s: seconds after which an event counts half; at least 1.
        prior: impressions' worth of the mean rate mixed into each streamer; at least 1e-6.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(self, half_life_s: float = 172_800.0, prior: float = 20.0) -> None:
        """Store and check the arguments."""
        self.half_life_s = half_life_s
        self.prior = prior
        require(self, "half_life_s", 1.0, 1e12)
        require(self, "prior", 1e-6, 1e12)

    def fit(self, log: Log, context: FitContext) -> Self:
        """Replay the log's event stream; the same code follows the stream while deployed."""
        self.now_s_ = -math.inf
        self.shown_ = np.zeros(0)
        self.engaged_ = np.zeros(0)
        self.early_ = _Events(np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros(0))
        self._tabulate()
        for tick in log.ticks():
            self.observe(tick.known, tick.purchases, tick.now_s)
        known, purchases = log.known_after_last_tick()
        self.observe(known, purchases, log.as_of_s)
        return self

    def score(self, requests: Requests) -> NDArray[np.float64]:
        """Return the smoothed engage rate, float64 [B, C] in [0, 1]."""
        return self._rate_of(requests.candidate_id)

    def chart(self, n_streamers: int) -> NDArray[np.float64]:
        """Return the smoothed engage rate of each streamer, float64 [S] in [0, 1]."""
        return self._rate_of(np.arange(n_streamers))

    def observe(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        """Count impressions known until `now_s` (seconds); keep later ones for a later call."""
        fresh = _Events(
            impressions.streamer_id.astype(np.int64), impressions.engage, impressions.known_s
        )
        events = self.early_.join(fresh)
        ready = events.known_s <= now_s
        self.early_ = events.take(~ready)
        events = events.take(ready)
        if now_s > self.now_s_:
            fade = 0.5 ** ((now_s - self.now_s_) / self.half_life_s)
            self.shown_ = self.shown_ * fade
            self.engaged_ = self.engaged_ * fade
            self.now_s_ = now_s
        weight = 0.5 ** ((self.now_s_ - events.known_s) / self.half_life_s)
        self.shown_ = _add(self.shown_, events.streamer_id, weight)
        self.engaged_ = _add(self.engaged_, events.streamer_id, weight * events.engage)
        self._tabulate()

    def save(self, folder: Path) -> None:
        """Write the counters into `folder`."""
        early = self.early_
        np.savez(
            folder / _STATE,
            now_s=self.now_s_,
            shown=self.shown_,
            engaged=self.engaged_,
            early_streamer_id=early.streamer_id,
            early_engage=early.engage,
            early_known_s=early.known_s,
        )

    def load(self, folder: Path) -> Self:
        """Read the counters that `save` wrote into `folder`."""
        with np.load(folder / _STATE) as state:
            self.now_s_ = float(state["now_s"])
            self.shown_ = state["shown"]
            self.engaged_ = state["engaged"]
            self.early_ = _Events(
                state["early_streamer_id"], state["early_engage"], state["early_known_s"]
            )
        self._tabulate()
        return self

    def _rate_of(self, streamer_id: NDArray[np.integer]) -> NDArray[np.float64]:
        # The last cell holds the mean rate: PAD (-1) and every id beyond the table lead there.
        return np.asarray(self.rate_[np.minimum(streamer_id, len(self.rate_) - 1)])

    def _tabulate(self) -> None:
        total = self.shown_.sum()
        mean = self.engaged_.sum() / total if total > 0.0 else 0.0
        rate = (self.engaged_ + self.prior * mean) / (self.shown_ + self.prior)
        self.rate_: NDArray[np.float64] = np.append(rate, mean)


@dataclass(frozen=True)
class _Events:
    """What popularity counts: streamer, engagement and the moment it was known; arrays [N]."""

    streamer_id: NDArray[np.int64]
    engage: NDArray[np.bool_]
    known_s: NDArray[np.float64]

    def take(self, rows: NDArray[np.bool_]) -> _Events:
        return _Events(self.streamer_id[rows], self.engage[rows], self.known_s[rows])

    def join(self, other: _Events) -> _Events:
        return _Events(
            np.concatenate([self.streamer_id, other.streamer_id]),
            np.concatenate([self.engage, other.engage]),
            np.concatenate([self.known_s, other.known_s]),
        )


def _add(table: NDArray[np.float64], ids: NDArray[np.int64], weight: Floats) -> NDArray[np.float64]:
    """Return `table` [S] with weights summed by id, grown where ids reach beyond it."""
    new = np.bincount(ids, weights=weight, minlength=len(table)).astype(np.float64)
    new[: len(table)] += table
    return new
