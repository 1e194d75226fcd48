"""Normal law, cut stays and delays in detail; the table of all laws is in `test_law_table`."""

import numpy as np
import pytest
from scipy.special import expit, ndtr, ndtri

from sim.kernel import numbers
from sim.normal import normal_cdf, normal_quantile, sigmoid
from sim.rng import Purpose, uniforms
from sim.watch import draw_watch_s, expected_watch_s, stay_classes
from tests.sim.worlds import config

N = 60_000
U = uniforms(11, Purpose.CALIBRATION, np.arange(N))
WATCH = config().watch
LAW = numbers(WATCH)


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
