"""Shelves: which products a streamer sells, place by place and day by day.

A place of a shelf holds one product after another; each is new, with an id of its own, when it
replaces the last. The rate of replacement holds the number of products on sale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.change import TurnoverConfig
from sim.ids import PRODUCTS, ids_of
from sim.kernel import kernel
from sim.parameters import PopulationConfig
from sim.rng import Purpose, uniforms


@dataclass(frozen=True)
class Shelves:
    """Goods of all streamers; S streamers by id, J places, G products of a place in turn."""

    product_id: NDArray[np.int64]
    """[S, J, G]."""
    first_day: NDArray[np.int32]
    """Day on which a product is put out [S, J, G]."""
    owner: NDArray[np.int32]
    """Streamer who sells a product [P]."""
    joined_day: NDArray[np.int32]
    """The same day by product [P]."""

    @classmethod
    def of(
        cls,
        config: PopulationConfig,
        turnover: TurnoverConfig,
        streamer_ids: NDArray[np.int64],
        category: NDArray[np.int64],
        joined_day: NDArray[np.int32],
        seed: int,
    ) -> Shelves:
        """Plan the shelves of all streamers who will ever be born.

        Args:
            config: sizes and ids.
            turnover: how fast products are replaced.
            streamer_ids: of each birth [S].
            category: of each birth [S].
            joined_day: of each birth [S].
            seed: the world's seed.
        """
        n, places, rate = len(streamer_ids), config.products_per_streamer, turnover.products_per_day
        turns = 1 + int(np.ceil(rate * config.id_days))
        place = np.arange(n * places).reshape(n, places, 1)
        phase = uniforms(seed, Purpose.PRODUCT, place, 0, 0, 2)[0]
        turn = np.arange(turns)
        wait = np.ceil((turn - phase) / rate) if rate > 0 else np.zeros((n, places, turns))
        first = joined_day[:, None, None] + np.where(turn == 0, 0, np.maximum(wait, 1))
        first_day = first.astype(np.int32)
        in_order = np.argsort(first_day.reshape(-1), kind="stable")
        seller = in_order // (places * turns)
        ids = ids_of(config.id_scheme, PRODUCTS, len(in_order), seed, category[seller])
        owner, joined = np.empty(len(ids), np.int32), np.empty(len(ids), np.int32)
        owner[ids], joined[ids] = streamer_ids[seller], first_day.reshape(-1)[in_order]
        product_id = np.empty(len(ids), np.int64)
        product_id[in_order] = ids
        by_id = np.argsort(streamer_ids)
        table = product_id.reshape(n, places, turns)
        return cls(table[by_id], first_day[by_id], owner, joined)

    @property
    def n_products(self) -> int:
        """Ids of products."""
        return len(self.owner)

    def put_out(self, after_day: int, day: int) -> NDArray[np.int64]:
        """Return the products [N] put out later than `after_day`, up to and including `day`."""
        fresh = (self.first_day > after_day) & (self.first_day <= day)
        return self.product_id[fresh]

    def at(
        self, streamer_id: NDArray[np.integer], place: NDArray[np.integer], day: NDArray[np.integer]
    ) -> NDArray[np.int64]:
        """Return the product [N] that lies at a place of a shelf on a day; arguments are [N]."""
        product_id = np.empty(len(streamer_id), np.int64)
        _fill_at(self.product_id, self.first_day, streamer_id, place, day, product_id)
        return product_id


@kernel
def _fill_at(
    product_id: NDArray[np.int64],
    first_day: NDArray[np.int32],
    streamer_id: NDArray[np.integer],
    place: NDArray[np.integer],
    day: NDArray[np.integer],
    out: NDArray[np.int64],
) -> None:
    """Fill in the last product [N] of a place that was put out by a day; see `Shelves`."""
    for i in range(len(out)):
        s, j, turn = streamer_id[i], place[i], 0
        for g in range(first_day.shape[2]):
            turn += first_day[s, j, g] <= day[i]
        out[i] = product_id[s, j, max(turn - 1, 0)]
