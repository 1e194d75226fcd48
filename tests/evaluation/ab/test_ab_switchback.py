"""Switchbacks: sums by block, and a test that is exact whatever the world does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from twins import SEED

from evaluation.ab.assignment import Switchback
from evaluation.ab.contrast import within
from evaluation.ab.switchback import PairedBlocks, paired_blocks
from evaluation.ab.traffic import Traffic
from evaluation.ab.twin_run import serve
from sim.world import World
from tests.sim.worlds import TICK_S, config, server


def test_a_switchback_adds_up_by_block() -> None:
    plan = Switchback(0.0, TICK_S, salt=1)
    served = serve(Traffic([server("random"), server("oracle")], plan), World(config(), SEED), 2)
    blocks = paired_blocks(served, plan, "page_ctr")
    assert len(blocks) <= 6
    shown = served.shown
    arm = plan.arms_of(shown.user_id, shown.session_start_s)
    listed = shown.scenario != 4
    for number, (y, x) in enumerate((blocks.control, blocks.treated)):
        rows = listed & (arm == number)
        assert y.sum() <= shown.click[rows].sum()
        if len(blocks) == 6:
            assert (y.sum(), x.sum()) == (shown.click[rows].sum(), rows.sum())
    per_user = paired_blocks(served, plan, "clicks_per_user")
    block = shown.session_start_s // TICK_S
    came = len(np.unique(shown.user_id.astype(np.int64) * 1000 + block.astype(np.int64)))
    if len(per_user) == 6:
        assert per_user.control[1].sum() + per_user.treated[1].sum() == came
    effect = blocks.effect("page_ctr", "lift")
    assert effect.cluster == "pair of blocks"
    assert effect.clusters == len(blocks)
    assert 0.2 < effect.estimate < effect.high
    assert 0.0 < effect.low < effect.estimate
    assert blocks.events > 10


@pytest.mark.parametrize("unit", ["difference", "lift"])
@pytest.mark.parametrize("seed", range(4))
def test_the_randomisation_p_is_that_of_all_coins(seed: int, unit) -> None:
    """Four pairs: the share of the sixteen ways in which the coins fall that lie as far."""
    rng = np.random.default_rng(seed)
    y1, y0 = rng.gamma(2.0, 1.0, (2, 4)) + 0.5
    x1, x0 = rng.integers(1, 9, (2, 4)).astype(float)
    pairs = PairedBlocks((y1, x1), (y0, x0), 100)
    own = abs(float(within((y1, x1), (y0, x0), unit).statistic))
    far = 0
    for coins in itertools.product((False, True), repeat=4):
        swap = np.array(coins)
        one = np.where(swap, y0, y1), np.where(swap, x0, x1)
        other = np.where(swap, y1, y0), np.where(swap, x1, x0)
        far += abs(float(within(one, other, unit).statistic)) >= own - 1e-12
    assert far >= 2  # itself, and all coins the other way
    assert pairs.randomisation_p(20_000, unit) == pytest.approx(far / 16, abs=0.015)


def test_all_blocks_better_is_as_far_as_it_goes_and_nothing_is_no_test() -> None:
    ones, high, low = np.ones(4), np.array([3.0, 4.0, 5.0, 7.0]), np.array([1.0, 1.5, 0.5, 1.0])
    pairs = PairedBlocks((high, ones), (low, ones), 100)
    assert pairs.randomisation_p(20_000) == pytest.approx(2 / 16, abs=0.01)
    nothing = PairedBlocks((np.zeros(4), ones), (np.zeros(4), ones), 0)
    assert np.isnan(nothing.randomisation_p(100))
