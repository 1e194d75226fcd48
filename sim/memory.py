"""What people carry from day to day: visits, satisfaction, moved interests, audiences, earnings.

This is where a policy's doing comes back to it: satisfied users return sooner, watched content
moves interests, poor streamers give up. Each has a dial; with all at 0 nothing here depends on any
policy but the audiences of the tick before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim.arrivals import hazard_of_visit
from sim.columns import Columns
from sim.config import WorldConfig
from sim.population import Population
from sim.rng import Purpose, uniforms
from sim.schema import EFFECTIVE_VIEW_S, UNBORN, Impressions, Purchases
from sim.tenure import FOREVER

BURN_IN_DAYS = 20
"""Days of visits before day 0, so that the world begins as it goes on."""

_AUDIENCE_FLOOR = 1.0
"""Viewers that every room has besides those that are simulated."""


@dataclass(frozen=True)
class Stays(Columns):
    """Impressions whose room was entered, with the columns that people remember; arrays [N]."""

    user_id: NDArray[np.int32]
    streamer_id: NDArray[np.int32]
    watch_s: NDArray[np.float32]
    view: NDArray[np.bool_]

    @classmethod
    def among(cls, shown: Impressions) -> Stays:
        """Return those of the impressions."""
        rows = np.flatnonzero(shown.watch_s > 0)
        return cls(
            shown.user_id[rows], shown.streamer_id[rows], shown.watch_s[rows], shown.view[rows]
        )


def entries_of(shown: Impressions, n_streamers: int) -> NDArray[np.float64]:
    """Return how many stays began in each streamer's room [S]."""
    entered = shown.streamer_id[shown.watch_s > 0]
    return np.bincount(entered, minlength=n_streamers).astype(np.float64)


