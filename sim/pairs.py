"""The truth about any user and room: every probability, expected watch, purchase and its delay.

    pairs = Pairs.of(user_id=[3, 3], streamer_id=[17, 40], scenario="swipe", time_s=75_000.0)
    truth = world.truth(pairs)
    truth.p_bag_click, truth.watch_s, truth.value, truth.delays.quantile(0.5)

For evaluation and for people; no policy is handed anything of this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.columns import Columns
from sim.config import ConfigError, WorldConfig
from sim.delay import completion
from sim.delay_law import DelayLaw
from sim.kernel import allocating
from sim.relations import bond_with
from sim.response import p_cart, p_purchase, reception_of
from sim.scene import (
    ATTENTION,
    Scene,
    Stage,
    attraction_of,
    inclination_of,
    mix_interest,
    moment_at,
    remaining_s_of,
)
from sim.schedule import SLOT_S, SLOTS_PER_DAY, SPILL_SLOTS, DaySupply, row_of
from sim.schema import DAY_S, DETAIL, PAD, SCENARIOS, SWIPE, TARGETS
from sim.truth import N_TARGETS, target_chances
from sim.watch import expected_watch_s, law_of_stay

Array = NDArray[np.float64]

_ENTER, _ENGAGED, _SHORT, _VIEW, _LONG, _WATCH, _CART, _DECISION, _COMPLETION, _LEFT = range(10)
_N_FACTS = 10


@dataclass(frozen=True)
class Pairs(Columns):
    """Users and rooms at moments of one day, arrays [N]."""

    user_id: NDArray[np.int64]
    streamer_id: NDArray[np.int64]
    scenario: NDArray[np.int64]
    """Index into SCENARIOS."""
    time_s: Array
    """When the room is looked at."""
    refer_id: NDArray[np.int64]
    """Streamer watched before (swipe) or whose product led here (detail page), as last on air;
    PAD for none."""
    mood: Array
    """Of the session, logits."""
    deadline_s: Array
    """When the session ends at the latest."""

    @classmethod
    def of(
        cls,
        user_id: ArrayLike,
        streamer_id: ArrayLike,
        scenario: str | ArrayLike,
        time_s: ArrayLike,
        refer_id: ArrayLike = PAD,
        mood: ArrayLike = 0.0,
        deadline_s: ArrayLike = np.inf,
    ) -> Pairs:
        """Return pairs; arguments broadcast to [N], the scenario may be a name.

        Raises:
            ConfigError: the scenario is unknown.
        """
        if isinstance(scenario, str):
            if scenario not in SCENARIOS:
                raise ConfigError(f"scenario = {scenario!r}; allowed: {', '.join(SCENARIOS)}")
            scenario = SCENARIOS.index(scenario)
        whole = (user_id, streamer_id, scenario, refer_id)
        real = (time_s, mood, deadline_s)
        columns = [
            *(np.asarray(column, np.int64) for column in whole),
            *(np.asarray(column, np.float64) for column in real),
        ]
        user, streamer, place, refer, time, humour, end = (
            np.atleast_1d(column).copy() for column in np.broadcast_arrays(*columns)
        )
        return cls(user, streamer, place, time, refer, humour, end)


@dataclass(frozen=True)
class PairTruth:
    """What is true of pairs, arrays [N]; NaN where the room is not on air.

    Unless it says otherwise, a probability is that of the target once the card or room is looked
    at, before anything else happened.
    """

    on_air: NDArray[np.bool_]
    """The scenario shows the room at that moment, and the refer, if any, was live on the day."""
    probability: Mapping[str, Array]
    """{target: P(target)} by TARGETS; of `watch` the expected min(watch_s, WATCH_CAP_S) over it.
    That of a purchase is ultimate: however late, net of what competing events prevent."""
    p_enter: Array
    """P(click); 1 in the swipe."""
    p_engaged: Array
    """P(the stay is engaged, uncut | entered)."""
    p_short: Array
    """P(watch < 10 s | entered)."""
    p_view: Array
    """P(10 s <= watch < bounce cap | entered)."""
    p_long: Array
    """P(watch >= bounce cap | entered)."""
    watch_s: Array
    """Expected seconds, 0 for who does not enter."""
    p_cart_given_bag: Array
    p_decision_given_cart: Array
    """P(decides to buy | cart)."""
    p_purchase_given_decision: Array
    """The rest is sold out or thought better of."""
    value: Array
    """Expected objective."""
    amount_cny: Array
    """What the product on show costs."""
    delays: DelayLaw
    """From the moment of the pair to the purchase, given that it takes place: cdf, pdf, hazard,
    quantile and components; meaningless where the room is not on air."""


def truth_of(config: WorldConfig, scene: Scene, stage: Stage, pairs: Pairs, day: int) -> PairTruth:
    """Return what is true of pairs of one day.

    Args:
        config: the world.
        scene: the day.
        stage: its latent side at the moment from which bonds and audiences are taken.
        pairs: of `day`, up to the hours after midnight that its sessions may last.
        day: the day.

    Raises:
        ConfigError: an id does not exist, or a moment is not of the day.
    """
    on_air, n = scene.on_air, len(pairs)
    _require_known(pairs, scene, day)
    slot = (pairs.time_s // SLOT_S).astype(np.int64) - day * SLOTS_PER_DAY
    airing = _airings(on_air, row_of(pairs.scenario, slot), pairs.streamer_id)
    refer = _last_airings(on_air, slot + day * SLOTS_PER_DAY, pairs.refer_id)
    there = (airing != PAD) & ((pairs.refer_id == PAD) | (refer != PAD))
    facts, chances = np.full((_N_FACTS, n), np.nan), np.full((N_TARGETS, n), np.nan)
    rows = np.flatnonzero(there)
    _fill(
        stage, rows, pairs.user_id, airing, pairs.scenario, pairs.time_s, refer, pairs.mood,
        pairs.deadline_s, facts, chances,
    )  # fmt: skip
    weights = config.objective.weights()
    good = on_air.good[np.maximum(airing, 0)]
    goods, users = stage.goods, stage.users
    sale_s = np.where(goods["on_sale"][good] > 0.0, stage.today[0].next_sale_s, np.inf)
    wait_s = sale_s - pairs.time_s
    return PairTruth(
        on_air=there,
        probability=dict(zip(TARGETS, chances, strict=True)),
        p_enter=facts[_ENTER],
        p_engaged=facts[_ENGAGED],
        p_short=facts[_SHORT],
        p_view=facts[_VIEW],
        p_long=facts[_LONG],
        watch_s=facts[_WATCH],
        p_cart_given_bag=facts[_CART],
        p_decision_given_cart=facts[_DECISION],
        p_purchase_given_decision=facts[_COMPLETION],
        value=np.array([weights[target] for target in TARGETS]) @ chances,
        amount_cny=np.where(there, goods["price_cny"][good].astype(np.float32), np.nan),
        delays=DelayLaw.of(
            config.delay,
            config.visits.hour_weights,
            intent=users["intent"][pairs.user_id],
            log_price=goods["log_price"][good],
            time_s=pairs.time_s,
            left_s=np.where(there, facts[_LEFT], 0.0),
            sale_wait_s=wait_s,
            day=day,
        ),
    )


def _require_known(pairs: Pairs, scene: Scene, day: int) -> None:
    n_users, n_streamers = scene.population.n_users, scene.population.n_streamers
    last_s = (day + 1) * DAY_S + SPILL_SLOTS * SLOT_S
    for name, values, low, high in (
        ("user_id", pairs.user_id, 0, n_users - 1),
        ("streamer_id", pairs.streamer_id, 0, n_streamers - 1),
        ("refer_id", pairs.refer_id, PAD, n_streamers - 1),
        ("scenario", pairs.scenario, 0, len(SCENARIOS) - 1),
        ("time_s", pairs.time_s, day * DAY_S, np.nextafter(last_s, 0.0)),
    ):
        wrong = (values < low) | (values > high) | (values != values)
        if wrong.any():
            raise ConfigError(
                f"{name} = {values[wrong][0]}; allowed on day {day}: from {low:g} to {high:.10g}"
            )
    unborn = scene.population.users.joined_day[pairs.user_id] < 0
    if unborn.any():
        raise ConfigError(f"user_id = {pairs.user_id[unborn][0]}; allowed: users born by day {day}")


def _airings(
    on_air: DaySupply, row: NDArray[np.int32], streamer_id: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the airing of each streamer [N] in its row of the candidate table, PAD if none."""
    cell, column_of = on_air.cell, on_air.supply.column_of
    known = (streamer_id >= 0) & (streamer_id < column_of.shape[1])
    column = np.where(known, column_of[row, np.where(known, streamer_id, 0)], PAD)
    return np.where(column != PAD, cell[row, np.maximum(column, 0)], PAD)


