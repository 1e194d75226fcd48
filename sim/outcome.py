"""What follows from a stay: social feedback, bag, cart, purchase and its delay."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass, replace
from math import exp
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sim.after_purchase import draw_lag_s, draw_refund_s, p_refund
from sim.arrivals import Sessions
from sim.delay import Buyer, draw_purchase
from sim.events import Revisits
from sim.kernel import Block, block, kernel
from sim.response import (
    Inclination,
    Laws,
    Reception,
    after_stay,
    bag_logit,
    p_cart,
    p_purchase,
    social_logit,
)
from sim.revisits import EPISODE, count_revisits, fill_revisits
from sim.rng import Purpose, four_uniforms
from sim.sales import DEAL, draw_sales, sale_records
from sim.scene import Stage, inclination_of, moment_at, next_sale_s
from sim.schema import EFFECTIVE_VIEW_S, PAD, SWIPE, Impressions, Purchases, Refunds
from sim.session import LOSING, PAYING, REQUESTS_PER_SESSION, REVISITING, SETTLING, SOCIAL
from sim.truth import TruthRows, target_chances

E = TypeVar("E", Purchases, Refunds, Revisits)

_OUTCOME = int(Purpose.OUTCOME)

PATRON = np.dtype(
    [
        ("session_id", np.int64),
        ("user_id", np.int64),
        ("scenario", np.int64),
        ("entry", np.int64),
        ("start_s", np.float64),
        ("moment", np.int64),
        ("mood", np.float64),
    ],
    align=True,
)
"""Whose session it is."""


class Acts(NamedTuple):
    """What a user does after a stay."""

    like: bool
    comment: bool
    follow: bool
    bag_click: bool
    cart: bool
    decides: bool
    """To buy, sooner or later."""


@dataclass(frozen=True)
class TickOutcome:
    """What one tick adds to the log."""

    impressions: Impressions
    truth: TruthRows
    purchases: Purchases
    """All purchases that the tick leads to, whenever they happen; `known_s` is infinite where
    nobody will ever learn of it."""
    refunds: Refunds
    """All refunds of these purchases that somebody will learn of."""
    revisits: Revisits
    """All visits that follow the tick's stays."""

    @classmethod
    def empty(cls) -> TickOutcome:
        """Return the outcome of a tick in which nothing was shown."""
        return cls(
            Impressions.empty(), TruthRows.empty(), Purchases.empty(), Refunds.empty(),
            Revisits.empty(),
        )  # fmt: skip

    def without_rows(self, but_impressions: bool) -> TickOutcome:
        """Return the events, and the impressions if they are still needed."""
        shown = self.impressions if but_impressions else Impressions.empty()
        return replace(self, impressions=shown, truth=TruthRows.empty())


ImpressionColumns = namedtuple("ImpressionColumns", Impressions.dtypes())  # type: ignore[misc]
"""The columns of `Impressions`, as compiled code fills them."""

TruthColumns = namedtuple("TruthColumns", TruthRows.dtypes())  # type: ignore[misc]
"""The columns of `TruthRows`, likewise."""

DECISION = np.dtype(
    [
        ("part", np.int8),
        ("lost_to", np.int8),
        ("delay_s", np.float64),
        ("lag_s", np.float64),
        ("refund_s", np.float64),
        ("refund_lag_s", np.float64),
    ],
    align=True,
)
"""What becomes of a decision to buy: `lost_to` is PAD where the purchase takes place, `delay_s`
ends with the purchase or with what prevents it, `refund_s` is NaN where nothing is given back."""


