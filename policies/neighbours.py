"""Item-based collaborative filtering: items that the same people met, and joins with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from policies.recents import first_of_each
from sim.schema import PAD


@dataclass(frozen=True)
class Neighbours:
    """The nearest items of every item; arrays [S, N], the nearest first."""

    item: NDArray[np.int32]
    """PAD at the end, where an item has fewer."""
    likeness: NDArray[np.float32]
    """Positive; 0 where PAD."""

    @classmethod
    def nothing(cls, n: int) -> Neighbours:
        """Return the table of no items, `n` wide."""
        return cls(np.zeros((0, n), np.int32), np.zeros((0, n), np.float32))

    @classmethod
    def of(cls, met: NDArray[np.int32], n: int) -> Neighbours:
        """Return the `n` nearest items of each item by cosine with inverse user frequency.

        likeness(a, b) = sum over users who met both of 1 / log(1 + |met by the user|), divided by
        sqrt(n_a n_b), n_a the number of users who met a; ties go to the lower id. The cost is
        U L^2 at most, bounded by the length of what is remembered of each user. Source: item-based
        collaborative filtering (Sarwar 2001) with the weights of Breese (1998, section 2.2.2)
        turned to users, who say less the more they meet.

        Args:
            met: different items of each user, int32 [U, L], PAD where there are fewer.
            n: neighbours kept per item, N.
        """
        user, place = np.nonzero(met != PAD)
        if len(user) == 0:
            return cls.nothing(n)
        item = met[user, place]
        n_items = int(item.max()) + 1
        per_user = np.bincount(user, minlength=len(met))[user]
        shape = (len(met), n_items)
        weight = 1.0 / np.log1p(per_user)
        plain = csr_matrix((np.ones(len(user)), (user, item)), shape=shape)
        weighted = csr_matrix((weight, (user, item)), shape=shape)
        both = (weighted.T @ plain).tocoo()
        a, b = both.row.astype(np.int64), both.col.astype(np.int64)
        users = np.bincount(item, minlength=n_items).astype(np.float64)
        likeness = (both.data / np.sqrt(users[a] * users[b])).astype(np.float32)
        other = a != b
        return cls(*_nearest(a[other], b[other], likeness[other], n_items, n))

    def join(self, items: NDArray[np.int32], length: int) -> NDArray[np.int32]:
        """Return the neighbours of each row's items, int32 [B, length], PAD at the end.

        A neighbour counts the sum of its likenesses to the items of the row; the highest come
        first, ties by the lower id.

        Args:
            items: int32 [B, L], PAD where there are fewer.
            length: items kept per row.
        """
        known = (items >= 0) & (items < len(self.item))
        row, place = np.nonzero(known)
        item = items[row, place]
        near, likeness = self.item[item], self.likeness[item]
        there = near != PAD
        row = np.repeat(row, near.shape[1])[there.reshape(-1)]
        near, likeness = near[there], likeness[there]
        if len(near) == 0:
            return np.full((len(items), length), PAD, np.int32)
        width = int(near.max()) + 1
        key, of = np.unique(row * width + near, return_inverse=True)
        total = np.bincount(of, likeness).astype(np.float32)
        return _nearest(key // width, key % width, total, len(items), length)[0]


def _nearest(
    row: NDArray[np.int64],
    item: NDArray[np.int64],
    likeness: NDArray[np.float32],
    n_rows: int,
    n: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the `n` items of highest likeness of each row and their likenesses [n_rows, n]."""
    order = np.lexsort((item, -likeness, row))
    row, item, likeness = row[order], item[order], likeness[order]
    kept = first_of_each(row, np.arange(len(row)), n_rows, n)
    some = kept != PAD
    near = np.full(kept.shape, PAD, np.int32)
    near[some] = item[kept[some]]
    value = np.zeros(kept.shape, np.float32)
    value[some] = likeness[kept[some]]
    return near, value
