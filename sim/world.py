"""The world: it steps all sessions of a tick together and tells what became known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from sim.arrivals import Sessions, sessions_of_day
from sim.browse import read_pages
from sim.calendar import Today
from sim.config import ConfigError, WorldConfig
from sim.drift import FameDrift
from sim.entry import enter_products
from sim.intercepts import solve
from sim.kernel import Block, numbers
from sim.memory import Memory
from sim.outcome import E, TickOutcome, by_report, settle
from sim.population import Population, orthogonal, pick
from sim.ranker import Ranker
from sim.relations import Relations
from sim.response import Intercepts, Laws
from sim.rng import MAX_SEED, Purpose, uniforms
from sim.scene import Scene, scenario_maps
from sim.schedule import DaySupply, day_supply
from sim.schema import DAY_S, DETAIL, SCENARIOS, SWIPE, Catalogue, Impressions, Purchases, Refunds
from sim.session import SHOWN, Step, Walk, begin_visits
from sim.state import State
from sim.swipe import enter_rooms, watch_rooms
from sim.truth import TruthRows

_ENTRANCES = {SWIPE: enter_rooms, DETAIL: enter_products}
"""Scenarios into which a session comes through a room or product."""

_REFERENCE_PAIRS = 8192
_MOST_INITIAL_FOLLOWS = 12


@dataclass(frozen=True)
class DayRecord:
    """One finished day."""

    day: int
    impressions: Impressions
    truth: TruthRows
    purchases: Purchases
    """Purchases that became known on this day, whenever they happened."""
    refunds: Refunds
    """Refunds that became known on this day."""
    on_air: DaySupply
    catalogue: Catalogue


class World:
    """A live-commerce platform with known truth.

    Args:
        config: parameters.
        seed: integer in [0, 2**32); with the config it decides everything but the policy.
        state: where to go on; None begins at day 0.
    """

    def __init__(self, config: WorldConfig, seed: int, state: State | None = None) -> None:
        if not 0 <= seed <= MAX_SEED:
            raise ConfigError(f"seed = {seed!r}; allowed: an integer in [0, {MAX_SEED}]")
        self.config = config
        self.seed = seed
        self.population = Population(
            config.population,
            config.turnover,
            tuple(s.supply_share for s in config.scenarios),
            tuple(s.users_share for s in config.scenarios),
            (config.schedule.evening_share, config.schedule.evening_hour),
            config.visits.activity_log_sigma,
            config.response.task_conflict,
            seed,
        )
        axes = self.population._normals(
            Purpose.GEOMETRY, np.arange(config.population.n_dims), 20, config.population.n_dims
        )
        self.maps = scenario_maps(config, orthogonal(axes))
        self.population.grow(1)
        self.fame_drift = FameDrift(config.drift, self.population.n_streamers, seed)
        memory = Memory.at_the_beginning(config, self.population, seed)
        strangers = State(
            0, Relations.empty(), memory, Impressions.empty(), Purchases.empty(), Refunds.empty()
        )
        self.state = strangers
        self.intercepts = self._intercepts()
        self.state = state or replace(strangers, relations=self._initial_follows())

    def fork(self) -> World:
        """Return a twin in the same state; whatever runs in one does not touch the other."""
        return World(self.config, self.seed, self.state)

    def run(self, ranker: Ranker, days: int, *, chunks: int = 1) -> Iterator[DayRecord]:
        """Let `ranker` serve the platform for `days` days, one record per finished day.

        Args:
            ranker: whoever ranks.
            days: days to run from the current state.
            chunks: parts into which each tick's sessions are cut; the result does not depend on it.
        """
        for _ in range(days):
            yield self._run_day(ranker, chunks)

    def scene(self, day: int) -> Scene:
        """Return the scene of a day that is not over; grows the population to the day after."""
        return self._scene(day, Today.of(self.config.calendar, day))

    def _scene(self, day: int, today: Today) -> Scene:
        self.population.grow(day + 1)
        streamers = self.population.streamers
        left = self.state.memory.left_day
        if self.config.turnover.starvation == 0:
            left = streamers.left_day
        on_air = day_supply(self.config.schedule, self.population, left, day, self.seed)
        return Scene(
            self.config, self.population, on_air, self.maps, today, self.seed,
            self.fame_drift.at(day), self.state.memory.interest_shift,
        )  # fmt: skip

    def laws_on(self, day: int) -> Laws:
        """Return `sim.kernel.numbers` of the laws as the drifts have them on a day."""
        return numbers(Laws.of(self.config, self.intercepts, day))

    def sessions(self, day: int) -> Sessions:
        """Return who arrives on `day`, when and in which mood.

        Of days after that of the state, whoever comes only if the days between pass without them.
        """
        self.population.grow(day + 1)
        memory = self.state.memory
        return sessions_of_day(
            self.config, self.population.users, day, self.seed, memory.last_visit_day,
            memory.satisfaction,
        )  # fmt: skip

    def _run_day(self, ranker: Ranker, chunks: int) -> DayRecord:
        day, start_s = self.state.day, self.state.day * DAY_S
        tick_s = self.config.tick_s
        scene = self.scene(day)
        catalogue = self.population.catalogue()
        sessions = self.sessions(day)
        tick_of = ((sessions.start_s - start_s) // tick_s).astype(np.int64)
        bounds = np.searchsorted(tick_of, np.arange(self.config.ticks_per_day + 1))
        laws = self.laws_on(day)
        relations, unknown, pending, refunds = (
            self.state.relations, self.state.unknown, self.state.pending, self.state.refunds
        )  # fmt: skip
        memory = self.state.memory
        done: list[TickOutcome] = []
        reported: list[Purchases] = []
        for tick in range(self.config.ticks_per_day):
            now_s = start_s + tick * tick_s
            # 1. the platform learns what became known during the last tick
            known = unknown.known_s <= now_s
            due = pending.known_s <= now_s
            reported.append(pending.take(due))
            ranker.observe(unknown.take(known), reported[-1], now_s)
            unknown, pending = unknown.take(~known), pending.take(~due)
            # 2. the sessions of this tick run, each to its end
            part = sessions.take(slice(bounds[tick], bounds[tick + 1]))
            if not len(part):
                continue
            on_air = scene.on_air.streamer_id
            stage = scene.stage(laws, relations, memory.crowd(on_air))
            walk = Walk(scene, stage, catalogue, ranker, self.seed)
            shown = _run_sessions(walk, part, chunks)
            if not shown:
                continue
            # 3. what follows from each stay is drawn, and the bonds move on
            outcome = settle(scene, stage, part, _stack(shown), self.seed)
            done.append(outcome)
            relations = _bond(relations, outcome.impressions)
            memory = memory.after_tick(outcome.impressions)
            unknown = Impressions.concat([unknown, outcome.impressions])
            pending = by_report(Purchases.concat([pending, outcome.purchases]))
            refunds = by_report(Refunds.concat([refunds, outcome.refunds]))
        # what is reported between the last tick and midnight belongs to this day's file, and is
        # still news to the ranker at the next day's first tick
        bought = _of_day(Purchases.concat([*reported, pending]), day)
        impressions = Impressions.concat([Impressions.empty(), *(o.impressions for o in done)])
        memory = memory.after_day(
            self.config, self.population, day, sessions.user_id, impressions,
            self.intercepts.contentment, bought,
        )  # fmt: skip
        self.state = State(
            day + 1, relations, memory, unknown, pending,
            refunds.take(refunds.known_s > start_s + DAY_S),
        )  # fmt: skip
        return DayRecord(
            day=day,
            impressions=impressions,
            truth=TruthRows.concat([TruthRows.empty(), *(o.truth for o in done)]),
            purchases=bought,
            refunds=_of_day(refunds, day),
            on_air=scene.on_air,
            catalogue=catalogue,
        )

    def _intercepts(self) -> Intercepts:
        u = uniforms(self.seed, Purpose.CALIBRATION, np.arange(_REFERENCE_PAIRS))
        # base rates are those of a day like any other
        plain = Today.of(replace(self.config.calendar, sale_day=None), 0)
        return solve(
            self._scene(0, plain), u[0], u[1], self.config.session.mood_sigma * ndtri(u[2])
        )

    def _initial_follows(self) -> Relations:
        """Follow sets of the users of day 0, drawn by popularity."""
        users = np.flatnonzero(self.population.users.joined_day == 0)
        streamers = np.flatnonzero(self.population.streamers.joined_day == 0)
        mean = self.config.population.initial_follows
        slots = np.arange(_MOST_INITIAL_FOLLOWS)[None, :]
        u = uniforms(self.seed, Purpose.USER, users[:, None], 3, slots, 0)
        chosen = u[0] < min(mean / _MOST_INITIAL_FOLLOWS, 1.0)
        user = np.broadcast_to(users[:, None], chosen.shape)[chosen]
        weight = np.sqrt(self.population.streamers.popularity[streamers])
        streamer = streamers[pick(weight, u[1][chosen])]
        n = len(user)
        return Relations.empty().add(user, streamer, np.zeros(n), np.ones(n, np.bool_))


def _run_sessions(walk: Walk, sessions: Sessions, chunks: int) -> list[Block]:
    shown: list[Block] = []
    for rows in np.array_split(np.arange(len(sessions)), chunks):
        for scenario in range(len(SCENARIOS)):
            own = rows[sessions.scenario[rows] == scenario]
            if len(own):
                for part in _run_scenario(walk, sessions.take(own), scenario):
                    part["session"] = own[part["session"]]
                    shown.append(part)
    return shown


def _stack(parts: list[Block]) -> Block:
    """Stack SHOWN rows as bytes, which spares NumPy from comparing the fields of every part."""
    return np.concatenate([part.view(np.uint8) for part in parts]).view(SHOWN)


def _run_scenario(walk: Walk, sessions: Sessions, scenario: int) -> Iterator[Block]:
    """Step the sessions of one scenario, each to its end; yield the impressions of each step."""
    settings, on_air, n = walk.scene.config.scenarios[scenario], walk.scene.on_air, len(sessions)
    visits = begin_visits(walk.scene, walk.stage, sessions, scenario)
    goes_on = np.ones(n, np.bool_)
    if scenario in _ENTRANCES:
        row = on_air.rows(scenario, sessions.start_s)
        _ENTRANCES[scenario](
            walk.stage, on_air.cell, on_air.n_rooms, visits, row, scenario, walk.seed, goes_on
        )
    play = watch_rooms if scenario == SWIPE else read_pages
    active = np.flatnonzero(goes_on)
    for _ in range(settings.max_requests):
        if not len(active):
            return
        requests, n_candidates = walk.ask(sessions, visits, active, scenario)
        slate = walk.answer(requests, visits, active, settings.slate_size)
        step = Step(active, scenario, requests.row, slate.column, slate.propensity, n_candidates)
        shown, goes_on = np.empty(slate.column.size, SHOWN), np.empty(len(active), np.bool_)
        n_shown = play(walk.stage, on_air.cell, visits, step, walk.seed, shown, goes_on)
        yield shown[:n_shown]
        active = active[goes_on]


def _bond(relations: Relations, impressions: Impressions) -> Relations:
    rows = np.flatnonzero(impressions.view | impressions.follow)
    met = impressions.take(rows)
    return relations.add(met.user_id, met.streamer_id, met.view.astype(np.float32), met.follow)


def _of_day(events: E, day: int) -> E:
    """Return the events that become known on a day, in the order in which they do."""
    known = (events.known_s > day * DAY_S) & (events.known_s <= (day + 1) * DAY_S)
    return by_report(events.take(known))