def crowd_of(audience: NDArray[np.float64], on_air: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return log audience relative to the mean of the rooms on air [S], mean 0.

    Args:
        audience: stays that began in each streamer's room in the last tick [S].
        on_air: streamers with a room, with repeats.
    """
    log = np.log(_AUDIENCE_FLOOR + audience)
    return log - float(log[on_air].mean()) if len(on_air) else log


@dataclass(frozen=True)
class Memory:
    """State of users [U] and streamers [S] between two days."""

    last_visit_day: NDArray[np.int32]
    """Of each user; for one not yet seen, the day before the first."""
    satisfaction: NDArray[np.float32]
    """What the user remembers, in [-1, 1], 0 for a typical stay."""
    interest_shift: NDArray[np.float32]
    """What watching added to the user's interests [U, K]; [U, 0] where nothing does."""
    audience: NDArray[np.float64]
    """Stays that began in each streamer's room in the last tick."""
    earnings_cny: NDArray[np.float64]
    """Fading sum of what was bought from each streamer."""
    wear: NDArray[np.float64]
    """Hazard of leaving that each streamer has lived through."""
    left_day: NDArray[np.int32]
    """First day on which the streamer is gone."""

    @classmethod
    def of_nobody(cls, config: WorldConfig, population: Population) -> Memory:
        """Return the memory of users who were never there and of streamers whom nobody watched."""
        n_users, n_streamers = len(population.users), population.n_streamers
        k = config.population.n_dims if config.drift.watch_pull > 0 else 0
        return cls(
            last_visit_day=np.full(n_users, -BURN_IN_DAYS, np.int32),
            satisfaction=np.zeros(n_users, np.float32),
            interest_shift=np.zeros((n_users, k), np.float32),
            audience=np.zeros(n_streamers),
            earnings_cny=np.zeros(n_streamers),
            wear=np.zeros(n_streamers),
            left_day=np.full(n_streamers, FOREVER, np.int32),
        )

    def after_burn_in(self, config: WorldConfig, population: Population, seed: int) -> Memory:
        """Return what people carry into day 0."""
        born = np.flatnonzero(population.users.joined_day != UNBORN)
        u = uniforms(seed, Purpose.ARRIVAL, born[:, None], np.arange(BURN_IN_DAYS), 0, 1)[0]
        activity = population.users.activity[born].astype(np.float64)
        own = self.last_visit_day[born]
        for i, day in enumerate(range(-BURN_IN_DAYS, 0)):
            hazard = hazard_of_visit(config.visits, activity, day - own, 0.0, 1.0)
            own[u[:, i] < -np.expm1(-hazard)] = day
        last = self.last_visit_day.copy()
        last[born] = own
        return replace(self, last_visit_day=last)

    @staticmethod
    def keeps_stays(config: WorldConfig) -> bool:
        """Return whether anything in a memory depends on how people stayed."""
        return config.visits.return_gain > 0 or config.drift.watch_pull > 0

    @property
    def reshaped(self) -> Memory:
        """The memory as it was before its tables were laid out in one line each."""
        n = len(self.last_visit_day)
        width = self.interest_shift.size // max(n, 1)
        return replace(self, interest_shift=self.interest_shift.reshape(n, width))

    def after_day(
        self,
        config: WorldConfig,
        population: Population,
        day: int,
        visitors: NDArray[np.int32],
        stays: Stays,
        contentment: float,
        bought: Purchases,
    ) -> Memory:
        """Return the memory after a day.

        Args:
            config: the world.
            population: who exists.
            day: the day that is over.
            visitors: users who had a session.
            stays: the day's, each user's in the order in which they began; not read where
                `keeps_stays` is False.
            contentment: mean satisfaction of a stay of random pairs.
            bought: the day's purchases.
        """
        last = self.last_visit_day.copy()
        last[visitors] = day
        memory = replace(self, last_visit_day=last)
        if config.visits.return_gain > 0:
            memory = memory._satisfied(config, stays, contentment)
        if config.drift.watch_pull > 0:
            memory = memory._attracted(config.drift.watch_pull, population, stays)
        if config.turnover.starvation > 0:
            memory = memory._lived(config, population, day, bought)
        return memory

    def _satisfied(self, config: WorldConfig, stays: Stays, contentment: float) -> Memory:
        long = stays.watch_s >= config.watch.bounce_cap_s
        short = stays.watch_s < EFFECTIVE_VIEW_S
        n = len(self.satisfaction)
        count = np.bincount(stays.user_id, minlength=n)
        total = np.bincount(stays.user_id, weights=long * 1.0 - short, minlength=n)
        seen = count > 0
        keep = config.visits.satisfaction_memory
        now = self.satisfaction.copy()
        now[seen] = keep * now[seen] + (1 - keep) * (total[seen] / count[seen] - contentment)
        return replace(self, satisfaction=np.clip(now, -1.0, 1.0))

    def _attracted(self, pull: float, population: Population, stays: Stays) -> Memory:
        viewed = stays.take(stays.view)
        n, k = self.interest_shift.shape
        content = population.streamers.content[viewed.streamer_id].astype(np.float64)
        added = np.stack(
            [np.bincount(viewed.user_id, weights=content[:, i], minlength=n) for i in range(k)],
            axis=1,
        )
        count = np.bincount(viewed.user_id, minlength=n)
        shift = self.interest_shift * ((1 - pull) ** count)[:, None] + pull * added
        return replace(self, interest_shift=shift.astype(np.float32))

    def _lived(
        self, config: WorldConfig, population: Population, day: int, bought: Purchases
    ) -> Memory:
        """Let hazards pass; who leaves does so in two days, for tomorrow's rooms are announced."""
        turnover, streamers = config.turnover, population.streamers
        income_cny = np.bincount(
            bought.streamer_id, weights=bought.amount_cny, minlength=len(self.earnings_cny)
        )
        earnings = turnover.earnings_memory * self.earnings_cny + income_cny
        present = np.flatnonzero((streamers.joined_day <= day) & (self.left_day > day))
        present = present[streamers.joined_day[present] != UNBORN]
        order = np.argsort(earnings[present], kind="stable")
        rank = np.empty(len(present))
        rank[order] = 2.0 * (np.arange(len(present)) + 0.5) / max(len(present), 1) - 1.0
        hazard = -np.log1p(-turnover.streamers_per_day) * np.exp(-turnover.starvation * rank)
        wear, left = self.wear.copy(), self.left_day.copy()
        wear[present] += hazard
        tired = present[(wear[present] > streamers.stamina[present]) & (left[present] == FOREVER)]
        left[tired] = day + 2
        return replace(self, earnings_cny=earnings, wear=wear, left_day=left)
