"""Operational time: a strictly increasing map that equals the clock once a day."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.kernel import numbers
from sim.operational_time import Hours, clock_s, operational_s, pace
from sim.schema import DAY_S

WEIGHTS = (3, 2, 1, 1, 1, 1, 1, 2, 3, 3, 3, 4, 5, 4, 3, 3, 3, 4, 6, 8, 9, 9, 8, 6)
HOURS = numbers(Hours.of(WEIGHTS, 1.0))
OFF = numbers(Hours.of(WEIGHTS, 0.0))


@given(t=st.floats(0, 60 * DAY_S), later=st.floats(1e-3, 20 * DAY_S))
def test_order_is_kept_and_the_map_inverts(t, later):
    """A is increasing, and A^-1(A(t)) = t."""
    assert operational_s(HOURS, t + later) > operational_s(HOURS, t)
    assert clock_s(HOURS, operational_s(HOURS, t)) == pytest.approx(t, abs=1e-6)


@given(t=st.floats(0, 60 * DAY_S), days=st.integers(0, 30))
def test_total_mass_is_kept(t, days):
    """As much passes in a day as on the clock, wherever it begins."""
    passed = operational_s(HOURS, t + days * DAY_S) - operational_s(HOURS, t)
    assert passed == pytest.approx(days * DAY_S, abs=1e-5)


@given(t=st.floats(0, 60 * DAY_S))
def test_the_switch_turns_it_off(t):
    """At strength 0 operational time is the clock."""
    assert operational_s(OFF, t) == pytest.approx(t, abs=1e-6)
    assert pace(OFF, t) == pytest.approx(1.0)


def test_it_passes_as_fast_as_the_platform_is_busy():
    """The pace is each hour's share of the day, and the slope of A."""
    hour = np.arange(24) + 0.5
    speed = np.array([pace(HOURS, h * 3600.0) for h in hour])
    np.testing.assert_allclose(speed, np.array(WEIGHTS) / np.mean(WEIGHTS))
    for h, own in zip(hour, speed, strict=True):
        slope = (operational_s(HOURS, h * 3600 + 60) - operational_s(HOURS, h * 3600 - 60)) / 120
        assert slope == pytest.approx(own)


def test_hours_without_anybody_are_skipped():
    """Where nobody is awake no operational time passes; the inverse lands behind such hours."""
    night = numbers(Hours.of([0.0] * 6 + [1.0] * 18, 1.0))
    assert operational_s(night, 5 * 3600.0) == 0.0
    assert clock_s(night, 1e-3) >= 6 * 3600.0
    assert clock_s(night, 0.0) == 6 * 3600.0
