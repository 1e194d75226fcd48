"""How a slate is filled from scores, position by position.

The laws of one request, for `policies.rank`, which fills slates in batches, and for `sim.journey`,
where a chart stands in for the ranker. Arrays: scores [C], `ones` the mask in numbers [C], uniforms
[K]; `column` and `propensity` [K] receive PAD and 1 where no candidate is left.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.kernel import kernel
from sim.schema import PAD, Floats

ALIKE, GREEDY, EPSILON, SOFTMAX = range(4)
"""Laws: greedy: uniform among the tied best of what is left; alike: the same where all scores are
one number, which nobody reads; epsilon: with a probability, the dial, uniform over all that is
left, else greedy; softmax: Plackett-Luce with weights exp(score / dial)."""

_STRIDES = 32, 8
"""Columns that are counted at once, first in long and then in short steps."""

_REFRESH = 1e-200
"""Below this total, weights relative to an already chosen maximum are computed afresh."""


class Chart(NamedTuple):
    """What a ranker answers without being asked: scores of streamers, the same for everybody."""

    law: int
    """By which slates are filled, and its dial."""
    dial: float
    scores: NDArray[np.float64]
    """Of each streamer, finite [S]; empty where the law is ALIKE."""


class Spare(NamedTuple):
    """Room to work in for slates [K] out of [C] candidates, whatever it holds."""

    free: NDArray[np.bool_]
    """[C], as the next two."""
    tied: NDArray[np.int64]
    weight: NDArray[np.float64]
    place: NDArray[np.int64]
    """[K], as the next."""
    replaced: NDArray[np.int64]


def new_spare(n_columns: int, slate_size: int) -> Spare:
    """Return room for slates of one size."""
    return Spare(
        np.empty(n_columns, np.bool_), np.empty(n_columns, np.int64), np.empty(n_columns),
        np.empty(slate_size, np.int64), np.empty(slate_size, np.int64),
    )  # fmt: skip


@kernel
def fill(
    law: int,
    dial: float,
    scores: Floats,
    ones: NDArray[np.uint8],
    n_open: int,
    uniforms: NDArray[np.float64],
    spare: Spare,
    column: NDArray[np.int32],
    propensity: NDArray[np.float64],
) -> bool:
    """Fill a slate.

    Args:
        law: one of the laws above.
        dial: of the law.
        scores: of the candidates [C]; not read where the law is ALIKE.
        ones: the mask [C].
        n_open: number of ones in it.
        uniforms: one a position [K].
        spare: room to work in.
        column: receives the slate [K].
        propensity: receives how likely each choice was, given those above it [K].

    Returns:
        Whether every score under the mask is finite; where not, the slate means nothing.
    """
    for k in range(len(column)):
        column[k], propensity[k] = PAD, 1.0
    if law == ALIKE:
        _fill_alike(ones, n_open, uniforms, spare, column, propensity)
        return True
    if not _set_free(scores, ones, spare.free):
        return False
    if law == GREEDY:
        _fill_greedy(scores, uniforms, spare, column, propensity)
    elif law == EPSILON:
        _fill_epsilon(scores, n_open, uniforms, dial, spare, column, propensity)
    else:
        _fill_softmax(scores, n_open, uniforms, dial, spare, column, propensity)
    return True


@kernel
def _fill_alike(
    ones: NDArray[np.uint8],
    n_open: int,
    uniforms: NDArray[np.float64],
    spare: Spare,
    column: NDArray[np.int32],
    propensity: NDArray[np.float64],
) -> None:
    """Fill the slate as `_fill_greedy` does where all scores are the same number.

    Then nothing needs to be collected: the choice is the nth open column, where `replaced` tells
    which one stands in the place of a choice made before.
    """
    place, replaced = spare.place, spare.replaced
    for k in range(min(len(column), n_open)):
        j = _nth(uniforms[k], n_open - k)
        chosen, last = j, n_open - k - 1
        for i in range(k):  # the latest replacement of a place counts
            if place[i] == j:
                chosen = replaced[i]
        place[k], replaced[k] = j, last
        for i in range(k):
            if place[i] == last:
                replaced[k] = replaced[i]
        column[k], propensity[k] = _nth_open(ones, chosen), 1.0 / (n_open - k)


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
def _fill_greedy(
    scores: Floats,
    uniforms: NDArray[np.float64],
    spare: Spare,
    column: NDArray[np.int32],
    propensity: NDArray[np.float64],
) -> None:
    """Fill each position with one of the tied best of what is left.

    A group of tied candidates is found once, however many positions it fills: each choice is
    replaced by the last member, which leaves a uniform draw from the others (Fisher and Yates).
    """
    free, tied, n_tied = spare.free, spare.tied, 0
    for k in range(len(column)):
        if n_tied == 0:
            n_tied = _collect_best(scores, free, tied)
            if n_tied == 0:
                break
        j = _nth(uniforms[k], n_tied)
        column[k], propensity[k] = tied[j], 1.0 / n_tied
        free[tied[j]] = False
        n_tied -= 1
        tied[j] = tied[n_tied]


@kernel
def _fill_epsilon(
    scores: Floats,
    n_open: int,
    uniforms: NDArray[np.float64],
    eps: float,
    spare: Spare,
    column: NDArray[np.int32],
    propensity: NDArray[np.float64],
) -> None:
    """Fill each position uniformly with probability `eps`, else with one of the tied best."""
    free, tied = spare.free, spare.tied
    for k in range(min(len(column), n_open)):
        u, n_tied = uniforms[k], _collect_best(scores, free, tied)
        chance = (1.0 - eps) / n_tied
        if u < eps:
            nth = _nth(u / eps, n_open - k)
            c = 0
            while nth > 0 or not free[c]:
                nth -= free[c]
                c += 1
            if scores[c] < scores[tied[0]]:
                chance = 0.0
        else:
            c = tied[_nth((u - eps) / max(1.0 - eps, 1e-300), n_tied)]
        column[k], propensity[k] = c, chance + eps / (n_open - k)
        free[c] = False


@kernel
def _fill_softmax(
    scores: Floats,
    n_open: int,
    uniforms: NDArray[np.float64],
    temperature: float,
    spare: Spare,
    column: NDArray[np.int32],
    propensity: NDArray[np.float64],
) -> None:
    """Fill each position with probability proportional to exp(score / temperature)."""
    free, weight = spare.free, spare.weight
    _weigh(scores, free, temperature, weight)
    for k in range(min(len(column), n_open)):
        total = _total(weight, len(scores))
        # The best of the first positions may outweigh the others by more than a double can
        # hold: then the weights are taken relative to the best of what is left.
        if total < _REFRESH:
            _weigh(scores, free, temperature, weight)
            total = _total(weight, len(scores))
        point, below, c = uniforms[k] * total, 0.0, 0
        for i in range(len(scores)):
            if weight[i] > 0.0:
                c = i
                below += weight[i]
                if below > point:
                    break
        column[k], propensity[k] = c, weight[c] / total
        free[c], weight[c] = False, 0.0


@kernel
def _set_free(scores: Floats, ones: NDArray[np.uint8], free: NDArray[np.bool_]) -> bool:
    """Copy the mask of one request to `free`; return whether its scores are finite there."""
    n_bad = 0
    for c in range(len(scores)):
        free[c] = ones[c] != 0
        # without a branch: many at once
        n_bad += (ones[c] != 0) & (scores[c] - scores[c] != 0.0)
    return n_bad == 0


@kernel
def _collect_best(scores: Floats, free: NDArray[np.bool_], tied: NDArray[np.int64]) -> int:
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
def _weigh(
    scores: Floats, free: NDArray[np.bool_], temperature: float, weight: NDArray[np.float64]
) -> None:
    """Write exp((score - best) / temperature) of the free columns, elsewhere 0."""
    best = -np.inf
    for c in range(len(scores)):
        if free[c]:
            best = max(best, scores[c])
    for c in range(len(scores)):
        weight[c] = np.exp((scores[c] - best) / temperature) if free[c] else 0.0


@kernel
def count_open(ones: NDArray[np.uint8]) -> int:
    """Return the number of ones, which are added up twice as fast as bools."""
    n = np.int64(0)
    for c in range(len(ones)):
        n += np.int64(ones[c])
    return int(n)


@kernel
def _total(weight: NDArray[np.float64], n: int) -> float:
    """Return the sum of the first `n` weights."""
    total = 0.0
    for c in range(n):
        total += weight[c]
    return total
