"""A shard: the sessions and bonds of some of the users, stepped tick by tick.

Users meet each other only through what the platform knew at the tick's start (a ranker's counters,
by `Ranker.observe`) and through sums over streamers of the last tick. All draws are addressed by
user, streamer and moment. So any partition of the users gives the same rows; a shard is told the
news and the sums with each tick, and hands back its rows and its own sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sim.arrivals import Sessions
from sim.browse import read_pages
from sim.entry import enter_products
from sim.filling import Chart
from sim.journey import journeys
from sim.memory import Memory, Stays, crowd_of, entries_of
from sim.outcome import TickOutcome, settle
from sim.part_files import Shown, row_files
from sim.partition import shard_of
from sim.ranker import Charted, Ranker
from sim.relations import Relations
from sim.scene import Scene
from sim.schema import DETAIL, SCENARIOS, SWIPE, Follows, Impressions, Purchases
from sim.session import Step, Visits, Walk, begin_visits
from sim.sheet import Sheet
from sim.state import state_path, users_buffer, users_file
from sim.swipe import enter_rooms, watch_rooms

if TYPE_CHECKING:
    from sim.world import Day, World

_ENTRANCES = {SWIPE: enter_rooms, DETAIL: enter_products}
"""Scenarios into which a session comes through a room or product."""

_TOGETHER = 1024
"""Sessions for whose every impression the sheet makes room at once."""


@dataclass(frozen=True)
class Order:
    """What every shard is told before a tick."""

    day: int
    tick: int
    """Of the day."""
    audience: NDArray[np.float64]
    """Stays that began in each streamer's room in the last tick, all shards together [S]."""
    known: Impressions | None = None
    """What became known since the last tick; None where the ranker does not observe."""
    bought: Purchases | None = None
    """Purchases of which the platform learned since the last tick, likewise."""
    memory: Memory | None = None
    """What people carry into the day, before its first tick."""


@dataclass(frozen=True)
class Part:
    """What a shard hands back after a tick."""

    outcome: TickOutcome
    """Without the truth where the shard keeps it for its files, and without impressions where no
    ranker observes them either."""
    n_impressions: int
    stays: Stays
    """Empty where nobody remembers any."""
    follows: Follows
    entries: NDArray[np.float64]
    """Stays that began in each streamer's room [S]; whole numbers, so their sum has no order."""
    visitors: NDArray[np.int32]
    """Users whose sessions began, with repeats."""
    relations: Relations | None
    """Bonds of the shard's users after the last tick of a day, None before, and where the shard
    keeps them."""


@dataclass
class Own:
    """What a shard has of its users."""

    relations: Relations
    """Their bonds."""
    unknown: Impressions
    """What they were shown before today and was not complete; none where rows are handed back."""
    today: list[Shown] = field(default_factory=list)
    """What they were shown today, where it is not handed back."""


class Hand:
    """Steps some shards of a world in one process, with one ranker for all of them.

    Args:
        world: any world of this config and seed; only what is common to all users is read.
        ranker: whoever ranks; it is told the news once a tick.
        shards: which shards.
        n_shards: of how many.
        own: what each of `shards` has at the beginning.
        chunks: parts into which the sessions of a tick are cut.
        keeps: whether shards keep rows and bonds, and make files of them, each one part of a log;
            if not, they hand them back. A ranker that observes needs impressions all the same.
    """

    def __init__(
        self,
        world: World,
        ranker: Ranker,
        shards: Sequence[int],
        n_shards: int,
        own: Sequence[Own],
        chunks: int,
        keeps: bool,
    ) -> None:
        self.world = world
        self.ranker = ranker
        self.shards = tuple(shards)
        self.n_shards = n_shards
        self.own = tuple(own)
        self.chunks = chunks
        self.keeps = keeps
        self._order: Order | None = None
        self._today: tuple[Day, Scene] | None = None
        self._sheet = Sheet()

    def run(self, order: Order) -> list[Part]:
        """Step one tick; return what each shard did."""
        world, self._order = self.world, order
        if order.memory is not None:
            world.enter(order.day, order.memory)
        day = world.day(order.day)
        now_s = world.config.tick_s * (order.day * world.config.ticks_per_day + order.tick)
        if order.known is not None and order.bought is not None:
            self.ranker.observe(order.known, order.bought, now_s)
        came = day.sessions.take(slice(day.bounds[order.tick], day.bounds[order.tick + 1]))
        owner = shard_of(came.user_id, self.n_shards)
        chart = None
        if isinstance(self.ranker, Charted):
            chart = self.ranker.chart(day.catalogue.n_streamers, now_s)
        scene = self._scene(day)
        crowd = crowd_of(order.audience, day.scene.on_air.streamer_id)
        return [
            self._step(
                number,
                came if self.n_shards == 1 else came.take(owner == shard),
                order,
                scene,
                crowd,
                chart,
            )
            for number, shard in enumerate(self.shards)
        ]

    def files(self) -> dict[str, pa.Buffer]:
        """Return the files of the day whose last tick was run, and forget its rows."""
        assert self._order is not None, "no tick was run"
        day, config = self._order.day, self.world.config
        learnt_s = (day * config.ticks_per_day + self._order.tick) * config.tick_s
        found: dict[str, pa.Buffer] = {}
        for shard, own in zip(self.shards, self.own, strict=True):
            found |= row_files(day, own.today, (shard,), self.n_shards)
            rows = [own.unknown, *(shown for shown, _ in own.today)]
            open_ = [np.flatnonzero(part.known_s > learnt_s) for part in rows]
            own.unknown, own.today = Impressions.gathered(rows, open_), []
            name = f"{state_path(day + 1)}/{users_file(shard)}"
            found[name] = users_buffer(own.relations, own.unknown)
        return found

    def _scene(self, day: Day) -> Scene:
        """Return the scene of a day with only those users of these shards who come."""
        if self._today is None or self._today[0] is not day:
            came = np.unique(day.sessions.user_id)
            own = np.isin(shard_of(came, self.n_shards), self.shards)
            self._today = day, replace(day.scene, visitors=came[own])
        return self._today[1]

    def _step(
        self,
        number: int,
        sessions: Sessions,
        order: Order,
        scene: Scene,
        crowd: NDArray[np.float64],
        chart: Chart | None,
    ) -> Part:
        """Run the sessions of one shard, each to its end, and what follows from each stay."""
        day, seed, config = self.world.day(order.day), self.world.seed, self.world.config
        outcome, own = TickOutcome.empty(), self.own[number]
        self._sheet.clear()
        if len(sessions):
            stage = scene.stage(day.laws, own.relations, crowd)
            walks = [
                Walk(scene, stage, day.catalogue, self.ranker, seed, scenario)
                for scenario in range(len(SCENARIOS))
            ]
            _run_sessions(walks, sessions, self.chunks, chart, self._sheet)
        if len(self._sheet.rows):
            outcome = settle(stage, sessions, self._sheet.rows, seed)
            own.relations = _bond(own.relations, outcome.impressions)
        shown, ends = outcome.impressions, order.tick + 1 == config.ticks_per_day
        if self.keeps:
            own.today.append((shown, outcome.truth))
            outcome = outcome.without_rows(self.ranker.observes)
        return Part(
            outcome,
            len(shown),
            Stays.among(shown) if Memory.keeps_stays(config) else Stays.empty(),
            _new_follows(shown),
            entries_of(shown, len(order.audience)),
            sessions.user_id,
            own.relations if ends and not self.keeps else None,
        )


