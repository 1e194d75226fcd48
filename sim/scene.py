"""A day of the world as its laws see it: latent people, rooms on air, momentary minds.

`Stage` holds the latent arrays in the form in which compiled code takes them; `attraction_of` and
`inclination_of` join them into the inputs of the response laws for one pair, whether the room was
shown or is a candidate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.config import WorldConfig
from sim.kernel import Block, block, kernel
from sim.normal import sigmoid
from sim.parameters import SessionConfig
from sim.population import INTERESTS, Population, rotation
from sim.relations import Bonds, Relations
from sim.response import Attraction, Inclination, Laws
from sim.schedule import DaySupply
from sim.schema import _Columns

Array32 = NDArray[np.float32]


@dataclass(frozen=True)
class Minds(_Columns):
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

PRODUCT = np.dtype([(name, np.float64) for name in ("appeal", "log_price", "price_cny")])
"""Traits of a product."""

AIRING = np.dtype([("streamer_id", np.int64), ("product_id", np.int64), ("end_s", np.float64)])
"""A streamer on air in a slot."""

ATTENTION, SOCIAL, COMMERCE = range(len(INTERESTS))


class Stage(NamedTuple):
    """Everything latent that a tick's responses depend on, as compiled code takes it."""

    laws: Laws
    """`sim.kernel.numbers` of the laws."""
    users: Block
    """USER [U]."""
    interests: Array32
    """By group of targets, in each scenario's frame [3, M, U, K]."""
    hosts: Block
    """HOST [S]."""
    goods: Block
    """PRODUCT [P]."""
    goods_content: Array32
    """[P, K]."""
    airings: Block
    """AIRING [E]."""
    content: Array32
    """Of the room in this slot [E, K]."""
    bonds: Bonds


def scenario_maps(config: WorldConfig, axes: Array32) -> Array32:
    """Return the rotation of interests in each scenario [M, K, K]."""
    return np.stack([rotation(axes, s.scenario_shift) for s in config.scenarios])


@dataclass(frozen=True)
class Scene:
    """Everything that one day's responses depend on."""

    config: WorldConfig
    population: Population
    on_air: DaySupply
    maps: Array32

    @cached_property
    def interests(self) -> Array32:
        """Long-term interests by group of targets, in each scenario's frame [3, M, U, K]."""
        users = self.population.users
        return np.stack(
            [
                np.stack([_turned(getattr(users, name), turn) for turn in self.maps])
                for name in INTERESTS
            ]
        )

    @cached_property
    def _blocks(self) -> tuple[Block, Block, Block, Block]:
        users, streamers, products = (
            self.population.users, self.population.streamers, self.population.products
        )  # fmt: skip
        on_air = self.on_air
        return (
            block(USER, *(getattr(users, name) for name in USER.names or ())),
            block(HOST, *(getattr(streamers, name) for name in HOST.names or ())),
            block(PRODUCT, *(getattr(products, name) for name in PRODUCT.names or ())),
            block(AIRING, on_air.streamer_id, on_air.product_id, on_air.end_s),
        )

    def stage(self, laws: Laws, relations: Relations) -> Stage:
        """Return the latent side of a tick.

        Args:
            laws: `sim.kernel.numbers` of the laws.
            relations: bonds at the start of the tick.
        """
        users, hosts, goods, airings = self._blocks
        return Stage(
            laws, users, self.interests, hosts, goods, self.population.products.content,
            airings, self.on_air.content, relations.bonds(len(users)),
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
    host = stage.hosts[stage.airings[airing].streamer_id]
    return Attraction(
        scenario,
        affinity,
        stage.laws.session.satiation * max(likeness, 0.0),
        host.quality,
        host.bait,
        host.fame,
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
    product = stage.goods[on_air.product_id]
    social, commerce = 0.0, 0.0
    for k in range(stage.content.shape[1]):
        social += stage.interests[SOCIAL, scenario, user_id, k] * stage.content[airing, k]
        commerce += (
            stage.interests[COMMERCE, scenario, user_id, k]
            * stage.goods_content[on_air.product_id, k]
        )
    return Inclination(
        social,
        commerce,
        stage.hosts[on_air.streamer_id].charm,
        product.appeal,
        product.log_price,
        user.sociability,
        user.intent,
        user.price_sensitivity,
        mood,
        follows,
    )


@kernel
def remaining_s_of(stage: Stage, airing: int, time_s: float, deadline_s: float) -> float:
    """Return the seconds until the room or the session ends."""
    return float(min(stage.airings[airing].end_s, deadline_s) - time_s)
