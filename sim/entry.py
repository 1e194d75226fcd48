"""Entries: the room or product through which a session begins, which no policy chose.

The user glimpses a few rooms on air and takes one: by affinity, by its misleading title, for a
task by its fame, or for the product that it shows.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.kernel import Block, kernel
from sim.scene import ATTENTION, COMMERCE, Stage, mix_interest
from sim.schema import DETAIL, ENTRIES
from sim.session import ENTER, Visits, session_uniforms

_GLIMPSED = 8
"""Rooms among which an entry is chosen; a multiple of four, the draws of a block."""

_BAIT, TASK, _PRODUCT = (ENTRIES.index(name) for name in ("bait", "task", "product"))

_GLIMPSE = np.dtype([("airing", np.int64), ("weight", np.float64)])


def enter_products(
    stage: Stage,
    cell: NDArray[np.int64],
    n_on_air: NDArray[np.int64],
    visits: Visits,
    row: NDArray[np.int32],
    scenario: int,
    seed: int,
    goes_on: NDArray[np.bool_],
) -> None:
    """Let each session come from the page of a product that a room on air shows.

    The streamer is the refer of the session, and the product pulls at the user's interest as a
    refer does.

    Args:
        stage: the tick.
        cell: airings by row and column of the candidate table [R, C].
        n_on_air: rooms in each row [R].
        visits: the sessions [N]; moved on in place.
        row: row of the candidate table [N].
        scenario: index into SCENARIOS.
        seed: the world's seed.
        goes_on: receives who asks for a page [N].
    """
    _enter_products(stage, cell, n_on_air, visits, row, scenario, seed, new_glimpses(), goes_on)


@kernel
def _enter_products(
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
        goes_on[a] = n_on_air[row[a]] > 0
        if not goes_on[a]:
            continue
        e, me = glimpsed(stage, cell, n_on_air, visits, a, row[a], seed, glimpses), visits.rows[a]
        me.refer = e
        visits.seen[a, me.n_seen] = stage.airings[e].place
        me.n_seen += 1
        long_term = stage.interests[ATTENTION, scenario, me.user_id]
        product = stage.goods_content[stage.airings[e].good]
        mix_interest(stage.laws[0].session, long_term, product, visits.interest[a])


def new_glimpses() -> Block:
    """Return room for the glimpses of one session."""
    return np.empty(_GLIMPSED, _GLIMPSE)


@kernel
def glimpsed(
    stage: Stage,
    cell: NDArray[np.int64],
    n_on_air: NDArray[np.int64],
    visits: Visits,
    a: int,
    row: int,
    seed: int,
    glimpses: Block,
) -> int:
    """Return the airing that session `a` takes; all of it is independent of any policy."""
    n_rooms, total = n_on_air[row], 0.0
    for i in range(_GLIMPSED // 4):
        u = session_uniforms(seed, visits, a, ENTER, 1 + i)
        for j in range(4):
            glimpse = glimpses[4 * i + j]
            glimpse.airing = cell[row, int(u[j] * n_rooms)]
            glimpse.weight = math.exp(_lure(stage, visits, a, glimpse.airing))
            total += glimpse.weight
    point = total * session_uniforms(seed, visits, a, ENTER, 0)[0]
    chosen = 0
    while chosen < _GLIMPSED - 1 and glimpses[chosen].weight <= point:
        point -= glimpses[chosen].weight
        chosen += 1
    return int(glimpses[chosen].airing)


@kernel
def _lure(stage: Stage, visits: Visits, a: int, airing: int) -> float:
    """Return the logit with which a glimpsed room draws the user in."""
    on_air, entry = stage.airings[airing], visits.rows[a].entry
    host = stage.hosts[on_air.streamer_id]
    if entry == _BAIT:
        return 2.0 * float(host.bait)
    if entry == TASK:
        return float(host.fame)
    affinity = 0.0
    if entry == _PRODUCT:
        me = visits.rows[a].user_id
        for k in range(visits.interest.shape[1]):
            wish = stage.interests[COMMERCE, DETAIL, me, k]
            affinity += wish * stage.goods_content[on_air.good, k]
    else:
        for k in range(visits.interest.shape[1]):
            affinity += visits.interest[a, k] * stage.content[airing, k]
    return 2.0 * stage.laws[0].response.affinity * affinity
