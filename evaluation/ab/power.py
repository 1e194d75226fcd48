"""Power: which effect a design can see, by formula and by injecting effects into a null panel.

The smallest effect that is detected with a given power is (z_(1 - alpha/2) + z_power) standard
errors (two-sided, normal). The simulation assumes nothing of the kind: users of a panel without
effect are assigned again and again, the treated ones' numerator is multiplied by 1 + lift, and the
share of assignments that reject is the power. An effect that only scales the treated's sums needs
no new sums: moments of an arm scale with it.
Axis letters: R runs, E effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from evaluation.ab.assignment import redrawn
from evaluation.ab.contrast import between, within
from evaluation.ab.level import NUMERATOR, cuped_levels, ratio_level
from evaluation.ab.moments import assigned
from evaluation.ab.panel import Panel
from evaluation.ab.sequential import tuned_rho

Array = NDArray[np.float64]

_BLOCK_CELLS = 1 << 20
"""Cells of assignments that are compared at a time."""

Method = Literal["delta", "cuped", "anytime", "twins"]
METHODS: tuple[Method, ...] = ("delta", "cuped", "anytime")
"""Methods of split traffic."""


@dataclass(frozen=True)
class PowerCurve:
    """Share of runs that reject no effect, by size of the effect."""

    method: Method
    lifts: tuple[float, ...]
    power: NDArray[np.float64]
    """[E]."""
    error: NDArray[np.float64]
    """[E] standard error of the share, over runs."""

    def detectable(self, power: float = 0.8) -> float:
        """Return the smallest lift that is detected with this power, between the lifts tried.

        NaN where no lift reaches it. Lifts must ascend from 0.
        """
        above = np.flatnonzero(self.power >= power)
        if not len(above) or above[0] == 0:
            return float("nan") if not len(above) else self.lifts[0]
        i = int(above[0])
        low, high = self.power[i - 1], self.power[i]
        share = (power - low) / (high - low)
        return float(self.lifts[i - 1] + share * (self.lifts[i] - self.lifts[i - 1]))


def minimum_detectable(standard_error: float, power: float = 0.8, level: float = 0.95) -> float:
    """Return the smallest effect, in the unit of the error, that is detected with a given power.

    Raises:
        ValueError: an argument is out of range.
    """
    if not 0.0 < power < 1.0 or not 0.0 < level < 1.0 or not standard_error >= 0.0:
        raise ValueError(
            f"standard_error = {standard_error}, power = {power}, level = {level}; allowed: an "
            "error from 0, shares in (0, 1)"
        )
    return float((ndtri(0.5 + level / 2.0) + ndtri(power)) * standard_error)


def power_curve(
    panel: Panel,
    lifts: Sequence[float],
    method: Method = "delta",
    runs: int = 1000,
    share: float = 0.5,
    level: float = 0.95,
    seed: int = 0,
) -> PowerCurve:
    """Return how often split traffic of this panel finds an injected lift.

    Args:
        panel: without an effect.
        lifts: relative effects on the numerator of the treated, above -1.
        method: "delta" compares ratios, "cuped" uses the time before, "anytime" asks the
            confidence sequence tuned at all clusters, which may also be looked at before.
        runs: assignments.
        share: of the treated.
        level: 1 - size of the test.
        seed: of the assignments; the same for every method, so that curves can be compared.

    Raises:
        ValueError: an argument is out of range, or CUPED has no time before.
    """
    if method not in METHODS:
        raise ValueError(f"method = {method!r}; allowed: {', '.join(METHODS)}")
    if runs < 1 or not 0.0 < share < 1.0 or any(lift <= -1.0 for lift in lifts):
        raise ValueError(
            f"runs = {runs}, share = {share}, lifts = {list(lifts)}; allowed: runs from 1, a share "
            "in (0, 1), lifts above -1"
        )
    treated, control = assigned(panel.columns, redrawn(len(panel), runs, share, seed))
    shares = []
    for lift in lifts:
        moved = treated.scaled(NUMERATOR, 1.0 + lift)
        if method == "cuped":
            levels = cuped_levels(moved, control)
        else:
            levels = ratio_level(moved), ratio_level(control)
        found = between(levels[0], levels[1])
        if method == "anytime":
            rejects = np.abs(found.statistic) > _boundary(len(panel), level)
        else:
            rejects = found.p_value < 1.0 - level
        shares.append(float(rejects.mean()))
    power = np.array(shares)
    return PowerCurve(method, tuple(lifts), power, np.sqrt(power * (1.0 - power) / runs))


def twin_power_curve(
    one: tuple[Array, Array],
    other: tuple[Array, Array],
    lifts: Sequence[float],
    runs: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> PowerCurve:
    """Return how often twins of one world find an injected lift.

    Args:
        one: sums y and x [U] of the users under a policy.
        other: those of the same users in a twin, under a policy of the same worth.
        lifts: relative effects on the numerator of the treated, above -1.
        runs: which twin of each user is the treated one, drawn anew.
        level: 1 - size of the test.
        seed: of the draws.

    Raises:
        ValueError: an argument is out of range.
    """
    if runs < 1 or any(lift <= -1.0 for lift in lifts):
        raise ValueError(
            f"runs = {runs}, lifts = {list(lifts)}; allowed: runs from 1, lifts above -1"
        )
    (y1, x1), (y0, x0) = one, other
    step = max(1, _BLOCK_CELLS // max(len(y1), 1))
    found = np.zeros(len(lifts))
    drawn = redrawn(len(y1), runs, 0.5, seed)
    for low in range(0, runs, step):
        swap = drawn[low : low + step]
        treated, below = np.where(swap, y0, y1), np.where(swap, x0, x1)
        control = np.where(swap, y1, y0), np.where(swap, x1, x0)
        for e, lift in enumerate(lifts):
            contrast = within((treated * (1.0 + lift), below), control)
            found[e] += (contrast.p_value < 1.0 - level).sum()
    power = found / runs
    return PowerCurve("twins", tuple(lifts), power, np.sqrt(power * (1.0 - power) / runs))


def _boundary(n: int, level: float) -> float:
    """Return the half width, in standard errors, of the confidence sequence tuned at its end."""
    spread = n * tuned_rho(n, level) ** 2
    log = np.log(np.sqrt(spread + 1.0) / (1.0 - level))
    return float(np.sqrt(2.0 * (spread + 1.0) / spread * log))
