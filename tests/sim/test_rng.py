"""The random layer: published vectors, addressing, uniformity, independence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, kstest

from sim.rng import NOBODY, Purpose, philox4x32, uniforms

WORD = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_known_answers_of_random123(counter, key, expected):
    """The three vectors that Random123 publishes for philox4x32 with 10 rounds."""
    words = philox4x32(counter, key)
    assert " ".join(f"{int(w):08x}" for w in words) == expected


@given(WORD, WORD, WORD, WORD, st.integers(0, 2**32 - 1))
def test_a_draw_depends_on_its_address_alone(a, b, c, d, seed):
    """A draw is the same alone, inside a batch, and in any order."""
    alone = uniforms(seed, Purpose.OUTCOME, a, b, c, d)
    batch = uniforms(seed, Purpose.OUTCOME, np.array([1, a, 5]), b, np.array([2, c, 9]), d)
    np.testing.assert_array_equal(alone, batch[:, 1])
    assert np.all((alone > 0) & (alone < 1))


def test_uniform():
    """Draws follow the uniform law along every word of the address."""
    n = np.arange(20_000)
    for address in ((n, 0, 0, 0), (0, n, 0, 0), (0, 0, n, 0), (0, 0, 0, n), (n, NOBODY, 7, 3)):
        for lane in uniforms(3, Purpose.SESSION, *address):
            assert kstest(lane, "uniform").pvalue > 1e-4


def test_streams_are_independent():
    """Purposes, seeds, lanes, neighbours: no correlation, and 2-d counts pass a chi-square."""
    n = np.arange(20_000)
    base = uniforms(0, Purpose.OUTCOME, n)
    others = [
        uniforms(1, Purpose.OUTCOME, n)[0],
        uniforms(0, Purpose.RANKING, n)[0],
        base[1],
        base[3],
        uniforms(0, Purpose.OUTCOME, n + 1)[0],
        uniforms(0, Purpose.OUTCOME, n, 1)[0],
        uniforms(0, Purpose.OUTCOME, n, 0, 0, 1)[0],
    ]
    for other in others:
        assert abs(np.corrcoef(base[0], other)[0, 1]) < 4.5 / np.sqrt(len(n))
        table = np.histogram2d(base[0], other, bins=16, range=[[0, 1], [0, 1]])[0]
        expected = len(n) / 256
        statistic = ((table - expected) ** 2 / expected).sum()
        assert chi2.sf(statistic, 255) > 1e-5
