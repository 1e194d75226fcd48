"""Sessions from their first request to their last, where a chart stands in for the ranker.

Users meet only through what was known when the tick began, and every draw is addressed. So where
nobody has to be asked between two requests, a session may run to its end before the next begins:
it stays in the processor's cache, and what is shown is to the bit what `sim.shard` steps through.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.browse import read_page
from sim.filling import Chart, fill, new_spare
from sim.kernel import Block, kernel
from sim.scene import Stage
from sim.schedule import SLOT_S, Listings
from sim.schema import SWIPE
from sim.session import Page, Visits, draw_uniforms, open_rooms
from sim.swipe import watch_room


@kernel
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
    n, n_columns = 0, listings.cell.shape[1]
    spare, ones = new_spare(n_columns, slate_size), np.empty(n_columns, np.uint8)
    scores, uniforms = np.empty(n_columns), np.empty(slate_size)
    column, propensity = np.empty(slate_size, np.int32), np.empty(slate_size)
    for i in range(len(sessions)):
        a, n_asked, goes_on = sessions[i], 0, True
        while goes_on and n_asked < max_requests:
            row = first_row + int(visits.rows[a].now_s // SLOT_S)
            n_rooms = listings.n_rooms[row]
            n_open = open_rooms(listings.column_of[row], n_rooms, visits, a, ones[:n_rooms])
            draw_uniforms(seed, visits, a, uniforms)
            n_scores = min(len(chart.scores), n_rooms)
            for c in range(n_scores):
                scores[c] = chart.scores[listings.streamer_id[listings.cell[row, c]]]
            fill(
                chart.law, chart.dial, scores[:n_scores], ones[:n_rooms], uniforms, spare, column,
                propensity,
            )  # fmt: skip
            page = Page(a, scenario, row, column, propensity, n_open)
            if scenario == SWIPE:
                n, goes_on = watch_room(stage, listings.cell, visits, page, seed, out, n)
            else:
                n, goes_on = read_page(stage, listings.cell, visits, page, seed, out, n)
            n_asked += 1
    return n
