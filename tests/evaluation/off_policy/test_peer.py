"""The estimators against Open Bandit Pipeline 0.5.2 and 0.5.7 (MIPS: 0.5.7), by its results.

The numbers are what its estimator classes returned for the logs made below, under numpy 2.4; it is
not installed here, as its releases pin packages of 2022.
"""

import numpy as np
import pytest

from evaluation.off_policy import single_action as sa
from evaluation.off_policy import slate_estimators as se
from evaluation.off_policy.rounds import Rounds
from evaluation.off_policy.slates import Slates

SINGLE = {
    "ips": (sa.ips, 0.6049928449502772),
    "clipped_ips": (lambda r: sa.clipped_ips(r, 3.0), 0.4286567466393335),
    "snips": (sa.snips, 0.5165378819225909),
    "dm": (sa.dm, 0.49941567405113974),
    "dr": (sa.dr, 0.5057264883679189),
    "sndr": (sa.sndr, 0.5048037950638168),
    "dros": (lambda r: sa.dros(r, 4.0), 0.5034478663627633),
    "switch_dr": (lambda r: sa.switch_dr(r, 3.0), 0.4980366658085344),
    "sg_ips": (lambda r: sa.sg_ips(r, 0.3), 0.3940780717810659),
    "sg_dr": (lambda r: sa.sg_dr(r, 0.3), 0.5069203236958385),
    "mips": (sa.mips, 0.5996563988204493),
}
SLATE = {
    "sips": (se.sips, 4.271468300397575),
    "iips": (se.iips, 2.1105516271831437),
    "rips": (se.rips, 3.1279168573935237),
}


@pytest.fixture(scope="module")
def logs():
    """The rounds and slates, from one seeded stream."""
    rng = np.random.default_rng(20220823)
    n, n_actions = 500, 6
    p_logging, p_target = (rng.dirichlet(np.ones(n_actions), n) for _ in range(2))
    q = rng.random((n, n_actions))
    action = (p_logging.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    reward = (rng.random(n) < 0.2 + 0.6 * q[np.arange(n), action]).astype(float)
    group = np.array([0, 0, 1, 1, 2, 2])
    rounds = Rounds.of(action, reward, p_logging, p_target, q=q, group=group)
    shape = (400, 3)
    brought, low, high = rng.random(shape), (0.1, 0.9), (0.05, 0.95)
    p_log, p_tar, m_log, m_tar = (rng.uniform(*ends, shape) for ends in (low, high, low, high))
    return rounds, Slates.of(brought, p_log, p_tar, place_ratio=m_tar / m_log)


@pytest.mark.parametrize("name", SINGLE)
def test_single_actions(name, logs):
    estimator, theirs = SINGLE[name]
    assert estimator(logs[0]).value == pytest.approx(theirs, abs=1e-12, rel=1e-12)


@pytest.mark.parametrize("name", SLATE)
def test_slates(name, logs):
    estimator, theirs = SLATE[name]
    assert estimator(logs[1]).value == pytest.approx(theirs, abs=1e-12, rel=1e-12)
