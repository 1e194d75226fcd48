"""Pairs that positives win, over all rows or within each user: what AUC and GAUC count.

A pair of a positive and a negative row is won where the positive scores higher, and half won where
both score the same. Over all rows: the negatives are sorted, and a walk through the sorted
positives counts those below. Within users: rows become keys of 64 bits (user, score in order,
label), one sort puts every user's rows in order of score, and one walk counts. Both count ties
exactly; within users scores are compared as float32, so that float64 scores which differ by less
than its last digit (1.2e-7 of the score) are ties there and not over all rows.

Axis letters: N rows, U users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.kernel import kernel

_BLOCK = 32
"""Negatives skipped at once, rather more than lie between two positives; `_twice_won` is written
for 32."""


@dataclass(frozen=True)
class UserPairs:
    """Pairs within each user, arrays [U]."""

    won: NDArray[np.float64]
    """Pairs that its positives win, ties counting one half."""
    size: NDArray[np.int64]
    """Rows."""
    positives: NDArray[np.int64]

    @property
    def pairs(self) -> NDArray[np.int64]:
        """Pairs of a positive and a negative row."""
        return self.positives * (self.size - self.positives)

    @property
    def auc(self) -> NDArray[np.float64]:
        """AUC of each user; NaN where a label is missing."""
        out = np.full(len(self.won), np.nan)
        np.divide(self.won, self.pairs, out=out, where=self.pairs > 0)
        return out


def share_won(score: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return the share of pairs that positives win, ties counting one half: the AUC.

    Args:
        score: [N] finite scores.
        positive: [N].

    Returns:
        AUC in [0, 1]; NaN without positives or without negatives.
    """
    p = int(np.count_nonzero(positive))
    n = len(score) - p
    if p == 0 or n == 0:
        return float("nan")
    values = np.ascontiguousarray(score, None if score.dtype == np.float32 else np.float64)
    # as integers in the order of the scores, which numpy sorts faster than floats
    kind = np.dtype(f"u{values.dtype.itemsize}")
    sign = kind.type(1 << (8 * kind.itemsize - 1))
    # both a little longer than needed: every row is written to both, and blocks run over the end
    above, below = np.empty(p + 1, kind), np.empty(n + _BLOCK + 1, kind)
    _split(values.view(kind), np.ascontiguousarray(positive), sign, above, below)
    below[n:] = np.iinfo(kind).max
    above[:p].sort()
    below[:n].sort()
    return _twice_won(above[:p], below, n) / (2.0 * p * n)


def user_pairs(
    score: NDArray[np.floating],
    positive: NDArray[np.bool_],
    user: NDArray[np.integer],
    users: int,
) -> UserPairs:
    """Count the pairs that positives win within each user, ties exactly, of scores as float32.

    Args:
        score: [N] finite scores; compared as float32.
        positive: [N].
        user: [N] in [0, users).
        users: number of users U, at most 2**31.
    """
    key = np.empty(len(score), np.uint64)
    counts = np.zeros((2, users), np.int64)
    bits = np.ascontiguousarray(score, np.float32).view(np.uint32)
    _pack(bits, np.ascontiguousarray(positive), np.asarray(user, np.int64), key, counts)
    key.sort()
    won = np.zeros(users)
    _walk(key, won)
    return UserPairs(won, counts[0], counts[1])


@kernel
def _split(
    bits: NDArray[np.unsignedinteger],
    positive: NDArray[np.bool_],
    sign: np.unsignedinteger,
    above: NDArray[np.unsignedinteger],
    below: NDArray[np.unsignedinteger],
) -> None:
    p = 0
    n = 0
    for row in range(len(bits)):
        own = bits[row]
        if own == sign:  # -0.0 equals 0.0
            own ^= sign
        ordered = ~own if own & sign else own | sign
        is_positive = int(positive[row])
        above[p] = ordered
        below[n] = ordered
        p += is_positive
        n += 1 - is_positive


@kernel
def _twice_won(
    above: NDArray[np.unsignedinteger], below: NDArray[np.unsignedinteger], n: int
) -> int:
    total = 0
    low = 0
    first = 0
    last = 0
    for row in range(len(above)):
        value = above[row]
        if row and value == above[row - 1]:  # a level of ties is walked once
            total += first + last
            continue
        while low + _BLOCK <= n and below[low + _BLOCK - 1] < value:
            low += _BLOCK
        first = low
        # no branch on a score, and written out: as a loop it takes half as long again
        first += 16 * int(below[first + 15] < value)
        first += 8 * int(below[first + 7] < value)
        first += 4 * int(below[first + 3] < value)
        first += 2 * int(below[first + 1] < value)
        first += int(below[first] < value)
        last = first
        while last < n and below[last] == value:
            last += 1
        total += first + last
    return total


@kernel
def _pack(
    bits: NDArray[np.uint32],
    positive: NDArray[np.bool_],
    user: NDArray[np.int64],
    key: NDArray[np.uint64],
    counts: NDArray[np.int64],
) -> None:
    for row in range(len(bits)):
        own = int(bits[row])
        if own == 0x80000000:  # -0.0 equals 0.0
            own = 0
        # the order of the numbers as that of unsigned integers
        ordered = (~own) & 0xFFFFFFFF if own & 0x80000000 else own | 0x80000000
        is_positive = int(positive[row])
        who = user[row]
        key[row] = np.uint64((who << 33) | (ordered << 1) | is_positive)
        counts[0, who] += 1
        counts[1, who] += is_positive


@kernel
def _walk(key: NDArray[np.uint64], won: NDArray[np.float64]) -> None:
    if len(key) == 0:
        return
    level = key[0] >> np.uint64(1)
    owner = level >> np.uint64(32)
    area = 0.0
    below = 0.0
    positives = 0.0
    negatives = 0.0
    for row in range(len(key)):
        own = key[row]
        if own >> np.uint64(1) != level:
            area += positives * (below + 0.5 * negatives)
            below += negatives
            positives = 0.0
            negatives = 0.0
            level = own >> np.uint64(1)
            if level >> np.uint64(32) != owner:
                won[np.int64(owner)] = area
                area = 0.0
                below = 0.0
                owner = level >> np.uint64(32)
        is_positive = np.float64(own & np.uint64(1))
        positives += is_positive
        negatives += 1.0 - is_positive
    won[np.int64(owner)] = area + positives * (below + 0.5 * negatives)
