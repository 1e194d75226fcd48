"""What follows from a stay: social feedback, bag, cart, purchase and its delay."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sim.after_purchase import draw_lag_s, draw_refund_s, p_refund
from sim.arrivals import Sessions
from sim.delay import Buyer, draw_purchase
from sim.kernel import Block, block, kernel
from sim.response import (
    Attraction,
    after_stay,
    bag_logit,
    p_cart,
    p_purchase,
    social_logit,
)
from sim.rng import Purpose, four_uniforms
from sim.scene import Scene, Stage, inclination_of, moment_at
from sim.schema import EFFECTIVE_VIEW_S, PAD, TARGETS, Impressions, Purchases, Refunds
from sim.session import LOSING, PAYING, REQUESTS_PER_SESSION, SETTLING, SHOWN, SOCIAL
from sim.truth import N_TARGETS, TruthRows, target_chances

E = TypeVar("E", Purchases, Refunds)
T = TypeVar("T", bound=np.generic)

_OUTCOME = int(Purpose.OUTCOME)

BAG_CLICK, PURCHASE = TARGETS.index("bag_click"), TARGETS.index("purchase")

PATRON = np.dtype(
    [("user_id", np.int64), ("scenario", np.int64), ("mood", np.float64), ("moment", np.int64)]
)
"""Whose session it is."""


@dataclass(frozen=True)
class TickOutcome:
    """What one tick adds to the log."""

    impressions: Impressions
    truth: TruthRows
    purchases: Purchases
    """All purchases that the tick leads to, whenever they happen."""
    refunds: Refunds
    """All refunds of these purchases."""

    @classmethod
    def empty(cls) -> TickOutcome:
        """Return the outcome of a tick in which nothing was shown."""
        return cls(Impressions.empty(), TruthRows.empty(), Purchases.empty(), Refunds.empty())


DRAWN = np.dtype(
    [
        ("p_purchase_given_bag", np.float32),
        ("intent", np.float32),
        ("log_price", np.float32),
        ("left_s", np.float32),
        ("click", np.bool_),
        ("like", np.bool_),
        ("comment", np.bool_),
        ("follow", np.bool_),
        ("bag_click", np.bool_),
        ("cart", np.bool_),
        ("decides", np.bool_),
    ],
    align=True,
)
"""What is drawn for an impression, and what the delay law of its row is made of."""

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


def settle(scene: Scene, stage: Stage, sessions: Sessions, shown: Block, seed: int) -> TickOutcome:
    """Draw what follows from each impression and assemble the records.

    Args:
        scene: the day.
        stage: the latent side of the tick.
        sessions: the tick's sessions.
        shown: SHOWN [N], raw impressions of these sessions, in any order.
        seed: the world's seed.
    """
    session = shown["session"]
    request_id = sessions.session_id[session] * REQUESTS_PER_SESSION + shown["step"]
    order = np.argsort((request_id << 7) + shown["position"])  # unique: slates are below 128
    request_id, shown = request_id[order], shown[order]
    chances, drawn = np.empty((N_TARGETS, len(order)), np.float32), np.empty(len(order), DRAWN)
    patrons = patrons_of(sessions)
    draw_outcomes(stage, shown, patrons, seed, chances, drawn)
    column = {name: np.ascontiguousarray(shown[name]) for name in SHOWN.names or ()}
    watch_s = column["watch_s"].astype(np.float32)
    draws = {name: np.ascontiguousarray(drawn[name]) for name in DRAWN.names or ()}
    session, airing = column["session"], column["airing"]
    user_id, scenario = sessions.user_id[session], sessions.scenario[session]
    on_air, price_cny = scene.on_air, scene.price_cny
    streamer_id, product_id = on_air.streamer_id[airing], on_air.product_id[airing]
    impressions = Impressions(
        request_id=request_id,
        session_id=sessions.session_id[session],
        user_id=user_id,
        streamer_id=streamer_id,
        room_id=on_air.room_id[airing],
        product_id=product_id,
        scenario=scenario,
        entry=sessions.entry[session],
        time_s=column["time_s"],
        session_start_s=sessions.start_s[session],
        step=column["step"],
        position=column["position"],
        refer_id=column["refer_id"],
        refer_watch_s=column["refer_watch_s"],
        n_candidates=column["n_candidates"],
        propensity=column["propensity"],
        click=draws["click"],
        watch_s=watch_s,
        view=watch_s >= EFFECTIVE_VIEW_S,
        like=draws["like"],
        comment=draws["comment"],
        follow=draws["follow"],
        bag_click=draws["bag_click"],
        cart=draws["cart"],
        known_s=column["known_s"],
        purchase_s=np.full(len(order), np.nan),
    )
    rows = np.flatnonzero(draws["decides"])
    decision = draw_decisions(stage, shown[rows], patrons, seed)
    bought = decision["lost_to"] == PAD
    truth = TruthRows(
        request_id=request_id,
        position=column["position"],
        **{f"p_{name}": p for name, p in zip(TARGETS, chances, strict=True)},
        p_purchase_given_bag=draws["p_purchase_given_bag"],
        delay_intent=draws["intent"],
        delay_log_price=draws["log_price"],
        delay_left_s=draws["left_s"],
        delay_sale_wait_s=(stage.today.next_sale_s - column["time_s"]).astype(np.float32),
        delay_part=_scattered(len(order), rows, decision["part"], PAD),
        will_purchase=_scattered(len(order), rows, bought, False),
        purchase_delay_s=_seconds(len(order), rows[bought], decision["delay_s"][bought]),
        lost_to=_scattered(len(order), rows, decision["lost_to"], PAD),
        lost_delay_s=_seconds(len(order), rows[~bought], decision["delay_s"][~bought]),
        refund_delay_s=_seconds(len(order), rows[bought], decision["refund_s"][bought]),
        amount_cny=price_cny[product_id],
    )
    rows, decision = rows[bought], decision[bought]
    event_s = column["known_s"][rows] + decision["delay_s"]
    known_s = event_s + decision["lag_s"]
    shared = {
        "request_id": request_id[rows],
        "user_id": user_id[rows],
        "streamer_id": streamer_id[rows],
        "product_id": product_id[rows],
        "scenario": scenario[rows],
        "amount_cny": price_cny[product_id[rows]],
    }
    purchases = Purchases(
        event_s=event_s, known_s=known_s, impression_s=column["time_s"][rows], **shared
    )
    back_s = event_s + decision["refund_s"]
    # a refund is reported on a purchase that the platform knows
    back_known_s = np.maximum(back_s + decision["refund_lag_s"], known_s)
    refunds = Refunds(event_s=back_s, known_s=back_known_s, purchase_s=event_s, **shared)
    refunds = refunds.take(~np.isnan(decision["refund_s"]))
    return TickOutcome(impressions, truth, by_report(purchases), by_report(refunds))


def by_report(events: E) -> E:
    """Return events in the order in which the platform learns of them."""
    return events.take(np.lexsort((events.streamer_id, events.request_id, events.known_s)))


def _scattered(
    n: int, rows: NDArray[np.int64], values: NDArray[T], elsewhere: int | bool
) -> NDArray[T]:
    """Lay `values` at `rows` out over [n]."""
    out = np.full(n, elsewhere, values.dtype)
    out[rows] = values
    return out


def _seconds(n: int, rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Lay seconds at `rows` out over [n], NaN elsewhere."""
    out = np.full(n, np.nan, np.float32)
    out[rows] = values
    return out


