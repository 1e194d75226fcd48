"""Normal law, cut stays and delays in detail; the table of all laws is in `test_law_table`."""

import numpy as np
import pytest
from scipy.special import expit, ndtr, ndtri

from sim.kernel import numbers
from sim.normal import normal_cdf, normal_quantile, sigmoid
from sim.parameters import WatchConfig
from sim.rng import Purpose, uniforms
from sim.watch import (
    UncutStays,
    WatchNumbers,
    draw_watch_s,
    expected_watch_s,
    law_of_stay,
    stay_classes,
)
from tests.sim.worlds import config

N = 60_000
U = uniforms(11, Purpose.CALIBRATION, np.arange(N))
WATCH = config().watch
LAW = numbers(WatchNumbers.of(WATCH))


def each(law, *columns):
    """Apply a compiled scalar law to every row."""
    return np.array([law(*row) for row in zip(*columns, strict=True)])


def test_normal_and_logistic_laws_equal_scipys():
    """To 14 digits over the whole range of 32-bit uniforms."""
    p = np.concatenate([[2.0**-33, 1e-9, 0.075, 0.5, 0.925, 1 - 2.0**-33], U[0][:2000]])
    x = np.concatenate([[-37.0, -5.0, 0.0, 5.0, 8.0], ndtri(U[1][:2000])])
    np.testing.assert_allclose(each(normal_quantile, p), ndtri(p), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(each(normal_cdf, x), ndtr(x), rtol=1e-12)
    np.testing.assert_allclose(each(sigmoid, 20 * x), expit(20 * x), rtol=1e-14)


@pytest.mark.parametrize("remaining_s", [5.0, 30.0, 300.0, 1e6])
def test_cut_stays_have_the_stated_classes_and_mean(remaining_s):
    """P(short, view, long) and E[min(watch, cut)] equal frequencies of drawn, cut stays."""
    p_engaged, satisfaction = 0.3, 0.7
    stays = U[0] < p_engaged
    drawn = each(lambda stay, u: draw_watch_s(LAW, stay, satisfaction, u), stays, U[1])
    watch_s = np.minimum(drawn, remaining_s)
    classes = stay_classes(LAW, p_engaged, satisfaction, remaining_s)
    cap = WATCH.bounce_cap_s
    found = [(watch_s < 10), (watch_s >= 10) & (watch_s < cap), watch_s >= cap]
    for p, hits in zip(classes, found, strict=True):
        assert abs(hits.mean() - p) < 4 * np.sqrt(0.25 / N)
    cut = np.minimum(watch_s, 600.0)
    mean = expected_watch_s(LAW, p_engaged, satisfaction, min(remaining_s, 600.0))
    assert abs(cut.mean() - mean) < 4 * cut.std() / np.sqrt(N) + 1e-9


CORNERED = WatchConfig(3.0, 0.01, 60.0, 80.0, 0.01, 5.0)
"""A law that jumps with satisfaction, too sharp for a grid."""


@pytest.mark.parametrize("watch", [WATCH, CORNERED], ids=["smooth", "cornered"])
def test_the_quick_law_of_a_stay_equals_the_exact_one(watch: WatchConfig) -> None:
    """Interpolated where nothing cuts the stay, exact elsewhere; a law with corners always is."""
    law, uncut = numbers(WatchNumbers.of(watch)), UncutStays.of(watch)
    assert np.isnan(uncut.from_s) == (watch is CORNERED)
    grid, p_engaged = numbers(uncut), 0.3
    for satisfaction in np.linspace(-2.5, 2.5, 301):
        for remaining_s in (-1.0, 0.0, 30.0, 599.0, 600.0, 1e6, np.inf):
            quick = law_of_stay(law, grid, p_engaged, satisfaction, remaining_s)
            classes = stay_classes(law, p_engaged, satisfaction, remaining_s)
            cut_s = min(max(remaining_s, 0.0), 600.0)
            watched = expected_watch_s(law, p_engaged, satisfaction, cut_s) / 600.0
            np.testing.assert_allclose(quick, (*classes, watched), rtol=0, atol=1e-9)
