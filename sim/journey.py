"""Sessions from their first request to their last, where a chart stands in for the ranker.

Users meet only through what was known when the tick began, and every draw is addressed. So where
nobody has to be asked between two requests, a session may run to its end before the next begins:
it stays in the processor's cache, and what is shown is to the bit what `sim.shard` steps through.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.browse import read_page
from sim.filling import Chart, Spare, fill, new_spare
from sim.kernel import Block, kernel
from sim.scene import Stage
from sim.schedule import SLOT_S, Listings
from sim.schema import SWIPE
from sim.session import Page, Visits, draw_uniforms, open_rooms
from sim.swipe import watch_room


class Desk(NamedTuple):
    """Where one request is written down and answered, whatever lies there."""

    spare: Spare
    ones: NDArray[np.uint8]
    """The mask in numbers [C]."""
    scores: NDArray[np.float64]
    """[C]."""
    uniforms: NDArray[np.float64]
    """[K], as the next two."""
    column: NDArray[np.int32]
    propensity: NDArray[np.float64]


def journeys(
    stage: Stage,
    listings: Listings,
    first_row: int,
    visits: Visits,
    sessions: NDArray[np.int64],
    scenario: int,
    chart: Chart,
    slate_size: int,
    max_requests: int,
    seed: int,
    out: Block,
) -> int:
    """Take sessions of one scenario to their end.

    Args:
        stage: the tick.
        listings: rooms on air.
        first_row: row of the listings in which the scenario would be at time 0.
        visits: the sessions; moved on in place.
        sessions: rows of those that ask for a page [N].
        scenario: index into SCENARIOS.
        chart: from which slates are filled.
        slate_size: rooms on a page, K.
        max_requests: pages of a session at most.
        seed: the world's seed.
        out: SHOWN, at least N x max_requests x K; receives the impressions.

    Returns:
        Number of impressions.
    """
    n_columns = listings.cell.shape[1]
    desk = Desk(
        new_spare(n_columns, slate_size), np.empty(n_columns, np.uint8), np.empty(n_columns),
        np.empty(slate_size), np.empty(slate_size, np.int32), np.empty(slate_size),
    )  # fmt: skip
    return int(
        _journeys(
            stage, listings, first_row, visits, sessions, scenario, chart, max_requests, seed, desk,
            out,
        )
    )  # fmt: skip


@kernel
def _journeys(
    stage: Stage,
    listings: Listings,
    first_row: int,
    visits: Visits,
    sessions: NDArray[np.int64],
    scenario: int,
    chart: Chart,
    max_requests: int,
    seed: int,
    desk: Desk,
    out: Block,
) -> int:
    n = 0
    for i in range(len(sessions)):
        a, n_asked, goes_on = sessions[i], 0, True
        while goes_on and n_asked < max_requests:
            row = first_row + int(visits.rows[a].now_s // SLOT_S)
            n_rooms = listings.n_rooms[row]
            n_open = open_rooms(listings.column_of[row], n_rooms, visits, a, desk.ones[:n_rooms])
            draw_uniforms(seed, visits, a, desk.uniforms)
            n_scores = min(len(chart.scores), n_rooms)
            for c in range(n_scores):
                desk.scores[c] = chart.scores[listings.streamer_id[listings.cell[row, c]]]
            fill(
                chart.law, chart.dial, desk.scores[:n_scores], desk.ones[:n_rooms], n_open,
                desk.uniforms, desk.spare, desk.column, desk.propensity,
            )  # fmt: skip
            page = Page(a, scenario, row, desk.column, desk.propensity, n_open)
            if scenario == SWIPE:
                n, goes_on = watch_room(stage, listings.cell, visits, page, seed, out, n)
            else:
                n, goes_on = read_page(stage, listings.cell, visits, page, seed, out, n)
            n_asked += 1
    return n
