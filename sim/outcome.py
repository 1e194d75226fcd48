"""What follows from a stay: social feedback, bag, cart, purchase and its delay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.arrivals import Sessions
from sim.delay import DelayLaw
from sim.response import Attraction, Response
from sim.rng import Purpose, uniforms
from sim.scene import Minds, Scene
from sim.schema import EFFECTIVE_VIEW_S, Impressions, Purchases
from sim.session import REQUESTS_PER_SESSION, Shown
from sim.truth import TruthRows, at_position, target_probabilities


@dataclass(frozen=True)
class TickOutcome:
    """What one tick adds to the log."""

    impressions: Impressions
    truth: TruthRows
    purchases: Purchases
    """All purchases that the tick leads to, whenever they happen, by event time."""


def settle(
    scene: Scene, response: Response, sessions: Sessions, shown: Shown, seed: int
) -> TickOutcome:
    """Draw what follows from each impression and assemble the records.

    Args:
        scene: the day.
        response: the laws.
        sessions: the tick's sessions.
        shown: raw impressions of these sessions, in any order.
        seed: the world's seed.
    """
    request_id = sessions.session_id[shown.session] * REQUESTS_PER_SESSION + shown.step
    order = np.lexsort((shown.position, request_id))
    shown, request_id = shown.take(order), request_id[order]
    own = sessions.take(shown.session)
    who = scene.on_air.streamer_id[shown.airing]
    product = scene.on_air.product_id[shown.airing]
    scenario = own.scenario

    minds = Minds(
        user_id=own.user_id,
        scenario=scenario,
        mood=own.mood,
        interest=np.zeros((len(shown), 0), np.float32),
        fatigue=np.zeros((len(shown), 0), np.float32),
        deadline_s=own.deadline_s,
    )
    inclination = scene.inclination(minds, shown.airing, shown.follows)
    attraction = _attraction(scene, own, shown)
    p = target_probabilities(response, attraction, inclination)
    p_cart, p_buy = response.p_cart(inclination), response.p_purchase(inclination)

    view = shown.watch_s >= EFFECTIVE_VIEW_S
    long = shown.watch_s >= response.config.watch.bounce_cap_s
    grade = view.astype(np.int8) + long
    address = (own.user_id, who, own.moment)
    social = _draws(seed, address, 1, shown.entered)
    like, comment, follow, bag_click = (
        social[i] < response.given_stay(name, inclination, grade)
        for i, name in enumerate(("like", "comment", "follow", "bag_click"))
    )
    paying = _draws(seed, address, 2, bag_click)
    cart = paying[0] < p_cart
    buys = cart & (paying[1] < p_buy)

    products = scene.population.products
    law = DelayLaw.of(response.config.delay, inclination.intent, products.log_price[product])
    delay_s = law.draw(paying[2], np.where(buys, paying[3], 0.5))
    purchase_s = shown.known_s + delay_s
    impressions = Impressions(
        request_id=request_id,
        session_id=own.session_id,
        user_id=own.user_id,
        streamer_id=who,
        room_id=scene.on_air.room_id[shown.airing],
        product_id=product,
        scenario=scenario,
        entry=own.entry,
        time_s=shown.time_s,
        session_start_s=own.start_s,
        step=shown.step,
        position=shown.position,
        refer_id=shown.refer_id,
        refer_watch_s=shown.refer_watch_s,
        n_candidates=shown.n_candidates,
        propensity=shown.propensity,
        click=shown.entered & _has_click(scene)[scenario],
        watch_s=shown.watch_s,
        view=view,
        like=like,
        comment=comment,
        follow=follow,
        bag_click=bag_click,
        cart=cart,
        known_s=shown.known_s,
        purchase_s=np.full(len(shown), np.nan),
    )
    decay = np.array([s.examination_decay for s in scene.config.scenarios])
    truth = TruthRows(
        request_id=request_id,
        position=shown.position,
        **{f"p_{name}": v for name, v in at_position(p, decay[scenario] ** shown.position).items()},
        p_purchase_given_bag=(p_cart * p_buy).astype(np.float32),
        delay_live_share=np.asarray(law.live, np.float32),
        delay_scale_s=np.asarray(law.scale_s, np.float32),
        will_purchase=buys,
        purchase_delay_s=np.where(buys, delay_s, np.nan).astype(np.float32),
        amount_cny=products.price_cny[product],
    )
    rows = np.flatnonzero(buys)
    rows = rows[np.argsort(purchase_s[rows], kind="stable")]
    purchases = Purchases(
        event_s=purchase_s[rows],
        impression_s=shown.time_s[rows],
        request_id=request_id[rows],
        user_id=own.user_id[rows],
        streamer_id=who[rows],
        product_id=product[rows],
        scenario=scenario[rows],
        amount_cny=products.price_cny[product[rows]],
    )
    return TickOutcome(impressions, truth, purchases)


def _draws(
    seed: int,
    address: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]],
    block: int,
    needed: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return four uniforms [4, N] where `needed`, elsewhere 1, which no probability exceeds."""
    u = np.ones((4, len(needed)))
    rows = np.flatnonzero(needed)
    user, streamer, moment = address
    u[:, rows] = uniforms(seed, Purpose.OUTCOME, user[rows], streamer[rows], moment[rows], block)
    return u


def _has_click(scene: Scene) -> NDArray[np.bool_]:
    return np.array([s.base_click is not None for s in scene.config.scenarios])


def _attraction(scene: Scene, own: Sessions, shown: Shown) -> Attraction:
    streamers, users = scene.population.streamers, scene.population.users
    who = scene.on_air.streamer_id[shown.airing]
    return Attraction(
        scenario=own.scenario,
        affinity=shown.affinity,
        satiation=shown.satiation,
        quality=streamers.quality[who],
        bait=streamers.bait[who],
        fame=streamers.fame[who],
        bait_sensitivity=users.bait_sensitivity[own.user_id],
        mood=own.mood,
        views=shown.views,
        follows=shown.follows,
        remaining_s=shown.remaining_s,
    )
