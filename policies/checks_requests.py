"""Requests that ask for care: own lists, padded columns, emptied cells, newcomers."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.schema import PAD, UNBORN, Catalogue, Requests, Supply


def spread(requests: Requests) -> Requests:
    """Return the same requests with a supply row for each, so that single cells can be altered."""
    n_requests, n_candidates = requests.mask.shape
    return requests.reorder(np.broadcast_to(np.arange(n_candidates), (n_requests, n_candidates)))


def with_padding(requests: Requests, n: int) -> Requests:
    """Return the same requests with `n` more columns that hold no candidate."""

    def widen(table: NDArray[Any]) -> NDArray[Any]:
        return np.pad(table, ((0, 0), (0, n)), constant_values=PAD)

    supply = Supply(**{f.name: widen(getattr(requests.supply, f.name)) for f in fields(Supply)})
    mask = np.pad(requests.mask, ((0, 0), (0, n)), constant_values=False)
    return replace(requests, supply=supply, mask=mask)


def without_masked(requests: Requests) -> Requests:
    """Return the same requests with masked cells emptied, as if nobody were on air there."""
    own = spread(requests)
    supply = Supply(
        **{
            f.name: np.where(own.mask, getattr(own.supply, f.name), PAD).astype(
                getattr(own.supply, f.name).dtype
            )
            for f in fields(Supply)
        }
    )
    return replace(own, supply=supply)


def with_newcomers(requests: Requests) -> Requests:
    """Return the requests as made by new users, with a new streamer and product in every slate.

    The first unmasked candidate of each request and every refer become new; the catalogue grows
    by one entity of each kind per request.
    """
    own, n = spread(requests), len(requests)
    known, new = own.catalogue, np.arange(n)
    models = {
        kind: np.flatnonzero(getattr(known, f"{kind}_joined_day") != UNBORN)
        for kind in ("user", "streamer", "product")
    }

    def grown(name: str) -> NDArray[Any]:
        table, like = getattr(known, name), models[name.split("_")[0]]
        return np.concatenate([table, table[like[new % len(like)]]])

    catalogue = Catalogue(**{f.name: grown(f.name) for f in fields(Catalogue)})
    streamer = (known.n_streamers + new).astype(np.int32)
    product = (known.n_products + new).astype(np.int32)
    owner = catalogue.product_streamer_id.copy()
    owner[product] = streamer
    column = own.mask.argmax(axis=1)
    tables = {f.name: getattr(own.supply, f.name).copy() for f in fields(Supply)}
    tables["streamer_id"][new, column] = streamer
    tables["product_id"][new, column] = product
    tables["room_id"][new, column] = int(own.supply.room_id.max(initial=0)) + 1 + new
    return replace(
        own,
        user_id=(known.n_users + new).astype(np.int32),
        refer_id=np.where(own.refer_id == PAD, PAD, streamer[::-1]).astype(np.int32),
        supply=Supply(**tables),
        catalogue=replace(catalogue, product_streamer_id=owner),
    )
