"""What follows from a stay: social feedback, bag, cart, purchase and its delay."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from sim.arrivals import Sessions
from sim.delay import delay_law, draw_delay_s
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
from sim.scene import Scene, Stage, inclination_of
from sim.schema import EFFECTIVE_VIEW_S, TARGETS, Impressions, Purchases
from sim.session import PAYING, REQUESTS_PER_SESSION, SHOWN, SOCIAL
from sim.truth import N_TARGETS, TruthRows, target_chances

_OUTCOME = int(Purpose.OUTCOME)

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
    """All purchases that the tick leads to, whenever they happen, by event time."""


DRAWN = np.dtype(
    [
        ("p_purchase_given_bag", np.float32),
        ("live_share", np.float32),
        ("scale_s", np.float32),
        ("click", np.bool_),
        ("like", np.bool_),
        ("comment", np.bool_),
        ("follow", np.bool_),
        ("bag_click", np.bool_),
        ("cart", np.bool_),
        ("buys", np.bool_),
        ("delay_s", np.float64),
    ],
    align=True,
)
"""What is drawn for an impression; the delay is NaN where nothing is bought."""


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
    draw_outcomes(stage, shown, patrons_of(sessions), seed, chances, drawn)
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
    truth = TruthRows(
        request_id=request_id,
        position=column["position"],
        **{f"p_{name}": p for name, p in zip(TARGETS, chances, strict=True)},
        p_purchase_given_bag=draws["p_purchase_given_bag"],
        delay_live_share=draws["live_share"],
        delay_scale_s=draws["scale_s"],
        will_purchase=draws["buys"],
        purchase_delay_s=draws["delay_s"].astype(np.float32),
        amount_cny=price_cny[product_id],
    )
    rows = np.flatnonzero(draws["buys"])
    event_s = column["known_s"][rows] + draws["delay_s"][rows]
    by_event = np.argsort(event_s, kind="stable")
    rows = rows[by_event]
    purchases = Purchases(
        event_s=event_s[by_event],
        impression_s=column["time_s"][rows],
        request_id=request_id[rows],
        user_id=user_id[rows],
        streamer_id=streamer_id[rows],
        product_id=product_id[rows],
        scenario=scenario[rows],
        amount_cny=price_cny[product_id[rows]],
    )
    return TickOutcome(impressions, truth, purchases)


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
        to_cart, to_purchase = p_cart(laws, own), p_purchase(laws, own)
        live, scale_s = delay_law(laws.delay, own.intent, own.log_price)
        p = target_chances(laws, pair, own)
        for t in range(N_TARGETS):
            chances[t, i] = seen.examined * p[t]
        mine.p_purchase_given_bag = to_cart * to_purchase
        mine.live_share, mine.scale_s, mine.delay_s = live, scale_s, np.nan
        mine.click = seen.entered and laws.layouts.has_click[scenario] == 1
        mine.like, mine.comment, mine.follow = False, False, False
        mine.bag_click, mine.cart, mine.buys = False, False, False
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
        mine.cart = u[0] < to_cart
        if u[0] < to_cart and u[1] < to_purchase:
            mine.buys = True
            mine.delay_s = draw_delay_s(laws.delay, live, scale_s, u[2], u[3])
