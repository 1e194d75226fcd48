"""What a study's log says of policies: rows, their truth, and what is done without."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from evaluation.deployment import PageWorth, deploy
from evaluation.off_policy.assessment import PLAIN, SLATE, TUNED
from evaluation.off_policy.replay import ServedPolicy, observed_worth, replay
from evaluation.off_policy.rounds import OffPolicyError
from evaluation.off_policy.valuation import (
    GREEDY,
    comparison_rows,
    level_rows,
    logged_rows,
    logger_of,
    true_rows,
    valuation,
)
from evaluation.results import RELATIVE_LIFT, Results, Subject
from policies.contract import FitContext
from policies.heuristics import Popularity, Random, Recency
from policies.oracle import Oracle
from policies.rank import Exploration, Server
from sim.log import Log
from sim.schema import DAY_S
from sim.simulate import simulate
from sim.world import World
from tests.sim.worlds import TICK_S, config

SEED = 4
EPSILON = Exploration("epsilon", eps=0.5)
SUBJECT = Subject("test", SEED, "random")


def first_policy() -> Popularity:
    return Popularity().fit(Log.nothing(TICK_S, DAY_S), FitContext())


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Log:
    """Two days by a popularity that learns, half of the positions even."""
    folder = tmp_path_factory.mktemp("epsilon") / "log"
    server = Server(first_policy(), EPSILON)
    return simulate(config(), SEED, server, 2, folder, ranker_name="popularity")


@pytest.fixture(scope="module")
def held_out(log) -> Log:
    return log.between(DAY_S, log.end_s)


def target(log, policy) -> ServedPolicy:
    return ServedPolicy(policy.fit(log.as_of(DAY_S), FitContext()), GREEDY, DAY_S)


@pytest.fixture(scope="module")
def logger(log) -> ServedPolicy:
    return logger_of(Popularity(), EPSILON, log.between(0.0, DAY_S))


@pytest.fixture(scope="module")
def found(log, held_out, logger):
    objective = config().objective
    return valuation(held_out, target(log, Random()), objective, logger=logger)


def test_the_logging_policy_led_through_the_log_gives_its_propensities(log, held_out, logger):
    """An error otherwise; so that support, categories and places are known."""
    reward = observed_worth(held_out.impressions(), config().objective)
    seen = replay(held_out, target(log, Random()), reward, logger=copy.deepcopy(logger))
    assert not np.isnan(seen.tops.unsupported).any()
    assert seen.place_ratio is not None


def test_every_estimator_that_the_log_allows_has_a_row(found):
    rows = list(level_rows(SUBJECT, found))
    values = {row.metric for row in rows if "_value/" in row.metric}
    slates = set(SLATE) - {"pi"}  # the places were not drawn evenly
    expected = {f"top_value/{name}" for name in (*PLAIN, *TUNED)}
    assert values == expected | {f"request_value/{name}" for name in slates}
    others = {row.metric for row in rows} - values
    assert others == {
        "effective_rounds/top", "effective_rounds/request", "mean_weight/top",
        "mean_weight/request", "unsupported/top",
    }  # fmt: skip
    assert {row.kind for row in rows} == {"offline"}
    Results(rows).arrow()  # no key twice, all units known


def test_differences_and_lifts_are_paired_by_user(log, held_out, logger, found):
    control = valuation(held_out, target(log, Recency()), config().objective, logger=logger)
    rows = {(r.metric, r.unit): r for r in comparison_rows(SUBJECT, found, "recency", control)}
    own, other = (v.top.findings["ips"].estimate for v in (found, control))
    gap = rows["top_value/ips", "value"]
    assert gap.estimate == pytest.approx(own.value - other.value)
    gain = rows["top_value/ips", RELATIVE_LIFT]
    assert gain.estimate == pytest.approx(own.value / other.value - 1.0)
    assert gap.control == gain.control == "recency"
    same = list(comparison_rows(SUBJECT, found, "itself", found))
    assert {row.estimate for row in same} == {0.0}


def test_the_log_is_worth_what_it_brought(held_out, found):
    worth = observed_worth(held_out.impressions(), config().objective)
    row = {r.metric: r.estimate for r in logged_rows(Subject("test", SEED, ""), found)}
    requests = np.count_nonzero(held_out.impressions().position == 0)
    assert row["request_value/logged"] == pytest.approx(worth.sum() / requests)


def test_pages_of_a_deployment_hold_what_it_is_expected_to_bring(log):
    world = World(config(), SEED)
    deployed = deploy(Random().fit(log, FitContext()), world, world.state, 1)
    pages, shown = deployed.pages, deployed.impressions
    assert 0 < pages.requests.sum() < shown
    assert (pages.top <= pages.whole + 1e-12).all()
    value = deployed.ultimate.estimate("value_per_user").value
    came = (pages.requests > 0).sum()
    assert pages.whole.sum() / came == pytest.approx(value, rel=0.25)  # luck apart
    rows = list(true_rows(SUBJECT, pages, "itself", pages))
    assert {row.metric for row in rows} == {"top_value", "request_value"}
    assert {row.kind for row in rows} == {"truth"}
    assert [row.estimate for row in rows if row.control] == [0.0] * 4


def test_page_worth_by_hand():
    """Two users: one page of two rooms, and two pages of one."""

    class Shown:
        user_id = np.array([0, 0, 1, 1])
        position = np.array([0, 1, 0, 0])

    pages = PageWorth.of(Shown(), np.array([1.0, 2.0, 4.0, 8.0]), 3)
    np.testing.assert_array_equal(pages.requests, [1, 2, 0])
    np.testing.assert_array_equal(pages.top, [1, 12, 0])
    np.testing.assert_array_equal(pages.whole, [3, 12, 0])


def test_a_policy_that_learns_is_not_changed(log, held_out):
    served = target(log, Popularity())
    one, two = (valuation(held_out, served, config().objective) for _ in range(2))
    estimates = [v.top.findings["dr"].estimate.value for v in (one, two)]
    assert estimates[0] == estimates[1]


def test_a_logger_that_is_another_is_done_without(log, held_out):
    wrong = ServedPolicy(Recency().fit(log.as_of(DAY_S), FitContext()), EPSILON, DAY_S)
    without = valuation(held_out, target(log, Random()), config().objective, logger=wrong)
    assert "mips" not in without.top.findings
    assert np.isnan(without.top.overlap.unsupported)
    assert "dr" in without.top.findings


class ById:
    """Ranks by id: without ties, and without having learnt anything."""

    def fit(self, log, context):
        return self

    def score(self, requests):
        return -requests.candidate_id.astype(float)


def test_a_log_without_chance_values_nothing(tmp_path):
    log = simulate(config(), SEED, Server(ById(), GREEDY), 1, tmp_path / "log", ranker_name="id")
    assert (log.impressions().propensity == 1.0).all()
    assert valuation(log, ServedPolicy(first_policy(), GREEDY), config().objective) is None


def test_a_policy_that_sees_the_truth_needs_it(held_out):
    assert valuation(held_out, ServedPolicy(Oracle(), GREEDY), config().objective) is None


def test_a_share_of_the_users_is_looked_at_whole(log, held_out):
    shown, reward = (
        held_out.impressions(),
        observed_worth(held_out.impressions(), config().objective),
    )
    half = replay(held_out, target(log, Random()), reward, share=0.5, places=False)
    users = np.unique(half.shown.user_id)
    assert 0.3 < len(users) / len(np.unique(shown.user_id)) < 0.7
    inside = np.isin(shown.user_id, users)
    np.testing.assert_array_equal(half.shown.request_id, shown.request_id[inside])
    np.testing.assert_array_equal(half.reward, reward[inside])
    whole = replay(held_out, target(log, Random()), reward, places=False)
    np.testing.assert_allclose(half.p_target, whole.p_target[inside])
    with pytest.raises(OffPolicyError, match="share = 0"):
        replay(held_out, target(log, Random()), reward, share=0.0)
