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

_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], np.uint64)
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
    shape = np.broadcast_shapes(*(np.shape(c) for c in counter))
    # rows (x0, x2) and (x1, x3): one call acts on both halves of a round
    left, right = np.empty((2, *shape), np.uint64), np.empty((2, *shape), np.uint64)
    left[0], right[0], left[1], right[1] = counter
    pair = (2,) + (1,) * len(shape)
    multiplier = _MULTIPLIERS.reshape(pair)
    product = np.empty_like(left)
    weyl = np.arange(_ROUNDS, dtype=np.uint64)[:, None] * _WEYL
    for round_key in (np.array(key, np.uint64) + weyl) & _LOW:
        np.multiply(left, multiplier, out=product)
        # x0' = hi(p2) ^ x1 ^ k0, x2' = hi(p0) ^ x3 ^ k1, x1' = lo(p2), x3' = lo(p0)
        np.right_shift(product[::-1], _SHIFT, out=left)
        left ^= right
        left ^= round_key.reshape(pair)
        np.bitwise_and(product[::-1], _LOW, out=right)
    words = np.empty((4, *shape), np.uint32)
    words[::2], words[1::2] = left, right
    return words


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
