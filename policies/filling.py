"""How slates are filled from scores, position by position: the loops of `policies.rank`.

Arrays: scores [B, C], mask [B, C], uniforms [B, K]; `column` and `propensity` [B, K] come holding
PAD and 1, which stay where no candidate is left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.kernel import kernel
from sim.schema import Bools, Floats

_STRIDES = 32, 8
"""Columns that are counted at once, first in long and then in short steps."""

_REFRESH = 1e-200
"""Below this total, weights relative to an already chosen maximum are computed afresh."""


@kernel
def fill_alike(
    ones: NDArray[np.uint8],
    uniforms: NDArray[np.float64],
    column: NDArray[np.int32],
    propensity: NDArray[np.float64],
) -> None:
    """Fill the slates as `fill_greedy` does where all scores are the same number.

    Then nothing needs to be collected: the choice is the nth open column, where `replaced` tells
    which one stands in the place of a choice made before. `ones` is the mask in numbers, which
    are added up twice as fast.
    """
    slate_size = column.shape[1]
    place, replaced = np.empty(slate_size, np.int64), np.empty(slate_size, np.int64)
    for b in range(len(ones)):
        n_open = np.int64(0)
        for c in range(ones.shape[1]):
            n_open += np.int64(ones[b, c])
        n_free = int(n_open)
        for k in range(min(slate_size, n_free)):
            j = _nth(uniforms[b, k], n_free - k)
            chosen, last = j, n_free - k - 1
            for i in range(k):  # the latest replacement of a place counts
                if place[i] == j:
                    chosen = replaced[i]
            place[k], replaced[k] = j, last
            for i in range(k):
                if place[i] == last:
                    replaced[k] = replaced[i]
            column[b, k], propensity[b, k] = _nth_open(ones[b], chosen), 1.0 / (n_free - k)


@kernel
def _nth_open(ones: NDArray[np.uint8], nth: int) -> int:
    """Return the column of the nth open candidate, from 0; there must be one."""
    c, left = 0, np.int64(nth)
    for stride in _STRIDES:
        while c + stride <= len(ones):
            n = np.int64(0)
            for i in range(c, c + stride):
                n += np.int64(ones[i])
            if left < n:
                break
            left -= n
            c += stride
    while left > 0 or ones[c] == 0:
        left -= np.int64(ones[c])
        c += 1
    return c


@kernel
def fill_greedy(
    scores: Floats,
    mask: Bools,
    uniforms: NDArray[np.float64],
    _: float,
    column: NDArray[np.int32],
    propensity: NDArray[np.float64],
) -> bool:
    """Fill each position with one of the tied best of what is left.

    A group of tied candidates is found once, however many positions it fills: each choice is
    replaced by the last member, which leaves a uniform draw from the others (Fisher and Yates).

    Returns:
        Whether every score under the mask is finite; where not, the slates mean nothing.
    """
    n_columns, slate_size = scores.shape[1], column.shape[1]
    free, tied = np.empty(n_columns, np.bool_), np.empty(n_columns, np.int32)
    for b in range(len(scores)):
        if not _set_free(scores[b], mask[b], free):
            return False
        n_tied = 0
        for k in range(slate_size):
            if n_tied == 0:
                n_tied = _collect_best(scores[b], free, tied)
                if n_tied == 0:
                    break
            j = _nth(uniforms[b, k], n_tied)
            column[b, k], propensity[b, k] = tied[j], 1.0 / n_tied
            free[tied[j]] = False
            n_tied -= 1
            tied[j] = tied[n_tied]
    return True


@kernel
def fill_epsilon(
    scores: Floats,
    mask: Bools,
    uniforms: NDArray[np.float64],
    eps: float,
    column: NDArray[np.int32],
    propensity: NDArray[np.float64],
) -> bool:
    """Fill each position uniformly with probability `eps`, else with one of the tied best."""
    n_columns, slate_size = scores.shape[1], column.shape[1]
    free, tied = np.empty(n_columns, np.bool_), np.empty(n_columns, np.int32)
    for b in range(len(scores)):
        if not _set_free(scores[b], mask[b], free):
            return False
        n_free = free.sum()
        for k in range(min(slate_size, n_free)):
            u, n_tied = uniforms[b, k], _collect_best(scores[b], free, tied)
            chance = (1.0 - eps) / n_tied
            if u < eps:
                nth = _nth(u / eps, n_free - k)
                c = 0
                while nth > 0 or not free[c]:
                    nth -= free[c]
                    c += 1
                if scores[b, c] < scores[b, tied[0]]:
                    chance = 0.0
            else:
                c = tied[_nth((u - eps) / max(1.0 - eps, 1e-300), n_tied)]
            column[b, k], propensity[b, k] = c, chance + eps / (n_free - k)
            free[c] = False
    return True


@kernel
def fill_softmax(
    scores: Floats,
    mask: Bools,
    uniforms: NDArray[np.float64],
    temperature: float,
    column: NDArray[np.int32],
    propensity: NDArray[np.float64],
) -> bool:
    """Fill each position with probability proportional to exp(score / temperature)."""
    n_columns, slate_size = scores.shape[1], column.shape[1]
    free, weight = np.empty(n_columns, np.bool_), np.empty(n_columns)
    for b in range(len(scores)):
        if not _set_free(scores[b], mask[b], free):
            return False
        _weigh(scores[b], free, temperature, weight)
        for k in range(min(slate_size, free.sum())):
            total = weight.sum()
            # The best of the first positions may outweigh the others by more than a double can
            # hold: then the weights are taken relative to the best of what is left.
            if total < _REFRESH:
                _weigh(scores[b], free, temperature, weight)
                total = weight.sum()
            point, below, c = uniforms[b, k] * total, 0.0, 0
            for i in range(n_columns):
                if weight[i] > 0.0:
                    c = i
                    below += weight[i]
                    if below > point:
                        break
            column[b, k], propensity[b, k] = c, weight[c] / total
            free[c], weight[c] = False, 0.0
    return True


@kernel
def _set_free(scores: Floats, mask: Bools, free: Bools) -> bool:
    """Copy the mask of one request to `free`; return whether its scores are finite there."""
    n_bad = 0
    for c in range(len(scores)):
        free[c] = mask[c]
        n_bad += mask[c] & (scores[c] - scores[c] != 0.0)  # without a branch: many at once
    return n_bad == 0


@kernel
def _collect_best(scores: Floats, free: Bools, tied: NDArray[np.int32]) -> int:
    """Write the free columns of the highest score to `tied` and return their number."""
    n, best = 0, -np.inf
    for c in range(len(scores)):
        if free[c]:
            if scores[c] > best:
                n, best = 0, scores[c]
            if scores[c] == best:
                tied[n] = c
                n += 1
    return n


@kernel
def _nth(u: float, n: int) -> int:
    """Return a uniform draw from 0 .. n - 1."""
    return min(int(u * n), n - 1)


@kernel
def _weigh(scores: Floats, free: Bools, temperature: float, weight: NDArray[np.float64]) -> None:
    """Write exp((score - best) / temperature) of the free columns, elsewhere 0."""
    best = -np.inf
    for c in range(len(scores)):
        if free[c]:
            best = max(best, scores[c])
    for c in range(len(scores)):
        weight[c] = np.exp((scores[c] - best) / temperature) if free[c] else 0.0
