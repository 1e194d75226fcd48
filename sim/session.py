"""Sessions under way: they ask, a ranker answers, the user responds, and goes on or leaves.

All sessions of a tick and scenario step together. A step decides only what steers the session
(what is shown, clicked, how long it is watched); everything that follows from a stay is drawn once
per tick in `sim.outcome`. The two layouts differ only in the kernel that plays a step:
`sim.browse` for pages of cards, `sim.swipe` for the full screen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.arrivals import Sessions
from sim.kernel import Block, block, kernel
from sim.normal import sigmoid
from sim.ranker import Ranker
from sim.relations import bond_with
from sim.response import Reception, reception_of
from sim.rng import NOBODY, Four, Purpose, four_uniforms
from sim.scene import ATTENTION, Minds, Scene, Stage, attraction_of, remaining_s_of
from sim.schedule import SLOT_S
from sim.schema import PAD, Catalogue, Requests, Slate
from sim.truth import RequestTruth
from sim.watch import draw_watch_s

LEAVE, RANK, ENTER, OFFER = 0, 1, 2, 3
"""Kinds of draws of a session."""

STAY, SOCIAL, PAYING, ENTRY_STAY, LOSING, SETTLING, REPEATING, REVISITING = range(8)
"""Kinds of draws of a (user, streamer, moment); the last three add a number << 16."""

REQUESTS_PER_SESSION = 256
"""Request ids are session_id * this + step."""

_SESSION, _OUTCOME = int(Purpose.SESSION), int(Purpose.OUTCOME)


VISIT = np.dtype(
    [
        ("session", np.int64),
        ("session_id", np.int64),
        ("user_id", np.int64),
        ("scenario", np.int64),
        ("entry", np.int64),
        ("start_s", np.float64),
        ("moment", np.int64),
        ("mood", np.float64),
        ("deadline_s", np.float64),
        ("now_s", np.float64),
        ("step", np.int64),
        ("n_seen", np.int64),
        ("refer", np.int64),
        ("refer_watch_s", np.float64),
    ],
    align=True,
)
"""A session under way. `session` is what its impressions are marked with, see SHOWN; `step` counts
the pages or rooms that it was shown; `refer` is the airing watched last in the swipe, PAD where
there is none."""


class Visits(NamedTuple):
    """Sessions of one scenario under way; they change in place as they go on."""

    rows: Block
    """VISIT [N]."""
    interest: NDArray[np.float32]
    """Momentary interest [N, K]."""
    fatigue: NDArray[np.float32]
    """Sum of the contents viewed, fading [N, K]."""
    seen: NDArray[np.int32]
    """Places of streamers whom a session was shown or entered through, the first `n_seen` of
    [N, J]."""


class Asked(NamedTuple):
    """Requests of a step as compiled code fills them: their columns in order, and two more."""

    request_id: NDArray[np.int64]
    session_id: NDArray[np.int64]
    user_id: NDArray[np.int32]
    scenario: NDArray[np.int8]
    entry: NDArray[np.int8]
    time_s: NDArray[np.float64]
    session_start_s: NDArray[np.float64]
    step: NDArray[np.int16]
    refer_id: NDArray[np.int32]
    refer_watch_s: NDArray[np.float32]
    mask: NDArray[np.bool_]
    row: NDArray[np.int32]
    n_candidates: NDArray[np.int32]
    uniforms: NDArray[np.float64]
    """With which the slates are drawn [B, K]."""


class Step(NamedTuple):
    """What a step of the active sessions is played with; arrays [B] and [B, K]."""

    active: NDArray[np.int64]
    """Rows of the visits."""
    scenario: int
    row: NDArray[np.int32]
    """Row of the table of rooms on air."""
    column: NDArray[np.int32]
    propensity: NDArray[np.float64]
    n_candidates: NDArray[np.int32]


class Page(NamedTuple):
    """What one session is shown."""

    visit: int
    """Row of the visits."""
    scenario: int
    row: int
    """Of the table of rooms on air."""
    column: NDArray[np.int32]
    """By position, PAD where there is nothing [K]."""
    propensity: NDArray[np.float64]
    """[K]."""
    n_candidates: int


@kernel
def page_of(step: Step, b: int) -> Page:
    """Return what request `b` of a step is shown."""
    return Page(
        step.active[b], step.scenario, step.row[b], step.column[b], step.propensity[b],
        step.n_candidates[b],
    )  # fmt: skip


def begin_visits(
    scene: Scene, stage: Stage, sessions: Sessions, session: NDArray[np.int64], scenario: int
) -> Visits:
    """Return sessions [N] of a scenario at their start, to mark impressions with `session` [N]."""
    settings = scene.config.scenarios[scenario]
    n = len(sessions)
    rows = block(
        VISIT, session, sessions.session_id, sessions.user_id, sessions.scenario, sessions.entry,
        sessions.start_s, sessions.moment, sessions.mood, sessions.deadline_s, sessions.start_s,
        np.zeros(n), np.zeros(n), np.full(n, PAD), np.zeros(n),
    )  # fmt: skip
    interest = stage.interests[ATTENTION, scenario, sessions.user_id]
    shown = settings.max_requests * settings.slate_size
    return Visits(rows, interest, np.zeros_like(interest), np.empty((n, shown + 1), np.int32))


class Walk:
    """Takes sessions of one tick and scenario to a ranker.

    Args:
        scene: the day.
        stage: the latent side of the tick.
        catalogue: observed entity features.
        ranker: whoever ranks.
        seed: the world's seed.
        scenario: index into SCENARIOS.
    """

    def __init__(
        self,
        scene: Scene,
        stage: Stage,
        catalogue: Catalogue,
        ranker: Ranker,
        seed: int,
        scenario: int,
    ) -> None:
        self.scene = scene
        self.stage = stage
        self.catalogue = catalogue
        self.ranker = ranker
        self.seed = seed
        self.scenario = scenario
        self.settings = scene.config.scenarios[scenario]
        self._column_of = scene.on_air.column_of
        self._n_rooms = scene.on_air.n_rooms
        self._first_row = scene.on_air.first_row(scenario)

    def ask(self, visits: Visits, active: NDArray[np.int64]) -> tuple[Requests, Asked]:
        """Return the requests [B] of the active sessions, and the same with what is drawn."""
        n, supply = len(active), self.scene.on_air.supply.read_only
        asked = Asked(
            np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int32),
            np.empty(n, np.int8), np.empty(n, np.int8), np.empty(n), np.empty(n),
            np.empty(n, np.int16), np.empty(n, np.int32), np.empty(n, np.float32),
            np.empty((n, supply.streamer_id.shape[1]), np.bool_), np.empty(n, np.int32),
            np.empty(n, np.int32), np.empty((n, self.settings.slate_size)),
        )  # fmt: skip
        _ask(
            self.seed, self._column_of, self._n_rooms, self.scene.on_air.streamer_id,
            self._first_row, visits, active, asked,
        )  # fmt: skip
        for column in asked[: Asked._fields.index("mask")]:
            column.flags.writeable = False  # spares `Requests.as_handed` a view of each
        return Requests(*asked[:-2], supply=supply, catalogue=self.catalogue), asked

    def answer(
        self,
        requests: Requests,
        uniforms: NDArray[np.float64],
        visits: Visits,
        active: NDArray[np.int64],
    ) -> Slate:
        """Let the ranker choose as many rooms per request as there are `uniforms` [B, K]."""
        truth = None
        if self.ranker.needs_truth:
            minds = Minds(
                user_id=requests.user_id,
                scenario=requests.scenario,
                mood=visits.rows["mood"][active].astype(np.float32),
                interest=visits.interest[active],
                fatigue=visits.fatigue[active],
                deadline_s=visits.rows["deadline_s"][active],
            )
            truth = RequestTruth(
                self.stage, self.scene.on_air.cell, self.scene.config.objective, requests, minds
            )
        return self.ranker.rank(requests, uniforms.shape[1], uniforms, truth)


@kernel
def stay_of(stage: Stage, reception: Reception, u: Four) -> tuple[float, bool]:
    """Return (seconds, engaged) of a stay, from the pair's uniforms of kind STAY."""
    engaged = u[1] < reception.p_engaged
    return draw_watch_s(stage.laws[0].watch, engaged, reception.satisfaction, u[2]), engaged


