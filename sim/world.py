"""The world: it steps all sessions of a tick together and tells what became known."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sim.arrivals import Sessions, sessions_of_day
from sim.backlog import Backlog
from sim.calendar import Today
from sim.config import ConfigError, WorldConfig
from sim.day_record import DayRecord, Harvest
from sim.drift import FameDrift
from sim.events import Revisits
from sim.executor import Crew, Executor, SerialExecutor
from sim.intercepts import solve
from sim.kernel import numbers
from sim.memory import Memory, crowd_of
from sim.outcome import E, by_report
from sim.pairs import Pairs, PairTruth, truth_of
from sim.population import Population, orthogonal, pick
from sim.ranker import Ranker
from sim.relations import Relations
from sim.response import Intercepts, Laws
from sim.rng import MAX_SEED, Purpose, uniforms
from sim.scene import Scene, scenario_maps
from sim.schedule import day_supply
from sim.schema import DAY_S, Catalogue, Follows, Impressions, Purchases, Refunds
from sim.shard import Order
from sim.state import State

_REFERENCE_PAIRS = 8192
_MOST_INITIAL_FOLLOWS = 12


@dataclass(frozen=True)
class Day:
    """What all shards of a day have in common."""

    world: World
    number: int
    memory: Memory
    """That of the state in which the day begins."""
    scene: Scene
    catalogue: Catalogue
    laws: Laws
    """`sim.kernel.numbers` of them."""

    @cached_property
    def sessions(self) -> Sessions:
        """Sessions of the day [N]."""
        return self.world.sessions(self.number)

    @cached_property
    def bounds(self) -> NDArray[np.int64]:
        """Rows at which the sessions of each tick begin, and the end [T + 1]."""
        config, start_s = self.world.config, self.number * DAY_S
        tick_of = ((self.sessions.start_s - start_s) // config.tick_s).astype(np.int64)
        return np.searchsorted(tick_of, np.arange(config.ticks_per_day + 1)).astype(np.int64)


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
        memory = Memory.of_nobody(config, self.population)
        self.state = State(
            0, Relations.empty(), memory, Impressions.empty(), Purchases.empty(), Refunds.empty(),
            Revisits.empty(),
        )  # fmt: skip
        self._day: Day | None = None
        self.intercepts = self._intercepts()  # of strangers, whatever the state
        self.state = state or self._beginning()

    def __getstate__(self) -> dict[str, object]:
        """Leave the day behind: it is large, and made again where it is needed."""
        return self.__dict__ | {"_day": None}

    def fork(self) -> World:
        """Return a twin in the same state; whatever runs in one does not touch the other."""
        return World(self.config, self.seed, self.state)

    def run(
        self,
        ranker: Ranker,
        days: int,
        *,
        chunks: int = 1,
        executor: Executor | None = None,
        n_parts: int = 0,
    ) -> Generator[DayRecord, None, None]:
        """Let `ranker` serve the platform for `days` days, one record per finished day.

        Args:
            ranker: whoever ranks; where other processes do the work, they have copies of it.
            days: days to run from the current state.
            chunks: parts into which each tick's sessions are cut; the result does not depend on it.
            executor: who does the work, None for this process; the result does not depend on it.
            n_parts: of the log that the records are for, whose files the executor may make; the
                state then has no bonds. 0 where rows are wanted.

        Raises:
            WorkerLost: a worker process ended; `state` is that after the last day yielded.
            ConfigError: the world has no ids for so many days.
        """
        self.config.require_days(self.state.day + days)
        executor = executor or SerialExecutor()
        with executor.crew(self, ranker, chunks, n_parts) as crew:
            backlog = Backlog(self.state.unknown, self.state.pending, ranker.observes)
            bought = self._begin_day(crew, backlog, self.state)
            for left in reversed(range(days)):
                record, bought = self._run_day(crew, backlog, bought, left > 0)
                yield record

    def scene(self, day: int) -> Scene:
        """Return the scene of a day that is not over; grows the population to the day after."""
        return self._scene(day, Today.of(self.config.calendar, day))

    def _scene(self, day: int, today: Today) -> Scene:
        self.population.grow(day + 1)
        on_air = day_supply(self.config.schedule, self.population, self.left_day, day, self.seed)
        return Scene(
            self.config, self.population, on_air, self.maps, today, self.seed,
            self.fame_drift.at(day), self.state.memory.interest_shift,
        )  # fmt: skip

    @property
    def left_day(self) -> NDArray[np.int32]:
        """First day on which each streamer is gone [S]: by chance, or by earnings if those count.

        The latter is known two days ahead only.
        """
        starves = self.config.turnover.starvation > 0
        return self.state.memory.left_day if starves else self.population.streamers.left_day

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

    def truth(self, pairs: Pairs) -> PairTruth:
        """Return what is true of users and rooms on the day of the state, as that day begins.

        Bonds and audiences are those of the state; run the world to ask about a later day.

        Raises:
            ConfigError: an id does not exist, or a moment is not of the day.
        """
        common, state = self.day(self.state.day), self.state
        crowd = crowd_of(state.memory.audience, common.scene.on_air.streamer_id)
        stage = common.scene.stage(common.laws, state.relations, crowd)
        return truth_of(self.config, common.scene, stage, pairs, state.day)

    def day(self, day: int) -> Day:
        """Return what all shards of a day have in common; the last one asked for is kept."""
        known, memory = self._day, self.state.memory
        if known is None or known.number != day or known.memory is not memory:
            scene = self.scene(day)
            catalogue = self.population.catalogue()
            known = self._day = Day(self, day, memory, scene, catalogue, self.laws_on(day))
        return known

    def enter(self, day: int, memory: Memory) -> None:
        """Go to the start of a day whose `memory` was put together elsewhere."""
        self.state = replace(self.state, day=day, memory=memory)

    def _run_day(
        self, crew: Crew, backlog: Backlog, bought: Purchases, more: bool
    ) -> tuple[DayRecord, Purchases]:
        """Run a day whose first tick was begun.

        Args:
            crew: the shards.
            backlog: what is not known yet.
            bought: purchases of which the platform learned before the first tick.
            more: whether the day after is run as well; its first tick is begun.

        Returns:
            The day, and purchases of which the platform learned since its last tick.
        """
        day, start_s = self.state.day, self.state.day * DAY_S
        common, n_ticks = self.day(day), self.config.ticks_per_day
        memory, refunds, reported = self.state.memory, self.state.refunds, [bought]
        # the first day's file also has the follows from before
        harvest = Harvest(_follows_before(self.state.relations if day == 0 else Relations.empty()))
        for tick in range(n_ticks):
            # 1. the sessions of this tick run, shard by shard, each to its end
            ends = tick + 1 == n_ticks
            if ends and crew.keeps:  # they go on without us
                crew.begin_files()
            parts = crew.parts()
            memory = replace(memory, audience=np.sum([part.entries for part in parts], axis=0))
            if not ends and not backlog.observed:  # shards need nothing else of us
                crew.begin(Order(day, tick + 1, memory.audience))
            # 2. what they led to is put together
            outcome = harvest.add(parts)
            backlog.add(outcome)
            refunds = by_report(Refunds.concat([refunds, outcome.refunds]))
            # 3. the platform learns what became known meanwhile, and the next tick begins
            if not ends:
                known, bought = backlog.learn(start_s + (tick + 1) * self.config.tick_s)
                reported.append(bought)
                if backlog.observed:
                    crew.begin(Order(day, tick + 1, memory.audience, known, bought))
        # what is reported between the last tick and midnight belongs to this day's file, and is
        # still news to the ranker at the next day's first tick
        today = _of_day(Purchases.concat([*reported, backlog.pending]), day)
        revisits = Revisits.concat([self.state.revisits, *(o.revisits for o in harvest.ticks)])
        memory = memory.after_day(
            self.config, self.population, day, harvest.visitors, harvest.stays,
            self.intercepts.contentment, today,
        )  # fmt: skip
        state = State(
            day + 1, harvest.relations, memory, backlog.unknown, backlog.pending,
            refunds.take(refunds.known_s > start_s + DAY_S),
            revisits.take(revisits.known_s > start_s + DAY_S),
        )  # fmt: skip
        if more:
            bought = self._begin_day(crew, backlog, state)
        record = DayRecord(
            day=day,
            ticks=tuple(harvest.ticks),
            n_impressions=harvest.n_impressions,
            files=crew.files() if crew.keeps else None,
            purchases=today,
            refunds=_of_day(refunds, day),
            revisits=_of_day(revisits, day),
            ultimate=harvest.ultimate,
            follows=harvest.follows,
            on_air=common.scene.on_air,
            catalogue=common.catalogue,
        )
        self.state = state  # nobody can be lost any more
        return record, bought

    def _begin_day(self, crew: Crew, backlog: Backlog, state: State) -> Purchases:
        """Begin the first tick of the day of a state; return the purchases that became known."""
        known, bought = backlog.learn(state.day * DAY_S)
        told = bought if backlog.observed else None
        crew.begin(Order(state.day, 0, state.memory.audience, known, told, state.memory))
        return bought

    def _intercepts(self) -> Intercepts:
        u = uniforms(self.seed, Purpose.CALIBRATION, np.arange(_REFERENCE_PAIRS))
        # base rates are those of a day like any other
        plain = Today.of(replace(self.config.calendar, sale_day=None), 0)
        return solve(
            self._scene(0, plain), u[0], u[1], self.config.session.mood_sigma * ndtri(u[2])
        )

    def _beginning(self) -> State:
        """Return the state of day 0, which goes on from days that nobody saw."""
        memory = self.state.memory.after_burn_in(self.config, self.population, self.seed)
        return replace(self.state, memory=memory, relations=self._initial_follows())

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


def _follows_before(relations: Relations) -> Follows:
    user, streamer = relations.followed()
    return Follows(np.zeros(len(user)), user, streamer)


def _of_day(events: E, day: int) -> E:
    """Return the events that become known on a day, in the order in which they do."""
    known = (events.known_s > day * DAY_S) & (events.known_s <= (day + 1) * DAY_S)
    return by_report(events.take(known))
