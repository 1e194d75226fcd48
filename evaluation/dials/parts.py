"""Parts of a world that a dial may have to leave the same to the byte, as digests.

Randomness is addressed by who meets whom, when and for what, so that what a mechanism does not
touch is not only alike on both sides of a dial, but the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.arrivals import Sessions
from sim.day_record import DayRecord
from sim.events import Revisits
from sim.population import Products, Streamers, Users
from sim.schema import DETAIL, SWIPE, Impressions, Purchases
from sim.truth import TruthRows
from sim.world import World

TRAITS = (
    "bait_sensitivity", "sociability", "intent", "price_sensitivity", "patience", "activity",
    "hour_shift",
)  # fmt: skip
"""Latent scalars of a user."""

WATCHED = ("request_id", "streamer_id", "product_id", "position", "time_s", "click", "watch_s")
"""Columns that say what was shown and how long it was watched."""

_STREAMERS = 1 << 20
"""Above every id of a streamer in the worlds that are measured."""

ACTS = ("like", "comment", "follow", "bag_click", "cart")
"""Columns of what follows a stay."""


@dataclass(frozen=True)
class Observed:
    """A world that has run for a few days under a policy."""

    world: World
    records: tuple[DayRecord, ...]
    sessions: Sessions
    """Who arrived on these days, whether or not anything could be shown."""

    @cached_property
    def shown(self) -> Impressions:
        """Every impression [N]."""
        return Impressions.concat([record.impressions for record in self.records])

    @cached_property
    def truth(self) -> TruthRows:
        """The true side of the impressions [N]."""
        return TruthRows.concat([record.truth for record in self.records])

    @cached_property
    def ultimate(self) -> Purchases:
        """Every purchase that the sessions lead to, whenever it happens [M]."""
        return Purchases.concat([record.ultimate for record in self.records])

    @cached_property
    def revisits(self) -> Revisits:
        """Visits after stays that have happened [M]."""
        return Revisits.concat([record.revisits for record in self.records])

    def rows_of(
        self, request_id: NDArray[np.int64], streamer_id: NDArray[np.int32]
    ) -> NDArray[np.int64]:
        """Return the impressions, as rows, that requests and streamers [M] name."""
        shown = self.shown
        order = np.lexsort((shown.streamer_id, shown.request_id))
        name = shown.request_id[order] * _STREAMERS + shown.streamer_id[order]
        return order[np.searchsorted(name, request_id * _STREAMERS + streamer_id)]

    @property
    def n_users(self) -> int:
        """Ids of users, of whom some may not be born yet."""
        return self.records[-1].catalogue.n_users

    @cached_property
    def untouched(self) -> NDArray[np.bool_]:
        """Rows [N] of everyone's first session, if it falls in the first tick.

        Nothing that happened before can reach them, neither bonds nor counters. A session counts
        whether or not it was shown anything.
        """
        came = self.sessions  # in the order of their start
        _, first = np.unique(came.user_id, return_index=True)
        rows: NDArray[np.bool_] = np.isin(self.shown.session_id, came.session_id[first])
        return rows & (self.shown.session_start_s < self.world.config.tick_s)


def first_pages(seen: Observed) -> list[NDArray[Any]]:
    """Return what first pages without a refer showed, and what was clicked and watched."""
    rows = seen.untouched & ~np.isin(seen.shown.scenario, (SWIPE, DETAIL))
    return [getattr(seen.shown, name)[rows] for name in WATCHED]


def first_entries(seen: Observed) -> list[NDArray[Any]]:
    """Return through which rooms the first swipes were entered, and how long these were watched."""
    rows = seen.untouched & (seen.shown.scenario == SWIPE) & (seen.shown.step == 0)
    return [getattr(seen.shown, name)[rows] for name in ("request_id", "refer_id", "refer_watch_s")]


def first_purchases(seen: Observed) -> list[NDArray[Any]]:
    """Return who buys what for the first time by an impression, and when."""
    bought = seen.ultimate.take(seen.ultimate.ordinal == 0)
    return [getattr(bought, name) for name in ("request_id", "streamer_id", "event_s")]


def rooms(seen: Observed) -> list[NDArray[Any]]:
    """Return what was on air on all days."""
    names = ("streamer_id", "product_id", "room_id", "start_s", "end_s", "slot")
    return [getattr(record.on_air, name) for record in seen.records for name in names]


def _of_users(*names: str) -> Callable[[Observed], list[NDArray[Any]]]:
    return lambda seen: _first(seen.world.population.users, names)


def _of_streamers(*names: str) -> Callable[[Observed], list[NDArray[Any]]]:
    return lambda seen: _first(seen.world.population.streamers, names)


def _of_products(*names: str) -> Callable[[Observed], list[NDArray[Any]]]:
    return lambda seen: _first(seen.world.population.products, names)


def _first(table: Users | Streamers | Products, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Return columns of those who were there when the world began."""
    return [getattr(table, name)[table.joined_day == 0] for name in names]


def _of_sessions(*names: str) -> Callable[[Observed], list[NDArray[Any]]]:
    return lambda seen: [getattr(seen.sessions, name) for name in names]


def _of_impressions(*names: str) -> Callable[[Observed], list[NDArray[Any]]]:
    return lambda seen: [getattr(seen.shown, name) for name in names]


PARTS: Mapping[str, Callable[[Observed], list[NDArray[Any]]]] = {
    "tastes": _of_users("attention"),
    "traits": _of_users(*TRAITS),
    "streamers": _of_streamers("content", "quality", "bait", "fame"),
    "products": _of_products("content", "appeal", "price_cny"),
    "rooms": rooms,
    "arrivals": _of_sessions("user_id", "start_s", "mood"),
    "sessions": _of_sessions("user_id", "scenario", "entry", "start_s", "mood"),
    "first pages": first_pages,
    "first entries": first_entries,
    "stays": _of_impressions(*WATCHED),
    "acts": _of_impressions(*ACTS),
    "buyers": lambda seen: [seen.truth.will_purchase],
    "first purchases": first_purchases,
}
"""Name -> the arrays whose bytes are compared; people and goods are those of the first day."""


def digest(seen: Observed, part: str) -> str:
    """Return a digest of the bytes of a part.

    Raises:
        ValueError: the part is empty, so that its digest would say nothing.
    """
    arrays = PARTS[part](seen)
    if not sum(array.size for array in arrays):
        raise ValueError(f"{part} is empty; the world is too small for it to be compared")
    own = hashlib.blake2b(digest_size=8)
    for array in arrays:
        own.update(f"{array.dtype}{array.shape}".encode())
        own.update(np.ascontiguousarray(array).tobytes())
    return own.hexdigest()
