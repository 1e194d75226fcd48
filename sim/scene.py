"""A day of the world as its laws see it: latent people, rooms on air, momentary minds.

`Scene` joins users, airings and relations into the inputs of the response laws, for pairs that
were shown [N] and for all candidates [B, C] alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sim.config import WorldConfig
from sim.population import INTERESTS, Population, rotation
from sim.relations import Relations
from sim.response import Attraction, Inclination, Response
from sim.schedule import SLOT_S, DaySupply
from sim.schema import SCENARIOS, Requests, _Columns

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Minds(_Columns):
    """Latent state of users at a moment of their session, arrays [B] or [B, K]."""

    user_id: NDArray[np.int32]
    scenario: NDArray[np.int8]
    mood: NDArray[np.float32]
    interest: NDArray[np.float32]
    """Momentary interest: long-term interest mixed with the refer [B, K]."""
    fatigue: NDArray[np.float32]
    """Sum of the contents viewed in this session, fading [B, K]."""
    deadline_s: NDArray[np.float64]


def scenario_maps(config: WorldConfig, axes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rotation of interests in each scenario [M, K, K]."""
    return np.stack([rotation(axes, s.scenario_shift) for s in config.scenarios])


@dataclass(frozen=True)
class Scene:
    """Everything that one day's responses depend on."""

    config: WorldConfig
    population: Population
    on_air: DaySupply
    maps: NDArray[np.float32]

    @cached_property
    def interests(self) -> dict[str, NDArray[np.float32]]:
        """Long-term interests in each scenario's frame, by group: [M, U, K]."""
        users = self.population.users
        return {
            name: np.stack(
                [np.einsum("uk,kl->ul", getattr(users, name), turn) for turn in self.maps]
            )
            for name in INTERESTS
        }

    def momentary_interest(
        self, long_term: NDArray[np.float32], refer_content: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Mix long-term interest with the refer: q = (1 - pull) z + pull r, pull = lambda w.

        w = sigma(gain (cosine(z, r) - threshold)): a refer that the user likes pulls, one that
        was entered for a title or a reward does not.
        """
        s = self.config.session
        liking = np.einsum("bk,bk->b", long_term, refer_content)
        w = 1.0 / (1.0 + np.exp(-s.refer_gain * (liking - s.refer_threshold)))
        pull = (s.refer_pull * w).astype(np.float32)[:, None]
        return np.asarray((1 - pull) * long_term + pull * refer_content, np.float32)

    def attraction(
        self,
        minds: Minds,
        airing: NDArray[np.int32],
        time_s: NDArray[np.float64],
        views: NDArray[np.float32],
        follows: NDArray[np.bool_],
    ) -> Attraction:
        """Return the inputs of click and stay for airings [B] or [B, C]."""
        wide = (slice(None),) + (None,) * (airing.ndim - 1)
        users, streamers = self.population.users, self.population.streamers
        content = self.on_air.content[airing]
        who = self.on_air.streamer_id[airing]
        end_s = np.minimum(self.on_air.end_s[airing], minds.deadline_s[wide])
        fatigue = np.einsum("...k,...k->...", minds.fatigue[wide], content)
        return Attraction(
            scenario=minds.scenario[wide],
            affinity=np.einsum("...k,...k->...", minds.interest[wide], content),
            satiation=np.float32(self.config.session.satiation)
            * np.maximum(fatigue, np.float32(0)),
            quality=streamers.quality[who],
            bait=streamers.bait[who],
            fame=streamers.fame[who],
            bait_sensitivity=users.bait_sensitivity[minds.user_id][wide],
            mood=minds.mood[wide],
            views=views,
            follows=follows,
            remaining_s=(end_s - time_s[wide]).astype(np.float32),
        )

    def inclination(
        self, minds: Minds, airing: NDArray[np.int32], follows: NDArray[np.bool_]
    ) -> Inclination:
        """Return the inputs of the targets after the stay for airings [B] or [B, C]."""
        wide = (slice(None),) + (None,) * (airing.ndim - 1)
        users, products = self.population.users, self.population.products
        who, product = self.on_air.streamer_id[airing], self.on_air.product_id[airing]
        social = self.interests["social"][minds.scenario, minds.user_id]
        commerce = self.interests["commerce"][minds.scenario, minds.user_id]
        return Inclination(
            social=np.einsum("...k,...k->...", social[wide], self.on_air.content[airing]),
            commerce=np.einsum("...k,...k->...", commerce[wide], products.content[product]),
            charm=self.population.streamers.charm[who],
            appeal=products.appeal[product],
            log_price=products.log_price[product],
            sociability=users.sociability[minds.user_id][wide],
            intent=users.intent[minds.user_id][wide],
            price_sensitivity=users.price_sensitivity[minds.user_id][wide],
            mood=minds.mood[wide],
            follows=follows,
        )

    def candidates(
        self, requests: Requests, minds: Minds, relations: Relations
    ) -> tuple[Attraction, Inclination]:
        """Return the inputs of all laws for every candidate [B, C]; padded cells are arbitrary."""
        airing = np.maximum(self.on_air.cell[requests.row], 0)
        views, follows = relations.among_candidates(requests)
        return (
            self.attraction(minds, airing, requests.time_s, views, follows),
            self.inclination(minds, airing, follows),
        )


def reference_response(scene: Scene, user_u: Array, airing_u: Array, mood: Array) -> Response:
    """Solve the response laws over random pairs of users and evening airings.

    Args:
        scene: the first day.
        user_u: uniforms [N] that pick users.
        airing_u: uniforms [N] that pick airings of each scenario.
        mood: session moods [N].
    """
    n_users = len(scene.population.users)
    user_id = np.minimum((user_u * n_users).astype(np.int32), n_users - 1)
    attraction: list[Attraction] = []
    for m in range(len(SCENARIOS)):
        pool = np.flatnonzero(scene.on_air.in_scenario[:, m])
        airing = pool[np.minimum((airing_u * len(pool)).astype(np.int64), len(pool) - 1)]
        scenario = np.full(len(user_id), m, np.int8)
        minds = Minds(
            user_id=user_id,
            scenario=scenario,
            mood=mood.astype(np.float32),
            interest=scene.interests["attention"][scenario, user_id],
            fatigue=np.zeros((len(user_id), scene.maps.shape[1]), np.float32),
            deadline_s=np.full(len(user_id), np.inf),
        )
        stranger = np.zeros(len(user_id), np.float32)
        nobody = np.zeros(len(user_id), np.bool_)
        time_s = scene.on_air.slot[airing].astype(np.float64) * SLOT_S
        attraction.append(
            scene.attraction(minds, airing.astype(np.int32), time_s, stranger, nobody)
        )
        inclination = scene.inclination(minds, airing.astype(np.int32), nobody)
    return Response(scene.config, attraction, inclination)
