"""What users and streamers have been to each other: past effective views and follows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.kernel import Block, block, kernel

_USER = np.int64(1) << 32
_STREAMER = _USER - 1


BOND = np.dtype(
    [("streamer_id", np.int64), ("views", np.float64), ("follows", np.bool_)], align=True
)
"""What a user and a streamer have been to each other."""


class Bonds(NamedTuple):
    """Relations by user: those of user u are rows start[u] .. start[u + 1], by streamer."""

    start: NDArray[np.int64]
    """[U + 1]."""
    rows: Block
    """BOND [E]."""


@kernel
def bond_with(bonds: Bonds, user_id: int, streamer_id: int) -> tuple[float, bool]:
    """Return (past effective views, whether the user follows) of one pair."""
    low, end = bonds.start[user_id], bonds.start[user_id + 1]
    high = end
    while low < high:
        middle = (low + high) // 2
        if bonds.rows[middle].streamer_id < streamer_id:
            low = middle + 1
        else:
            high = middle
    if low < end and bonds.rows[low].streamer_id == streamer_id:
        return bonds.rows[low].views, bonds.rows[low].follows
    return 0.0, False


@dataclass(frozen=True)
class Relations:
    """Sparse user x streamer facts, arrays [E] sorted by key = user * 2**32 + streamer."""

    key: NDArray[np.int64]
    views: NDArray[np.float32]
    follows: NDArray[np.bool_]

    @classmethod
    def empty(cls) -> Relations:
        """Return relations of people who never met."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.bool_))

    def take(self, rows: NDArray[np.bool_]) -> Relations:
        """Return the pairs where `rows` [E] is True."""
        return Relations(self.key[rows], self.views[rows], self.follows[rows])

    def followed(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return (user, streamer) of every follow, [N] each, by user and streamer."""
        key = self.key[self.follows]
        return (key // _USER).astype(np.int32), (key % _USER).astype(np.int32)

    def bonds(self, n_users: int) -> Bonds:
        """Return the same facts, indexed by user, for users 0 .. n_users - 1."""
        start = np.searchsorted(self.key, np.arange(n_users + 1) * _USER)
        return Bonds(start, block(BOND, self.key & _STREAMER, self.views, self.follows))

    def add(
        self,
        user_id: NDArray[np.integer],
        streamer_id: NDArray[np.integer],
        views: NDArray[np.floating],
        follows: NDArray[np.bool_],
    ) -> Relations:
        """Return the relations after more views and follows, rows [N] with repeats allowed."""
        keys, back = np.unique(user_id.astype(np.int64) * _USER + streamer_id, return_inverse=True)
        more = np.bincount(back, weights=views, minlength=len(keys)).astype(np.float32)
        newly = np.bincount(back, weights=follows, minlength=len(keys)) > 0
        at = np.searchsorted(self.key, keys)
        met = np.zeros(len(keys), np.bool_)
        inside = at < len(self.key)
        met[inside] = self.key[at[inside]] == keys[inside]
        total, following = self.views.copy(), self.follows.copy()
        total[at[met]] += more[met]
        following[at[met]] |= newly[met]
        fresh, slot = ~met, at[~met]
        return replace(
            self,
            key=np.insert(self.key, slot, keys[fresh]),
            views=np.insert(total, slot, more[fresh]),
            follows=np.insert(following, slot, newly[fresh]),
        )
