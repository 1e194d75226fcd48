"""Events after a stay that the platform logs and hands to no ranker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.columns import Columns

PAGES = ("product", "cart")
"""Where a user may come back to; the position is the int8 code used in arrays."""

PRODUCT_PAGE, CART_PAGE = 0, 1


@dataclass(frozen=True)
class Revisits(Columns):
    """One row per visit to the page of a product or the cart after a stay, arrays [N]."""

    known_s: NDArray[np.float64]
    """Moment of the visit; the platform sees it at once."""
    request_id: NDArray[np.int64]
    """With the streamer it names the impression whose stay it follows."""
    user_id: NDArray[np.int32]
    streamer_id: NDArray[np.int32]
    product_id: NDArray[np.int32]
    scenario: NDArray[np.int8]
    """Of the impression."""
    page: NDArray[np.int8]
    """Index into PAGES."""
