"""What the next split of this platform could find: detectable lifts and power curves.

Both come from users who all met the control, so that nothing differs: what they did in the first
days of the experiment, each day on its own account, and what they did in the log before.

    detectable   by formula: the lift that is found in 80 % of experiments, for d days and U users
                 who come in them; errors fall with the square root of U
    power        by simulation, for all days and the users there are: lifts are injected into random
                 halves of them (`evaluation.ab.power`), and the share of halves that is found

A longer experiment is not the same as more users: those who come on the second day are mostly those
of the first, and their behaviour varies from day to day less than between users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluation.ab.level import cuped_levels, ratio_level
from evaluation.ab.moments import Moments
from evaluation.ab.panel import Panel, panel_of
from evaluation.ab.power import METHODS, minimum_detectable, power_curve
from evaluation.online import UserTotals

POWER = 0.8
"""Share of experiments that find a detectable lift."""

SIZES = (0.25, 1.0, 4.0, 16.0)
"""Users of the experiments that are planned, in multiples of those who came."""

STEPS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Lifts of a power curve, in multiples of the detectable one."""

RUNS = 1000
"""Random halves of a power curve."""


@dataclass(frozen=True)
class Planning:
    """Tables for whoever plans the next experiment."""

    detectable: pd.DataFrame
    """One row per metric, days, users and analysis ("delta", "cuped"): `lift`, relative."""
    power: pd.DataFrame
    """One row per metric, analysis ("delta", "cuped", "anytime") and `lift`: `power`, and its
    standard `error` over runs; all days, all users."""


def planning(
    days: Sequence[UserTotals], before: UserTotals, metrics: Sequence[str], seed: int = 0
) -> Planning:
    """Return what splits of these users could find.

    Args:
        days: totals of the users under the control, after one day, two days and so on.
        before: of the log before the experiment.
        metrics: of `evaluation.online.METRICS`.
        seed: of the random halves.
    """
    detectable, power = [], []
    for metric in metrics:
        for number, totals in enumerate(days, start=1):
            panel, _ = panel_of(totals, metric, before=before)
            for analysis, cuped in (("delta", False), ("cuped", True)):
                lift = detectable_lift(panel, cuped)
                for size in SIZES:
                    users = round(size * len(panel))
                    detectable.append(
                        (metric, number, users, analysis, float(np.expm1(lift / size**0.5)))
                    )
        own = detectable_lift(panel, cuped=False)
        lifts = tuple(float(np.expm1(step * own)) for step in STEPS)
        for method in METHODS if np.isfinite(own) else ():
            curve = power_curve(panel, lifts, method, RUNS, seed=seed)
            rows = zip(lifts, curve.power.tolist(), curve.error.tolist(), strict=True)
            power += [(metric, method, *row) for row in rows]
    heads = ["metric", "days", "users", "analysis", "lift"]
    return Planning(
        pd.DataFrame(detectable, columns=heads),
        pd.DataFrame(power, columns=["metric", "analysis", "lift", "power", "error"]),
    )


def detectable_lift(panel: Panel, cuped: bool) -> float:
    """Return log(1 + lift) that a split of a panel in halves finds with a probability of POWER.

    Args:
        panel: of users without an effect.
        cuped: whether the analysis uses the time before.

    Returns:
        The logarithm; NaN where nothing happened, or nothing varies.
    """
    whole = Moments.of(panel.columns)
    if len(panel) < 2:
        return float("nan")
    # a panel beside itself: theta and residuals are those of all users
    level = cuped_levels(whole, whole)[0] if cuped else ratio_level(whole)
    with np.errstate(divide="ignore", invalid="ignore"):
        # each arm has half of the users, and the variances of both add
        error = float(np.sqrt(4.0 * level.variance) / level.value)
    return minimum_detectable(error, POWER) if error > 0.0 else float("nan")
