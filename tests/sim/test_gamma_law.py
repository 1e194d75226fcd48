"""Quantiles of the gamma law against those of scipy."""

import numpy as np
import pytest
from scipy.special import gammaincinv

from sim.gamma_law import gamma_quantiles


@pytest.mark.parametrize("shape", [0.05, 0.15, 0.5, 1.0, 3.0, 20.0])
def test_quantiles_equal_those_of_scipy(shape: float) -> None:
    """Also at the ends of what a uniform of 32 bits can be."""
    p = (np.arange(0.0, 2.0**32, 65_537.0) + 0.5) * 2.0**-32
    p = np.append(p, [2.0**-33, 1.0 - 2.0**-33])
    found, expected = gamma_quantiles(shape, p), gammaincinv(shape, p)
    normal = expected > 1e-300
    np.testing.assert_allclose(found[normal], expected[normal], rtol=2e-13)
    assert (found[~normal] < 1e-299).all()


def test_quantiles_keep_the_shape_of_what_they_are_asked() -> None:
    p = np.array([[0.1, 0.5, 0.9], [0.2, 0.4, 0.6]])
    found = gamma_quantiles(0.15, p)
    assert found.shape == (2, 3)
    assert (np.diff(found, axis=1) > 0).all()
    assert gamma_quantiles(0.15, np.zeros((0, 3))).shape == (0, 3)
