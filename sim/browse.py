"""Pages of cards: the user examines positions, clicks, and watches the clicked rooms in turn.

Examination follows a position-based model (the card at position k is examined with probability
decay ** k, whatever stands above it) or a cascade (the user reads from the top, goes on after a
card with probability decay, and after a click with a part of it; dependent click model, Guo, Liu &
Wang, WSDM 2009).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.kernel import Block, kernel
from sim.scene import Stage
from sim.schema import EFFECTIVE_VIEW_S, PAD
from sim.session import (
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


@kernel
def read_pages(
    stage: Stage,
    cell: NDArray[np.int64],
    visits: Visits,
    step: Step,
    seed: int,
    out: Block,
    goes_on: NDArray[np.bool_],
) -> int:
    """Let the users of the active sessions read the pages that they were shown.

    Args:
        stage: the tick.
        cell: airings by row and column of the candidate table [R, C].
        visits: the sessions; moved on in place.
        step: what is shown to whom.
        seed: the world's seed.
        out: SHOWN; receives the impressions.
        goes_on: receives who asks for another page [B].

    Returns:
        Number of impressions.
    """
    n = 0
    for b in range(len(step.active)):
        n, goes_on[b] = read_page(stage, cell, visits, page_of(step, b), seed, out, n)
    return n


@kernel
def read_page(
    stage: Stage,
    cell: NDArray[np.int64],
    visits: Visits,
    page: Page,
    seed: int,
    out: Block,
    first: int,
) -> tuple[int, bool]:
    """Let the user of one session read a page.

    Args:
        stage: the tick.
        cell: airings by row and column of the candidate table [R, C].
        visits: the sessions; this one is moved on in place.
        page: what is shown.
        seed: the world's seed.
        out: SHOWN; receives the impressions.
        first: row at which they begin.

    Returns:
        (Row behind the last impression, whether the user asks for another page).
    """
    a, scenario, n = page.visit, page.scenario, first
    glance_s, layouts = stage.laws[0].session.glance_s, stage.laws[0].layouts
    decay = layouts.examination_decay[scenario]
    cascade, after_click = layouts.cascade[scenario], layouts.after_click[scenario]
    me = visits.rows[a]
    page_s = me.now_s
    clock_s, examined, reads = page_s, 1.0, True
    n_clicks, n_liked = 0, 0
    refer_id = stage.airings[me.refer].streamer_id if me.refer != PAD else PAD
    for k in range(len(page.column)):
        clock_s += glance_s
        if page.column[k] == PAD:
            continue
        e = int(cell[page.row, page.column[k]])
        reception, follows = met_by(stage, visits, a, scenario, e, clock_s)
        u = pair_uniforms(seed, visits, a, stage.airings[e].streamer_id, STAY)
        write_row(out[n], page, k, me, e, refer_id, reception, follows, page_s, examined)
        p_enter = reception.p_enter
        if cascade:
            out[n].entered = reads and u[0] < p_enter
        else:
            out[n].entered = u[0] < examined * p_enter
        out[n].watch_s = 0.0
        if out[n].entered:
            stay_s, engaged = stay_of(stage, reception, u)
            out[n].watch_s = max(min(stay_s, reception.remaining_s), 0.0)
            clock_s += out[n].watch_s
            n_clicks += 1
            n_liked += engaged
        out[n].known_s = clock_s
        if cascade:
            goes_down = decay * after_click if out[n].entered else decay
            reads = reads and u[3] < goes_down
            examined *= decay * (1.0 - p_enter * (1.0 - after_click))
        else:
            examined *= decay
        n += 1
    _remember(stage, visits, a, out[first:n])
    me.now_s = clock_s
    satisfied = 2.0 * n_liked / n_clicks - 1.0 if n_clicks else -0.5
    goes_on = n > first and goes_on_after(stage, visits, a, scenario, satisfied, seed)
    return n, goes_on


@kernel
def _remember(stage: Stage, visits: Visits, a: int, page: Block) -> None:
    """Add the rooms of a page to what the session has seen and viewed."""
    me = visits.rows[a]
    for k in range(visits.fatigue.shape[1]):
        visits.fatigue[a, k] *= stage.laws[0].session.satiation_memory
    for i in range(len(page)):
        e = page[i].airing
        visits.seen[a, me.n_seen] = stage.airings[e].place
        me.n_seen += 1
        if page[i].watch_s >= EFFECTIVE_VIEW_S:
            for k in range(visits.fatigue.shape[1]):
                visits.fatigue[a, k] += stage.content[e, k]
