"""Scoring: each side of a network once, then small products over the candidates that count.

Request vectors are computed once per request; streamer vectors once per (supply row, scenario),
kept until the store learns something new; only pair columns and the upper layers run per
candidate, in blocks that stay in cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policies.columns import RequestTensors, SideTensors, tensors
from policies.features import FeatureStore
from policies.listings import Listings
from policies.memory import plus_one
from sim.schema import Requests

BLOCK_PAIRS = 4096
"""Candidates scored at once: the activations of a block fit the second-level cache."""


class TwoSided(Protocol):
    """A network that reads the request and the streamer separately before it joins them."""

    def request_side(self, request: RequestTensors) -> Tensor:
        """Return request vectors [B, R]."""

    def streamer_side(self, streamer: SideTensors) -> Tensor:
        """Return room vectors [N, S]."""

    def join(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return logits [N, T] from request vectors [N, R], room vectors [N, S] and pairs [N, P].

        `position` int32 [N], None for the top of the slate. Without gradients `request` may be
        overwritten.
        """


class Scorer:
    """Scores requests with a network and a store.

    Args:
        network: in evaluation mode.
        store: what is known; its `version` tells when cached vectors are stale.
    """

    def __init__(self, network: TwoSided, store: FeatureStore) -> None:
        """Start with nothing cached."""
        self.network = network
        self.store = store
        self._key: tuple[int, int, int, int] | None = None
        self._listings: Listings | None = None
        self._vectors = torch.zeros(0, 0)
        self._category: NDArray[np.int32] = np.zeros(0, np.int32)

    def blocks(
        self, requests: Requests, position: NDArray[np.int32] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield (cells, logits): unmasked places in the flattened [B, C], and [n, T].

        Args:
            requests: B requests.
            position: int32 [B, C], where in the slate each candidate is shown; None: at the top.
        """
        cells = np.flatnonzero(requests.mask)
        if len(cells) == 0:
            return
        with torch.inference_mode():
            listings, listing = self.lists(requests)
            request = self.requests(requests)
            width = listings.width
            of = cells // width
            room = listing[of] * width + cells % width
            pair = torch.from_numpy(
                self.store.pair(requests, cells, self._category[room], listings)
            )
            of_rows, room_rows = torch.from_numpy(of), torch.from_numpy(room)
            place = None if position is None else position.reshape(-1)[cells]
            for lo in range(0, len(cells), BLOCK_PAIRS):
                part = slice(lo, lo + BLOCK_PAIRS)
                logits = self.network.join(
                    request.index_select(0, of_rows[part]),
                    self._vectors.index_select(0, room_rows[part]),
                    pair[part],
                    None if place is None else torch.from_numpy(place[part]),
                )
                yield cells[part], logits.numpy()

    def requests(self, requests: Requests) -> Tensor:
        """Return request vectors [B, R]."""
        self.store.refresh(requests.catalogue)
        columns = RequestTensors.of(self.store, requests)
        with torch.inference_mode():
            return self.network.request_side(columns)

    def rooms(self, requests: Requests) -> Tensor:
        """Return room vectors [B, C, S] of every candidate."""
        listings, listing = self.lists(requests)
        with torch.inference_mode():
            table = self._vectors.view(len(listings), listings.width, self._vectors.shape[1])
            return table[torch.from_numpy(listing)]

    def lists(self, requests: Requests) -> tuple[Listings, NDArray[np.int64]]:
        """Return the listings and each request's [B], with their vectors computed."""
        catalogue, store = requests.catalogue, self.store
        store.refresh(catalogue)
        width = requests.supply.streamer_id.shape[1]
        key = (store.version, catalogue.n_streamers, catalogue.n_products, width)
        listings = self._listings
        if listings is None or key != self._key:
            listings = self._listings = Listings(requests.supply)
            self._key = key
            self._vectors = torch.zeros(0, 0)
            self._category = np.zeros(0, np.int32)
        done = len(listings)
        listing, rows, scenario = listings.index(requests)
        if len(rows):
            supply = requests.supply
            ids = supply.streamer_id[rows].reshape(-1)
            side = store.streamer(
                catalogue,
                ids,
                supply.product_id[rows].reshape(-1),
                supply.room_start_s[rows].reshape(-1),
                np.repeat(scenario, width),
            )
            with torch.inference_mode():
                fresh = self.network.streamer_side(tensors(side))
                self._vectors = torch.cat([self._vectors, fresh]) if done else fresh
            category = plus_one(catalogue.streamer_category, ids)
            self._category = np.concatenate([self._category, category])
        return listings, listing
