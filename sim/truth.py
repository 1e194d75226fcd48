"""What only a simulator knows: the probability of every target for every candidate.

Handed to privileged rankers and written to files apart from the observed log; no other policy
ever receives an object of this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from sim.columns import Columns
from sim.config import Objective
from sim.delay import Moment, completion
from sim.kernel import kernel
from sim.relations import Bonds, streamer_of
from sim.response import (
    Inclination,
    Laws,
    Reception,
    after_stay,
    bag_logit,
    p_cart,
    p_purchase,
    reception_of,
    social_logit,
)
from sim.scene import Minds, Stage, attraction_of, inclination_of, moment_at, remaining_s_of
from sim.schema import PAD, SWIPE, TARGETS, Requests
from sim.watch import law_of_stay

N_TARGETS = len(TARGETS)
Chances = tuple[float, float, float, float, float, float, float, float]
"""Probabilities in the order of TARGETS."""


@dataclass(frozen=True)
class TruthRows(Columns):
    """True side of the impressions, one row for each, arrays [N], in the same order."""

    request_id: NDArray[np.int64]
    position: NDArray[np.int8]
    p_engage: NDArray[np.float32]
    """Probability of the target before anything happened, at the position shown; likewise below.
    For `watch` the expectation of min(watch_s, WATCH_CAP_S) / WATCH_CAP_S."""
    p_watch: NDArray[np.float32]
    p_like: NDArray[np.float32]
    p_comment: NDArray[np.float32]
    p_follow: NDArray[np.float32]
    p_bag_click: NDArray[np.float32]
    p_cart: NDArray[np.float32]
    p_purchase: NDArray[np.float32]
    """Ultimate, however long the delay; of purchases that take place: what competing events
    prevent is not in it. Within a window W it is this times `DelayLaw.cdf(W)`."""
    p_purchase_given_bag: NDArray[np.float32]
    """Ultimate probability of a purchase given a bag click; likewise."""
    delay_intent: NDArray[np.float32]
    """With the next three all that `sim.delay_law` needs of a row: the user's intent."""
    delay_log_price: NDArray[np.float32]
    """Log price of the product, relative to the median."""
    delay_left_s: NDArray[np.float32]
    """Seconds from the end of the stay (`known_s`) to the end of the live."""
    delay_sale_wait_s: NDArray[np.float32]
    """Seconds from the impression to the start of the next sale, infinite where there is none."""
    delay_part: NDArray[np.int8]
    """How a user who decided to buy waits, index into `sim.delay.PARTS`; PAD for all others."""
    will_purchase: NDArray[np.bool_]
    """A purchase takes place, sooner or later."""
    purchase_delay_s: NDArray[np.float32]
    """Delay from the bag click's stay to the purchase, NaN where none will happen."""
    lost_to: NDArray[np.int8]
    """What prevents a purchase that was decided, index into `sim.delay.LOSSES`; PAD elsewhere."""
    lost_delay_s: NDArray[np.float32]
    """Delay from the stay to that event, NaN elsewhere."""
    refund_delay_s: NDArray[np.float32]
    """Delay from the purchase to its refund, NaN where it is kept or never happens."""
    amount_cny: NDArray[np.float32]
    """What the product on show costs today."""


@kernel
def target_chances(
    laws: Laws, swipes: bool, reception: Reception, own: Inclination, moment: Moment
) -> Chances:
    """Return unconditional P(target | shown and examined) of one pair, by TARGETS.

    Args:
        laws: the laws.
        swipes: whether the first hop is an effective view, not a click.
        reception: what click and stay come to.
        own: what decides the targets after the stay.
        moment: of the impression.
    """
    p_enter, satisfaction, p_stays, remaining_s = reception
    short, view, long, watched = law_of_stay(
        laws.watch, laws.uncut, p_stays, satisfaction, remaining_s
    )
    social, commerce = exp(social_logit(laws, own)), exp(bag_logit(laws, own))
    at_once = after_stay(laws, social, commerce, own.follows, 0)
    after_view = after_stay(laws, social, commerce, own.follows, 1)
    after_long = after_stay(laws, social, commerce, own.follows, 2)
    bag_click = p_enter * (short * at_once[3] + view * after_view[3] + long * after_long[3])
    cart = bag_click * p_cart(laws, own)
    return (
        p_enter * (1.0 - short) if swipes else p_enter,
        p_enter * watched,
        p_enter * (short * at_once[0] + view * after_view[0] + long * after_long[0]),
        p_enter * (short * at_once[1] + view * after_view[1] + long * after_long[1]),
        p_enter * (short * at_once[2] + view * after_view[2] + long * after_long[2]),
        bag_click,
        cart,
        cart * p_purchase(laws, own) * completion(laws.delay, own.intent, own.log_price, moment),
    )


