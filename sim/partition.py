"""How users are divided: among shards that are stepped apart, and among the parts of a log.

A log divides its rows by user into parts, in a number that the world decides and not who writes it.
Where there are as many shards as parts, each shard makes the files of its own part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_USERS_A_PART = 16_384
_MOST_PARTS = 256


def shard_of(user_id: NDArray[np.integer], n_shards: int) -> NDArray[np.int64]:
    """Return the shard, or the part, of each user [N], in [0, n_shards)."""
    return user_id.astype(np.int64) % n_shards


def parts_of(n_users: int) -> int:
    """Return the number of parts of a log: a power of two, at most 256.

    Args:
        n_users: present at a time; a part has at most 16,384 of them where 256 parts do.
    """
    needed = max(-(-n_users // _USERS_A_PART), 1)
    return min(1 << (needed - 1).bit_length(), _MOST_PARTS)


def rows_path(table: str, day: int, scenario: str, part: int) -> str:
    """Return where the rows of a part lie, relative to the log."""
    return f"{table}/day={day:04d}/scenario={scenario}/part-{part}.parquet"
