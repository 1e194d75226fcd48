"""The full-screen swipe: each watched room becomes the next refer.

A session enters through a room that no policy chose: out of interest, for a misleading title, or
for a task reward. From then on the policy recommends, given the user and the refer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.entry import TASK, glimpsed, new_glimpses
from sim.kernel import Block, kernel
from sim.scene import ATTENTION, Stage, mix_interest
from sim.schema import EFFECTIVE_VIEW_S, PAD
from sim.session import (
    ENTRY_STAY,
    STAY,
    Page,
    Step,
    Visits,
    goes_on_after,
    met_by,
    page_of,
    pair_uniforms,
    stay_of,
    write_row,
)


def enter_rooms(
    stage: Stage,
    cell: NDArray[np.int64],
    n_on_air: NDArray[np.int64],
    visits: Visits,
    row: NDArray[np.int32],
    scenario: int,
    seed: int,
    goes_on: NDArray[np.bool_],
) -> None:
    """Let each session enter through a room, watch it, and decide whether the user swipes on.

    Arguments are those of `sim.entry.enter_products`.
    """
    _enter_rooms(stage, cell, n_on_air, visits, row, scenario, seed, new_glimpses(), goes_on)


@kernel
def _enter_rooms(
    stage: Stage,
    cell: NDArray[np.int64],
    n_on_air: NDArray[np.int64],
    visits: Visits,
    row: NDArray[np.int32],
    scenario: int,
    seed: int,
    glimpses: Block,
    goes_on: NDArray[np.bool_],
) -> None:
    for a in range(len(row)):
        goes_on[a] = False
        if n_on_air[row[a]] == 0:
            continue
        e, me = glimpsed(stage, cell, n_on_air, visits, a, row[a], seed, glimpses), visits.rows[a]
        reception, _ = met_by(stage, visits, a, scenario, e, me.now_s)
        who = stage.airings[e].streamer_id
        stay_s, _ = stay_of(stage, reception, pair_uniforms(seed, visits, a, who, ENTRY_STAY))
        if me.entry == TASK:  # the user stays for the coins
            stay_s = max(stay_s, stage.laws[0].session.task_stay_s)
        _move_on(stage, visits, a, scenario, e, max(min(stay_s, reception.remaining_s), 0.0))
        goes_on[a] = me.now_s < me.deadline_s


@kernel
def watch_rooms(
    stage: Stage,
    cell: NDArray[np.int64],
    visits: Visits,
    step: Step,
    seed: int,
    out: Block,
    goes_on: NDArray[np.bool_],
) -> int:
    """Let the users of the active sessions watch the room that they were shown.

    Arguments and result are those of `sim.browse.read_pages`.
    """
    n = 0
    for b in range(len(step.active)):
        n, goes_on[b] = watch_room(stage, cell, visits, page_of(step, b), seed, out, n)
    return n


@kernel
def watch_room(
    stage: Stage,
    cell: NDArray[np.int64],
    visits: Visits,
    page: Page,
    seed: int,
    out: Block,
    first: int,
) -> tuple[int, bool]:
    """Let the user of one session watch a room.

    Arguments and result are those of `sim.browse.read_page`.
    """
    a, scenario, row = page.visit, page.scenario, out[first]
    if page.column[0] == PAD:
        return first, False
    e, me = int(cell[page.row, page.column[0]]), visits.rows[a]
    reception, follows = met_by(stage, visits, a, scenario, e, me.now_s)
    u = pair_uniforms(seed, visits, a, stage.airings[e].streamer_id, STAY)
    stay_s, engaged = stay_of(stage, reception, u)
    refer_id = stage.airings[me.refer].streamer_id
    write_row(row, page, 0, me, e, refer_id, reception, follows, me.now_s, 1.0)
    watch_s = max(min(stay_s, reception.remaining_s), 0.0)
    row.entered = True
    row.watch_s = watch_s
    row.known_s = me.now_s + watch_s
    _move_on(stage, visits, a, scenario, e, watch_s)
    satisfied = 1.0 if engaged else (0.0 if watch_s >= EFFECTIVE_VIEW_S else -1.0)
    return first + 1, goes_on_after(stage, visits, a, scenario, satisfied, seed)


@kernel
def _move_on(
    stage: Stage, visits: Visits, a: int, scenario: int, airing: int, watch_s: float
) -> None:
    """Make the watched room the refer: it pulls interest, and wears out what it resembles."""
    rules, content, me = stage.laws[0].session, stage.content[airing], visits.rows[a]
    me.refer, me.refer_watch_s = airing, watch_s
    visits.seen[a, me.n_seen] = stage.airings[airing].place
    me.n_seen += 1
    viewed = 1.0 if watch_s >= EFFECTIVE_VIEW_S else 0.0
    for k in range(len(content)):
        visits.fatigue[a, k] = rules.satiation_memory * visits.fatigue[a, k] + viewed * content[k]
    me.now_s += watch_s + rules.glance_s
    long_term = stage.interests[ATTENTION, scenario, me.user_id]
    mix_interest(rules, long_term, content, visits.interest[a])