@kernel
def pair_uniforms(seed: int, visits: Visits, visit: int, streamer_id: int, kind: int) -> Four:
    """Return the uniforms of one kind of event between a session's user and a streamer."""
    me = visits.rows[visit]
    return four_uniforms(seed, _OUTCOME, me.user_id, streamer_id, me.moment, kind)


@kernel
def session_uniforms(seed: int, visits: Visits, visit: int, kind: int, number: int) -> Four:
    """Return uniforms of one kind of a session's own draws, by their number."""
    me = visits.rows[visit]
    return four_uniforms(seed, _SESSION, me.user_id, NOBODY, me.moment, (kind << 16) + number)


@kernel
def goes_on_after(
    stage: Stage, visits: Visits, visit: int, scenario: int, satisfied: float, seed: int
) -> bool:
    """End a step; return whether the user asks for more, given satisfaction in [-1, 1] with it."""
    rules, me = stage.laws[0].session, visits.rows[visit]
    logit = (
        stage.laws[0].layouts.patience[scenario]
        + rules.patience_sigma * stage.users[me.user_id].patience
        + rules.patience_gain * satisfied
        - rules.patience_decay * me.step
    )
    u = session_uniforms(seed, visits, visit, LEAVE, me.step)[0]
    me.step += 1
    return u < sigmoid(logit) and me.now_s < me.deadline_s


