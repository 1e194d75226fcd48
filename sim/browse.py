"""Sessions that browse pages of cards: the channel page and the small tab.

The user examines positions by a position-based model, clicks, and watches the clicked rooms one
after the other before the next page.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.arrivals import Sessions, session_uniforms
from sim.schema import EFFECTIVE_VIEW_S, PAD
from sim.session import LEAVE, RANK, Shown, Walk


def browse(walk: Walk, sessions: Sessions, scenario: int) -> list[Shown]:
    """Run sessions that browse pages of cards in `scenario`; one record per page step."""
    settings = walk.scene.config.scenarios[scenario]
    rules = walk.scene.config.session
    n, k = len(sessions), settings.slate_size
    interest = walk.scene.interests["attention"][scenario, sessions.user_id]
    fatigue = np.zeros_like(interest)
    now = sessions.start_s.copy()
    seen = np.full((n, settings.max_requests * k), PAD, np.int32)
    examined = settings.examination_decay ** np.arange(k)
    pages: list[Shown] = []
    active = np.arange(n)
    for step in range(settings.max_requests):
        minds = walk.minds(sessions, active, interest[active], fatigue[active])
        requests = walk.requests(
            sessions.take(active), scenario, now[active], step, seen[active, : step * k]
        )
        u = session_uniforms(walk.seed, sessions.take(active), step, 1, LEAVE)[0, :, 0]
        slate = walk.rank(requests, minds, k, _page_uniforms(walk, sessions, active, step, k))
        shown, position = np.nonzero(slate.column != PAD)
        airing = walk.scene.on_air.cell[requests.row[shown], slate.column[shown, position]]
        pairs = walk.pairs(minds.take(shown), airing, now[active][shown])
        user, moment = sessions.user_id[active][shown], sessions.moment[active][shown]
        draws = walk.draws(user, airing, moment, 0)
        clicked = draws[0] < examined[position] * walk.response.p_click(pairs)
        stay_s, engaged = walk.stay(pairs, draws)
        watch_s, start_s = _watch_in_turn(walk,
            (len(active), k), shown, position, clicked, stay_s, now[active],
            walk.scene.on_air.end_s[airing], minds.deadline_s[shown],
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
                affinity=pairs.affinity,
                satiation=pairs.satiation,
                views=pairs.views,
                follows=pairs.follows,
                remaining_s=pairs.remaining_s,
            )
        )
        seen[active[shown], step * k + position] = walk.scene.on_air.streamer_id[airing]
        viewed = clicked & (watch_s >= EFFECTIVE_VIEW_S)
        fatigue[active] *= np.float32(rules.satiation_memory)
        np.add.at(fatigue, active[shown[viewed]], walk.scene.on_air.content[airing[viewed]])
        spent = np.bincount(shown, weights=watch_s, minlength=len(active))
        now[active] += k * rules.glance_s + spent
        clicks = np.bincount(shown[clicked], minlength=len(active))
        liked = np.bincount(shown[clicked & engaged], minlength=len(active))
        satisfied = np.where(clicks > 0, 2 * liked / np.maximum(clicks, 1) - 1, -0.5)
        served = np.bincount(shown, minlength=len(active)) > 0
        active = active[served & walk.goes_on(minds, scenario, satisfied, step, u, now[active])]
        if not len(active):
            break
    return pages


def _page_uniforms(
    walk: Walk, sessions: Sessions, rows: NDArray[np.integer], step: int, k: int
) -> NDArray[np.float64]:
    blocks = (k + 3) // 4
    u = session_uniforms(walk.seed, sessions.take(rows), step * blocks, blocks, RANK)
    return np.moveaxis(u, 0, -1).reshape(len(rows), -1)[:, :k]


def _watch_in_turn(
    walk: Walk,
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
        clock += walk.scene.config.session.glance_s
        begun[:, k] = clock
        watched[:, k] = np.clip(stop[:, k] - clock, 0.0, wish[:, k])
        clock += watched[:, k]
    return watched[cell], begun[cell]