def settle(stage: Stage, sessions: Sessions, shown: Block, seed: int) -> TickOutcome:
    """Draw what follows from each impression and assemble the records.

    Args:
        stage: the latent side of the tick.
        sessions: the tick's sessions.
        shown: SHOWN [N], raw impressions of these sessions, in any order.
        seed: the world's seed.
    """
    patrons, n = patrons_of(sessions), len(shown)
    place = np.empty(n, np.int64)
    _number(shown, patrons, place)
    order = np.argsort(place)
    seen: Block = ImpressionColumns(*(np.empty(n, kind) for kind in Impressions.dtypes().values()))
    true: Block = TruthColumns(*(np.empty(n, kind) for kind in TruthRows.dtypes().values()))
    decides = np.empty(n, np.bool_)
    _settle_rows(stage, shown, order, patrons, seed, seen, true, decides)
    # not in the kernel: numba takes the name for the method of an array
    np.greater_equal(seen.watch_s, EFFECTIVE_VIEW_S, out=seen.view)
    impressions, truth = Impressions(*seen), TruthRows(*true)
    rows = np.flatnonzero(decides)
    decision = draw_decisions(stage, shown[order[rows]], patrons, seed)
    bought = decision["lost_to"] == PAD
    truth.delay_part[rows], truth.lost_to[rows] = decision["part"], decision["lost_to"]
    truth.lost_delay_s[rows[~bought]] = decision["delay_s"][~bought]
    revisits = Revisits.empty()
    if stage.laws[0].revisit.rate > 0.0:
        pending_s = np.zeros(n)
        pending_s[rows] = decision["delay_s"]
        session = shown["session"][order]
        revisits = _revisits(stage, impressions, patrons[session], pending_s, seed)
    rows, decision = rows[bought], decision[bought]
    truth.will_purchase[rows] = True
    truth.purchase_delay_s[rows] = decision["delay_s"]
    truth.refund_delay_s[rows] = decision["refund_s"]
    of = impressions.take(rows)
    session, end_s = shown["session"][order[rows]], np.full(len(patrons), np.inf)
    if stage.laws[0].reporting.lost_share > 0.0:
        end_s[:] = -np.inf
        np.maximum.at(end_s, shown["session"], shown["known_s"])
    good = stage.airings["good"][shown["airing"][order[rows]]]
    deals = block(
        DEAL, of.user_id, of.streamer_id, patrons["moment"][session],
        stage.users["intent"][of.user_id], stage.goods["log_price"][good],
        of.known_s + decision["delay_s"], decision["lag_s"], decision["refund_s"],
        decision["refund_lag_s"], end_s[session],
    )  # fmt: skip
    sales = draw_sales(stage.laws[0], deals, seed)
    purchases, refunds = sale_records(sales, of, truth.amount_cny[rows])
    return TickOutcome(
        impressions, truth, by_report(purchases), by_report(refunds), by_report(revisits)
    )


def _revisits(
    stage: Stage, seen: Impressions, patron: Block, pending_s: NDArray[np.float64], seed: int
) -> Revisits:
    """Draw the visits that follow stays.

    Args:
        stage: the tick.
        seen: impressions [N].
        patron: PATRON [N], whose session each is of.
        pending_s: seconds from the stay to the end of a decision to buy, 0 where there is none [N].
        seed: the world's seed.
    """
    laws = stage.laws[0]
    law, hours = laws.revisit, laws.delay.hours
    rows = np.flatnonzero(seen.bag_click)
    of, n = seen.take(rows), np.empty(len(rows), np.int64)
    episodes = block(
        EPISODE, of.user_id, of.streamer_id, patron["moment"][rows], of.known_s, pending_s[rows],
        of.cart,
    )  # fmt: skip
    count_revisits(law, hours, episodes, seed, REVISITING, n)
    known_s, page = np.empty(n.sum()), np.empty(n.sum(), np.int8)
    fill_revisits(law, hours, episodes, seed, REVISITING, known_s, page)
    of = of.take(np.repeat(np.arange(len(rows)), n))
    return Revisits(
        known_s, of.request_id, of.user_id, of.streamer_id, of.product_id, of.scenario, page
    )


def by_report(events: E) -> E:
    """Return events in the order in which the platform learns of them."""
    return events.take(np.lexsort((events.streamer_id, events.request_id, events.known_s)))


