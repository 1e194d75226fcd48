"""Every law of the world in one table: draws against a closed form written down in the tests.

A row holds draws made by the world's own code, the law they should follow, worked out from the
equations of its module and not by its code, and the mean and variance of that law. To add a law,
add a row to `CONTINUOUS` or `DISCRETE`, and its ends to `LIMITS` of `test_law_limits`.
"""

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from tests.sim.continuous_laws import CONTINUOUS
from tests.sim.discrete_laws import DISCRETE


@pytest.mark.parametrize("name", CONTINUOUS)
def test_draws_follow_their_law(name):
    """Kolmogorov-Smirnov, mean, variance."""
    law = CONTINUOUS[name]()
    x = law.draw()
    assert len(x) >= 8000
    assert kstest(x, law.cdf).pvalue > 1e-4
    assert abs(x.mean() - law.mean) < 4.5 * np.sqrt(law.variance / len(x))
    square = (x - law.mean) ** 2
    # the fourth moment of the heavy tails is that of the sample, hence the width
    assert abs(square.mean() - law.variance) < 6 * square.std() / np.sqrt(len(x))


@pytest.mark.parametrize("name", DISCRETE)
def test_counts_follow_their_law(name):
    """Chi-square over the values, mean, variance."""
    law = DISCRETE[name]()
    x, p = law.draw(), law.p
    assert p.sum() == pytest.approx(1.0)
    assert len(x) >= 1500
    found = np.bincount(x, minlength=len(p))
    assert len(found) == len(p), "a value beyond the law's range"
    assert found[p == 0].sum() == 0
    kept = p > 0
    expected = len(x) * p[kept]
    common = expected >= 5  # rare values count together
    cells = [(found[kept][common], expected[common])]
    if not common.all():
        cells.append(
            (found[kept][~common].sum(keepdims=True), expected[~common].sum(keepdims=True))
        )
    statistic = sum(float(((a - e) ** 2 / e).sum()) for a, e in cells)
    freedom = sum(len(e) for _, e in cells) - 1
    assert chi2.sf(statistic, freedom) > 1e-5
    value = np.arange(len(p))
    mean = float(p @ value)
    variance = float(p @ (value - mean) ** 2)
    fourth = float(p @ (value - mean) ** 4)
    assert abs(x.mean() - mean) < 4.5 * np.sqrt(variance / len(x))
    spread = np.sqrt(max(fourth - variance**2, 1e-12) / len(x))
    assert abs(((x - mean) ** 2).mean() - variance) < 4.5 * spread + 1e-9
