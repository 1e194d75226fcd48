"""A day of the world as its laws see it: latent people, rooms on air, momentary minds.

`Stage` holds the latent arrays in the form in which compiled code takes them; `attraction_of` and
`inclination_of` join them into the inputs of the response laws for one pair, whether the room was
shown or is a candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.calendar import Today, on_sale
from sim.columns import Columns
from sim.config import WorldConfig
from sim.delay import Moment
from sim.drift import preference_angle, turned
from sim.kernel import Block, as_row, block, kernel, numbers
from sim.normal import sigmoid
from sim.parameters import SessionConfig
from sim.population import INTERESTS, Population, rotation, unit
from sim.relations import Bonds, Relations
from sim.response import Attraction, Inclination, Laws
from sim.schedule import DaySupply

Array32 = NDArray[np.float32]


@dataclass(frozen=True)
class Minds(Columns):
    """Latent state of users at a moment of their session, arrays [B] or [B, K]."""

    user_id: NDArray[np.int32]
    scenario: NDArray[np.int8]
    mood: Array32
    interest: Array32
    """Momentary interest: long-term interest mixed with the refer [B, K]."""
    fatigue: Array32
    """Sum of the contents viewed in this session, fading [B, K]."""
    deadline_s: NDArray[np.float64]


USER = np.dtype(
    [
        (name, np.float64)
        for name in ("bait_sensitivity", "sociability", "intent", "price_sensitivity", "patience")
    ]
)
"""Traits of a user."""

HOST = np.dtype([(name, np.float64) for name in ("quality", "bait", "fame", "charm")])
"""Traits of a streamer."""

PRODUCT = np.dtype([(name, np.float64) for name in ("appeal", "log_price", "price_cny", "on_sale")])
"""Traits of a product on a day; the price is what has to be paid, `on_sale` whether the effects of
the calendar's sale are on it, 1 or 0."""

AIRING = np.dtype(
    [
        ("streamer_id", np.int64),
        ("place", np.int64),
        ("product_id", np.int64),
        ("good", np.int64),
        ("room_id", np.int64),
        ("end_s", np.float64),
        ("highlight", np.float64),
    ]
)
"""A streamer on air in a slot; `place` is its number among those of the day, `good` that of the
product among those shown on the day."""

ATTENTION, SOCIAL, COMMERCE = range(len(INTERESTS))


class Stage(NamedTuple):
    """Everything latent that a tick's responses depend on, as compiled code takes it."""

    laws: Sequence[Laws]
    """The only row of a block [1], see `sim.kernel.as_row`."""
    users: Block
    """USER [U]."""
    interests: Array32
    """By group of targets, in each scenario's frame [3, M, U, K]."""
    hosts: Block
    """HOST [S]."""
    goods: Block
    """PRODUCT [G], of those shown today; side by side, and few enough to stay in cache."""
    goods_content: Array32
    """[G, K]."""
    airings: Block
    """AIRING [E]."""
    content: Array32
    """Of the room in this slot [E, K]."""
    bonds: Bonds
    crowd: NDArray[np.float64]
    """Log audience of each streamer's room relative to the mean one [S]."""
    today: Sequence[Today]
    """What the calendar makes special about the day, likewise [1]."""


def scenario_maps(config: WorldConfig, axes: Array32) -> Array32:
    """Return the rotation of interests in each scenario [M, K, K]."""
    return np.stack([rotation(axes, s.scenario_shift) for s in config.scenarios])


@dataclass(frozen=True)
class Scene:
    """Everything that one day's responses depend on.

    Args:
        config: the world.
        population: who exists.
        on_air: which rooms there are.
        maps: rotation of interests in each scenario [M, K, K].
        today: what is special about the day.
        seed: the world's seed.
        fame_drift: how far each streamer's fame has drifted [S].
        interest_shift: what watching added to interests [U, K]; [U, 0] where nothing does.
        visitors: ids of the users who act, whose interests alone are known; None: everybody's.
    """

    config: WorldConfig
    population: Population
    on_air: DaySupply
    maps: Array32
    today: Today
    seed: int
    fame_drift: NDArray[np.float64]
    interest_shift: Array32
    visitors: NDArray[np.integer] | None = None

    @cached_property
    def interests(self) -> Array32:
        """Long-term interests by group of targets, in each scenario's frame [3, M, U, K]."""
        users, drift = self.population.users, self.config.drift
        angle = preference_angle(drift, self.on_air.day)
        who = np.arange(len(users)) if self.visitors is None else self.visitors
        # a table of zeros costs nothing where it is not written
        table = np.zeros((len(INTERESTS), len(self.maps), *users.attention.shape), np.float32)
        for kind, name in enumerate(INTERESTS):
            now = turned(getattr(users, name)[who], who, angle, self.seed, kind)
            if self.interest_shift.shape[1]:
                shift = self.interest_shift[who]
                # who watched nothing keeps his interests to the bit
                now = np.where(np.any(shift != 0, axis=1, keepdims=True), unit(now + shift), now)
            for scenario, turn in enumerate(self.maps):
                table[kind, scenario, who] = _turned(now, turn)
        return table

    @cached_property
    def _blocks(self) -> tuple[Block, Block, Block, Block]:
        users, streamers, on_air = self.population.users, self.population.streamers, self.on_air
        fame = streamers.fame + self.fame_drift
        return (
            block(USER, *(getattr(users, name) for name in USER.names or ())),
            block(HOST, streamers.quality, streamers.bait, fame, streamers.charm),
            self._goods(),
            block(AIRING, *(getattr(on_air, name) for name in AIRING.names or ())),
        )

    def _goods(self) -> Block:
        products, n = self.population.products, self.config.population.n_categories
        rows = self.on_air.goods
        taking_part = on_sale(self.config.calendar, n, self.seed)[products.category[rows]]
        off = np.float32(self.today.discount) * products.sale_depth[rows] * taking_part
        return block(
            PRODUCT, products.appeal[rows], products.log_price[rows] + np.log1p(-off),
            (products.price_cny[rows] * (1 - off)).round(2), taking_part,
        )  # fmt: skip

    @cached_property
    def _goods_content(self) -> Array32:
        return self.population.products.content[self.on_air.goods]

    def stage(self, laws: Laws, relations: Relations, crowd: NDArray[np.float64]) -> Stage:
        """Return the latent side of a tick.

        Args:
            laws: `sim.kernel.numbers` of the laws.
            relations: bonds at the start of the tick.
            crowd: log audience of each streamer's room relative to the mean one [S].
        """
        users, hosts, goods, airings = self._blocks
        return Stage(
            as_row(laws), users, self.interests, hosts, goods, self._goods_content,
            airings, self.on_air.content, relations.bonds(len(users)), crowd,
            as_row(numbers(self.today)),
        )  # fmt: skip


