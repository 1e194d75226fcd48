"""Hand-made impressions and purchases for tests that need no world."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from sim.schema import Impressions, Purchases

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
        impression_s=shown.time_s[rows],
        request_id=shown.request_id[rows],
        user_id=shown.user_id[rows],
        streamer_id=shown.streamer_id[rows],
        product_id=shown.product_id[rows],
        scenario=shown.scenario[rows],
        amount_cny=np.array(amount_cny, dtype=np.float32),
    )