def patrons_of(sessions: Sessions) -> Block:
    """Return whose sessions these are, PATRON [N]."""
    return block(PATRON, *(getattr(sessions, name) for name in PATRON.names or ()))


@kernel
def _number(shown: Block, patrons: Block, place: NDArray[np.int64]) -> None:
    """Write where each impression stands among all: by session, request and position."""
    for i in range(len(shown)):
        request_id = _request_id(patrons[shown[i].session], shown[i])
        place[i] = (request_id << 7) + shown[i].position  # slates are below 128


@kernel
def _request_id(patron: Block, seen: Block) -> int:
    return int(patron.session_id * REQUESTS_PER_SESSION + seen.step)


@kernel
def _settle_rows(
    stage: Stage,
    shown: Block,
    order: NDArray[np.int64],
    patrons: Block,
    seed: int,
    to: Block,
    true: Block,
    decides: NDArray[np.bool_],
) -> None:
    """Fill the records with the impressions `shown` in an order, and with what is drawn for them.

    Args:
        stage: the tick.
        shown: SHOWN [N]; `session` is a row of `patrons`.
        order: row of `shown` for each record [N].
        patrons: PATRON, whose sessions these are.
        seed: the world's seed.
        to: receives the impressions; none is known to have led to a purchase.
        true: receives the truth; no purchase takes place.
        decides: receives who decides to buy [N].
    """
    laws = stage.laws[0]
    for i in range(len(order)):
        seen = shown[order[i]]
        patron, on_air = patrons[seen.session], stage.airings[seen.airing]
        watch_s = np.float32(seen.watch_s)  # as it is logged
        own = inclination_of(
            stage, patron.scenario, patron.user_id, patron.mood, seen.airing, seen.follows
        )
        acts = acts_of(laws, seen, patron, on_air.streamer_id, own, seed)
        request_id = _request_id(patron, seen)
        to.request_id[i], to.session_id[i] = request_id, patron.session_id
        to.user_id[i], to.streamer_id[i] = patron.user_id, on_air.streamer_id
        to.room_id[i], to.product_id[i] = on_air.room_id, on_air.product_id
        to.scenario[i], to.entry[i] = patron.scenario, patron.entry
        to.time_s[i], to.session_start_s[i] = seen.time_s, patron.start_s
        to.step[i], to.position[i] = seen.step, seen.position
        to.refer_id[i], to.refer_watch_s[i] = seen.refer_id, seen.refer_watch_s
        to.n_candidates[i], to.propensity[i] = seen.n_candidates, seen.propensity
        to.click[i] = seen.entered and laws.layouts.has_click[patron.scenario] == 1
        to.watch_s[i] = watch_s
        to.like[i], to.comment[i], to.follow[i] = acts.like, acts.comment, acts.follow
        to.bag_click[i], to.cart[i], decides[i] = acts.bag_click, acts.cart, acts.decides
        to.known_s[i], to.purchase_s[i] = seen.known_s, np.nan

        moment = moment_at(stage, seen.airing, seen.time_s)
        reception = Reception(seen.p_enter, seen.satisfaction, seen.p_engaged, seen.remaining_s)
        p = target_chances(laws, patron.scenario == SWIPE, reception, own, moment)
        true.request_id[i], true.position[i] = request_id, seen.position
        true.p_engage[i], true.p_watch[i] = seen.examined * p[0], seen.examined * p[1]
        true.p_like[i], true.p_comment[i] = seen.examined * p[2], seen.examined * p[3]
        true.p_follow[i], true.p_bag_click[i] = seen.examined * p[4], seen.examined * p[5]
        true.p_cart[i], true.p_purchase[i] = seen.examined * p[6], seen.examined * p[7]
        true.p_purchase_given_bag[i] = p[7] / p[5] if p[5] > 0.0 else 0.0
        true.delay_intent[i], true.delay_log_price[i] = own.intent, own.log_price
        true.delay_left_s[i] = on_air.end_s - seen.known_s
        true.delay_sale_wait_s[i] = moment.sale_wait_s
        true.delay_part[i], true.lost_to[i], true.will_purchase[i] = PAD, PAD, False
        true.purchase_delay_s[i], true.lost_delay_s[i] = np.nan, np.nan
        true.refund_delay_s[i] = np.nan
        true.amount_cny[i] = stage.goods[on_air.good].price_cny


