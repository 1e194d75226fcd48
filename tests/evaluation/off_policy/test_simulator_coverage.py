"""Intervals against the truth in the simulator: groups of users of one large world."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np
import pytest

from evaluation.hindsight import Hindsight
from evaluation.intervals import ratio
from evaluation.off_policy import single_action as sa
from evaluation.off_policy import slate_estimators as se
from evaluation.off_policy.assessment import beside
from evaluation.off_policy.replay import ServedPolicy, observed_worth, replay
from evaluation.true_value import true_value
from policies.contract import FitContext
from policies.heuristics import Random
from policies.rank import Exploration, Server
from sim.log import Log
from sim.schema import Requests
from sim.simulate import simulate
from sim.truth_log import logged_truth
from sim.world import World
from tests.sim.worlds import config

SEED, GROUP, GROUPS = 1, 250, 500
TARGET = Exploration("softmax", temperature=4.0)


class Taste:
    """Scores each streamer by a fixed number."""

    def fit(self, log: Log, context: FitContext) -> Self:
        return self

    def score(self, requests: Requests) -> np.ndarray:
        table = np.random.default_rng(0).normal(size=100_000)
        return table[np.maximum(requests.candidate_id, 0)]


def world_and_log(folder, users):
    """Return a world, a day of it under uniform ranking, and the worth of each row in the end."""
    settings = config(population__n_users=users)
    server = Server(Random(), Exploration())
    log = simulate(settings, SEED, server, 1, folder / "log", ranker_name="random")
    shown, truth = log.impressions(), logged_truth(log)
    bought = np.where(truth.will_purchase, shown.time_s, np.nan)
    worth = observed_worth(replace(shown, purchase_s=bought), settings.objective)
    return World(settings, SEED), log, worth


def coverage(numerator, denominator, truth):
    """Return how often the interval of GROUP users holds the truth.

    Every estimate here is a ratio of sums over users, so that a group is a choice of users.
    """
    came = np.flatnonzero(denominator)
    rng, hits = np.random.default_rng(0), 0
    for _ in range(GROUPS):
        who = rng.choice(came, GROUP, replace=False)
        interval = ratio(numerator[who], denominator[who]).interval()
        hits += interval.low <= truth <= interval.high
    return hits / GROUPS


@pytest.mark.slow
def test_intervals_cover_the_truth_of_the_top_place_and_of_deployment(tmp_path):
    """The top place exactly; sessions per user against `true_value`, where policies overlap."""
    world, log, worth = world_and_log(tmp_path, 20_000)
    truth_for = Hindsight(World(world.config, SEED), world.state, log).open().truth_for
    seen = replay(log, ServedPolicy(Taste(), TARGET), worth, truth_for=truth_for, places=False)
    rounds = seen.rounds()
    q_chosen, q_target = rounds.modelled()
    weighted = rounds.weight * rounds.reward
    doubly = q_target + rounds.weight * (rounds.reward - q_chosen)

    def by_user(values):
        return np.bincount(rounds.user_id, weights=values, minlength=rounds.n_users)

    top, many = seen.tops.true_value.mean(), by_user(np.ones(len(rounds)))
    found = {
        "ips": coverage(by_user(weighted), many, top),
        "snips": coverage(by_user(weighted), by_user(rounds.weight), top),
        "dr": coverage(by_user(doubly), many, top),
    }
    deployed = true_value(Taste(), world, exploration=TARGET).per_user.value
    # weights of whole sessions are too skewed for 250 users: 97.4 of 100 were measured for SIPS
    spans = {"request": (se.sips, se.rips, se.cascade_dr), "session": (se.rips, se.cascade_dr)}
    for span, estimators in spans.items():
        slates = seen.slates(span, per_user=True)
        for f in estimators:
            estimate = f(slates)
            # influence times visitors, and the mean: what each user adds
            came = slates.divisor
            adds = estimate.influence * came.sum() + estimate.value * came
            found[f"{span}/{f.__name__}"] = coverage(adds, came, deployed)
    outside = {name: share for name, share in found.items() if not 0.93 <= share <= 0.97}
    assert not outside


def test_estimates_of_a_small_world_are_near_the_truth(tmp_path):
    """The quick version: one group, four standard errors."""
    world, log, worth = world_and_log(tmp_path, 600)
    truth_for = Hindsight(World(world.config, SEED), world.state, log).open().truth_for
    seen = replay(log, ServedPolicy(Taste(), TARGET), worth, truth_for=truth_for, places=False)
    top = beside(sa.dr(seen.rounds()), float(seen.tops.true_value.mean()))
    assert top.relative_error < 0.25
    deployed = true_value(Taste(), world, exploration=TARGET).per_user
    session = se.rips(seen.slates("session", per_user=True))
    gap = abs(session.value - deployed.value)
    assert gap < 4 * np.hypot(session.standard_error, deployed.standard_error)
