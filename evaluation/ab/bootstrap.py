"""The cluster bootstrap: users are drawn with replacement, whole, by multinomial weights.

A draw gives cluster u the weight W_u, (W_1 .. W_U) ~ Multinomial(U, 1/U), and every sum of the
draw is sum_u W_u v_u. The weights are drawn in two steps, which is exact: how many of the U draws
fall into each block of BLOCK clusters (multinomial), and then which cluster of its block each draw
hits (uniform). A block has 256 clusters, so that a byte of random bits is a draw, sixteen to one
Philox counter, and its counts stay in the first-level cache; sums over clusters are then matrix
products of counts and values. All columns share the weights, so that metrics and policies are
resampled together, as max-t needs.

Source of the scheme: cluster (block) bootstrap as in Davison & Hinkley, Bootstrap Methods and Their
Application, 1997, section 3.8; the two steps are the conditional law of a multinomial.
Axis letters: R draws, U clusters, D columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.kernel import kernel
from sim.rng import MAX_SEED, philox_words

Array = NDArray[np.float64]

BLOCK = 256
"""Clusters of a block: one byte tells them apart."""

_WEIGHTS = 0x424F4F54
"""Second word of the key of the weights: a stream apart from those of the world."""

_DRAWS_AT_ONCE = 256
"""Draws whose counts are held at a time: with BLOCK clusters half a megabyte."""


def resampled_sums(values: Array, draws: int, seed: int = 0) -> Array:
    """Return the sums of every column under each draw, float64 [R, D].

    Args:
        values: [U, D] finite, one row per cluster.
        draws: R, at least 1.
        seed: in [0, MAX_SEED]; the same seed gives the same weights for any columns.

    Raises:
        ValueError: `values` is no table, has no rows or a value that is not finite, or an argument
            is out of range.
    """
    if values.ndim != 2 or not len(values):
        raise ValueError(f"values have shape {values.shape}; must be [U, D] with U at least 1")
    if draws < 1 or not 0 <= seed <= MAX_SEED:
        raise ValueError(
            f"draws = {draws}, seed = {seed}; allowed: draws from 1, seeds in [0, {MAX_SEED}]"
        )
    table = np.ascontiguousarray(values, np.float64)
    if not np.isfinite(table).all():
        raise ValueError(f"values have {int((~np.isfinite(table)).sum())} that are not finite")
    sizes = _block_sizes(len(table))
    hits = np.random.default_rng(seed).multinomial(len(table), sizes / len(table), size=draws)
    out = np.zeros((draws, table.shape[1]))
    counts = np.empty((min(draws, _DRAWS_AT_ONCE), BLOCK))
    for block, size in enumerate(sizes.tolist()):
        rows = table[block * BLOCK : block * BLOCK + size]
        for low in range(0, draws, _DRAWS_AT_ONCE):
            n = min(_DRAWS_AT_ONCE, draws - low)
            hit = np.ascontiguousarray(hits[low : low + n, block])
            _count(seed, block, low, size, hit, counts)
            out[low : low + n] += counts[:n, :size] @ rows
    return out


def _block_sizes(clusters: int) -> NDArray[np.int64]:
    """Return the clusters of each block; only the last may be smaller."""
    whole, rest = divmod(clusters, BLOCK)
    return np.array([BLOCK] * whole + [rest] * (rest > 0), dtype=np.int64)


def resampled_ratios(numerators: Array, denominators: Array, draws: int, seed: int = 0) -> Array:
    """Return ratios of sums under each draw [R, D]; NaN where the denominator sums to 0.

    Args:
        numerators: [U, D].
        denominators: [U, D].
        draws: R.
        seed: of the weights.

    Raises:
        ValueError: as in `resampled_sums`, or the shapes differ.
    """
    if numerators.shape != denominators.shape:
        raise ValueError(
            f"numerators have shape {numerators.shape}, denominators {denominators.shape}; "
            "they must agree"
        )
    sums = resampled_sums(np.hstack([numerators, denominators]), draws, seed)
    top, bottom = np.hsplit(sums, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bottom != 0.0, top / bottom, np.nan)


@kernel
def _count(
    seed: int, block: int, first: int, size: int, hits: NDArray[np.int64], counts: Array
) -> None:
    """Count for each draw how often it hits each cluster of a block [R, BLOCK].

    A byte is a cluster where the block is full; where it is not, 32 bits are scaled down to its
    size, with a bias below 2**-24.
    """
    for r in range(len(hits)):
        for j in range(size):
            counts[r, j] = 0.0
        left, number = hits[r], 0
        while left > 0:
            words = philox_words(number, block, first + r, 0, seed, _WEIGHTS)
            number += 1
            for word in words:
                if size == BLOCK:
                    for shift in (0, 8, 16, 24):
                        if left > 0:
                            counts[r, (word >> np.uint64(shift)) & np.uint64(0xFF)] += 1.0
                            left -= 1
                elif left > 0:
                    counts[r, (word * np.uint64(size)) >> np.uint64(32)] += 1.0
                    left -= 1
