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

from sim.kernel import kernel

_LOW = 0xFFFFFFFF
_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_MASK, _SHIFT = np.uint64(_LOW), np.uint64(32)
_ROUNDS = 10

NOBODY = _LOW
"""Stands in an address for 'no streamer' or 'no user'."""

MAX_SEED = 2**32 - 1

Words = tuple[np.uint64, np.uint64, np.uint64, np.uint64]
Four = tuple[float, float, float, float]


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
    IDS = 11
    DRIFT = 12
    SALE = 13


@kernel
def philox_words(a: int, b: int, c: int, d: int, key_0: int, key_1: int) -> Words:
    """Apply Philox4x32-10 to one counter (a, b, c, d) under one key; all words in [0, 2**32).

    Returns:
        Four words, each uint64 in [0, 2**32).

    Source: Salmon et al., SC 2011, section 4.3; known-answer vectors of Random123.
    """
    x0, x1, x2, x3 = np.uint64(a), np.uint64(b), np.uint64(c), np.uint64(d)
    k0, k1 = np.uint64(key_0), np.uint64(key_1)
    for _ in range(_ROUNDS):
        p0, p2 = x0 * _MULTIPLIER_0, x2 * _MULTIPLIER_1
        x0, x2 = (p2 >> _SHIFT) ^ x1 ^ k0, (p0 >> _SHIFT) ^ x3 ^ k1
        x1, x3 = p2 & _MASK, p0 & _MASK
        k0, k1 = (k0 + _WEYL_0) & _MASK, (k1 + _WEYL_1) & _MASK
    return x0, x1, x2, x3


@kernel
def four_uniforms(seed: int, purpose: int, a: int, b: int, c: int, d: int) -> Four:
    """Draw four uniforms in the open interval (0, 1) for one address, resolution 2**-32."""
    x0, x1, x2, x3 = philox_words(a, b, c, d, seed, purpose)
    return (
        (np.float64(x0) + 0.5) * 2.0**-32,
        (np.float64(x1) + 0.5) * 2.0**-32,
        (np.float64(x2) + 0.5) * 2.0**-32,
        (np.float64(x3) + 0.5) * 2.0**-32,
    )


def philox4x32(
    counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike], key: tuple[int, int]
) -> NDArray[np.uint32]:
    """Apply Philox4x32-10 to broadcast counters.

    Args:
        counter: four integer arrays in [0, 2**32), broadcast to a common shape.
        key: two integers in [0, 2**32).

    Returns:
        Words, uint32 [4, *shape].
    """
    shape = np.broadcast_shapes(*(np.shape(word) for word in counter))
    a, b, c, d = (
        np.array(np.broadcast_to(np.asarray(word, np.int64), shape)).reshape(-1) for word in counter
    )
    out = np.empty((4, len(a)), np.uint32)
    _fill(a, b, c, d, int(key[0]), int(key[1]), out)
    return out.reshape(4, *shape)


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
    words = philox4x32((a, b, c, d), (seed, purpose))
    return (words.astype(np.float64) + 0.5) * 2.0**-32


@kernel
def _fill(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    c: NDArray[np.int64],
    d: NDArray[np.int64],
    key_0: int,
    key_1: int,
    out: NDArray[np.uint32],
) -> None:
    for i in range(len(a)):
        words = philox_words(a[i], b[i], c[i], d[i], key_0, key_1)
        out[0, i], out[1, i], out[2, i], out[3, i] = words