def patrons_of(sessions: Sessions) -> Block:
    """Return whose sessions these are, PATRON [N]."""
    return block(PATRON, sessions.user_id, sessions.scenario, sessions.mood, sessions.moment)


@kernel
def draw_outcomes(
    stage: Stage,
    shown: Block,
    patrons: Block,
    seed: int,
    chances: NDArray[np.float32],
    out: Block,
) -> None:
    """Draw what follows from each impression, and note what could have.

    Args:
        stage: the tick.
        shown: SHOWN [N]; `session` is a row of `patrons`.
        patrons: PATRON, whose sessions these are.
        seed: the world's seed.
        chances: receives the true probability of each target at the position shown [targets, N].
        out: DRAWN [N]; receives what is drawn.
    """
    laws = stage.laws
    for i in range(len(shown)):
        seen, mine, e = shown[i], out[i], shown[i].airing
        patron, streamer_id = patrons[seen.session], stage.airings[e].streamer_id
        host = stage.hosts[streamer_id]
        user_id, scenario, mood = patron.user_id, patron.scenario, patron.mood
        pair = Attraction(
            scenario, seen.affinity, seen.satiation, host.quality, host.bait, host.fame,
            stage.airings[e].highlight, stage.crowd[streamer_id],
            stage.users[user_id].bait_sensitivity, mood, seen.views, seen.follows,
            seen.remaining_s,
        )  # fmt: skip
        own = inclination_of(stage, scenario, user_id, mood, e, seen.follows)
        p = target_chances(laws, pair, own, moment_at(stage, e, seen.time_s))
        for t in range(N_TARGETS):
            chances[t, i] = seen.examined * p[t]
        mine.p_purchase_given_bag = p[PURCHASE] / p[BAG_CLICK] if p[BAG_CLICK] > 0.0 else 0.0
        mine.intent, mine.log_price = own.intent, own.log_price
        mine.left_s = stage.airings[e].end_s - seen.known_s
        mine.click = seen.entered and laws.layouts.has_click[scenario] == 1
        mine.like, mine.comment, mine.follow = False, False, False
        mine.bag_click, mine.cart, mine.decides = False, False, False
        if not seen.entered:
            continue
        watch_s = np.float32(seen.watch_s)  # as it is logged
        grade = int(watch_s >= EFFECTIVE_VIEW_S) + int(watch_s >= laws.watch.bounce_cap_s)
        social, commerce = exp(social_logit(laws, own)), exp(bag_logit(laws, own))
        acts = after_stay(laws, social, commerce, own.follows, grade)
        u = four_uniforms(seed, _OUTCOME, user_id, streamer_id, patron.moment, SOCIAL)
        mine.like, mine.comment, mine.follow = u[0] < acts[0], u[1] < acts[1], u[2] < acts[2]
        if u[3] >= acts[3]:
            continue
        mine.bag_click = True
        u = four_uniforms(seed, _OUTCOME, user_id, streamer_id, patron.moment, PAYING)
        mine.cart = u[0] < p_cart(laws, own)
        mine.decides = mine.cart and u[1] < p_purchase(laws, own)


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
    laws = stage.laws
    for i in range(len(shown)):
        seen, mine, on_air = shown[i], out[i], stage.airings[shown[i].airing]
        patron = patrons[seen.session]
        user_id, streamer_id, moment = patron.user_id, on_air.streamer_id, patron.moment
        log_price = stage.goods[on_air.product_id].log_price
        buyer = Buyer(
            stage.users[user_id].intent, log_price, seen.time_s, seen.known_s,
            on_air.end_s - seen.known_s, stage.today.next_sale_s - seen.time_s,
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