@kernel
def met_by(
    stage: Stage, visits: Visits, visit: int, scenario: int, airing: int, time_s: float
) -> tuple[Reception, bool]:
    """Return what comes of a session that meets a room at `time_s`, and if its user follows it."""
    me = visits.rows[visit]
    views, follows = bond_with(stage.bonds, me.user_id, stage.airings[airing].streamer_id)
    pair = attraction_of(
        stage, scenario, me.user_id, me.mood, visits.interest[visit], visits.fatigue[visit],
        airing, remaining_s_of(stage, airing, time_s, me.deadline_s), views, follows,
    )  # fmt: skip
    return reception_of(stage.laws[0], pair), follows


@kernel
def write_row(
    row: Block,
    page: Page,
    position: int,
    me: Block,
    airing: int,
    refer_id: int,
    reception: Reception,
    follows: bool,
    time_s: float,
    examined: float,
) -> None:
    """Write the impression that a page left at `position`, without feedback."""
    row.session = me.session
    row.step = me.step
    row.position = position
    row.time_s = time_s
    row.refer_id = refer_id
    row.refer_watch_s = me.refer_watch_s
    row.n_candidates = page.n_candidates
    row.propensity = page.propensity[position]
    row.airing = airing
    row.examined = examined
    row.p_enter = reception.p_enter
    row.satisfaction = reception.satisfaction
    row.p_engaged = reception.p_engaged
    row.remaining_s = reception.remaining_s
    row.follows = follows


@kernel
def _ask(
    seed: int,
    column_of: NDArray[np.int32],
    n_rooms: NDArray[np.int64],
    streamer_id: NDArray[np.int32],
    first_row: int,
    visits: Visits,
    active: NDArray[np.int64],
    to: Asked,
) -> None:
    """Fill the requests of the active sessions.

    Args:
        seed: the world's seed.
        column_of: column by place in each row of the supply [R, places].
        n_rooms: rooms in each row of the supply [R].
        streamer_id: of each airing [E].
        first_row: row of the supply in which the scenario would be at time 0.
        visits: the sessions.
        active: rows of them [B].
        to: receives the requests.
    """
    for b in range(len(active)):
        me = visits.rows[active[b]]
        to.request_id[b] = me.session_id * REQUESTS_PER_SESSION + me.step
        to.session_id[b], to.user_id[b] = me.session_id, me.user_id
        to.scenario[b], to.entry[b] = me.scenario, me.entry
        to.time_s[b], to.session_start_s[b], to.step[b] = me.now_s, me.start_s, me.step
        to.refer_id[b] = streamer_id[me.refer] if me.refer != PAD else PAD
        to.refer_watch_s[b] = me.refer_watch_s
        to.row[b] = first_row + int(me.now_s // SLOT_S)
    open_candidates(column_of, n_rooms, to.row, active, visits, to.mask, to.n_candidates)
    for b in range(len(active)):
        draw_uniforms(seed, visits, active[b], to.uniforms[b])


@kernel
def open_candidates(
    column_of: NDArray[np.int32],
    n_rooms: NDArray[np.int64],
    row: NDArray[np.int32],
    active: NDArray[np.int64],
    visits: Visits,
    mask: NDArray[np.bool_],
    n_candidates: NDArray[np.int32],
) -> None:
    """Mark the rooms on air [B, C] that the session has not been shown, and count them [B]."""
    ones = mask.view(np.uint8)
    for b in range(len(active)):
        r, a = row[b], active[b]
        n_candidates[b] = open_rooms(column_of[r], n_rooms[r], visits, a, ones[b])


@kernel
def open_rooms(
    column_of: NDArray[np.int32], n_rooms: int, visits: Visits, a: int, ones: NDArray[np.uint8]
) -> int:
    """Mark with 1 the rooms on air [C] that session `a` has not been shown, and count them.

    Args:
        column_of: column by place [places].
        n_rooms: rooms on air.
        visits: the sessions.
        a: row of them.
        ones: receives the mask.
    """
    n, n_seen = n_rooms, visits.rows[a].n_seen
    for c in range(n_rooms):  # a row is filled from the left
        ones[c] = 1
    for c in range(n_rooms, len(ones)):
        ones[c] = 0
    for j in range(n_seen):
        c = column_of[visits.seen[a, j]]
        if c != PAD and ones[c]:
            ones[c] = 0
            n -= 1
    return n


@kernel
def draw_uniforms(seed: int, visits: Visits, a: int, out: NDArray[np.float64]) -> None:
    """Fill the uniforms [K] with which the next slate of session `a` is drawn."""
    n_blocks = (len(out) + 3) // 4
    for i in range(n_blocks):
        u = session_uniforms(seed, visits, a, RANK, visits.rows[a].step * n_blocks + i)
        for j in range(min(4, len(out) - 4 * i)):
            out[4 * i + j] = u[j]
