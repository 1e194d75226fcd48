"""The ends of every law: where a parameter switches something off, it is off."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from sim.arrivals import poisson
from sim.calendar import Today
from sim.change import DriftConfig
from sim.drift import preference_angle, turned
from sim.kernel import numbers
from sim.parameters import WatchConfig
from sim.population import rotation
from sim.response import after_stay, p_click
from sim.scene import mix_interest
from sim.schema import SWIPE
from sim.tenure import FOREVER, tenure
from sim.watch import WatchNumbers, draw_watch_s, expected_watch_s, stay_classes
from tests.sim.continuous_laws import DRIFT, stays
from tests.sim.discrete_laws import LAWS, ROOM
from tests.sim.law import DEFAULT, STAY, WATCH, U


def turned_axes() -> np.ndarray:
    """Return six axes after their own turns of 0.7 radians."""
    return turned(np.eye(6, dtype=np.float32), np.arange(6), 0.7, 31, 0)


def mixed(pull: float, refer: np.ndarray, gain: float) -> np.ndarray:
    """Return momentary interest after a refer."""

    rules = numbers(replace(DEFAULT.session, refer_pull=pull, refer_gain=gain))
    out = np.empty(2, np.float32)
    mix_interest(rules, np.array([1.0, 0.0], np.float32), refer, out)
    return out


def gradual(kind: str) -> DriftConfig:
    """Return a drift of preferences of one kind, by a radian around day 10."""
    return DriftConfig(0.4, 5.0, 0.0, 0.0, kind, 1.0, 10, 5.0, 0.0)


ACROSS = np.array([0.0, 1.0], np.float32)
ALONG = np.array([0.8, 0.6], np.float32)
FLAT = numbers(WatchNumbers.of(WatchConfig(3.6, 1.38, 60.0, 80.0, 1.85, 0.0)))

LIMITS: dict[str, tuple[Callable[[], Any], Any]] = {
    "no time left, nothing watched": (lambda: expected_watch_s(STAY, 0.3, 0.5, 0.0), 0.0),
    "no cut: the mixture's mean": (
        lambda: expected_watch_s(STAY, 0.3, 0.0, 1e15),
        0.3 * stays(True, 0.0).mean + 0.7 * stays(False, 0.0).mean,
    ),
    "a short cut is reached by all engaged": (
        lambda: expected_watch_s(STAY, 1.0, 0.0, 30.0), 30.0,
    ),
    "who must leave within 10 s has no view": (
        lambda: stay_classes(STAY, 0.3, 0.0, 9.9), (1.0, 0.0, 0.0),
    ),
    "an endless room: engaged is long": (
        lambda: stay_classes(STAY, 0.3, 0.0, 1e9)[2], 0.3,
    ),
    "no gain: satisfaction does not stretch": (
        lambda: draw_watch_s(FLAT, True, 2.0, 0.7),
        draw_watch_s(FLAT, True, -2.0, 0.7),
    ),
    "the swipe has no click": (lambda: p_click(LAWS, ROOM._replace(scenario=SWIPE)), 1.0),
    "who follows cannot follow": (lambda: after_stay(LAWS, 1.0, 1.0, True, 2)[2], 0.0),
    "no pull: long-term interest": (lambda: mixed(0.0, ACROSS, 8.0), [1.0, 0.0]),
    "a disliked refer does not pull": (lambda: mixed(1.0, ACROSS, 100.0), [1.0, 0.0]),
    "a liked refer pulls all the way": (lambda: mixed(1.0, ALONG, 100.0), [0.8, 0.6]),
    "nobody leaves": (lambda: tenure(9, 0.0, np.arange(9), U[0, :9])[1], [FOREVER] * 9),
    "no activity, no session": (lambda: poisson(np.zeros(9), U[0, :9]), [0] * 9),
    "no drift of preferences": (lambda: preference_angle(DRIFT, 99), 0.0),
    "half way at its middle": (lambda: preference_angle(gradual("gradual"), 10), 0.5),
    "long before": (lambda: preference_angle(gradual("gradual"), -500), 0.0),
    "long after": (lambda: preference_angle(gradual("gradual"), 500), 1.0),
    "a step": (
        lambda: [preference_angle(gradual("abrupt"), d) for d in (9.9, 10)], [0.0, 1.0],
    ),
    "a cycle": (
        lambda: [preference_angle(gradual("recurring"), d) for d in (10, 12.5, 15)],
        [0.0, 1.0, 0.0],
    ),
    "interests turn by the angle": (
        lambda: (turned_axes() * np.eye(6)).sum(axis=1),
        [np.cos(0.7)] * 6,
    ),
    "and stay unit vectors": (
        lambda: np.linalg.norm(turned_axes(), axis=1), [1.0] * 6,
    ),
    "no sale, a day like any other": (
        lambda: list(vars(Today.of(DEFAULT.calendar, 3)).values())[:6],
        [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    ),
    "no angle, no rotation": (lambda: rotation(np.eye(4, dtype=np.float32), 0.0), np.eye(4)),
    "half a turn": (lambda: rotation(np.eye(4, dtype=np.float32), np.pi), -np.eye(4)),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name):
    """Where a law has an end, it reaches it."""
    value, expected = LIMITS[name]
    np.testing.assert_allclose(value(), expected, rtol=1e-6, atol=1e-6)


def test_the_engaged_tail_is_where_the_figures_say():
    """Engaged stays begin at the cap; the uncut law's median is where it says, in the cut one."""
    law, cap_s = STAY, WATCH.bounce_cap_s
    below = ndtr(np.log(cap_s / WATCH.engaged_median_s) / WATCH.engaged_log_sigma)
    at_median = (0.5 - below) / (1.0 - below)  # of what the cap leaves
    assert draw_watch_s(law, True, 0.0, 1e-9) == pytest.approx(cap_s, rel=1e-3)
    assert draw_watch_s(law, True, 0.0, at_median) == pytest.approx(WATCH.engaged_median_s)
