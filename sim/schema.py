"""The records that cross the borders of the world: requests, slates, impressions, purchases.

Everything here is *observed*: what a platform would know and log. Latent state and true
probabilities live in `sim.truth` and never appear in these records. All records are structs of
arrays; axes are B requests, C candidates, K slate positions, N rows, U users, S streamers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sim.columns import Columns, locked
from sim.kernel import kernel

Bools = NDArray[np.bool_]
Ints = NDArray[np.integer]
Floats = NDArray[np.floating]
T = TypeVar("T", bound=np.generic)

SCENARIOS = ("channel", "feed", "tab", "detail", "swipe")
"""Scenario names; the position in this tuple is the int8 code used in arrays."""

ENTRIES = ("page", "interest", "bait", "task", "product")
"""How a session begins: on a page, by a channel into the swipe, or from a product on show."""

DETAIL, SWIPE = SCENARIOS.index("detail"), SCENARIOS.index("swipe")
TARGETS = ("engage", "watch", "like", "comment", "follow", "bag_click", "cart", "purchase")
"""Targets in causal order. `engage` is the first hop: click on a list, effective view in the swipe.
`watch` is min(watch_s, WATCH_CAP_S) / WATCH_CAP_S in [0, 1]; every other target is binary."""

EFFECTIVE_VIEW_S = 10.0
"""Seconds of watching that make an effective view (Taobao Live talk, 2021)."""

WATCH_CAP_S = 600.0
"""Cap of the watch-time utility. Source: valuable actions usually need more than 10 minutes of
watching (LiveForesighter, arXiv 2502.06557)."""

DAY_S = 86400.0

UNBORN = -1
"""Day of birth, band or category of an id not given out yet."""

PAD = -1
"""Fills unused candidate and slate cells, and `refer_id` where there is no refer."""


@dataclass(frozen=True)
class Impressions(Columns):
    """One row per shown candidate, arrays [N], in the order (session tick, request, position)."""

    request_id: NDArray[np.int64]
    session_id: NDArray[np.int64]
    user_id: NDArray[np.int32]
    streamer_id: NDArray[np.int32]
    room_id: NDArray[np.int64]
    """Fresh for every live; the streamer id persists."""
    product_id: NDArray[np.int32]
    """Product on show at the moment of the impression."""
    scenario: NDArray[np.int8]
    """Index into SCENARIOS."""
    entry: NDArray[np.int8]
    """Index into ENTRIES."""
    time_s: NDArray[np.float64]
    """Moment of the impression, seconds since the world began."""
    session_start_s: NDArray[np.float64]
    step: NDArray[np.int16]
    """Request number inside the session, from 0."""
    position: NDArray[np.int8]
    """Rank inside the slate, from 0."""
    refer_id: NDArray[np.int32]
    """Streamer watched before this request in the swipe, or whose product's page led to this
    session; PAD elsewhere."""
    refer_watch_s: NDArray[np.float32]
    """Seconds spent in the refer room, 0 where there is none."""
    n_candidates: NDArray[np.int32]
    """Rooms that could have been shown."""
    propensity: NDArray[np.float64]
    """Probability in (0, 1] that the logging policy put this candidate at this position, given
    the positions above it; the product over positions is the probability of the slate."""
    click: NDArray[np.bool_]
    """Card clicked; always False in the swipe, which has no click."""
    watch_s: NDArray[np.float32]
    view: NDArray[np.bool_]
    """Effective view: watch_s >= EFFECTIVE_VIEW_S."""
    like: NDArray[np.bool_]
    comment: NDArray[np.bool_]
    follow: NDArray[np.bool_]
    bag_click: NDArray[np.bool_]
    cart: NDArray[np.bool_]
    known_s: NDArray[np.float64]
    """Moment at which the in-session feedback of the row is complete (end of watching)."""
    purchase_s: NDArray[np.float64]
    """Moment of the first purchase that this impression led to, as far as known; NaN where none
    is. It may be known later than it happened, and be refunded: see `Purchases` and `Refunds`."""

    @property
    def engage(self) -> NDArray[np.bool_]:
        """First-hop target [N]: click on list layouts, effective view in the swipe."""
        return np.where(self.scenario == SWIPE, self.view, self.click)

    def target(self, name: str) -> NDArray[np.float32]:
        """Return the label of one of TARGETS, float32 [N] in [0, 1].

        Raises:
            KeyError: the name is not in TARGETS.
        """
        if name not in TARGETS:
            raise KeyError(f"target {name!r} is unknown; allowed: {', '.join(TARGETS)}")
        if name == "watch":
            return (np.minimum(self.watch_s, WATCH_CAP_S) / WATCH_CAP_S).astype(np.float32)
        if name == "purchase":
            return (~np.isnan(self.purchase_s)).astype(np.float32)
        return np.asarray(getattr(self, name), dtype=np.float32)


@dataclass(frozen=True)
class Purchases(Columns):
    """One row per purchase event, arrays [N], in the order of `known_s`."""

    event_s: NDArray[np.float64]
    """Moment of the purchase."""
    known_s: NDArray[np.float64]
    """Moment at which the platform learns of it, never before `event_s`; reports may overtake each
    other, so `event_s` need not ascend."""
    impression_s: NDArray[np.float64]
    """`time_s` of the impression that led to the purchase."""
    request_id: NDArray[np.int64]
    user_id: NDArray[np.int32]
    streamer_id: NDArray[np.int32]
    product_id: NDArray[np.int32]
    scenario: NDArray[np.int8]
    ordinal: NDArray[np.int8]
    """0 of the first purchase of an impression, which is its label; 1, 2, ... of further ones."""
    amount_cny: NDArray[np.float32]


@dataclass(frozen=True)
class Refunds(Columns):
    """One row per purchase that was given back, arrays [N], in the order of `known_s`."""

    event_s: NDArray[np.float64]
    """Moment of the refund, after the purchase."""
    known_s: NDArray[np.float64]
    """Moment at which the platform learns of it, before neither the refund nor the report of the
    purchase."""
    purchase_s: NDArray[np.float64]
    """`event_s` of the purchase."""
    request_id: NDArray[np.int64]
    """With the streamer and the ordinal it names the purchase."""
    user_id: NDArray[np.int32]
    streamer_id: NDArray[np.int32]
    product_id: NDArray[np.int32]
    scenario: NDArray[np.int8]
    ordinal: NDArray[np.int8]
    amount_cny: NDArray[np.float32]


@dataclass(frozen=True)
class Follows(Columns):
    """One row per follow, arrays [N]; those from before the world began come first, at time 0."""

    known_s: NDArray[np.float64]
    """Moment at which the platform knows of it: the end of the stay."""
    user_id: NDArray[np.int32]
    streamer_id: NDArray[np.int32]


@dataclass(frozen=True)
class Catalogue(Columns):
    """Observed entity features as a platform holds them; row i describes the entity with id i.

    Bands and tiers are small integers from 0. Ids are never reused; those not given out yet have
    UNBORN in their rows, NaN where a number would be.
    """

    user_age_band: NDArray[np.int8]
    user_gender: NDArray[np.int8]
    user_city_tier: NDArray[np.int8]
    user_spend_tier: NDArray[np.int8]
    user_joined_day: NDArray[np.int32]
    streamer_category: NDArray[np.int8]
    streamer_price_tier: NDArray[np.int8]
    streamer_follower_band: NDArray[np.int8]
    streamer_joined_day: NDArray[np.int32]
    product_streamer_id: NDArray[np.int32]
    product_category: NDArray[np.int8]
    product_price_cny: NDArray[np.float32]
    product_joined_day: NDArray[np.int32]

    @cached_property
    def read_only(self) -> Catalogue:
        """The catalogue on read-only views, always the same object."""
        return Catalogue(*(locked(getattr(self, f.name)) for f in fields(self)))

    @property
    def n_users(self) -> int:
        """Ids of users are below this; not all need be given out."""
        return len(self.user_age_band)

    @property
    def n_streamers(self) -> int:
        """Ids of streamers are below this; not all need be given out."""
        return len(self.streamer_category)

    @property
    def n_products(self) -> int:
        """Ids of products are below this; not all need be given out."""
        return len(self.product_category)


@dataclass(frozen=True)
class Supply:
    """Rooms on air, one row per (scenario, ten-minute slot); arrays [R, C], padded with PAD."""

    streamer_id: NDArray[np.int32]
    product_id: NDArray[np.int32]
    """Product on show during the slot."""
    room_id: NDArray[np.int64]
    room_start_s: NDArray[np.float64]

    @classmethod
    def spread(
        cls,
        cell: Ints,
        streamer_id: NDArray[np.int32],
        product_id: NDArray[np.int32],
        room_id: NDArray[np.int64],
        room_start_s: NDArray[np.float64],
    ) -> Supply:
        """Lay columns [E] out in the table of indices `cell` [R, C], PAD where `cell` is PAD."""
        return cls(
            _spread(cell, streamer_id),
            _spread(cell, product_id),
            _spread(cell, room_id),
            _spread(cell, room_start_s),
        )

    @cached_property
    def read_only(self) -> Supply:
        """The table on read-only views, always the same object."""
        return Supply(*(locked(getattr(self, f.name)) for f in fields(self)))

    def lists(self, rows: NDArray[np.integer] | slice) -> Supply:
        """Return the table of some rows [L] alone, read-only."""
        own = Supply(
            locked(self.streamer_id[rows]),
            locked(self.product_id[rows]),
            locked(self.room_id[rows]),
            locked(self.room_start_s[rows]),
        )
        if "column_of" in self.__dict__:  # cheaper than to find the columns again
            own.__dict__["column_of"] = locked(self.column_of[rows])
        return own

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """True where a cell holds a room, [R, C]."""
        return _as_open(np.asarray(self.streamer_id != PAD), self.streamer_id)

    @cached_property
    def column_of(self) -> NDArray[np.int32]:
        """Column of each streamer in each row, [R, S], S above the largest id; PAD if absent."""
        shape = len(self.streamer_id), int(self.streamer_id.max(initial=0)) + 2
        table = np.full(shape, PAD, np.int32)
        rows, columns = np.nonzero(self.valid)
        table[rows, self.streamer_id[rows, columns]] = columns
        return _as_open(table, self.streamer_id)


def _as_open(derived: NDArray[T], source: NDArray[np.generic]) -> NDArray[T]:
    """Make a derived array read-only where its source is."""
    derived.flags.writeable = source.flags.writeable
    return derived


def _spread(cell: Ints, column: NDArray[T]) -> NDArray[T]:
    return np.append(column, column.dtype.type(PAD))[cell]  # PAD picks the last


@dataclass(frozen=True)
class Requests:
    """A batch of ranking requests as the platform sees them; arrays [B] unless noted."""

    request_id: NDArray[np.int64]
    session_id: NDArray[np.int64]
    user_id: NDArray[np.int32]
    scenario: NDArray[np.int8]
    entry: NDArray[np.int8]
    time_s: NDArray[np.float64]
    session_start_s: NDArray[np.float64]
    step: NDArray[np.int16]
    refer_id: NDArray[np.int32]
    refer_watch_s: NDArray[np.float32]
    mask: NDArray[np.bool_]
    """[B, C] True where the candidate may be shown: on air, new to this session."""
    row: NDArray[np.int32]
    """[B] row of `supply` that lists this request's candidates."""
    supply: Supply
    catalogue: Catalogue

    def __len__(self) -> int:
        return len(self.request_id)

    @cached_property
    def candidate_id(self) -> NDArray[np.int32]:
        """Streamer ids [B, C], PAD where there is no candidate."""
        return _as_open(self.supply.streamer_id[self.row], self.supply.streamer_id)

    @cached_property
    def product_id(self) -> NDArray[np.int32]:
        """Products on show [B, C]."""
        return _as_open(self.supply.product_id[self.row], self.supply.product_id)

    @cached_property
    def room_start_s(self) -> NDArray[np.float64]:
        """Start of each candidate's live [B, C], seconds."""
        return _as_open(self.supply.room_start_s[self.row], self.supply.room_start_s)

    def take(self, rows: Ints | Bools | slice) -> Requests:
        """Return the batch restricted to `rows` of B."""
        own = {name: getattr(self, name)[rows] for name in _own_columns()}
        return Requests(**own, supply=self.supply, catalogue=self.catalogue)

    def as_handed(self) -> Requests:
        """Return the batch as a policy is handed it.

        Arrays are read-only, so that no policy alters the world it is judged in; the supply holds
        the lists of these requests alone: later ones would tell when each room will end.
        """
        own = {name: locked(getattr(self, name)) for name in _own_columns()}
        row, supply = self._own_lists()
        own["row"] = locked(row)
        return Requests(**own, supply=supply, catalogue=self.catalogue.read_only)

    def _own_lists(self) -> tuple[NDArray[np.int32], Supply]:
        """Return the rows [B] of these requests in a table of their own lists."""
        low, high, alike = _span(self.scenario, self.row)
        if alike:
            # lists of one scenario stand in the order of time: a view up to the latest will do
            return self.row - low, self.supply.lists(slice(low, high))
        used = np.zeros(len(self.supply.streamer_id), np.bool_)
        used[self.row] = True
        place = np.cumsum(used, dtype=np.int32) - np.int32(1)
        return place[self.row], self.supply.lists(np.flatnonzero(used))

    def reorder(self, columns: Ints) -> Requests:
        """Return the same requests with candidates taken in the order `columns` [B, C']."""

        def pick(table: NDArray[T]) -> NDArray[T]:
            return np.take_along_axis(table[self.row], columns, axis=1)

        supply = Supply(
            pick(self.supply.streamer_id),
            pick(self.supply.product_id),
            pick(self.supply.room_id),
            pick(self.supply.room_start_s),
        )
        mask = np.take_along_axis(self.mask, columns, axis=1)
        row = np.arange(len(self), dtype=np.int32)
        return replace(self, supply=supply, mask=mask, row=row)

    def blocks(self, size: int) -> Iterator[slice]:
        """Yield slices that cut the batch into blocks of at most `size` requests."""
        for lo in range(0, len(self), size):
            yield slice(lo, min(lo + size, len(self)))


@kernel
def _span(scenario: NDArray[np.int8], row: NDArray[np.int32]) -> tuple[int, int, bool]:
    """Return the range of rows, and whether there are requests and all are of one scenario."""
    low, high, alike = 0, 0, len(row) > 0
    for b in range(len(row)):
        low = min(low, row[b]) if b > 0 else row[b]
        high = max(high, row[b] + 1)
        alike = alike and scenario[b] == scenario[0]
    return low, high, alike


@cache
def _own_columns() -> tuple[str, ...]:
    """Return the fields of `Requests` with a row for each request."""
    return tuple(f.name for f in fields(Requests) if f.name not in ("supply", "catalogue"))


@dataclass(frozen=True)
class Slate:
    """What the platform shows: arrays [B, K]."""

    column: NDArray[np.int32]
    """Column of the chosen candidate in `Requests.candidate_id`; PAD where none was left."""
    propensity: NDArray[np.float64]
    """Conditional probability of each choice given the positions above it; 1 where PAD."""
