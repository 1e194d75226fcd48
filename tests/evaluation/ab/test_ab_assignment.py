"""Who meets which arm: users by a hash, all by turns, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.ab.assignment import Split, Switchback, hashed, redrawn
from evaluation.ab.interleaving import TeamDraft
from evaluation.ab.traffic import Traffic
from sim.config import ConfigError
from sim.schema import DAY_S
from tests.sim.worlds import TICK_S, server


def test_a_split_has_its_shares_and_depends_on_nothing_but_user_and_salt() -> None:
    users = np.arange(200_000)
    arm = Split((0.2, 0.5, 0.3), salt=3).of_users(users)
    np.testing.assert_allclose(np.bincount(arm) / len(users), (0.2, 0.5, 0.3), atol=0.005)
    shuffled = np.random.default_rng(0).permutation(users)
    np.testing.assert_array_equal(Split((0.2, 0.5, 0.3), salt=3).of_users(shuffled), arm[shuffled])
    # two experiments are independent of each other
    other = Split((0.5, 0.5), salt=4).of_users(users)
    share = [(other[arm == a] == 1).mean() for a in range(3)]
    np.testing.assert_allclose(share, 0.5, atol=0.01)


def test_the_hash_is_uniform_and_neighbours_do_not_share_it() -> None:
    u = hashed(np.arange(100_000), 1, 2)
    assert np.abs(np.histogram(u, 20, (0, 1))[0] / len(u) - 0.05).max() < 0.004
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.01
    assert (hashed(np.array([7]), 1, 2) != hashed(np.array([7 + (1 << 32)]), 1, 2)).all()


def test_assignments_drawn_again_have_the_share() -> None:
    drawn = redrawn(1001, 500, 0.3, 8)
    assert drawn.shape == (500, 1001)
    assert drawn.mean() == pytest.approx(0.3, abs=0.003)
    assert drawn.mean(axis=0).std() == pytest.approx(np.sqrt(0.21 / 500), rel=0.15)
    assert drawn.mean(axis=1).std() == pytest.approx(np.sqrt(0.21 / 1001), rel=0.15)


def test_blocks_of_a_pair_lie_a_day_apart_and_have_different_arms() -> None:
    plan = Switchback(2 * DAY_S, TICK_S, salt=2)
    starts = 2 * DAY_S + (np.arange(6 * 8) + 0.5) * TICK_S  # eight days of six blocks
    pair, second = plan.pairs_of(starts)
    arm = plan.arms_of(np.zeros(len(starts), np.int32), starts)
    for number in range(24):
        one, other = np.flatnonzero(pair == number)
        assert starts[other] - starts[one] == DAY_S
        assert (second[one], second[other]) == (0, 1)
        assert arm[one] + arm[other] == 1
    assert 5 < arm[second == 0].sum() < 19  # coins, not a pattern
    assert (plan.arms_of(np.zeros(1), np.array([DAY_S])) == 0).all()


def test_a_washout_leaves_out_the_start_of_each_block() -> None:
    plan = Switchback(0.0, 100.0, 200.0, washout_s=30.0)
    starts = np.array([-5.0, 0.0, 29.0, 30.0, 99.0, 100.0, 130.0])
    assert plan.analysed(starts).tolist() == [False, False, False, True, True, False, True]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Split((0.5, 0.6)), r"shares = \[0.5, 0.6\]"),
        (lambda: Split((1.0,)), "shares"),
        (lambda: Split(salt=-1), "salt = -1"),
        (lambda: Switchback(0.0, 0.0), "block_s = 0.0"),
        (lambda: Switchback(0.0, 7 * 3600.0), "pair_s = 86400.0"),
        (lambda: Switchback(0.0, 3600.0, washout_s=3600.0), "washout_s = 3600.0"),
        (lambda: Traffic([server("random")], Split()), "servers: 1; allowed: 2"),
        (
            lambda: Traffic([server("random")] * 2, Switchback(0.0, DAY_S), own_data=True),
            "own_data = True with Switchback",
        ),
        (lambda: TeamDraft(server("random"), server("random"), -1), "salt = -1"),
    ],
)
def test_bad_designs_are_refused_in_one_line(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
