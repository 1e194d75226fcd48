"""Many swipe sessions that step together while somebody outside chooses the rooms.

The core of the gymnasium environments: one day of a world, sessions drawn from those that arrive on
it, a few rooms offered at each step, the chosen one watched, and what it was worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.config import ConfigError, WorldConfig
from sim.kernel import Block, allocating, kernel
from sim.memory import crowd_of
from sim.outcome import Acts, acts_of, draw_decisions, patrons_of
from sim.scene import Stage, inclination_of
from sim.schema import EFFECTIVE_VIEW_S, PAD, SWIPE, TARGETS, WATCH_CAP_S, Catalogue
from sim.session import (
    OFFER,
    Step,
    Visits,
    begin_visits,
    open_candidates,
    session_uniforms,
)
from sim.sheet import SHOWN
from sim.swipe import enter_rooms, watch_rooms
from sim.world import World

Slots = NDArray[np.int64]


@dataclass(frozen=True)
class Played:
    """What a step brought, arrays [B]."""

    value: NDArray[np.float64]
    """Objective value of what the user did; a purchase counts when it is decided, not when it
    arrives."""
    watch_s: NDArray[np.float64]
    left: NDArray[np.bool_]
    """Whether the session is over by the user's wish, or because its time is up."""


class Arena:
    """`n` swipe sessions of one day of a world.

    Args:
        config: the world.
        seed: the world's seed; decides who exists and who arrives.
        n: sessions that step together.
        n_candidates: rooms offered at each step.
        day: day of the world.

    Raises:
        ConfigError: nobody swipes on that day.
    """

    def __init__(
        self, config: WorldConfig, seed: int, n: int, n_candidates: int, day: int = 0
    ) -> None:
        world = World(config, seed)
        self.scene = world.scene(day)
        self.catalogue: Catalogue = world.population.catalogue()
        crowd = crowd_of(world.state.memory.audience, self.scene.on_air.streamer_id)
        self.stage = self.scene.stage(world.laws_on(day), world.state.relations, crowd)
        arrived = world.sessions(day)
        self.sessions = arrived.take(arrived.scenario == SWIPE)
        if not len(self.sessions):
            raise ConfigError(f"world {config.name}: nobody swipes on day {day}")
        self.n_candidates = n_candidates
        self.longest = config.swipe.max_requests
        self.weights = np.array([config.objective.weights()[name] for name in TARGETS])
        anyone = self.sessions.take(np.zeros(n, np.int64))
        self.patrons = patrons_of(anyone)
        self.visits = begin_visits(self.scene, self.stage, anyone, np.arange(n), SWIPE)
        self.column = np.full((n, n_candidates), PAD, np.int32)

    def begin(self, slots: Slots, session: Slots, seed: int) -> NDArray[np.bool_]:
        """Put sessions [B] into `slots` [B] and let them enter; return who swipes on [B]."""
        own = self.sessions.take(session)
        visits = begin_visits(self.scene, self.stage, own, slots, SWIPE)
        on_air, goes_on = self.scene.on_air, np.empty(len(slots), np.bool_)
        row = on_air.rows(SWIPE, own.start_s)
        enter_rooms(self.stage, on_air.cell, on_air.n_rooms, visits, row, SWIPE, seed, goes_on)
        self.patrons[slots] = patrons_of(own)
        for mine, fresh in zip(self.visits, visits, strict=True):
            mine[slots] = fresh
        return goes_on

    def offer(self, slots: Slots, seed: int) -> NDArray[np.bool_]:
        """Draw the rooms offered to `slots` [B]; return who is offered any [B]."""
        on_air = self.scene.on_air
        row = on_air.rows(SWIPE, self.visits.rows["now_s"][slots])
        mask = np.empty((len(slots), on_air.cell.shape[1]), np.bool_)
        n_open = np.empty(len(slots), np.int32)
        open_candidates(on_air.column_of, on_air.n_rooms, row, slots, self.visits, mask, n_open)
        _draw_offer(seed, self.visits, slots, mask, self.column)
        return n_open > 0

    def play(self, slots: Slots, choice: Slots, seed: int) -> Played:
        """Let the users in `slots` [B] watch the offered room number `choice` [B].

        A number beyond what was offered stands for the first room.
        """
        on_air, offered = self.scene.on_air, self.column[slots]
        column = offered[np.arange(len(slots)), choice]
        column = np.where(column == PAD, offered[:, 0], column)[:, None]
        step = Step(
            slots, SWIPE, on_air.rows(SWIPE, self.visits.rows["now_s"][slots]), column,
            np.ones(column.shape), np.zeros(len(slots), np.int32),
        )  # fmt: skip
        shown, goes_on = np.empty(len(slots), SHOWN), np.empty(len(slots), np.bool_)
        n = watch_rooms(self.stage, on_air.cell, self.visits, step, seed, shown, goes_on)
        if n < len(slots):
            raise ValueError(f"{len(slots) - n} of {len(slots)} slots: no room is offered there")
        acts = np.empty((len(Acts._fields), len(shown)), np.bool_)
        _draw_acts(self.stage, shown, self.patrons, seed, acts)
        buys, rows = np.zeros(len(shown), np.bool_), np.flatnonzero(acts[-1])
        decision = draw_decisions(self.stage, shown[rows], self.patrons, seed)
        buys[rows] = decision["lost_to"] == PAD
        watch_s = shown["watch_s"]
        happened = np.stack(
            [
                watch_s >= EFFECTIVE_VIEW_S,
                np.minimum(watch_s, WATCH_CAP_S) / WATCH_CAP_S,
                *acts[:-1],
                buys,
            ]
        )
        return Played(self.weights @ happened, watch_s.copy(), ~goes_on)


@kernel
def _draw_acts(
    stage: Stage, shown: Block, patrons: Block, seed: int, out: NDArray[np.bool_]
) -> None:
    """Draw what the users do after the stays SHOWN [N], by `Acts` [acts, N]."""
    for i in range(len(shown)):
        seen = shown[i]
        patron, streamer_id = patrons[seen.session], stage.airings[seen.airing].streamer_id
        own = inclination_of(
            stage, patron.scenario, patron.user_id, patron.mood, seen.airing, seen.follows
        )
        acts = acts_of(stage.laws[0], seen, patron, streamer_id, own, seed)
        for j in range(len(acts)):
            out[j, i] = acts[j]


@allocating
def _draw_offer(
    seed: int,
    visits: Visits,
    slots: Slots,
    mask: NDArray[np.bool_],
    column: NDArray[np.int32],
) -> None:
    """Draw different open columns for each slot, PAD where none is left."""
    free = np.empty(mask.shape[1], np.int32)
    for b in range(len(slots)):
        a, n = slots[b], 0
        for c in range(mask.shape[1]):
            if mask[b, c]:
                free[n] = c
                n += 1
        for i in range(column.shape[1]):
            if n == 0:
                column[a, i] = PAD
                continue
            number = visits.rows[a].step * column.shape[1] + i
            u = session_uniforms(seed, visits, a, OFFER, number // 4)
            j = min(int(u[number % 4] * n), n - 1)
            n -= 1
            column[a, i], free[j] = free[j], free[n]