def _run_sessions(
    walks: Sequence[Walk], sessions: Sessions, chunks: int, chart: Chart | None, sheet: Sheet
) -> None:
    for rows in np.array_split(np.arange(len(sessions)), chunks):
        for walk in walks:
            own = rows[sessions.scenario[rows] == walk.scenario]
            if len(own):
                _run_scenario(walk, sessions.take(own), own, chart, sheet)


def _run_scenario(
    walk: Walk, sessions: Sessions, rows: NDArray[np.int64], chart: Chart | None, sheet: Sheet
) -> None:
    """Let the sessions of one scenario, `rows` of those of the tick, come in and run each out."""
    scenario, on_air = walk.scenario, walk.scene.on_air
    visits = begin_visits(walk.scene, walk.stage, sessions, rows, scenario)
    goes_on = np.ones(len(sessions), np.bool_)
    if scenario in _ENTRANCES:
        row = on_air.rows(scenario, sessions.start_s)
        _ENTRANCES[scenario](
            walk.stage, on_air.cell, on_air.n_rooms, visits, row, scenario, walk.seed, goes_on
        )
    active = np.flatnonzero(goes_on)
    if chart is None:
        _step(walk, visits, active, sheet)
    else:
        _follow(walk, visits, active, chart, sheet)


def _step(walk: Walk, visits: Visits, active: NDArray[np.int64], sheet: Sheet) -> None:
    """Step sessions together, each to its end; the ranker is asked at each step."""
    scenario, cell = walk.scenario, walk.scene.on_air.cell
    play = watch_rooms if scenario == SWIPE else read_pages
    for _ in range(walk.settings.max_requests):
        if not len(active):
            return
        requests, asked = walk.ask(visits, active)
        slate = walk.answer(requests, asked.uniforms, visits, active)
        step = Step(active, scenario, asked.row, slate.column, slate.propensity, asked.n_candidates)
        shown, goes_on = sheet.room(slate.column.size), np.empty(len(active), np.bool_)
        sheet.keep(play(walk.stage, cell, visits, step, walk.seed, shown, goes_on))
        active = active[goes_on]


def _follow(
    walk: Walk, visits: Visits, active: NDArray[np.int64], chart: Chart, sheet: Sheet
) -> None:
    """Take one session after the other to its end; a chart answers for the ranker."""
    on_air, settings = walk.scene.on_air, walk.settings
    first_row = on_air.first_row(walk.scenario)
    for first in range(0, len(active), _TOGETHER):
        some = active[first : first + _TOGETHER]
        shown = sheet.room(len(some) * settings.max_requests * settings.slate_size)
        n = journeys(
            walk.stage, on_air.listings, first_row, visits, some, walk.scenario, chart,
            settings.slate_size, settings.max_requests, walk.seed, shown,
        )  # fmt: skip
        sheet.keep(n)


def _new_follows(shown: Impressions) -> Follows:
    rows = np.flatnonzero(shown.follow)
    return Follows(shown.known_s[rows], shown.user_id[rows], shown.streamer_id[rows])


def _bond(relations: Relations, impressions: Impressions) -> Relations:
    rows = np.flatnonzero(impressions.view | impressions.follow)
    user_id, streamer_id = impressions.user_id.take(rows), impressions.streamer_id.take(rows)
    viewed = impressions.view.take(rows).astype(np.float32)
    return relations.add(user_id, streamer_id, viewed, impressions.follow.take(rows))
