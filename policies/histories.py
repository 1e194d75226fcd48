"""Histories of users: sequences of streamers reached along followed, watched and bought.

Names of kinds as in the Taobao Live talk (2021), DMR 2.0: U user, F followed streamer, A watched
streamer, I product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.neighbours import Neighbours
from policies.recents import Recents, first_of_each
from sim.config import require, require_int
from sim.schema import Catalogue, Follows, Impressions, Ints, Purchases

KINDS = ("U2F", "U2A", "U2A2A", "U2I2A", "U2I2I2A")
"""Kinds of histories: followed; watched, which is engaged with; their neighbours; streamers of the
products clicked in the bag or bought; streamers of those products' neighbours."""

HOUR_S = 3_600.0
MAX_LENGTH = 1_000

_RECENTS = ("followed", "watched", "products")
_TABLES = ("streamer_neighbours", "product_neighbours")


@dataclass(frozen=True)
class HistoryConfig:
    """How much is remembered."""

    length: int
    """Streamers per kind and user, L; also the products remembered of a user."""
    neighbours: int
    """Neighbours kept per streamer and per product."""
    join_every_h: float
    """Hours between computations of the neighbours, counted from the beginning of time."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_int(self, "length", 1, MAX_LENGTH)
        require_int(self, "neighbours", 1, MAX_LENGTH)
        require(self, "join_every_h", 1e-2, 1e6)


class Histories:
    """The last streamers and products of every user and the neighbour tables made from them.

    Neighbours are as of the last multiple of `join_every_h`, so they do not depend on how the
    stream is cut. Memory: 12 L bytes per user, 8 N per streamer and product.

    Args:
        config: see `HistoryConfig`.

    Attributes:
        followed, watched, products: `Recents` of users.
        streamer_neighbours, product_neighbours: `Neighbours` by the users who watched both, and
            who clicked or bought both.
    """

    def __init__(self, config: HistoryConfig) -> None:
        """Start empty."""
        self.config = config
        self.followed = Recents(config.length)
        self.watched = Recents(config.length)
        self.products = Recents(config.length)
        self.streamer_neighbours = Neighbours.nothing(config.neighbours)
        self.product_neighbours = Neighbours.nothing(config.neighbours)
        self._joined_s = -np.inf

    def tell(self, follows: Follows) -> None:
        """Take in follows from before the stream begins; those of the stream come with it."""
        self.followed.add(follows.user_id, follows.streamer_id, follows.known_s)

    def add(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        """Take in what became known since the last call and until `now_s`, seconds."""
        period_s = self.config.join_every_h * HOUR_S
        due_s = float(np.floor(now_s / period_s)) * period_s
        if due_s > self._joined_s:
            seen, sold = impressions.known_s <= due_s, purchases.known_s <= due_s
            self._count(impressions.take(seen), purchases.take(sold))
            impressions, purchases = impressions.take(~seen), purchases.take(~sold)
            self.streamer_neighbours, self.product_neighbours = (
                Neighbours.of(recents.items, self.config.neighbours)
                for recents in (self.watched, self.products)
            )
            self._joined_s = due_s
        self._count(impressions, purchases)

    def of(self, user: Ints, catalogue: Catalogue) -> NDArray[np.int32]:
        """Return streamer ids int32 [B, K, L] of users [B] by KINDS, PAD where there are fewer.

        U2F, U2A and U2I2A have the latest first, the others the nearest first.
        """
        users, of = np.unique(user, return_inverse=True)
        length = self.config.length
        watched, products = self.watched.of(users), self.products.of(users)
        near = self.product_neighbours.join(products, length)
        kinds = (
            self.followed.of(users),
            watched,
            self.streamer_neighbours.join(watched, length),
            _owners(products, catalogue),
            _owners(near, catalogue),
        )
        return np.stack(kinds, axis=1)[of]

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return everything as plain arrays, from which `restore` goes on."""
        state: dict[str, NDArray[np.generic]] = {"histories_joined_s": np.array(self._joined_s)}
        for name in _RECENTS:
            state[f"histories_{name}"] = getattr(self, name).items
        for name in _TABLES:
            table: Neighbours = getattr(self, name)
            state[f"histories_{name}"] = table.item
            state[f"histories_{name}_likeness"] = table.likeness
        return state

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `state` returned."""
        self._joined_s = float(state["histories_joined_s"])
        for name in _RECENTS:
            getattr(self, name).restore(state[f"histories_{name}"])
        for name in _TABLES:
            item, likeness = state[f"histories_{name}"], state[f"histories_{name}_likeness"]
            table = Neighbours(np.array(item, np.int32), np.array(likeness, np.float32))
            setattr(self, name, table)

    def _count(self, impressions: Impressions, purchases: Purchases) -> None:
        for recents, which in (
            (self.followed, impressions.follow),
            (self.watched, impressions.engage),
        ):
            rows = impressions.take(which)
            recents.add(rows.user_id, rows.streamer_id, rows.known_s)
        clicked = impressions.take(impressions.bag_click)
        self.products.add(
            np.concatenate([clicked.user_id, purchases.user_id]),
            np.concatenate([clicked.product_id, purchases.product_id]),
            np.concatenate([clicked.known_s, purchases.known_s]),
        )


def _owners(products: NDArray[np.int32], catalogue: Catalogue) -> NDArray[np.int32]:
    """Return the different streamers of each row's products in their order, int32 [B, L]."""
    table = catalogue.product_streamer_id
    known = (products >= 0) & (products < len(table))
    row, place = np.nonzero(known)
    streamer = table[products[row, place]].astype(np.int64)
    born = streamer >= 0
    row, place, streamer = row[born], place[born], streamer[born]
    _, first = np.unique(row * (int(streamer.max(initial=0)) + 1) + streamer, return_index=True)
    first.sort()  # rows and places ascend, so the first of each streamer is its earliest place
    return first_of_each(row[first], streamer[first], *products.shape)
