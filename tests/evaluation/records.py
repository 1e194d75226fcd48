"""Hand-made records for tests that need no world."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from sim.schema import Catalogue, Impressions, Purchases, Requests, Supply

_TYPES = {f.name: str(f.type).partition("np.")[2].rstrip("]") for f in fields(Impressions)}
_DEFAULTS = {"purchase_s": np.nan, "propensity": 1.0, "refer_id": -1}


def impressions(n: int, **columns: NDArray[np.generic] | list[float]) -> Impressions:
    """Return N impressions; columns not given are 0, row i is request i at i seconds."""
    given = {"request_id": np.arange(n), "time_s": np.arange(n), "known_s": np.arange(n), **columns}
    return Impressions(
        **{
            name: np.broadcast_to(given.get(name, _DEFAULTS.get(name, 0)), (n,)).astype(
                np.bool_ if kind == "bool_" else kind
            )
            for name, kind in _TYPES.items()
        }
    )


def purchases_of(shown: Impressions, rows: list[int], amount_cny: list[float]) -> Purchases:
    """Return one purchase per row of `shown`, ten seconds after the impression."""
    return Purchases(
        event_s=shown.time_s[rows] + 10.0,
        known_s=shown.time_s[rows] + 10.0,
        impression_s=shown.time_s[rows],
        request_id=shown.request_id[rows],
        user_id=shown.user_id[rows],
        streamer_id=shown.streamer_id[rows],
        product_id=shown.product_id[rows],
        scenario=shown.scenario[rows],
        ordinal=np.zeros(len(rows), np.int8),
        amount_cny=np.array(amount_cny, dtype=np.float32),
    )


def requests(
    first: Impressions, candidate_id: NDArray[np.int32], mask: NDArray[np.bool_] | None = None
) -> Requests:
    """Return one request per row of `first` with its own candidates [B, C]; nine users and
    twelve streamers exist."""
    none = np.zeros(0)
    catalogue = Catalogue(*(np.zeros(9, np.int8),) * 5, *(np.zeros(12, np.int8),) * 4, *(none,) * 4)  # type: ignore[arg-type]
    shape = candidate_id.shape
    return Requests(
        request_id=first.request_id,
        session_id=first.session_id,
        user_id=first.user_id,
        scenario=first.scenario,
        entry=first.entry,
        time_s=first.time_s,
        session_start_s=first.session_start_s,
        step=first.step,
        refer_id=first.refer_id,
        refer_watch_s=first.refer_watch_s,
        mask=np.ones(shape, np.bool_) if mask is None else mask,
        row=np.arange(len(first), dtype=np.int32),
        supply=Supply(candidate_id, candidate_id, candidate_id.astype(np.int64), np.zeros(shape)),
        catalogue=catalogue,
    )
