"""Observed features of requests and rooms for models of the reward.

    of the request   scenario (one-hot), age, gender, city, spend, step, place, refer watched
    of the room      category (one-hot), price and follower band, mean reward of the streamer
    of both          swipe x the numbers of the room

The mean reward of a streamer is taken from the rows of the other folds and smoothed towards the
mean of all rows with PRIOR rows' worth: one column for each fold, of which a fold's model reads
its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.schema import SCENARIOS, SWIPE, Catalogue, Impressions

Array = NDArray[np.float64]

PRIOR = 10.0
"""Rows' worth of the mean reward mixed into each streamer's."""


@dataclass(frozen=True)
class RoomTable:
    """Features of streamers, `table` [S, D]: categories, two bands, then one column a fold."""

    table: Array
    n_plain: int
    """Columns that all folds read; the others are one for each fold."""

    @classmethod
    def of(
        cls,
        catalogue: Catalogue,
        shown: Impressions,
        reward: Array,
        fold: NDArray[np.integer],
        folds: int,
    ) -> RoomTable:
        """Return the table of all streamers of a log.

        Args:
            catalogue: entities of the log.
            shown: its rows [N].
            reward: of each row [N].
            fold: of each row's user [N].
            folds: number of folds.
        """
        category = catalogue.streamer_category.astype(np.int64)
        one_hot = category[:, None] == np.arange(max(int(category.max(initial=0)), 0) + 1)[None]
        bands = [catalogue.streamer_price_tier, catalogue.streamer_follower_band]
        plain = [one_hot.astype(np.float64), *(band[:, None].astype(np.float64) for band in bands)]
        means = [_means(shown, reward, fold != f, len(category)) for f in range(folds)]
        table = np.column_stack([*plain, *means])
        return cls(np.ascontiguousarray(table), table.shape[1] - folds)

    def own_columns(self, columns: int, fold: int) -> NDArray[np.int64]:
        """Return which of the columns of `join` [D] the model of a fold reads."""
        n_rooms = self.table.shape[1]
        place = np.arange(columns)
        # the second block of room features, times swipe, begins with the bands
        inside = np.where(place < n_rooms, place, place - self._both_begins(n_rooms) + self.n_bands)
        is_room = (place < n_rooms) | (place >= self._both_begins(n_rooms))
        other = is_room & (inside >= self.n_plain) & (inside != self.n_plain + fold)
        return np.flatnonzero(~other)

    @property
    def n_bands(self) -> int:
        """First column that is a number and no category."""
        return self.n_plain - 2

    def _both_begins(self, n_rooms: int) -> int:
        return n_rooms + N_REQUEST

    def join(self, request: Array, room: Array) -> Array:
        """Return features [N, D] from those of requests [N, R] and rooms [N, Q], expected or not.

        Linear in the room's features, so that an expectation over rooms passes through.
        """
        swipes = request[:, SWIPE : SWIPE + 1]
        return np.column_stack([room, request, swipes * room[:, self.n_bands :]])


N_REQUEST = len(SCENARIOS) + 8
"""Features of a request."""


def request_features(shown: Impressions, place: NDArray[np.integer], catalogue: Catalogue) -> Array:
    """Return the features of the request and place of each row, [N, N_REQUEST]."""
    user = shown.user_id
    return np.column_stack(
        [
            (shown.scenario[:, None] == np.arange(len(SCENARIOS))[None]).astype(np.float64),
            catalogue.user_age_band[user],
            catalogue.user_gender[user],
            catalogue.user_city_tier[user],
            catalogue.user_spend_tier[user],
            np.log1p(shown.step),
            place,
            1.0 / (1.0 + place),
            np.log1p(shown.refer_watch_s),
        ]
    )


def _means(shown: Impressions, reward: Array, rows: NDArray[np.bool_], n_streamers: int) -> Array:
    who, what = shown.streamer_id[rows], reward[rows]
    mean = float(what.mean()) if len(what) else 0.0
    total = np.bincount(who, weights=what, minlength=n_streamers)
    count = np.bincount(who, minlength=n_streamers)
    return np.asarray((total + PRIOR * mean) / (count + PRIOR))
