"""Live windows and supply: which rooms are on air, with which product, slot by slot.

Time is cut into slots of ten minutes; a room is on air for whole slots. A room ends early where
the same streamer's next room begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sim.kernel import kernel
from sim.parameters import ScheduleConfig
from sim.population import Population, Streamers, unit
from sim.rng import Purpose, uniforms
from sim.schema import PAD, SCENARIOS, UNBORN, Supply

SLOT_S = 600
SLOTS_PER_DAY = 86400 // SLOT_S
SPILL_SLOTS = 24
"""Slots of the next day that a day's table covers: sessions may run past midnight."""

_ROOM, _MOMENT = 0, 1
"""Kinds of draws of the schedule."""

ROOMS_PER_DAY = 2
MAX_SLOTS = 72
"""Longest room, slots; below one day, so that only neighbouring days interact."""


@dataclass(frozen=True)
class Rooms:
    """Rooms of a few days, arrays [N]; times in slots since the world began."""

    streamer_id: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    room_id: NDArray[np.int64]


class Listings(NamedTuple):
    """The candidate table of a day, as compiled code takes it; described in `DaySupply`."""

    cell: NDArray[np.int64]
    n_rooms: NDArray[np.int64]
    column_of: NDArray[np.int32]
    streamer_id: NDArray[np.int32]


