"""The last different items of every owner, latest first: sequences of bounded length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.schema import PAD, Ints


def first_of_each(owner: Ints, item: Ints, n_owners: int, length: int) -> NDArray[np.int32]:
    """Return the first `length` items of each owner, int32 [n_owners, length], PAD at the end.

    Args:
        owner: [N], ascending; in [0, n_owners).
        item: [N].
        n_owners: number of rows.
        length: L.
    """
    out = np.full((n_owners, length), PAD, np.int32)
    place = np.arange(len(owner)) - np.searchsorted(owner, owner)
    kept = place < length
    out[owner[kept], place[kept]] = item[kept]
    return out


class Recents:
    """The last L different items of every owner; an item met again moves to the front.

    Memory is 4 L bytes per owner, however many events there were.

    Args:
        length: L.

    Attributes:
        items: int32 [U, L], latest first, PAD at the end.
    """

    def __init__(self, length: int) -> None:
        """Start empty."""
        self.length = length
        self.items: NDArray[np.int32] = np.zeros((0, length), np.int32)

    def add(self, owner: Ints, item: Ints, at_s: NDArray[np.float64]) -> None:
        """Take in N events, all later than those before; of the same moment, lower ids are later.

        Args:
            owner: [N]; events of PAD, or with a PAD item, are left out.
            item: [N].
            at_s: [N], seconds.
        """
        real = (owner >= 0) & (item >= 0)
        owner, item, at_s = owner[real].astype(np.int64), item[real].astype(np.int64), at_s[real]
        if len(owner) == 0:
            return
        self._grow(int(owner.max()) + 1)
        met, row = np.unique(owner, return_inverse=True)
        old_row, old_place = np.nonzero(self.items[met] != PAD)
        old = self.items[met][old_row, old_place]
        row, item = np.concatenate([row, old_row]), np.concatenate([item, old])
        # the later the lower: new events by their moment, below all places of before
        moment = np.unique(at_s, return_inverse=True)[1]
        age = np.concatenate([-1 - moment, old_place])
        order = np.lexsort((age, item, row))
        row, item, age = row[order], item[order], age[order]
        again = (row[1:] == row[:-1]) & (item[1:] == item[:-1])
        latest = np.concatenate([[True], ~again])
        row, item, age = row[latest], item[latest], age[latest]
        order = np.lexsort((item, age, row))
        self.items[met] = first_of_each(row[order], item[order], len(met), self.length)

    def of(self, owner: Ints) -> NDArray[np.int32]:
        """Return the items of owners [B], int32 [B, L]; unknown owners have none."""
        known = (owner >= 0) & (owner < len(self.items))
        out = np.full((len(owner), self.length), PAD, np.int32)
        out[known] = self.items[owner[known]]
        return out

    def restore(self, items: NDArray[np.int32]) -> None:
        """Take over a copy of `items`."""
        self.items = np.array(items, np.int32)

    def _grow(self, n_owners: int) -> None:
        if n_owners > len(self.items):
            n = max(n_owners, 2 * len(self.items))
            grown = np.full((n, self.length), PAD, np.int32)
            grown[: len(self.items)] = self.items
            self.items = grown
