"""How sessions run: list pages, and the swipe with its refer.

Both walks step all sessions of a tick together. What a step decides is only what steers the
session (what is shown, clicked, how long it is watched); everything that follows from a stay is
drawn once per tick in `sim.outcome`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.arrivals import Sessions, session_uniforms
from sim.relations import Relations
from sim.response import Attraction, Response
from sim.rng import NOBODY, Purpose, uniforms
from sim.scene import Minds, Scene
from sim.schema import (
    EFFECTIVE_VIEW_S,
    ENTRIES,
    PAD,
    Catalogue,
    Ranker,
    Requests,
    Slate,
    _Columns,
)
from sim.truth import RequestTruth
from sim.watch import draw_watch_s

_LEAVE, _RANK = 0, 1
_STEPS_AT_ONCE = 16
REQUESTS_PER_SESSION = 256
"""Request ids are session_id * this + step."""


@dataclass(frozen=True)
class Shown(_Columns):
    """Raw impressions with what later draws need, arrays [N]."""

    session: NDArray[np.int32]
    """Row of the walk's sessions."""
    step: NDArray[np.int16]
    position: NDArray[np.int8]
    time_s: NDArray[np.float64]
    refer_id: NDArray[np.int32]
    refer_watch_s: NDArray[np.float32]
    n_candidates: NDArray[np.int32]
    propensity: NDArray[np.float64]
    airing: NDArray[np.int32]
    entered: NDArray[np.bool_]
    watch_s: NDArray[np.float32]
    known_s: NDArray[np.float64]
    affinity: NDArray[np.float32]
    satiation: NDArray[np.float32]
    views: NDArray[np.float32]
    follows: NDArray[np.bool_]
    remaining_s: NDArray[np.float32]


