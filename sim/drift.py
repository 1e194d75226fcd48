"""Drift of popularity and of preferences: what happens to people whatever is shown to them.

    fame:        x_d = rho x_(d-1) + sqrt(1 - rho^2) sigma e_d + jumps,  rho = exp(-1 / days)
    preferences: z(d) = cos(a) z + sin(a) z', z' a direction of the user's own, orthogonal to z

with the angle a by kind: a ramp 1 / (1 + exp(-4 (d - p) / w)) for `gradual` and `abrupt` (a step)
changes, and (1 - cos(2 pi (d - p) / w)) / 2 for recurring ones. Source of the ramp: concept-drift
streams of river 0.26 (reference figures in conf/world).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sim.change import DriftConfig
from sim.rng import Purpose, uniforms

Array32 = NDArray[np.float32]

_WALK, _TURN = 0, 1
"""Kinds of draws."""


class FameDrift:
    """How far the fame of each streamer has drifted, in standard deviations of fame.

    Args:
        config: its size and memory.
        n: ids of streamers.
        seed: the world's seed.
    """

    def __init__(self, config: DriftConfig, n: int, seed: int) -> None:
        self.config = config
        self.n = n
        self.seed = seed
        self._day = -1
        self._now = np.zeros(n)

    def at(self, day: int) -> NDArray[np.float64]:
        """Return the drift [S] on `day`; the process is stationary from day 0 on."""
        c = self.config
        if c.popularity_sigma == 0.0 and c.jumps_per_day == 0.0:
            return self._now
        if day < self._day:
            self._day, self._now = -1, np.zeros(self.n)
        rho = math.exp(-1.0 / c.popularity_days)
        while self._day < day:
            self._day += 1
            u = uniforms(self.seed, Purpose.DRIFT, np.arange(self.n), self._day, 0, _WALK)
            step = c.popularity_sigma * ndtri(u[0])
            if self._day > 0:
                step = rho * self._now + math.sqrt(1 - rho**2) * step
            jumps = np.where(u[1] < c.jumps_per_day, np.where(u[2] < 0.5, -1.0, 1.0), 0.0)
            self._now = step + c.jump_size * jumps
        return self._now


def preference_angle(config: DriftConfig, day: float) -> float:
    """Return by how many radians interests have turned on `day`."""
    x = (day - config.preference_day) / config.preference_days
    if config.preference == "none":
        share = 0.0
    elif config.preference == "abrupt":
        share = float(x >= 0)
    elif config.preference == "gradual":
        share = 1.0 / (1.0 + math.exp(min(-4.0 * x, 700.0)))
    else:
        share = (1.0 - math.cos(2 * math.pi * x)) / 2
    return config.preference_angle * share


def turned(
    interest: Array32, ids: NDArray[np.integer], angle: float, seed: int, kind: int
) -> Array32:
    """Turn unit vectors [N, K] by `angle` towards directions of the users' own.

    Args:
        interest: unit vectors [N, K].
        ids: whose they are [N].
        angle: radians.
        seed: the world's seed.
        kind: number of the group of targets.
    """
    if angle == 0.0:
        return interest
    n, k = interest.shape
    blocks = np.arange((k + 3) // 4)
    u = uniforms(seed, Purpose.DRIFT, ids[:, None], kind, blocks[None, :], _TURN)
    other = ndtri(np.moveaxis(u, 0, -1).reshape(n, -1)[:, :k])
    other -= np.einsum("uk,uk->u", other, interest)[:, None] * interest
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return np.asarray(math.cos(angle) * interest + math.sin(angle) * other, np.float32)
