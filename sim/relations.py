"""What users and streamers have been to each other: past effective views and follows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim.schema import Requests

_USER = np.int64(1) << 32


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

    def lookup(
        self, user_id: NDArray[np.integer], streamer_id: NDArray[np.integer]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return (views float32 [N], follows bool [N]) of the pairs."""
        wanted = user_id.astype(np.int64) * _USER + streamer_id
        at = np.searchsorted(self.key, wanted)
        at = np.minimum(at, max(len(self.key) - 1, 0))
        if len(self.key) == 0:
            return np.zeros(len(wanted), np.float32), np.zeros(len(wanted), np.bool_)
        met = self.key[at] == wanted
        return np.where(met, self.views[at], np.float32(0)), met & self.follows[at]

    def among_candidates(self, requests: Requests) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return (views, follows) [B, C] of each request's user with every candidate."""
        low = np.searchsorted(self.key, requests.user_id.astype(np.int64) * _USER)
        high = np.searchsorted(self.key, (requests.user_id.astype(np.int64) + 1) * _USER)
        count = high - low
        request = np.repeat(np.arange(len(requests)), count)
        at = np.arange(len(request)) - np.repeat(np.cumsum(count) - count, count) + low[request]
        streamer = self.key[at] % _USER
        table = requests.supply.column_of
        known = streamer < table.shape[1]
        request, at, streamer = request[known], at[known], streamer[known]
        column = table[requests.row[request], streamer]
        on_air = column >= 0
        request, at, column = request[on_air], at[on_air], column[on_air]
        views = np.zeros(requests.mask.shape, np.float32)
        follows = np.zeros(requests.mask.shape, np.bool_)
        views[request, column] = self.views[at]
        follows[request, column] = self.follows[at]
        return views, follows

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