@dataclass(frozen=True)
class DaySupply:
    """Everything on air from the start of a day to SPILL_SLOTS into the next.

    An *airing* is one streamer on air in one slot; arrays [E]. `cell` [R, C] maps the candidate
    table to airings, with row = scenario * (SLOTS_PER_DAY + SPILL_SLOTS) + slot of the day.
    """

    day: int
    streamer_id: NDArray[np.int32]
    product_id: NDArray[np.int32]
    room_id: NDArray[np.int64]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    slot: NDArray[np.int32]
    """Slot since the world began."""
    in_scenario: NDArray[np.bool_]
    """[E, M]."""
    content: NDArray[np.float32]
    """Unit content vector of the room in this slot [E, K]."""
    highlight: NDArray[np.float64]
    """How far the slot is a highlight of the room, mean 0 over rooms and slots [E]."""
    cell: NDArray[np.int64]

    @cached_property
    def supply(self) -> Supply:
        """The observed candidate table."""
        return Supply.spread(
            self.cell, self.streamer_id, self.product_id, self.room_id, self.start_s
        )

    @cached_property
    def n_rooms(self) -> NDArray[np.int64]:
        """Rooms in each row of the candidate table [R]."""
        return np.asarray(np.count_nonzero(self.cell != PAD, axis=1), np.int64)

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """Number of each airing's streamer among those on air [E]."""
        there = np.zeros(int(self.streamer_id.max(initial=-1)) + 1, np.bool_)
        there[self.streamer_id] = True
        return (np.cumsum(there) - 1)[self.streamer_id]

    @cached_property
    def goods(self) -> NDArray[np.int64]:
        """Products on show, ascending [G]."""
        shown = np.zeros(int(self.product_id.max(initial=-1)) + 1, np.bool_)
        shown[self.product_id] = True
        return np.flatnonzero(shown)

    @cached_property
    def good(self) -> NDArray[np.int64]:
        """Number of each airing's product among those on show [E]."""
        number = np.empty(int(self.product_id.max(initial=-1)) + 1, np.int64)
        number[self.goods] = np.arange(len(self.goods))
        return number[self.product_id]

    @cached_property
    def column_of(self) -> NDArray[np.int32]:
        """Column of the streamer in each place in the candidate table [R, places], PAD if none.

        That of `Supply`, without those who are not on air.
        """
        table = np.empty((len(self.cell), int(self.place.max(initial=0)) + 1), np.int32)
        _fill_columns(self.cell, self.n_rooms, self.place, table)
        return table

    @cached_property
    def listings(self) -> Listings:
        """The candidate table, as compiled code takes it."""
        return Listings(self.cell, self.n_rooms, self.column_of, self.streamer_id)

    def rows(self, scenario: int, time_s: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the table row [B] that lists what is on air at `time_s` [B]."""
        return (self.first_row(scenario) + time_s // SLOT_S).astype(np.int32)

    def first_row(self, scenario: int) -> int:
        """Return the row that a scenario would have here when the world began."""
        return int(row_of(scenario, np.int64(-self.day * SLOTS_PER_DAY)))


@kernel
def _fill_columns(
    cell: NDArray[np.int64],
    n_rooms: NDArray[np.int64],
    place: NDArray[np.int64],
    table: NDArray[np.int32],
) -> None:
    """Fill `DaySupply.column_of`."""
    for r in range(len(cell)):
        for j in range(table.shape[1]):
            table[r, j] = PAD
        for c in range(n_rooms[r]):
            table[r, place[cell[r, c]]] = c


def row_of(
    scenario: int | NDArray[np.int64], slot_of_day: NDArray[np.int64] | np.int64
) -> NDArray[np.int32]:
    """Return table rows [B] for slots counted from the start of the day; scenario one or [B]."""
    return np.asarray(scenario * (SLOTS_PER_DAY + SPILL_SLOTS) + slot_of_day, np.int32)


def rooms_of_day(
    config: ScheduleConfig,
    streamers: Streamers,
    left_day: NDArray[np.int32],
    day: int,
    seed: int,
) -> Rooms:
    """Draw the rooms that start on `day`; ends are not yet cut by the next room."""
    present = (streamers.joined_day <= max(day, 0)) & (left_day > day)
    present &= streamers.joined_day != UNBORN
    ids = np.flatnonzero(present)[:, None]
    k = np.arange(ROOMS_PER_DAY)[None, :]
    # day -1 exists so that rooms are already on air when the world begins
    u = uniforms(seed, Purpose.SCHEDULE, ids, day + 1, k, _ROOM)
    live = u[0] < config.rooms_per_day / ROOMS_PER_DAY
    hour = streamers.start_hour[ids] - 7 * k + config.start_jitter_h * ndtri(u[1])
    start = day * SLOTS_PER_DAY + (np.mod(hour, 24) * 3600 // SLOT_S).astype(np.int64)
    length_s = 60 * config.length_median_min * np.exp(config.length_log_sigma * ndtri(u[2]))
    length = np.clip(np.rint(length_s / SLOT_S), 1, MAX_SLOTS).astype(np.int64)
    streamer = np.broadcast_to(ids, live.shape)[live]
    start, end = start[live], (start + length)[live]
    order = np.lexsort((streamer, start))
    room_id = np.empty(len(order), np.int64)
    room_id[order] = ((day + 1) << 32) + np.arange(len(order))
    return Rooms(streamer, start, end, room_id)


def day_supply(
    config: ScheduleConfig,
    population: Population,
    left_day: NDArray[np.int32],
    day: int,
    seed: int,
) -> DaySupply:
    """Lay out what is on air on `day`; the population must have grown to day + 1.

    Args:
        config: parameters.
        population: who exists.
        left_day: first day on which each streamer is gone [S].
        day: day number.
        seed: the world's seed.
    """
    streamers = population.streamers
    parts = [rooms_of_day(config, streamers, left_day, d, seed) for d in (day - 1, day, day + 1)]
    rooms = Rooms(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in Rooms.__annotations__)
    )
    order = np.lexsort((rooms.start, rooms.streamer_id))
    streamer, start = rooms.streamer_id[order], rooms.start[order]
    end, room_id = rooms.end[order].copy(), rooms.room_id[order]
    same = streamer[1:] == streamer[:-1]
    end[:-1] = np.where(same, np.minimum(end[:-1], start[1:]), end[:-1])

    first = day * SLOTS_PER_DAY
    last = first + SLOTS_PER_DAY + SPILL_SLOTS
    count = np.maximum(np.minimum(end, last) - np.maximum(start, first), 0)
    room = np.repeat(np.arange(len(order)), count)
    within = np.arange(len(room)) - np.repeat(np.cumsum(count) - count, count)
    slot = np.maximum(start, first)[room] + within
    by_slot = np.argsort((slot << 32) + streamer[room])  # unique, so no stable sort is needed
    room, slot = room[by_slot], slot[by_slot]
    who = streamer[room]

    shown = ((slot - start[room]) * SLOT_S // (60 * config.product_min)).astype(np.int64)
    place = (shown + room_id[room]) % population.config.products_per_streamer
    product = population.shelves.at(who, place, slot // SLOTS_PER_DAY)
    at_height = uniforms(seed, Purpose.SCHEDULE, who, slot, 0, _MOMENT)[0] < config.highlight_share
    content = unit(
        streamers.content[who]
        + np.float32(population.config.product_weight) * population.products.content[product]
    )
    in_scenario = streamers.in_scenario[who]
    return DaySupply(
        day=day,
        streamer_id=who.astype(np.int32),
        product_id=product.astype(np.int32),
        room_id=room_id[room],
        start_s=start[room].astype(np.float64) * SLOT_S,
        end_s=end[room].astype(np.float64) * SLOT_S,
        slot=slot.astype(np.int32),
        in_scenario=in_scenario,
        content=content.astype(np.float32),
        highlight=at_height - config.highlight_share,
        cell=cells(slot - first, in_scenario),
    )


def cells(slot_of_day: NDArray[np.int64], in_scenario: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the table [R, C] of airing indices per (scenario, slot), padded with PAD.

    Args:
        slot_of_day: slot of each airing counted from the start of the day, ascending [E].
        in_scenario: [E, M].
    """
    n_rows = len(SCENARIOS) * (SLOTS_PER_DAY + SPILL_SLOTS)
    first_row = np.array([int(row_of(m, np.int64(0))) for m in range(len(SCENARIOS))])
    counts = np.zeros(n_rows, np.int64)
    _count_rooms(slot_of_day, in_scenario, first_row, counts)
    table = np.full((n_rows, max(int(counts.max(initial=0)), 1)), PAD, np.int64)
    counts[:] = 0
    _list_rooms(slot_of_day, in_scenario, first_row, counts, table)
    return table


@kernel
def _count_rooms(
    slot_of_day: NDArray[np.int64],
    in_scenario: NDArray[np.bool_],
    first_row: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Count the rooms of each row of the table [R]."""
    for e in range(len(slot_of_day)):
        for m in range(len(first_row)):
            counts[first_row[m] + slot_of_day[e]] += in_scenario[e, m]


@kernel
def _list_rooms(
    slot_of_day: NDArray[np.int64],
    in_scenario: NDArray[np.bool_],
    first_row: NDArray[np.int64],
    counts: NDArray[np.int64],
    table: NDArray[np.int64],
) -> None:
    """Write each airing behind the others of its rows; `counts` [R] begins with zeros."""
    for e in range(len(slot_of_day)):
        for m in range(len(first_row)):
            if in_scenario[e, m]:
                row = first_row[m] + slot_of_day[e]
                table[row, counts[row]] = e
                counts[row] += 1
