"""Counter-addressed randomness: every draw is a pure function of (seed, purpose, address).

Philox4x32-10 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
maps a 128-bit counter and a 64-bit key to four 32-bit words. The key is (seed, purpose) and the
counter is the address of the draw, four words such as (user, streamer, moment, kind of event). So a
draw depends neither on batch size, nor on order, nor on what a policy did before: two policies in
the same world meet common random numbers, and shards reproduce slices of the whole.

Only uniforms leave this module; all laws use inverse distribution functions, one uniform a draw.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = 0x9E3779B9
_WEYL_1 = 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_ROUNDS = 10

NOBODY = 0xFFFFFFFF
"""Stands in an address for 'no streamer' or 'no user'."""

MAX_SEED = 2**32 - 1


class Purpose(IntEnum):
    """What a draw is for; each purpose is a stream of its own."""

    GEOMETRY = 1
    USER = 2
    STREAMER = 3
    PRODUCT = 4
    SCHEDULE = 5
    ARRIVAL = 6
    SESSION = 7
    OUTCOME = 8
    RANKING = 9
    CALIBRATION = 10


def philox4x32(
    counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike], key: tuple[int, int]
) -> NDArray[np.uint32]:
    """Apply Philox4x32-10 to broadcast counters.

    Args:
        counter: four integer arrays in [0, 2**32), broadcast to a common shape.
        key: two integers in [0, 2**32).

    Returns:
        Words, uint32 [4, *shape].

    Source: Salmon et al., SC 2011, section 4.3; known-answer vectors of Random123.
    """
    words = np.broadcast_arrays(*(np.asarray(c, dtype=np.uint64) for c in counter))
    x0, x1, x2, x3 = (w.copy() for w in words)
    product_0, product_1 = np.empty_like(x0), np.empty_like(x0)
    key_0, key_1 = key
    for _ in range(_ROUNDS):
        np.multiply(x0, _MULTIPLIER_0, out=product_0)
        np.multiply(x2, _MULTIPLIER_1, out=product_1)
        # x0' = hi(p1) ^ x1 ^ k0, x1' = lo(p1), x2' = hi(p0) ^ x3 ^ k1, x3' = lo(p0)
        np.right_shift(product_1, _SHIFT, out=x0)
        x0 ^= x1
        x0 ^= np.uint64(key_0)
        np.bitwise_and(product_1, _LOW, out=x1)
        np.right_shift(product_0, _SHIFT, out=x2)
        x2 ^= x3
        x2 ^= np.uint64(key_1)
        np.bitwise_and(product_0, _LOW, out=x3)
        key_0 = (key_0 + _WEYL_0) & 0xFFFFFFFF
        key_1 = (key_1 + _WEYL_1) & 0xFFFFFFFF
    return np.stack([x0, x1, x2, x3]).astype(np.uint32)


def uniforms(
    seed: int, purpose: Purpose, a: ArrayLike, b: ArrayLike = 0, c: ArrayLike = 0, d: ArrayLike = 0
) -> NDArray[np.float64]:
    """Draw four uniforms for each address (a, b, c, d).

    Args:
        seed: the world's seed, in [0, MAX_SEED].
        purpose: the stream.
        a: first word of the address, integers in [0, 2**32); `b`, `c`, `d` likewise, broadcast.
        b: second word.
        c: third word.
        d: fourth word.

    Returns:
        Uniforms in the open interval (0, 1), float64 [4, *shape], resolution 2**-32.
    """
    words = philox4x32((a, b, c, d), (seed & 0xFFFFFFFF, int(purpose)))
    return (words.astype(np.float64) + 0.5) * 2.0**-32
