"""An effect: what one design says about treated against control, in one form for all designs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from evaluation import intervals
from evaluation.ab.contrast import Contrast, Unit, between
from evaluation.ab.level import cuped_levels, ratio_level
from evaluation.ab.moments import Moments
from evaluation.ab.panel import Panel
from evaluation.intervals import LEVEL, MIN_EVENTS, Estimate
from evaluation.online import UserTotals
from evaluation.results import ALL


@dataclass(frozen=True)
class Effect:
    """Treated against control by one design; NaN where undefined."""

    design: str
    """"twins", "split", "split, cuped", "switchback" or "interleaving"."""
    metric: str
    unit: Unit
    """"difference" in the metric's unit, "lift" relative, "preference" in [-1, 1]."""
    estimate: float
    low: float
    """Ends of the interval of coverage LEVEL."""
    high: float
    standard_error: float
    """Of the estimate; of a lift that of log(1 + lift)."""
    p_value: float
    """Two-sided, of no effect."""
    clusters: int
    """Independent units that the error rests on."""
    cluster: str
    """What they are: "user", "pair of blocks"."""

    @property
    def rejects(self) -> bool:
        """Whether no effect is rejected at 1 - LEVEL."""
        return bool(self.p_value < 1.0 - LEVEL)

    def covers(self, truth: float) -> bool:
        """Return whether the interval holds a value."""
        return bool(self.low <= truth <= self.high)


def of_estimate(design: str, metric: str, unit: Unit, estimate: Estimate, cluster: str) -> Effect:
    """Return the effect that an influence-based estimate of a comparison tells."""
    found = estimate.interval()
    error, n = estimate.standard_error, int(np.count_nonzero(estimate.active))
    known = np.isfinite(found.low) and error > 0.0
    value = np.log1p(estimate.value) if unit == "lift" and known else estimate.value
    error = error / (1.0 + estimate.value) if unit == "lift" and known else error
    nothing = float("nan")
    p_value = float(2.0 * stdtr(n - 1, -abs(value / error))) if known else nothing
    return Effect(
        design, metric, unit, found.estimate, found.low, found.high, error if known else nothing,
        p_value, n, cluster,
    )  # fmt: skip


def of_contrast(
    design: str, metric: str, contrast: Contrast, clusters: int, cluster: str, events: int
) -> Effect:
    """Return the effect that a contrast of one run tells.

    Args:
        design: which.
        metric: which.
        contrast: without leading axes.
        clusters: of both arms.
        cluster: what they are.
        events: clusters with a numerator, of the arm with fewer; below
            `evaluation.intervals.MIN_EVENTS` there is no interval.
    """
    found = (*contrast.interval(), contrast.standard_error, contrast.p_value)
    low, high, error, p_value = (float(number) for number in found)
    if events < MIN_EVENTS or not error > 0.0:
        low = high = error = p_value = float("nan")
    value = float(contrast.estimate)
    return Effect(
        design, metric, contrast.unit, value, low, high, error, p_value, clusters, cluster
    )


def twin_effect(
    treated: UserTotals,
    control: UserTotals,
    metric: str,
    scenario: str = ALL,
    unit: Unit = "difference",
) -> Effect:
    """Return the exact effect: the same users in twins of one world, paired.

    What is left to chance is who the users of this world are; its interval speaks of other worlds
    and other days, not of an error in this one.

    Raises:
        ResultsError: the metric or the scenario is unknown.
        ValueError: the deployments have different numbers of users.
    """
    pair = treated.estimate(metric, scenario), control.estimate(metric, scenario)
    compare = intervals.lift if unit == "lift" else intervals.difference
    return of_estimate("twins", metric, unit, compare(*pair), "user")


def split_effect(
    panel: Panel,
    treated: NDArray[np.bool_],
    metric: str,
    unit: Unit = "difference",
    cuped: bool = False,
) -> Effect:
    """Return the effect that split traffic shows: different users in each arm.

    Args:
        panel: of the users with data.
        treated: [U] which of them are treated; the others are the control.
        metric: label.
        unit: "difference" or "lift".
        cuped: whether to use the time before.

    Raises:
        ValueError: the lengths differ, or `cuped` without a time before.
    """
    if treated.shape != (len(panel),):
        raise ValueError(f"treated has shape {treated.shape}; must be [U] = ({len(panel)},)")
    if cuped and not panel.has_before:
        raise ValueError("cuped is True, but the panel knows nothing of the time before")
    columns = panel.columns
    arms = Moments.of(columns[treated]), Moments.of(columns[~treated])
    levels = cuped_levels(*arms) if cuped else tuple(ratio_level(arm) for arm in arms)
    with_event = panel.numerator != 0.0
    events = int(min((with_event & treated).sum(), (with_event & ~treated).sum()))
    design = "split, cuped" if cuped else "split"
    contrast = between(levels[0], levels[1], unit)
    return of_contrast(design, metric, contrast, len(panel), "user", events)
