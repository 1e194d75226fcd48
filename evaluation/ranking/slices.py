"""Slices of queries: by how the session began, and by user and streamer that a query is about.

A mean over all queries hides whom a policy serves. Slices are what the platform itself can observe
at the moment of the query: the entry channel, whether the user or the streamer joined lately, and
the streamer's band of followers (its popularity). Axis letter: Q queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sim.schema import DAY_S, ENTRIES, Catalogue

NEW_DAYS = 2
"""Days, that of joining included, for which a user or streamer is new. Who was there when the world
began (day 0) is not."""

FOLLOWER_BANDS = ((0, 2), (3, 5), (6, 9))
"""Bands of followers that make a slice, first and last; the schema has bands 0 to 9."""


@dataclass(frozen=True)
class Traits:
    """What queries are sliced by, arrays [Q]."""

    entry: NDArray[np.int8]
    """Index into ENTRIES."""
    new_user: NDArray[np.bool_]
    new_streamer: NDArray[np.bool_]
    """Of the positive."""
    follower_band: NDArray[np.int8]
    """Of the positive."""

    @classmethod
    def concat(cls, parts: Sequence[Traits]) -> Traits:
        """Stack traits; no parts give no queries."""
        none = cls(np.empty(0, np.int8), np.empty(0, bool), np.empty(0, bool), np.empty(0, np.int8))
        return cls(
            *(np.concatenate([getattr(p, f.name) for p in (none, *parts)]) for f in fields(cls))
        )

    @classmethod
    def of(
        cls,
        catalogue: Catalogue,
        entry: NDArray[np.int8],
        user_id: NDArray[np.integer],
        streamer_id: NDArray[np.integer],
        time_s: NDArray[np.float64],
    ) -> Traits:
        """Look up the traits of queries.

        Args:
            catalogue: observed features at the time of the queries.
            entry: [Q] index into ENTRIES.
            user_id: [Q].
            streamer_id: [Q] the positive.
            time_s: [Q] moment of the query, seconds since the world began.
        """
        day = (time_s // DAY_S).astype(np.int64)

        def new(joined_day: NDArray[np.int32]) -> NDArray[np.bool_]:
            return np.asarray((joined_day > 0) & (day - joined_day < NEW_DAYS), np.bool_)

        return cls(
            np.asarray(entry, np.int8),
            new(catalogue.user_joined_day[user_id]),
            new(catalogue.streamer_joined_day[streamer_id]),
            np.asarray(catalogue.streamer_follower_band[streamer_id], np.int8),
        )

    def slices(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Yield (name, rows [Q]) of every slice; each group of slices holds every query once."""
        for code, name in enumerate(ENTRIES):
            yield f"entry {name}", self.entry == code
        for who, flag in (("user", self.new_user), ("streamer", self.new_streamer)):
            yield f"new {who}", flag
            yield f"settled {who}", ~flag
        for first, last in FOLLOWER_BANDS:
            inside = (self.follower_band >= first) & (self.follower_band <= last)
            yield f"followers {first}-{last}", inside
