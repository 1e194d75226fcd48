"""Identities: which id a user, streamer or product is given, in the order of their births.

Ids are small integers, so that arrays can be indexed by them; they are drawn beforehand for all who
will ever be born while the world can run. A shuffled id tells neither when its bearer was born nor
what it is: hashing tricks that look good on consecutive ids gain nothing here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.rng import Purpose, uniforms

USERS, STREAMERS, PRODUCTS = range(3)
"""Kinds of entities, each with ids of its own from 0."""


def ids_of(
    scheme: str, kind: int, n: int, seed: int, category: NDArray[np.integer] | None = None
) -> NDArray[np.int64]:
    """Return the id of each birth, a permutation of 0 .. n - 1.

    Args:
        scheme: one of `sim.parameters.ID_SCHEMES`.
        kind: of the entity.
        n: births while the world can run.
        seed: the world's seed.
        category: of each birth [n], by which `by_category` sorts; None where there is none.
    """
    if scheme == "sequential":
        return np.arange(n)
    shuffle = uniforms(seed, Purpose.IDS, np.arange(n), kind)[0]
    keys = (shuffle,) if scheme == "shuffled" or category is None else (shuffle, category)
    ids = np.empty(n, np.int64)
    ids[np.lexsort(keys)] = np.arange(n)
    return ids
