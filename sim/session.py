"""What all sessions share: requests, ranking, clicks and stays, and whether the user goes on.

`sim.browse` and `sim.swipe` step all sessions of a tick together. A step decides only what steers
the session (what is shown, clicked, how long it is watched); everything that follows from a stay
is drawn once per tick in `sim.outcome`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.arrivals import Sessions
from sim.ranker import Ranker
from sim.relations import Relations
from sim.response import Attraction, Response
from sim.rng import Purpose, uniforms
from sim.scene import Minds, Scene
from sim.schema import (
    PAD,
    Catalogue,
    Requests,
    Slate,
    _Columns,
)
from sim.truth import RequestTruth
from sim.watch import draw_watch_s

LEAVE, RANK, ENTER = 0, 1, 2
"""Kinds of draws of a session."""

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

    def minds(
        self,
        sessions: Sessions,
        rows: NDArray[np.integer],
        interest: NDArray[np.float32],
        fatigue: NDArray[np.float32],
    ) -> Minds:
        """Return the latent state of the sessions in `rows` [B]."""
        return Minds(
            user_id=sessions.user_id[rows],
            scenario=sessions.scenario[rows],
            mood=sessions.mood[rows],
            interest=interest,
            fatigue=fatigue,
            deadline_s=sessions.deadline_s[rows],
        )

    def requests(
        self,
        sessions: Sessions,
        scenario: int,
        time_s: NDArray[np.float64],
        step: int,
        seen: NDArray[np.int32],
        refer_id: NDArray[np.int32] | None = None,
        refer_watch_s: NDArray[np.float32] | None = None,
    ) -> Requests:
        """Return the requests [B] as the platform sees them, without the rooms `seen` [B, J]."""
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

    def rank(self, requests: Requests, minds: Minds, k: int, u: NDArray[np.float64]) -> Slate:
        """Let the ranker choose `k` rooms per request, with uniforms `u` [B, k]."""
        truth = None
        if self.ranker.needs_truth:
            truth = RequestTruth(
                self.scene, self.response, self.scene.config.objective, requests, minds,
                self.relations,
            )  # fmt: skip
        return self.ranker.rank(requests, k, u, truth)

    def pairs(
        self, minds: Minds, airing: NDArray[np.int32], time_s: NDArray[np.float64]
    ) -> Attraction:
        """Return the inputs of click and stay of shown pairs [N]."""
        who = self.scene.on_air.streamer_id[airing]
        views, follows = self.relations.lookup(minds.user_id, who)
        return self.scene.attraction(minds, airing, time_s, views, follows)

    def draws(
        self,
        user_id: NDArray[np.int32],
        airing: NDArray[np.int32],
        moment: NDArray[np.int64],
        block: int,
    ) -> NDArray[np.float64]:
        """Return the four uniforms [4, N] of a block of events of (user, streamer, moment)."""
        who = self.scene.on_air.streamer_id[airing]
        return uniforms(self.seed, Purpose.OUTCOME, user_id, who, moment, block)

    def stay(
        self, pairs: Attraction, draws: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return (uncut seconds [N], engaged [N]) of stays, from the pairs' `draws`."""
        satisfaction = self.response.satisfaction(pairs)
        engaged = draws[1] < self.response.p_engaged(pairs, satisfaction)
        law = self.scene.config.watch
        return draw_watch_s(law, engaged, satisfaction, draws[2]), engaged

    def goes_on(
        self,
        minds: Minds,
        scenario: int,
        satisfied: NDArray[np.floating],
        step: int,
        u: NDArray[np.float64],
        now: NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        """Return whether each user asks for another page or room [B]."""
        rules = self.scene.config.session
        patience = self.scene.population.users.patience[minds.user_id]
        logit = (
            self.scene.config.scenarios[scenario].patience
            + rules.patience_sigma * patience
            + rules.patience_gain * satisfied
            - rules.patience_decay * step
        )
        return (u < 1.0 / (1.0 + np.exp(-logit))) & (now < minds.deadline_s)
