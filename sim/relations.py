"""What users and streamers have been to each other: past effective views and follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.columns import Columns, places
from sim.kernel import kernel
from sim.partition import shard_of

_USER = np.int64(1) << 32
_STREAMER = _USER - 1


class Bonds(NamedTuple):
    """Relations by user: those of user u are rows start[u] .. start[u + 1], by streamer."""

    start: NDArray[np.int64]
    """[U + 1]."""
    key: NDArray[np.int64]
    """Of `Relations` [E], as the next two; a search touches nothing else."""
    views: NDArray[np.float32]
    follows: NDArray[np.bool_]


@kernel
def bond_with(bonds: Bonds, user_id: int, streamer_id: int) -> tuple[float, bool]:
    """Return (past effective views, whether the user follows) of one pair."""
    low, end = bonds.start[user_id], bonds.start[user_id + 1]
    high, key = end, (np.int64(user_id) << 32) + streamer_id
    while low < high:
        middle = (low + high) // 2
        if bonds.key[middle] < key:
            low = middle + 1
        else:
            high = middle
    if low < end and bonds.key[low] == key:
        return np.float64(bonds.views[low]), bonds.follows[low]
    return 0.0, False


@kernel
def streamer_of(bonds: Bonds, row: int) -> int:
    """Return the streamer of one row."""
    return int(bonds.key[row] & _STREAMER)


@dataclass(frozen=True)
class Relations(Columns):
    """Sparse user x streamer facts, arrays [E] sorted by key = user * 2**32 + streamer."""

    key: NDArray[np.int64]
    views: NDArray[np.float32]
    follows: NDArray[np.bool_]

    def followed(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return (user, streamer) of every follow, [N] each, by user and streamer."""
        key = self.key[self.follows]
        return (key // _USER).astype(np.int32), (key % _USER).astype(np.int32)

    def bonds(self, n_users: int) -> Bonds:
        """Return the same facts, indexed by user, for users 0 .. n_users - 1."""
        # a column read from a file may be read-only, for which kernels would be compiled again
        key = np.require(self.key, requirements=("C", "W"))
        start = np.empty(n_users + 1, np.int64)
        _index(key, start)
        return Bonds(
            start,
            key,
            np.require(self.views, requirements=("C", "W")),
            np.require(self.follows, requirements=("C", "W")),
        )

    def add(
        self,
        user_id: NDArray[np.integer],
        streamer_id: NDArray[np.integer],
        views: NDArray[np.floating],
        follows: NDArray[np.bool_],
    ) -> Relations:
        """Return the relations after more views and follows, rows [N] with repeats allowed."""
        met = user_id.astype(np.int64) * _USER + streamer_id
        order, most = np.argsort(met, kind="stable"), len(self.key) + len(met)
        key, total = np.empty(most, np.int64), np.empty(most, np.float32)
        following = np.empty(most, np.bool_)
        n = _merge(
            self.key, self.views, self.follows, met[order], views[order].astype(np.float64),
            follows[order], key, total, following,
        )  # fmt: skip
        return Relations(key[:n], total[:n], following[:n])

    def divided(self, n_shards: int) -> list[Relations]:
        """Return the bonds of the users of each shard."""
        if n_shards == 1:
            return [self]
        owner = shard_of(self.key >> 32, n_shards)
        return [self.take(owner == shard) for shard in range(n_shards)]

    @classmethod
    def together(cls, parts: Sequence[Relations]) -> Relations:
        """Return the bonds of all users from those of the shards."""
        if len(parts) == 1:
            return parts[0]
        return cls.merged(parts, places([part.key for part in parts]))


@kernel
def _index(key: NDArray[np.int64], start: NDArray[np.int64]) -> None:
    """Fill where the rows of each user start."""
    n = 0
    for e in range(len(key)):
        while n < len(start) and n <= key[e] >> 32:
            start[n] = e
            n += 1
    while n < len(start):
        start[n] = len(key)
        n += 1


@kernel
def _merge(
    old: NDArray[np.int64],
    views: NDArray[np.float32],
    follows: NDArray[np.bool_],
    met: NDArray[np.int64],
    more: NDArray[np.float64],
    newly: NDArray[np.bool_],
    key: NDArray[np.int64],
    total: NDArray[np.float32],
    following: NDArray[np.bool_],
) -> int:
    """Merge relations [E] and what was added to some [N], both by key; return how many there are.

    Args:
        old: keys, without repeats [E]; with `views` and `follows`.
        views: see above.
        follows: see above.
        met: keys, with repeats [N]; with `more` views and who follows `newly`.
        more: see above.
        newly: see above.
        key: receives the keys [E + N]; `total` and `following` the other two columns.
        total: see above.
        following: see above.
    """
    n, i, j = 0, 0, 0
    while i < len(old) or j < len(met):
        known = i < len(old) and (j == len(met) or old[i] <= met[j])
        if known:
            key[n], total[n], following[n] = old[i], views[i], follows[i]
            i += 1
        else:
            key[n], total[n], following[n] = met[j], 0.0, False
        if j < len(met) and met[j] == key[n]:
            added, follow = 0.0, following[n]
            while j < len(met) and met[j] == key[n]:
                added += more[j]
                follow = follow or newly[j]
                j += 1
            total[n] += np.float32(added)
            following[n] = follow
        n += 1
    return n