def _turned(vectors: Array32, turn: Array32) -> Array32:
    """Return vectors [U, K] in the frame of a scenario; most scenarios have the frame of all."""
    if np.array_equal(turn, np.eye(len(turn), dtype=np.float32)):
        return vectors
    return np.asarray(np.einsum("uk,kl->ul", vectors, turn), np.float32)


@kernel
def mix_interest(
    law: SessionConfig, long_term: Array32, refer_content: Array32, out: Array32
) -> None:
    """Mix long-term interest with the refer [K] into `out`: q = (1 - pull) z + pull r.

    pull = lambda w, w = sigma(gain (cosine(z, r) - threshold)): a refer that the user likes pulls,
    one that was entered for a title or a reward does not.
    """
    liking = 0.0
    for k in range(len(out)):
        liking += long_term[k] * refer_content[k]
    pull = law.refer_pull * sigmoid(law.refer_gain * (liking - law.refer_threshold))
    for k in range(len(out)):
        out[k] = (1.0 - pull) * long_term[k] + pull * refer_content[k]


@kernel
def attraction_of(
    stage: Stage,
    scenario: int,
    user_id: int,
    mood: float,
    interest: Array32,
    fatigue: Array32,
    airing: int,
    remaining_s: float,
    views: float,
    follows: bool,
) -> Attraction:
    """Return the inputs of click and stay of one user and airing.

    Args:
        stage: the tick.
        scenario: index into SCENARIOS.
        user_id: the user.
        mood: of the session, in logits.
        interest: momentary interest [K].
        fatigue: what was viewed in this session [K].
        airing: row of `stage.airings`.
        remaining_s: seconds until the room or the session ends.
        views: past effective views of the streamer.
        follows: whether the user follows the streamer.
    """
    affinity, likeness = 0.0, 0.0
    for k in range(len(interest)):
        affinity += interest[k] * stage.content[airing, k]
        likeness += fatigue[k] * stage.content[airing, k]
    on_air = stage.airings[airing]
    host = stage.hosts[on_air.streamer_id]
    return Attraction(
        scenario,
        affinity,
        stage.laws[0].session.satiation * max(likeness, 0.0),
        host.quality,
        host.bait,
        host.fame,
        on_air.highlight,
        stage.crowd[on_air.streamer_id],
        stage.users[user_id].bait_sensitivity,
        mood,
        views,
        follows,
        remaining_s,
    )


@kernel
def inclination_of(
    stage: Stage, scenario: int, user_id: int, mood: float, airing: int, follows: bool
) -> Inclination:
    """Return the inputs of the targets after the stay of one user and airing."""
    on_air, user = stage.airings[airing], stage.users[user_id]
    product, today, here = stage.goods[on_air.good], stage.today[0], stage.laws[0].layouts
    crowded = stage.laws[0].response.crowding * max(stage.crowd[on_air.streamer_id], 0.0)
    commerce_shift = here.commerce_shift[scenario] - crowded
    social, commerce = 0.0, 0.0
    for k in range(stage.content.shape[1]):
        social += stage.interests[SOCIAL, scenario, user_id, k] * stage.content[airing, k]
        commerce += (
            stage.interests[COMMERCE, scenario, user_id, k] * stage.goods_content[on_air.good, k]
        )
    return Inclination(
        social,
        commerce,
        stage.hosts[on_air.streamer_id].charm,
        product.appeal,
        product.log_price,
        user.sociability,
        user.intent,
        user.price_sensitivity * (today.thrift if product.on_sale > 0.0 else 1.0),
        mood,
        follows,
        here.social_shift[scenario] - crowded,
        commerce_shift + today.bag_shift * product.on_sale,
        commerce_shift + today.cart_shift * product.on_sale,
        commerce_shift + today.purchase_shift * product.on_sale,
    )


@kernel
def remaining_s_of(stage: Stage, airing: int, time_s: float, deadline_s: float) -> float:
    """Return the seconds until the room or the session ends."""
    return float(min(stage.airings[airing].end_s, deadline_s) - time_s)


@kernel
def moment_at(stage: Stage, airing: int, time_s: float) -> Moment:
    """Return what the delay of a purchase knows of the moment at which a room is shown."""
    on_air = stage.airings[airing]
    wait_s = next_sale_s(stage, on_air.good) - time_s
    return Moment(time_s, on_air.end_s - time_s, wait_s)


@kernel
def next_sale_s(stage: Stage, good: int) -> float:
    """Return when the next sale that a good takes part in begins; infinite if none comes."""
    return float(stage.today[0].next_sale_s) if stage.goods[good].on_sale > 0.0 else np.inf