class Walk:
    """Runs sessions of one tick through a ranker.

    Args:
        scene: the day.
        response: the laws.
        relations: bonds at the start of the tick.
        catalogue: observed entity features.
        ranker: whoever ranks.
        seed: the world's seed.
    """

    def __init__(
        self,
        scene: Scene,
        response: Response,
        relations: Relations,
        catalogue: Catalogue,
        ranker: Ranker,
        seed: int,
    ) -> None:
        self.scene = scene
        self.response = response
        self.relations = relations
        self.catalogue = catalogue
        self.ranker = ranker
        self.seed = seed

    def lists(self, sessions: Sessions, scenario: int) -> list[Shown]:
        """Run sessions that browse pages of cards in `scenario`; one record per page step."""
        settings = self.scene.config.scenarios[scenario]
        rules = self.scene.config.session
        n, k = len(sessions), settings.slate_size
        interest = self.scene.long_term_interest(sessions.user_id, sessions.scenario)
        fatigue = np.zeros_like(interest)
        now = sessions.start_s.copy()
        seen = np.full((n, rules.max_steps * k), PAD, np.int32)
        examined = settings.examination_decay ** np.arange(k)
        pages: list[Shown] = []
        active = np.arange(n)
        for step in range(rules.max_steps):
            minds = self._minds(sessions, active, interest[active], fatigue[active])
            requests = self._requests(
                sessions.take(active), scenario, now[active], step, seen[active, : step * k]
            )
            u = session_uniforms(self.seed, sessions.take(active), step, 1, _LEAVE)[0, :, 0]
            slate = self._rank(requests, minds, k, self._page_uniforms(sessions, active, step, k))
            shown, position = np.nonzero(slate.column != PAD)
            airing = self.scene.on_air.cell[requests.row[shown], slate.column[shown, position]]
            page, pairs = self._pairs(minds.take(shown), airing, now[active][shown])
            user, moment = sessions.user_id[active][shown], sessions.moment[active][shown]
            draws = self._draws(user, airing, moment, 0)
            clicked = draws[0] < examined[position] * self.response.p_click(pairs)
            stay_s, engaged = self._stay(pairs, draws)
            watch_s, start_s = self._watch_in_turn(
                (len(active), k), shown, position, clicked, stay_s, now[active],
                self.scene.on_air.end_s[airing], minds.deadline_s[shown],
            )  # fmt: skip
            pages.append(
                Shown(
                    session=active[shown].astype(np.int32),
                    step=np.full(len(shown), step, np.int16),
                    position=position.astype(np.int8),
                    time_s=now[active][shown],
                    refer_id=np.full(len(shown), PAD, np.int32),
                    refer_watch_s=np.zeros(len(shown), np.float32),
                    n_candidates=requests.mask.sum(axis=1, dtype=np.int32)[shown],
                    propensity=slate.propensity[shown, position],
                    airing=airing,
                    entered=clicked,
                    watch_s=watch_s.astype(np.float32),
                    known_s=start_s + watch_s,
                    **page,
                )
            )
            seen[active[shown], step * k + position] = self.scene.on_air.streamer_id[airing]
            viewed = clicked & (watch_s >= EFFECTIVE_VIEW_S)
            fatigue[active] *= np.float32(rules.satiation_memory)
            np.add.at(fatigue, active[shown[viewed]], self.scene.on_air.content[airing[viewed]])
            spent = np.bincount(shown, weights=watch_s, minlength=len(active))
            now[active] += k * rules.glance_s + spent
            clicks = np.bincount(shown[clicked], minlength=len(active))
            liked = np.bincount(shown[clicked & engaged], minlength=len(active))
            satisfied = np.where(clicks > 0, 2 * liked / np.maximum(clicks, 1) - 1, -0.5)
            served = np.bincount(shown, minlength=len(active)) > 0
            active = active[served & self._goes_on(minds, scenario, satisfied, step, u, now[active])]
            if not len(active):
                break
        return pages

    def swipes(self, sessions: Sessions, scenario: int) -> list[Shown]:
        """Run full-screen swipe sessions; each watched room becomes the next refer."""
        scene, rules = self.scene, self.scene.config.session
        n = len(sessions)
        long_term = scene.long_term_interest(sessions.user_id, sessions.scenario)
        fatigue = np.zeros_like(long_term)
        now = sessions.start_s.copy()
        seen = np.full((n, rules.max_steps + 1), PAD, np.int32)
        refer = self._enter(sessions, scenario, long_term)
        refer_watch = np.zeros(n, np.float32)
        active = np.flatnonzero(refer >= 0)
        refer_watch[active] = self._entry_stay(sessions, active, refer[active], long_term[active])
        now[active] += refer_watch[active] + rules.glance_s
        seen[active, 0] = scene.on_air.streamer_id[refer[active]]
        fatigue[active] = scene.on_air.content[refer[active]] * (
            refer_watch[active, None] >= EFFECTIVE_VIEW_S
        )
        active = active[now[active] < sessions.deadline_s[active]]
        steps: list[Shown] = []
        ahead = np.zeros((4, n, _STEPS_AT_ONCE))
        for step in range(rules.max_steps):
            if not len(active):
                break
            if step % _STEPS_AT_ONCE == 0:
                part = sessions.take(active)
                ahead[:, active] = session_uniforms(
                    self.seed, part, step, _STEPS_AT_ONCE, _LEAVE
                )
            u = ahead[:, active, step % _STEPS_AT_ONCE]
            interest = scene.momentary_interest(
                long_term[active], scene.on_air.content[refer[active]]
            )
            minds = self._minds(sessions, active, interest, fatigue[active])
            requests = self._requests(
                sessions.take(active), scenario, now[active], step, seen[active, : step + 1],
                refer_id=seen[active, step], refer_watch_s=refer_watch[active],
            )  # fmt: skip
            slate = self._rank(requests, minds, 1, u[1][:, None])
            served = np.flatnonzero(slate.column[:, 0] != PAD)
            if len(served) < len(active):
                active, u, minds = active[served], u[:, served], minds.take(served)
                requests, slate = requests.take(served), _rows(slate, served)
                if not len(active):
                    break
            airing = scene.on_air.cell[requests.row, slate.column[:, 0]]
            columns, pairs = self._pairs(minds, airing, now[active])
            draws = self._draws(sessions.user_id[active], airing, sessions.moment[active], 0)
            stay_s, engaged = self._stay(pairs, draws)
            watch_s = np.maximum(np.minimum(stay_s, pairs.remaining_s), 0.0).astype(np.float32)
            steps.append(
                Shown(
                    session=active.astype(np.int32),
                    step=np.full(len(active), step, np.int16),
                    position=np.zeros(len(active), np.int8),
                    time_s=now[active],
                    refer_id=requests.refer_id,
                    refer_watch_s=requests.refer_watch_s,
                    n_candidates=requests.mask.sum(axis=1, dtype=np.int32),
                    propensity=slate.propensity[:, 0],
                    airing=airing,
                    entered=np.ones(len(active), np.bool_),
                    watch_s=watch_s,
                    known_s=now[active] + watch_s,
                    **columns,
                )
            )
            seen[active, step + 1] = scene.on_air.streamer_id[airing]
            refer[active], refer_watch[active] = airing, watch_s
            viewed = (watch_s >= EFFECTIVE_VIEW_S).astype(np.float32)[:, None]
            fatigue[active] = (
                np.float32(rules.satiation_memory) * fatigue[active]
                + viewed * scene.on_air.content[airing]
            )
            now[active] += watch_s + rules.glance_s
            satisfied = np.where(engaged, 1.0, np.where(viewed[:, 0] > 0, 0.0, -1.0))
            active = active[self._goes_on(minds, scenario, satisfied, step, u[0], now[active])]
        return steps

    def _minds(
        self,
        sessions: Sessions,
        rows: NDArray[np.integer],
        interest: NDArray[np.float32],
        fatigue: NDArray[np.float32],
    ) -> Minds:
        return Minds(
            user_id=sessions.user_id[rows],
            scenario=sessions.scenario[rows],
            mood=sessions.mood[rows],
            interest=interest,
            fatigue=fatigue,
            deadline_s=sessions.deadline_s[rows],
        )

    def _requests(
        self,
        sessions: Sessions,
        scenario: int,
        time_s: NDArray[np.float64],
        step: int,
        seen: NDArray[np.int32],
        refer_id: NDArray[np.int32] | None = None,
        refer_watch_s: NDArray[np.float32] | None = None,
    ) -> Requests:
        on_air, n = self.scene.on_air, len(sessions)
        row = on_air.rows(scenario, time_s)
        supply = on_air.supply
        # one spare column takes the writes of rooms that are no longer candidates
        mask = np.zeros((n, supply.valid.shape[1] + 1), np.bool_)
        mask[:, :-1] = supply.valid[row]
        if seen.shape[1]:
            mask[np.arange(n)[:, None], supply.column_of[row[:, None], seen]] = False
        return Requests(
            request_id=sessions.session_id * REQUESTS_PER_SESSION + step,
            session_id=sessions.session_id,
            user_id=sessions.user_id,
            scenario=sessions.scenario,
            entry=sessions.entry,
            time_s=time_s,
            session_start_s=sessions.start_s,
            step=np.full(n, step, np.int16),
            refer_id=np.full(n, PAD, np.int32) if refer_id is None else refer_id,
            refer_watch_s=np.zeros(n, np.float32) if refer_watch_s is None else refer_watch_s,
            mask=mask[:, :-1],
            row=row,
            supply=supply,
            catalogue=self.catalogue,
        )

    def _rank(
        self, requests: Requests, minds: Minds, k: int, u: NDArray[np.float64]
    ) -> Slate:
        truth = None
        if self.ranker.needs_truth:
            truth = RequestTruth(
                self.scene, self.response, self.scene.config.objective, requests, minds,
                self.relations,
            )  # fmt: skip
        return self.ranker.rank(requests, k, u, truth)

    def _page_uniforms(
        self, sessions: Sessions, rows: NDArray[np.integer], step: int, k: int
    ) -> NDArray[np.float64]:
        blocks = (k + 3) // 4
        u = session_uniforms(self.seed, sessions.take(rows), step * blocks, blocks, _RANK)
        return np.moveaxis(u, 0, -1).reshape(len(rows), -1)[:, :k]

    def _pairs(
        self, minds: Minds, airing: NDArray[np.int32], time_s: NDArray[np.float64]
    ) -> tuple[dict[str, NDArray[np.generic]], Attraction]:
        """Return the latent columns to keep, and the inputs of click and stay, of shown pairs."""
        who = self.scene.on_air.streamer_id[airing]
        views, follows = self.relations.lookup(minds.user_id, who)
        pairs = self.scene.attraction(minds, airing, time_s, views, follows)
        kept = ("affinity", "satiation", "views", "follows", "remaining_s")
        return {name: getattr(pairs, name) for name in kept}, pairs

    def _draws(
        self,
        user_id: NDArray[np.int32],
        airing: NDArray[np.int32],
        moment: NDArray[np.int64],
        block: int,
    ) -> NDArray[np.float64]:
        who = self.scene.on_air.streamer_id[airing]
        return uniforms(self.seed, Purpose.OUTCOME, user_id, who, moment, block)

    def _stay(
        self, pairs: Attraction, draws: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        satisfaction = self.response.satisfaction(pairs)
        engaged = draws[1] < self.response.p_engaged(pairs, satisfaction)
        law = self.scene.config.watch
        return draw_watch_s(law, engaged, satisfaction, draws[2]), engaged

    def _watch_in_turn(
        self,
        shape: tuple[int, int],
        request: NDArray[np.integer],
        position: NDArray[np.integer],
        clicked: NDArray[np.bool_],
        stay_s: NDArray[np.float64],
        page_s: NDArray[np.float64],
        room_end_s: NDArray[np.float64],
        deadline_s: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Watch the clicked rooms of each page one after the other.

        Returns:
            Watch seconds [N], cut by the end of room and session, and the start of each stay [N].
        """
        cell = (request, position)
        wish, stop = np.zeros(shape), np.zeros(shape)
        wish[cell] = np.where(clicked, stay_s, 0.0)
        stop[cell] = np.minimum(room_end_s, deadline_s)
        watched, begun = np.zeros(shape), np.zeros(shape)
        clock = page_s.copy()
        for k in range(shape[1]):
            clock += self.scene.config.session.glance_s
            begun[:, k] = clock
            watched[:, k] = np.clip(stop[:, k] - clock, 0.0, wish[:, k])
            clock += watched[:, k]
        return watched[cell], begun[cell]

    def _goes_on(
        self,
        minds: Minds,
        scenario: int,
        satisfied: NDArray[np.floating],
        step: int,
        u: NDArray[np.float64],
        now: NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        rules = self.scene.config.session
        patience = self.scene.population.users.patience[minds.user_id]
        logit = (
            self.scene.config.scenarios[scenario].patience
            + rules.patience_sigma * patience
            + rules.patience_gain * satisfied
            - rules.patience_decay * step
        )
        return (u < 1.0 / (1.0 + np.exp(-logit))) & (now < minds.deadline_s)

    def _enter(
        self, sessions: Sessions, scenario: int, long_term: NDArray[np.float32]
    ) -> NDArray[np.int32]:
        """Choose the room [N] through which each session enters; PAD where nobody is on air.

        Interest picks by affinity, the misleading title by bait, the task by popularity: all
        independent of any policy.
        """
        on_air, streamers = self.scene.on_air, self.scene.population.streamers
        cell = on_air.cell[on_air.rows(scenario, sessions.start_s)]
        airing = np.maximum(cell, 0)
        who = on_air.streamer_id[airing]
        gain = np.float32(self.scene.config.response.affinity)
        affinity = np.einsum("bk,bck->bc", long_term, on_air.content[airing])
        entry = sessions.entry[:, None]
        logit = np.where(
            entry == ENTRIES.index("interest"),
            2 * gain * affinity,
            np.where(entry == ENTRIES.index("bait"), 1.5 * streamers.bait[who], streamers.fame[who]),
        )
        weight = np.where(cell >= 0, np.exp(logit), 0.0)
        cdf = np.cumsum(weight, axis=1, dtype=np.float64)
        u = uniforms(
            self.seed, Purpose.SESSION, sessions.user_id, NOBODY, sessions.moment, 2 << 16
        )[0]
        column = (cdf <= (u * cdf[:, -1])[:, None]).sum(axis=1)
        column = np.minimum(column, cell.shape[1] - 1)
        return np.where(cdf[:, -1] > 0, cell[np.arange(len(cell)), column], PAD).astype(np.int32)

    def _entry_stay(
        self,
        sessions: Sessions,
        rows: NDArray[np.integer],
        airing: NDArray[np.int32],
        long_term: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return the seconds spent in the entry room; a task makes the user stay for the coins."""
        minds = self._minds(sessions, rows, long_term, np.zeros_like(long_term))
        _, pairs = self._pairs(minds, airing, sessions.start_s[rows])
        draws = self._draws(sessions.user_id[rows], airing, sessions.moment[rows], 3)
        stay_s, _ = self._stay(pairs, draws)
        task = sessions.entry[rows] == ENTRIES.index("task")
        stay_s = np.where(task, np.maximum(stay_s, self.scene.config.session.task_stay_s), stay_s)
        return np.maximum(np.minimum(stay_s, pairs.remaining_s), 0.0).astype(np.float32)


def _rows(slate: Slate, rows: NDArray[np.integer]) -> Slate:
    return Slate(slate.column[rows], slate.propensity[rows])