@kernel
def acts_of(
    laws: Laws, seen: Block, patron: Block, streamer_id: int, own: Inclination, seed: int
) -> Acts:
    """Draw what the user does after a stay.

    Args:
        laws: the laws.
        seen: row of SHOWN.
        patron: row of PATRON.
        streamer_id: who was watched.
        own: what decides it.
        seed: the world's seed.
    """
    if not seen.entered:
        return Acts(False, False, False, False, False, False)
    user_id, moment = patron.user_id, patron.moment
    watch_s = np.float32(seen.watch_s)  # as it is logged
    grade = int(watch_s >= EFFECTIVE_VIEW_S) + int(watch_s >= laws.watch.cap_s)
    social, commerce = exp(social_logit(laws, own)), exp(bag_logit(laws, own))
    p = after_stay(laws, social, commerce, own.follows, grade)
    u = four_uniforms(seed, _OUTCOME, user_id, streamer_id, moment, SOCIAL)
    like, comment, follow, bag_click = u[0] < p[0], u[1] < p[1], u[2] < p[2], u[3] < p[3]
    if not bag_click:
        return Acts(like, comment, follow, False, False, False)
    u = four_uniforms(seed, _OUTCOME, user_id, streamer_id, moment, PAYING)
    cart = u[0] < p_cart(laws, own)
    return Acts(like, comment, follow, True, cart, cart and u[1] < p_purchase(laws, own))


def draw_decisions(stage: Stage, shown: Block, patrons: Block, seed: int) -> Block:
    """Draw what becomes of the decisions to buy on impressions, DECISION [N].

    Args:
        stage: the tick.
        shown: SHOWN [N] of impressions on which somebody decides to buy.
        patrons: PATRON, whose sessions these are.
        seed: the world's seed.
    """
    out = np.empty(len(shown), DECISION)
    _draw_decisions(stage, shown, patrons, seed, out)
    return out


@kernel
def _draw_decisions(stage: Stage, shown: Block, patrons: Block, seed: int, out: Block) -> None:
    laws = stage.laws[0]
    for i in range(len(shown)):
        seen, mine, on_air = shown[i], out[i], stage.airings[shown[i].airing]
        patron = patrons[seen.session]
        user_id, streamer_id, moment = patron.user_id, on_air.streamer_id, patron.moment
        log_price = stage.goods[on_air.good].log_price
        buyer = Buyer(
            stage.users[user_id].intent, log_price, seen.time_s, seen.known_s,
            on_air.end_s - seen.known_s, next_sale_s(stage, on_air.good) - seen.time_s,
            laws.delay.log_drift,
        )  # fmt: skip
        pays = four_uniforms(seed, _OUTCOME, user_id, streamer_id, moment, PAYING)
        u = four_uniforms(seed, _OUTCOME, user_id, streamer_id, moment, LOSING)
        delay_s, part, lost_to = draw_purchase(laws.delay, buyer, pays[2], pays[3], u[0], u[1])
        mine.delay_s, mine.part, mine.lost_to = delay_s, part, lost_to
        refunded = u[2] < p_refund(laws.refund, log_price)
        mine.refund_s = draw_refund_s(laws.refund, u[3]) if refunded else np.nan
        u = four_uniforms(seed, _OUTCOME, user_id, streamer_id, moment, SETTLING)
        mine.lag_s, mine.refund_lag_s = (
            draw_lag_s(laws.reporting, u[0]),
            draw_lag_s(laws.reporting, u[1]),
        )
