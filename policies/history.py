"""Sparse history of (user, streamer) pairs: what a user did with a streamer, as far as known.

Only pairs that met are stored, sorted by user and then by streamer, so that memory follows the log
and not U x S, and all streamers of one user are one contiguous range.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sim.schema import Ints

FIELDS = ("shown", "engage", "watch", "bag_click", "purchase", "follow")
"""Sums kept per pair; `watch` in units of the watch-time cap, the others are counts."""

_SHIFT = 32
_LOW = (1 << _SHIFT) - 1


def _keys(user: Ints, streamer: Ints) -> NDArray[np.int64]:
    """Return one sortable key per pair, int64; ids must lie in [0, 2**31)."""
    return (user.astype(np.int64) << _SHIFT) | streamer.astype(np.int64)


class PairHistory:
    """Sums per (user, streamer), grown by `add` and read by `lookup` or `entries`.

    Attributes:
        keys: int64 [M], ascending; user id in the high half, streamer id in the low half.
        sums: float32 [M, F], F fields in the order of FIELDS.
    """

    def __init__(self) -> None:
        """Start with no pair."""
        self.keys: NDArray[np.int64] = np.zeros(0, np.int64)
        self.sums: NDArray[np.float32] = np.zeros((0, len(FIELDS)), np.float32)

    def add(self, user: Ints, streamer: Ints, amounts: NDArray[np.float32]) -> None:
        """Add `amounts` [N, F] to the pairs (`user` [N], `streamer` [N]); pairs may repeat."""
        if len(user) == 0:
            return
        keys, which = np.unique(_keys(user, streamer), return_inverse=True)
        sums = np.stack(
            [np.bincount(which, amounts[:, f], len(keys)) for f in range(len(FIELDS))], axis=1
        ).astype(np.float32)
        at = np.searchsorted(self.keys, keys)
        known = self._holds(at, keys)
        self.sums[at[known]] += sums[known]
        if not known.all():
            new = ~known
            self.keys = np.insert(self.keys, at[new], keys[new])
            self.sums = np.insert(self.sums, at[new], sums[new], axis=0)

    def lookup(self, user: Ints, streamer: Ints) -> NDArray[np.float32]:
        """Return the sums float32 [N, F] of N pairs; pairs never met, and PAD ids, give zeros."""
        valid = (user >= 0) & (streamer >= 0)
        keys = np.where(valid, _keys(user, np.maximum(streamer, 0)), -1)
        at = np.searchsorted(self.keys, keys)
        known = self._holds(at, keys)
        out = np.zeros((len(keys), len(FIELDS)), np.float32)
        out[known] = self.sums[at[known]]
        return out

    def entries(self, user: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """List every stored pair of the users [B].

        Returns:
            (owner, streamer, row), int64 [E] each: index into `user`, streamer id, row of `sums`.
        """
        lo = np.searchsorted(self.keys, _keys(user, np.zeros_like(user)))
        hi = np.searchsorted(self.keys, _keys(user, np.zeros_like(user)) | _LOW, side="right")
        count = hi - lo
        owner = np.repeat(np.arange(len(user)), count)
        row = np.arange(len(owner)) + np.repeat(lo - (np.cumsum(count) - count), count)
        return owner, self.keys[row] & _LOW, row

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays that `restore` needs."""
        return {"history_keys": self.keys, "history_sums": self.sums}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over the arrays of `state`."""
        self.keys = np.array(state["history_keys"], np.int64)
        self.sums = np.array(state["history_sums"], np.float32)

    def _holds(self, at: NDArray[np.intp], keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether `keys` [N] stand at the positions `at` [N] of `self.keys`."""
        if len(self.keys) == 0:
            return np.zeros(len(keys), np.bool_)
        held: NDArray[np.bool_] = self.keys[np.minimum(at, len(self.keys) - 1)] == keys
        return held