class RequestTruth:
    """The truth about one batch of requests, at the moment they are served.

    Args:
        stage: the latent side of the tick.
        cell: airing of each candidate in each row of the supply, PAD where there is none [R, C].
        objective: what an impression is worth.
        requests: the batch.
        minds: the users' latent state, in the same order.
    """

    def __init__(
        self,
        stage: Stage,
        cell: NDArray[np.int64],
        objective: Objective,
        requests: Requests,
        minds: Minds,
    ) -> None:
        self.stage = stage
        self.cell = cell
        self.objective = objective
        self.requests = requests
        self.minds = minds

    def probabilities(self) -> dict[str, NDArray[np.float64]]:
        """Return {target: P(target | shown at the top) [B, C]}, 0 in padded cells."""
        table = self._weighted(np.eye(N_TARGETS))
        return dict(zip(TARGETS, table, strict=True))

    def value(self) -> NDArray[np.float64]:
        """Return the expected objective of showing each candidate [B, C], 0 in padded cells."""
        weights = self.objective.weights()
        table: NDArray[np.float64] = self._weighted(np.array([[weights[t] for t in TARGETS]]))[0]
        return table

    def _weighted(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sums of probabilities [W, B, C] by `weights` [W, targets]."""
        out = np.zeros((len(weights), *self.requests.mask.shape))
        minds, n_columns = self.minds, self.cell.shape[1]
        _weigh_candidates(
            self.stage, self.cell, self.requests.supply.column_of, self.requests.row,
            self.requests.time_s, minds.user_id.astype(np.int64), minds.scenario.astype(np.int64),
            minds.mood.astype(np.float64), minds.interest, minds.fatigue, minds.deadline_s, weights,
            np.empty(n_columns), np.empty(n_columns, np.bool_), out,
        )  # fmt: skip
        return out


@kernel
def _weigh_candidates(
    stage: Stage,
    cell: NDArray[np.int64],
    column_of: NDArray[np.int32],
    row: NDArray[np.int32],
    time_s: NDArray[np.float64],
    user_id: NDArray[np.int64],
    scenario: NDArray[np.int64],
    mood: NDArray[np.float64],
    interest: NDArray[np.float32],
    fatigue: NDArray[np.float32],
    deadline_s: NDArray[np.float64],
    weights: NDArray[np.float64],
    views: NDArray[np.float64],
    follows: NDArray[np.bool_],
    out: NDArray[np.float64],
) -> None:
    for i in range(len(row)):
        who, where, humour = int(user_id[i]), int(scenario[i]), float(mood[i])
        _spread_bonds(stage.bonds, who, column_of[row[i]], views, follows)
        for c in range(cell.shape[1]):
            e = int(cell[row[i], c])
            if e == PAD:
                continue
            # a card at the top of a page is reached after a glance
            start_s = (
                time_s[i] + stage.laws[0].session.glance_s * stage.laws[0].layouts.has_click[where]
            )
            left_s = remaining_s_of(stage, e, start_s, deadline_s[i])
            pair = attraction_of(
                stage, where, who, humour, interest[i], fatigue[i], e, left_s, views[c],
                follows[c],
            )  # fmt: skip
            own = inclination_of(stage, where, who, humour, e, follows[c])
            reception, moment = reception_of(stage.laws[0], pair), moment_at(stage, e, start_s)
            p = target_chances(stage.laws[0], where == SWIPE, reception, own, moment)
            for w in range(len(weights)):
                for t in range(N_TARGETS):
                    out[w, i, c] += weights[w, t] * p[t]


@kernel
def _spread_bonds(
    bonds: Bonds,
    user_id: int,
    column_of: NDArray[np.int32],
    views: NDArray[np.float64],
    follows: NDArray[np.bool_],
) -> None:
    """Lay the user's bonds out over the candidates [C] of one request."""
    for c in range(len(views)):
        views[c], follows[c] = 0.0, False
    for j in range(bonds.start[user_id], bonds.start[user_id + 1]):
        streamer_id = streamer_of(bonds, j)
        if streamer_id < len(column_of) and column_of[streamer_id] != PAD:
            c = column_of[streamer_id]
            views[c], follows[c] = bonds.views[j], bonds.follows[j]
