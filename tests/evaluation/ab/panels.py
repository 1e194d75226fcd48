"""Made-up panels, from bits that are the same everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.ab.panel import Panel
from sim.rng import philox4x32


def golden() -> tuple[Panel, Panel, NDArray[np.bool_]]:
    """Return 400 users: a ratio with its past, watch time with clicks of the past, the arms."""
    i = np.arange(400)
    u = (philox4x32((i, 0, 0, 0), (7, 7)).astype(np.float64) + 0.5) * 2.0**-32
    v = (philox4x32((i, 1, 0, 0), (7, 7)).astype(np.float64) + 0.5) * 2.0**-32
    treated = u[0] < 0.45
    x0 = 1 + np.floor(5 * u[1])
    y0 = np.floor((x0 + 1) * u[2])
    x = 1 + np.floor(4 * u[3] + 0.6 * x0)
    y = np.floor(x * (0.6 * v[0] + 0.3 * y0 / x0) * (1 + 0.2 * treated) * 2) / 2
    watch = np.round(40 * v[1] + 12 * y0 + 3 * treated * v[2], 3)
    one = np.ones(400)
    return Panel(y, x, y0, x0), Panel(watch, one, y0, one), treated


def heavy(users: int, seed: int) -> Panel:
    """Return users with Poisson numbers of impressions and own click rates, and their past."""
    rng = np.random.default_rng(seed)
    activity, taste = rng.lognormal(1.0, 0.8, users), rng.beta(2.0, 8.0, users)
    x, x0 = (rng.poisson(activity) + 1.0 for _ in range(2))
    y, y0 = (rng.binomial(n.astype(int), taste).astype(float) for n in (x, x0))
    return Panel(y, x, y0, x0)
