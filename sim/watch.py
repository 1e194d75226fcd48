"""Watch time: a stay is a bounce or engaged, each log-normal on its side of a cap.

    bounce:  log W ~ Normal(log bounce_median + g, bounce_log_sigma), given W <  cap
    engaged: log W ~ Normal(log engaged_median + g, engaged_log_sigma), given W >= cap

with g = satisfaction_gain x content satisfaction; the stay is cut where the room or the session
ends. Source: shape and medians fitted to KuaiLive (reference figures in conf/world); a single
log-normal fits neither the median nor the tail.

All functions are compiled scalars; `law` is `sim.kernel.numbers` of a `WatchNumbers`. The truth
asks for the law of a stay once an impression: for those that nothing cuts it is interpolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from sim.kernel import allocating, kernel, numbers
from sim.normal import normal_cdf, normal_quantile
from sim.parameters import WatchConfig
from sim.schema import EFFECTIVE_VIEW_S, WATCH_CAP_S

_MOST_SATISFIED = 2.0
"""Satisfaction counts between minus this and this, logits."""

_GRID_SIZE = 256
_GRID_STEP = 2 * _MOST_SATISFIED / (_GRID_SIZE - 1)
_TOLERANCE = 1e-9
"""Largest error of an interpolated share of bounces or of WATCH_CAP_S."""

_SHORT, _BOUNCE, _ENGAGED = range(3)


@dataclass(frozen=True)
class WatchNumbers:
    """Parameters as compiled code takes them: logarithms are taken once, not at every draw."""

    bounce_log_median: float
    bounce_log_sigma: float
    engaged_log_median: float
    engaged_log_sigma: float
    cap_s: float
    log_cap: float
    satisfaction_gain: float

    @classmethod
    def of(cls, config: WatchConfig) -> WatchNumbers:
        """Return the numbers of a law."""
        return cls(
            math.log(config.bounce_median_s), config.bounce_log_sigma,
            math.log(config.engaged_median_s), config.engaged_log_sigma,
            config.bounce_cap_s, math.log(config.bounce_cap_s), config.satisfaction_gain,
        )  # fmt: skip


@dataclass(frozen=True)
class UncutStays:
    """What becomes of stays that nothing cuts, by satisfaction on a grid.

    Columns: share of bounces below an effective view, and mean of min(watch, WATCH_CAP_S) of
    bounces and of engaged stays, in WATCH_CAP_S. Cubic interpolation (Lagrange, four points).
    """

    from_s: float
    """Stays with at least so much time left are those; NaN, so that none is, where the law has a
    corner that the grid does not resolve."""
    table: NDArray[np.float64]
    """[grid, 3]."""

    @classmethod
    @cache
    def of(cls, config: WatchConfig) -> UncutStays:
        """Return the grid of a law."""
        law = numbers(WatchNumbers.of(config))
        grid = np.linspace(-_MOST_SATISFIED, _MOST_SATISFIED, _GRID_SIZE, dtype=np.float64)
        table, middle = _tabulated(law, grid), (grid[:-1] + grid[1:]) / 2
        uncut = cls(max(WATCH_CAP_S, config.bounce_cap_s), table)
        error = np.abs(_interpolated(numbers(uncut), middle) - _tabulated(law, middle)).max()
        return uncut if error <= _TOLERANCE else cls(math.nan, table)


@kernel
def draw_watch_s(law: WatchNumbers, engaged: bool, satisfaction: float, u: float) -> float:
    """Draw the uncut seconds of a stay.

    Args:
        law: parameters.
        engaged: whether the stay is engaged.
        satisfaction: content satisfaction, centred logits.
        u: uniform in (0, 1).
    """
    mean, sigma = _location(law, engaged, satisfaction)
    at_cap = normal_cdf((law.log_cap - mean) / sigma)
    quantile = at_cap + u * (1 - at_cap) if engaged else u * at_cap
    # keep the quantile inside (0, 1) where the cap sits far in a tail
    quantile = min(max(quantile, 1e-12), 1 - 1e-12)
    return math.exp(mean + sigma * normal_quantile(quantile))


@kernel
def stay_classes(
    law: WatchNumbers, p_engaged: float, satisfaction: float, remaining_s: float
) -> tuple[float, float, float]:
    """Return P(watch < 10 s), P(10 s <= watch < cap), P(watch >= cap) of a cut stay.

    Args:
        law: parameters.
        p_engaged: probability that the stay is engaged.
        satisfaction: content satisfaction, centred logits.
        remaining_s: seconds until the room or session ends.
    """
    mean, sigma = _location(law, False, satisfaction)
    below_view = normal_cdf((math.log(EFFECTIVE_VIEW_S) - mean) / sigma)
    below_cap = normal_cdf((law.log_cap - mean) / sigma)
    p_short = (1 - p_engaged) * below_view / below_cap
    if remaining_s < EFFECTIVE_VIEW_S:
        p_short = 1.0
    p_long = 0.0 if remaining_s < law.cap_s else p_engaged
    return p_short, 1 - p_short - p_long, p_long


@kernel
def expected_watch_s(
    law: WatchNumbers, p_engaged: float, satisfaction: float, cut_s: float
) -> float:
    """Return E[min(watch, cut_s)] in seconds, by the partial moments of the log-normal."""
    if cut_s <= 0.0:
        return 0.0
    log_cap, log_cut = law.log_cap, math.log(cut_s)
    # bounces: E[min(W, cut)] given log W < log cap
    mean, sigma = _location(law, False, satisfaction)
    stop = min(log_cut, log_cap)
    below_cap = normal_cdf((log_cap - mean) / sigma)
    bounce = math.exp(mean + sigma**2 / 2) * normal_cdf((stop - mean) / sigma - sigma)
    if log_cut < log_cap:
        bounce += cut_s * (below_cap - normal_cdf((stop - mean) / sigma))
    bounce /= below_cap
    if log_cut < log_cap:
        return p_engaged * cut_s + (1 - p_engaged) * bounce
    # engaged stays: the same given log W >= log cap
    mean, sigma = _location(law, True, satisfaction)
    low, stop = (log_cap - mean) / sigma, (log_cut - mean) / sigma
    part = normal_cdf(stop - sigma) - normal_cdf(low - sigma)
    engaged = math.exp(mean + sigma**2 / 2) * part + cut_s * normal_cdf(-stop)
    return p_engaged * engaged / normal_cdf(-low) + (1 - p_engaged) * bounce


@kernel
def law_of_stay(
    law: WatchNumbers, uncut: UncutStays, p_engaged: float, satisfaction: float, remaining_s: float
) -> tuple[float, float, float, float]:
    """Return the three `stay_classes` and E[min(watch, WATCH_CAP_S)] / WATCH_CAP_S of a cut stay.

    Args:
        law: parameters.
        uncut: `sim.kernel.numbers` of them on a grid.
        p_engaged: probability that the stay is engaged.
        satisfaction: content satisfaction, centred logits.
        remaining_s: seconds until the room or session ends.
    """
    if remaining_s >= uncut.from_s:
        short, bounce, engaged = _between(uncut, satisfaction)
        p_short = (1.0 - p_engaged) * short
        watched = p_engaged * engaged + (1.0 - p_engaged) * bounce
        return p_short, 1.0 - p_short - p_engaged, p_engaged, watched
    p_short, p_view, p_long = stay_classes(law, p_engaged, satisfaction, remaining_s)
    cut_s = min(max(remaining_s, 0.0), WATCH_CAP_S)
    watched = expected_watch_s(law, p_engaged, satisfaction, cut_s) / WATCH_CAP_S
    return p_short, p_view, p_long, watched


@kernel
def _between(uncut: UncutStays, satisfaction: float) -> tuple[float, float, float]:
    place = min(max(satisfaction, -_MOST_SATISFIED), _MOST_SATISFIED) + _MOST_SATISFIED
    place /= _GRID_STEP
    i = min(max(int(place), 1), _GRID_SIZE - 3)
    t, table = place - i, uncut.table
    a, b = t * (t - 1.0) * (2.0 - t) / 6.0, (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0
    c, d = (t + 1.0) * t * (2.0 - t) / 2.0, (t + 1.0) * t * (t - 1.0) / 6.0
    return (
        a * table[i - 1, 0] + b * table[i, 0] + c * table[i + 1, 0] + d * table[i + 2, 0],
        a * table[i - 1, 1] + b * table[i, 1] + c * table[i + 1, 1] + d * table[i + 2, 1],
        a * table[i - 1, 2] + b * table[i, 2] + c * table[i + 1, 2] + d * table[i + 2, 2],
    )


@allocating
def _interpolated(uncut: UncutStays, satisfaction: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.empty((len(satisfaction), 3))
    for i in range(len(satisfaction)):
        out[i, _SHORT], out[i, _BOUNCE], out[i, _ENGAGED] = _between(uncut, satisfaction[i])
    return out


@allocating
def _tabulated(law: WatchNumbers, satisfaction: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.empty((len(satisfaction), 3))
    for i in range(len(satisfaction)):
        out[i, _SHORT] = stay_classes(law, 0.0, satisfaction[i], np.inf)[0]
        out[i, _BOUNCE] = expected_watch_s(law, 0.0, satisfaction[i], WATCH_CAP_S) / WATCH_CAP_S
        out[i, _ENGAGED] = expected_watch_s(law, 1.0, satisfaction[i], WATCH_CAP_S) / WATCH_CAP_S
    return out


@kernel
def _location(law: WatchNumbers, engaged: bool, satisfaction: float) -> tuple[float, float]:
    """Return mean and standard deviation of the log watch time before the truncation."""
    gain = law.satisfaction_gain * min(max(satisfaction, -_MOST_SATISFIED), _MOST_SATISFIED)
    if engaged:
        return law.engaged_log_median + gain, law.engaged_log_sigma
    return law.bounce_log_median + gain, law.bounce_log_sigma
