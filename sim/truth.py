"""What only a simulator knows: the probability of every target for every candidate.

Handed to privileged rankers and written to files apart from the observed log; no other policy
ever receives an object of this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.config import Objective
from sim.relations import Relations
from sim.response import Attraction, Inclination, Response
from sim.scene import Minds, Scene
from sim.schema import SWIPE, TARGETS, WATCH_CAP_S, Requests, _Columns
from sim.watch import expected_watch_s

_BLOCK = 64
"""Requests per block: keeps the [B, C, K] intermediates inside the processor's cache."""


@dataclass(frozen=True)
class TruthRows(_Columns):
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
    """Ultimate, however long the delay."""
    p_purchase_given_bag: NDArray[np.float32]
    """Ultimate probability of a purchase given a bag click."""
    delay_live_share: NDArray[np.float32]
    """Parameters of `sim.delay.DelayLaw` for this user and product."""
    delay_scale_s: NDArray[np.float32]
    will_purchase: NDArray[np.bool_]
    purchase_delay_s: NDArray[np.float32]
    """Delay from the bag click's stay to the purchase, NaN where none will happen."""
    amount_cny: NDArray[np.float32]
    """Price of the product on show."""


def target_probabilities(
    response: Response, attraction: Attraction, inclination: Inclination
) -> dict[str, NDArray[np.floating]]:
    """Return unconditional P(target | shown and examined) for every target.

    Args:
        response: the laws.
        attraction: inputs of click and stay, any common shape.
        inclination: inputs of the later targets, the same shape.
    """
    p_enter = response.p_click(attraction)
    satisfaction = response.satisfaction(attraction)
    p_engaged = response.p_engaged(attraction, satisfaction)
    classes = response.stay(attraction)
    cut_s = np.clip(attraction.remaining_s, 0.0, WATCH_CAP_S)
    watched_s = expected_watch_s(response.config.watch, p_engaged, satisfaction, cut_s)
    p_view = p_enter * (1 - classes[0])
    p = {
        "engage": np.where(attraction.scenario == SWIPE, p_view, p_enter),
        "watch": p_enter * watched_s / WATCH_CAP_S,
    }
    for name in ("like", "comment", "follow", "bag_click"):
        p[name] = p_enter * response.after_stay(name, inclination, classes)
    p["cart"] = p["bag_click"] * response.p_cart(inclination)
    p["purchase"] = p["cart"] * response.p_purchase(inclination)
    return p


class RequestTruth:
    """The truth about one batch of requests, at the moment they are served.

    Args:
        scene: the day.
        response: the laws of the world.
        objective: what an impression is worth.
        requests: the batch.
        minds: the users' latent state, in the same order.
        relations: bonds at the start of the tick.
    """

    def __init__(
        self,
        scene: Scene,
        response: Response,
        objective: Objective,
        requests: Requests,
        minds: Minds,
        relations: Relations,
    ) -> None:
        self.scene = scene
        self.response = response
        self.objective = objective
        self.requests = requests
        self.minds = minds
        self.relations = relations

    def probabilities(self) -> dict[str, NDArray[np.float64]]:
        """Return {target: P(target | shown at the top) [B, C]}, 0 in padded cells."""
        shape = self.requests.mask.shape
        whole = {name: np.zeros(shape) for name in TARGETS}
        for rows, block in self._blocks():
            valid = self.requests.supply.valid[self.requests.row[rows]]
            for name, p in block.items():
                whole[name][rows] = np.where(valid, p, 0.0)
        return whole

    def value(self) -> NDArray[np.float64]:
        """Return the expected objective of showing each candidate [B, C], 0 in padded cells."""
        total = np.zeros(self.requests.mask.shape)
        weights = self.objective.weights()
        for rows, block in self._blocks():
            valid = self.requests.supply.valid[self.requests.row[rows]]
            worth = sum(weights[name] * p for name, p in block.items())
            total[rows] = np.where(valid, worth, 0.0)
        return total

    def _blocks(self) -> Iterator[tuple[slice, dict[str, NDArray[np.floating]]]]:
        for rows in self.requests.blocks(_BLOCK):
            part, minds = self.requests.take(rows), self.minds.take(rows)
            pairs = self.scene.candidates(part, minds, self.relations)
            yield rows, target_probabilities(self.response, *pairs)


def at_position(
    p: dict[str, NDArray[np.floating]], examined: NDArray[np.floating]
) -> dict[str, NDArray[np.float32]]:
    """Scale probabilities [N] by the probability that the position is examined [N]."""
    return {name: (v * examined).astype(np.float32) for name, v in p.items()}
