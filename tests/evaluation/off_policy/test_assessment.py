"""All estimates side by side: what is there, what was chosen, and the error against the truth."""

import math
from dataclasses import replace

import numpy as np
import pytest

from evaluation.intervals import Estimate
from evaluation.off_policy.assessment import (
    PLAIN,
    SLATE,
    TUNED,
    assess_rounds,
    assess_slates,
    beside,
    differences,
)
from evaluation.off_policy.diagnostics import diagnose
from evaluation.off_policy.slates import Slates
from tests.evaluation.off_policy.bandits import bandit


@pytest.fixture(scope="module")
def rounds():
    return bandit(1, by_group=True).draw(np.random.default_rng(0), 300, 3)


def test_every_estimator_is_there_and_near_the_truth(rounds):
    found = assess_rounds(rounds).findings
    assert set(found) == {*PLAIN, *TUNED}
    truth = bandit(1, by_group=True).value
    for name in ("ips", "snips", "dr", "sndr", "mips", "clipped_ips", "dros"):
        assert abs(found[name].estimate.value - truth) < 4 * found[name].estimate.standard_error
    for name, finding in found.items():
        assert math.isnan(finding.parameter) == (name in PLAIN)


def test_what_an_estimator_lacks_leaves_it_out(rounds):
    bare = replace(rounds, q_chosen=None, q_target=None, group_weight=None)
    assert set(assess_rounds(bare).findings) == {"ips", "snips", "clipped_ips", "sg_ips"}
    ones = np.ones(6)
    start, users = np.array([0, 3, 6]), np.arange(2)
    few = assess_slates(Slates(start, users, 2, ones, ones)).findings
    assert set(few) == {"sips", "snsips", "rips"}
    each = assess_slates(Slates(start, users, 2, ones, ones, divisor=np.ones(2))).findings
    assert set(each) == {"sips", "rips"}, "snsips is per slate, not per user"
    whole = Slates(start, users, 2, ones, ones, ones, np.ones(2), ones, ones)
    assert set(assess_slates(whole).findings) == set(SLATE)


def test_the_overlap_and_the_logged_level_stand_beside_the_findings(rounds):
    panel = assess_rounds(rounds, np.full(len(rounds), 0.25))
    assert panel.overlap == diagnose(rounds, np.full(len(rounds), 0.25))
    assert panel.overlap.unsupported == 0.25
    assert panel.logged.value == pytest.approx(rounds.reward.mean())
    one = Slates(np.arange(5), np.arange(4), 4, np.arange(4.0), np.array([0.5, 2.0, 1.0, 0.5]))
    pages = assess_slates(one)
    assert pages.overlap.effective_n == pytest.approx(16.0 / 5.5)
    assert pages.logged.value == 1.5


def test_differences_are_paired(rounds):
    """A policy is not different from itself, beyond any doubt."""
    found = assess_rounds(rounds)
    for gap in differences(found, found).values():
        assert gap.value == gap.standard_error == 0.0
    only = replace(found, findings={"dr": found.findings["dr"]})
    assert set(differences(found, only)) == {"dr"}


def test_beside_the_truth_by_hand():
    influence = np.array([0.1, -0.1] * 10)
    estimate = Estimate(2.0, influence, np.ones(20, np.bool_), 20)
    near, far, zero = (beside(estimate, truth) for truth in (1.8, 8.0, 0.0))
    assert near.covers
    assert not far.covers
    assert far.error == -6.0
    assert far.relative_error == 0.75
    assert math.isnan(zero.relative_error)
    nothing = replace(estimate, influence=np.zeros(20))
    assert not beside(nothing, 2.0).covers, "no interval covers nothing"
