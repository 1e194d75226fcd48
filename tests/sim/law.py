"""A law of the world: draws made by its own code, and what they should follow."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from sim.kernel import numbers
from sim.rng import Purpose, uniforms
from sim.schema import SCENARIOS
from sim.watch import WatchNumbers
from sim.world import World
from tests.sim.worlds import config

N = 40_000
U = uniforms(17, Purpose.CALIBRATION, np.arange(N))
DEFAULT = config("default")
WATCH = DEFAULT.watch
STAY = numbers(WatchNumbers.of(WATCH))


@dataclass(frozen=True)
class Continuous:
    """A law with a density."""

    draw: Callable[[], np.ndarray]
    cdf: Callable[[np.ndarray], np.ndarray]
    mean: float
    variance: float


@dataclass(frozen=True)
class Discrete:
    """A law over 0, 1, 2, ..."""

    draw: Callable[[], np.ndarray]
    p: np.ndarray
    """Probability of each value; the last one holds what is beyond."""


def each(law: Callable[..., float], *columns: np.ndarray) -> np.ndarray:
    """Apply a compiled scalar law to every row."""
    return np.array([law(*row) for row in zip(*columns, strict=True)])


EVERYWHERE = {f"{name}__users_share": 1.0 for name in SCENARIOS}


@cache
def crowd() -> World:
    """A world of many users and streamers, none of whom comes or goes."""
    big = {"population__n_users": N, "population__n_streamers": 8000}
    return World(config("default", turnover__share_per_day=0.0, **EVERYWHERE, **big), 31)
