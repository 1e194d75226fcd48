"""Operational time: it passes as fast as the platform is busy, and equals the clock once a day.

    A(t) = integral of a over [0, t],   a(h) = (1 - e) + e w(h) / mean(w),   A(t + day) = A(t) + day

A delay drawn in operational time from the moment s ends on the clock at A^-1(A(s) + delay). So
hazards follow the hour of the day while the order of events and their probability stay. Source:
time change of point processes (Daley & Vere-Jones, An Introduction to the Theory of Point
Processes, vol. I, section 7.4).

All functions are compiled scalars; `hours` is the `edges_s` of a `Hours`, as a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.kernel import kernel
from sim.schema import DAY_S

HOUR_S = 3600.0


@dataclass(frozen=True)
class Hours:
    """Operational seconds passed since midnight at every full hour of the clock."""

    edges_s: tuple[float, ...]
    """25 values from 0 to DAY_S, ascending."""

    @classmethod
    def of(cls, weights: Sequence[float], strength: float) -> Hours:
        """Return the day's curve.

        Args:
            weights: relative activity in each hour of the day, 24 values.
            strength: e in [0, 1]; 0 makes operational time the clock.
        """
        busy = np.asarray(weights, np.float64)
        rate = (1.0 - strength) + strength * busy / busy.mean()
        edges = np.concatenate([[0.0], np.cumsum(rate) * HOUR_S])
        return cls(tuple((edges * (DAY_S / edges[-1])).tolist()))


@kernel
def operational_s(hours: Hours, time_s: float) -> float:
    """Return A(t), operational seconds since the world began."""
    day = np.floor(time_s / DAY_S)
    hour = (time_s - day * DAY_S) / HOUR_S
    i = min(max(int(hour), 0), 23)
    low = hours.edges_s[i]
    return float(day * DAY_S + low + (hour - i) * (hours.edges_s[i + 1] - low))


@kernel
def clock_s(hours: Hours, passed_s: float) -> float:
    """Return the time on the clock at which A is `passed_s`."""
    day = np.floor(passed_s / DAY_S)
    rest = passed_s - day * DAY_S
    low, high = 0, 24
    while high - low > 1:
        middle = (low + high) // 2
        if hours.edges_s[middle] <= rest:
            low = middle
        else:
            high = middle
    width = hours.edges_s[low + 1] - hours.edges_s[low]
    part = (rest - hours.edges_s[low]) / width if width > 0.0 else 0.0
    return float(day * DAY_S + (low + part) * HOUR_S)


@kernel
def pace(hours: Hours, time_s: float) -> float:
    """Return a(t): operational seconds that pass per second of the clock."""
    hour = (time_s - np.floor(time_s / DAY_S) * DAY_S) / HOUR_S
    i = min(max(int(hour), 0), 23)
    return float((hours.edges_s[i + 1] - hours.edges_s[i]) / HOUR_S)
