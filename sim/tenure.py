"""Tenure: when people arrive and leave, so that their number holds in expectation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FOREVER = 2**30
"""Leave day of an entity that never leaves."""


def ever(initial: int, rate: float, day: int) -> int:
    """Return how many were ever born by `day`."""
    return initial + round(initial * rate) * day


def born(initial: int, rate: float, after_day: int, day: int) -> NDArray[np.int64]:
    """Return the births [N] later than `after_day` (-1: all so far), up to and including `day`."""
    low = ever(initial, rate, after_day) if after_day >= 0 else 0
    return np.arange(low, ever(initial, rate, day))


def joined_days(initial: int, rate: float, births: NDArray[np.integer]) -> NDArray[np.int32]:
    """Return the day of each birth [N]."""
    per_day = max(round(initial * rate), 1)
    return np.where(births < initial, 0, 1 + (births - initial) // per_day).astype(np.int32)


def tenure(
    initial: int, rate: float, births: NDArray[np.integer], u: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return first day and first day gone [N]; geometric lifetimes of mean 1 / rate days.

    Args:
        initial: births of day 0.
        rate: share that leaves per day.
        births: numbers in the order of birth [N].
        u: uniforms [N] that draw the lifetimes.
    """
    joined = joined_days(initial, rate, births)
    if rate == 0:
        return joined, np.full(len(births), FOREVER, np.int32)
    life = 1 + np.floor(np.log(u) / np.log1p(-rate))
    return joined, (joined + life).astype(np.int32)