def _last_airings(
    on_air: DaySupply, slot: NDArray[np.int64], streamer_id: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return each streamer's [N] last airing up to a slot [N], PAD if it had none on the day."""
    key = (on_air.streamer_id.astype(np.int64) << 32) + on_air.slot
    order = np.argsort(key)
    at = np.searchsorted(key[order], (streamer_id << 32) + slot, side="right") - 1
    found = order[np.maximum(at, 0)]
    there = (at >= 0) & (on_air.streamer_id[found] == streamer_id)
    return np.where(there, found, PAD)


@allocating
def _fill(
    stage: Stage,
    rows: NDArray[np.int64],
    user_id: NDArray[np.int64],
    airing: NDArray[np.int64],
    scenario: NDArray[np.int64],
    time_s: Array,
    refer: NDArray[np.int64],
    mood: Array,
    deadline_s: Array,
    facts: Array,
    chances: Array,
) -> None:
    laws = stage.laws[0]
    rested = np.zeros(stage.content.shape[1], np.float32)
    interest = np.empty(stage.content.shape[1], np.float32)
    for i in rows:
        e, who, where, r = airing[i], user_id[i], scenario[i], refer[i]
        long_term = stage.interests[ATTENTION, where, who]
        for k in range(len(interest)):
            interest[k] = long_term[k]
        if r != PAD and where == SWIPE:
            mix_interest(laws.session, long_term, stage.content[r], interest)
        if r != PAD and where == DETAIL:
            product = stage.goods_content[stage.airings[r].good]
            mix_interest(laws.session, long_term, product, interest)
        views, follows = bond_with(stage.bonds, who, stage.airings[e].streamer_id)
        left_s = remaining_s_of(stage, e, time_s[i], deadline_s[i])
        pair = attraction_of(
            stage, where, who, mood[i], interest, rested, e, left_s, views, follows
        )
        own = inclination_of(stage, where, who, mood[i], e, follows)
        moment = moment_at(stage, e, time_s[i])
        reception = reception_of(laws, pair)
        p_enter, satisfaction, p_stays, _ = reception
        short, view, long, _ = law_of_stay(laws.watch, laws.uncut, p_stays, satisfaction, left_s)
        watched_s = expected_watch_s(laws.watch, p_stays, satisfaction, max(left_s, 0.0))
        facts[_ENTER, i], facts[_ENGAGED, i] = p_enter, p_stays
        facts[_SHORT, i], facts[_VIEW, i], facts[_LONG, i] = short, view, long
        facts[_WATCH, i] = p_enter * watched_s
        facts[_CART, i], facts[_DECISION, i] = p_cart(laws, own), p_purchase(laws, own)
        facts[_COMPLETION, i] = completion(laws.delay, own.intent, own.log_price, moment)
        facts[_LEFT, i] = stage.airings[e].end_s - time_s[i]
        p = target_chances(laws, where == SWIPE, reception, own, moment)
        for t in range(N_TARGETS):
            chances[t, i] = p[t]
