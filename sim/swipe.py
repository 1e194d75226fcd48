"""Sessions in the full-screen swipe: each watched room becomes the next refer.

A session enters through a room that no policy chose: out of interest, for a misleading title, or
for a task reward. From then on the policy recommends, given the user and the refer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.arrivals import Sessions, session_uniforms
from sim.rng import NOBODY, Purpose, uniforms
from sim.schema import EFFECTIVE_VIEW_S, ENTRIES, PAD, Slate
from sim.session import ENTER, LEAVE, Shown, Walk

_STEPS_AT_ONCE = 16
_GLIMPSED = 8
"""Rooms among which an entry is chosen; a multiple of four, the draws of a block."""


def swipe(walk: Walk, sessions: Sessions, scenario: int) -> list[Shown]:
    """Run full-screen swipe sessions; each watched room becomes the next refer."""
    scene, rules = walk.scene, walk.scene.config.session
    last = scene.config.scenarios[scenario].max_requests
    n = len(sessions)
    long_term = scene.interests["attention"][scenario, sessions.user_id]
    fatigue = np.zeros_like(long_term)
    now = sessions.start_s.copy()
    seen = np.full((n, last + 1), PAD, np.int32)
    refer = _enter(walk, sessions, scenario, long_term)
    refer_watch = np.zeros(n, np.float32)
    active = np.flatnonzero(refer >= 0)
    refer_watch[active] = _entry_stay(walk, sessions, active, refer[active], long_term[active])
    now[active] += refer_watch[active] + rules.glance_s
    seen[active, 0] = scene.on_air.streamer_id[refer[active]]
    fatigue[active] = scene.on_air.content[refer[active]] * (
        refer_watch[active, None] >= EFFECTIVE_VIEW_S
    )
    active = active[now[active] < sessions.deadline_s[active]]
    steps: list[Shown] = []
    ahead = np.zeros((2, n, _STEPS_AT_ONCE))
    for step in range(last):
        if not len(active):
            break
        if step % _STEPS_AT_ONCE == 0:
            ahead[:, active] = _swipe_uniforms(walk, sessions.take(active), step)
        u = ahead[:, active, step % _STEPS_AT_ONCE]
        interest = scene.momentary_interest(long_term[active], scene.on_air.content[refer[active]])
        minds = walk.minds(sessions, active, interest, fatigue[active])
        requests = walk.requests(
            sessions.take(active), scenario, now[active], step, seen[active, : step + 1],
            refer_id=seen[active, step], refer_watch_s=refer_watch[active],
        )  # fmt: skip
        slate = walk.rank(requests, minds, 1, u[1][:, None])
        served = np.flatnonzero(slate.column[:, 0] != PAD)
        if len(served) < len(active):
            active, u, minds = active[served], u[:, served], minds.take(served)
            requests, slate = requests.take(served), _rows(slate, served)
            if not len(active):
                break
        airing = scene.on_air.cell[requests.row, slate.column[:, 0]]
        pairs = walk.pairs(minds, airing, now[active])
        draws = walk.draws(sessions.user_id[active], airing, sessions.moment[active], 0)
        stay_s, engaged = walk.stay(pairs, draws)
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
                affinity=pairs.affinity,
                satiation=pairs.satiation,
                views=pairs.views,
                follows=pairs.follows,
                remaining_s=pairs.remaining_s,
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
        active = active[walk.goes_on(minds, scenario, satisfied, step, u[0], now[active])]
    return steps


def _enter(
    walk: Walk, sessions: Sessions, scenario: int, long_term: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Choose the room [N] through which each session enters; PAD where nobody is on air.

    The user glimpses a few rooms and enters one: by affinity, by its misleading title, or, for
    a task, by its fame. All of it is independent of any policy.
    """
    on_air, streamers = walk.scene.on_air, walk.scene.population.streamers
    row = on_air.rows(scenario, sessions.start_s)
    count = on_air.supply.valid.sum(axis=1)[row]
    user, moment = sessions.user_id[:, None].astype(np.int64), sessions.moment[:, None]
    blocks = (ENTER << 16) + np.arange(1 + _GLIMPSED // 4)[None, :]
    u = uniforms(walk.seed, Purpose.SESSION, user, NOBODY, moment, blocks)
    glimpse = np.moveaxis(u[:, :, 1:], 0, -1).reshape(len(sessions), _GLIMPSED)
    column = (glimpse * count[:, None]).astype(np.int64)
    airing = on_air.cell[row[:, None], column]
    seen = np.maximum(airing, 0)
    who = on_air.streamer_id[seen]
    gain = 2 * np.float32(walk.scene.config.response.affinity)
    affinity = np.einsum("bk,bck->bc", long_term, on_air.content[seen])
    entry = sessions.entry[:, None]
    logit = np.where(
        entry == ENTRIES.index("interest"),
        gain * affinity,
        np.where(entry == ENTRIES.index("bait"), 2 * streamers.bait[who], streamers.fame[who]),
    )
    cdf = np.cumsum(np.exp(logit), axis=1, dtype=np.float64)
    chosen = (cdf <= (u[0, :, 0] * cdf[:, -1])[:, None]).sum(axis=1)
    chosen = np.minimum(chosen, _GLIMPSED - 1)
    return np.where(count > 0, airing[np.arange(len(airing)), chosen], PAD).astype(np.int32)


def _entry_stay(
    walk: Walk,
    sessions: Sessions,
    rows: NDArray[np.integer],
    airing: NDArray[np.int32],
    long_term: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the seconds spent in the entry room; a task makes the user stay for the coins."""
    minds = walk.minds(sessions, rows, long_term, np.zeros_like(long_term))
    pairs = walk.pairs(minds, airing, sessions.start_s[rows])
    draws = walk.draws(sessions.user_id[rows], airing, sessions.moment[rows], 3)
    stay_s, _ = walk.stay(pairs, draws)
    task = sessions.entry[rows] == ENTRIES.index("task")
    stay_s = np.where(task, np.maximum(stay_s, walk.scene.config.session.task_stay_s), stay_s)
    return np.maximum(np.minimum(stay_s, pairs.remaining_s), 0.0).astype(np.float32)


def _swipe_uniforms(walk: Walk, sessions: Sessions, step: int) -> NDArray[np.float64]:
    """Return uniforms to leave and to rank [2, N, _STEPS_AT_ONCE]; a block serves two steps."""
    half = _STEPS_AT_ONCE // 2
    u = session_uniforms(walk.seed, sessions, step // 2, half, LEAVE)
    return np.moveaxis(u.reshape(2, 2, len(sessions), half), 0, -1).reshape(
        2, len(sessions), _STEPS_AT_ONCE
    )


def _rows(slate: Slate, rows: NDArray[np.integer]) -> Slate:
    return Slate(slate.column[rows], slate.propensity[rows])
