"""A simulated log seen by other policies: weights, features, truth, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import pytest

from evaluation.hindsight import Hindsight
from evaluation.intervals import difference
from evaluation.off_policy import single_action as sa
from evaluation.off_policy import slate_estimators as se
from evaluation.off_policy.diagnostics import diagnose
from evaluation.off_policy.replay import SPANS, ServedPolicy, observed_worth, replay
from evaluation.off_policy.rounds import OffPolicyError
from policies.contract import FitContext
from policies.heuristics import Popularity, Random
from policies.rank import Exploration, Server
from sim.log import Log
from sim.schema import DAY_S, Requests
from sim.simulate import simulate
from sim.world import World
from tests.sim.worlds import TICK_S, config

SEED = 4
GREEDY = Exploration()


class Table:
    """Scores each streamer by a fixed number: does not learn, does not know the user."""

    def __init__(self, seed: int = 0) -> None:
        self.table = np.random.default_rng(seed).normal(size=100_000)

    def fit(self, log: Log, context: FitContext) -> Self:
        return self

    def score(self, requests: Requests) -> np.ndarray:
        return self.table[np.maximum(requests.candidate_id, 0)]


def popularity() -> Popularity:
    return Popularity().fit(Log.nothing(TICK_S, DAY_S), FitContext())


@pytest.fixture(scope="module")
def world() -> World:
    return World(config(), SEED)


@pytest.fixture(scope="module")
def uniform(tmp_path_factory) -> Log:
    """A day of the tiny world under uniform ranking."""
    folder: Path = tmp_path_factory.mktemp("uniform") / "log"
    return simulate(config(), SEED, Server(Random(), GREEDY), 1, folder, ranker_name="random")


@pytest.fixture(scope="module")
def explored(tmp_path_factory) -> Log:
    """Two days under popularity that explores, and learns while it does."""
    folder: Path = tmp_path_factory.mktemp("explored") / "log"
    server = Server(popularity(), Exploration("epsilon", eps=0.5))
    return simulate(config(), SEED, server, 2, folder, ranker_name="popularity")


def clicks(log: Log) -> np.ndarray:
    return log.impressions().target("engage").astype(float)


def test_the_logging_policy_itself_has_weights_of_one(explored):
    """Replayed from nothing it gives the logged propensities, so every estimate is the mean."""
    own = ServedPolicy(popularity(), Exploration("epsilon", eps=0.5))
    again = ServedPolicy(popularity(), Exploration("epsilon", eps=0.5))
    seen = replay(explored, own, clicks(explored), logger=again)
    np.testing.assert_allclose(seen.ratio(), 1.0, atol=1e-9)
    np.testing.assert_allclose(seen.place_ratio, 1.0, atol=1e-9)
    assert seen.pseudo_weight is None, "logging was neither uniform nor factored"
    rounds = seen.rounds()
    for f in (sa.ips, sa.snips, sa.mips):
        assert f(rounds).value == pytest.approx(rounds.reward.mean())
    assert diagnose(rounds, seen.tops.unsupported).unsupported == 0.0
    for span in SPANS:
        slates = seen.slates(span)
        for f in (se.sips, se.rips):
            assert f(slates).value == pytest.approx(se.on_policy(slates).value)


def test_rows_keep_their_order_and_spans_hold_what_they_say(uniform):
    seen = replay(uniform, ServedPolicy(Table(), Exploration("softmax")), clicks(uniform))
    shown = uniform.impressions()
    np.testing.assert_array_equal(seen.shown.request_id, shown.request_id)
    np.testing.assert_array_equal(seen.place, shown.position)
    ids = {"request": shown.request_id, "session": shown.session_id, "user": shown.user_id}
    for span, key in ids.items():
        slates = seen.slates(span)
        assert len(slates) == len(np.unique(key))
        assert slates.reward.sum() == clicks(uniform).sum()
        by_key = dict(zip(np.unique(key), np.arange(len(slates)), strict=True))
        whole = np.ones(len(slates))
        np.multiply.at(whole, [by_key[k] for k in key], seen.ratio())
        np.testing.assert_allclose(np.sort(slates.weight()), np.sort(whole))
    came = len(np.unique(shown.user_id))
    found = se.on_policy(seen.slates("session", per_user=True))
    assert found.value == pytest.approx(clicks(uniform).sum() / came)


def test_top_of_the_page_against_the_truth(uniform, world):
    """IPS, DR and MIPS of softmax on a table, from uniform logs, beside their exact expectation."""
    truth = Hindsight(World(config(), SEED), world.state, uniform).open()
    rewards = observed_worth(uniform.impressions(), world.config.objective)
    target = ServedPolicy(Table(), Exploration("softmax", temperature=0.7))
    seen = replay(uniform, target, rewards, truth_for=truth.truth_for)
    rounds = seen.rounds()
    assert (seen.tops.unsupported == 0.0).all()
    value = seen.tops.true_value.mean()
    for f in (sa.ips, sa.snips, sa.dr, sa.sndr):
        estimate = f(rounds)
        assert abs(estimate.value - value) < 4 * estimate.standard_error
    weights = diagnose(rounds)
    assert weights.mean_weight.low < 1.0 < weights.mean_weight.high
    assert weights.effective_n < 0.9 * weights.n
    assert sa.dm(rounds).value == pytest.approx(rounds.q_target.mean())


def test_places_are_weighed_as_they_should_be(uniform):
    """Whole slates, cascades, places apart and pseudo-inverse agree on a log with overlap."""
    target = ServedPolicy(Table(1), Exploration("softmax", temperature=3.0))
    slates = replay(uniform, target, clicks(uniform)).slates("request")
    whole = se.sips(slates)
    for f in (se.rips, se.iips, se.pi, se.cascade_dr):
        gap = difference(f(slates), whole)
        assert abs(gap.value) < 4 * gap.standard_error
        assert f(slates).standard_error < whole.standard_error
    ones = replay(uniform, ServedPolicy(Random(), GREEDY), clicks(uniform)).slates("request")
    np.testing.assert_allclose(ones.pseudo_weight, 1.0, atol=1e-9)
    np.testing.assert_allclose(ones.place_ratio, 1.0, atol=1e-9)


def test_two_targets_are_compared_on_one_log(uniform):
    """The paired difference of two near policies is far sharper than either."""
    pair = [
        sa.dr(replay(uniform, ServedPolicy(Table(), softmax), clicks(uniform)).rounds())
        for softmax in (Exploration("softmax", temperature=t) for t in (1.0, 1.1))
    ]
    gap = difference(*pair)
    assert gap.standard_error < 0.4 * pair[0].standard_error


def test_without_the_logger_what_is_not_known_is_not_made_up(explored):
    seen = replay(explored, ServedPolicy(Table(), Exploration("softmax")), clicks(explored))
    assert seen.place_ratio is None
    assert np.isnan(seen.tops.unsupported).any()
    assert seen.rounds().group_weight is None
    cheap = replay(
        explored, ServedPolicy(Table(), Exploration("softmax")), clicks(explored), places=False
    )
    np.testing.assert_array_equal(cheap.p_target, seen.p_target)


def test_greedy_logs_leave_a_target_without_support(tmp_path):
    """The mass that the logger never shows is reported, and the mean weight falls below 1 by it."""
    server = Server(Table(0), GREEDY)
    log = simulate(config(), SEED, server, 1, tmp_path / "log", ranker_name="table")
    target = ServedPolicy(Table(1), Exploration("softmax"))
    seen = replay(log, target, clicks(log), logger=ServedPolicy(Table(0), GREEDY))
    found = diagnose(seen.rounds(), seen.tops.unsupported)
    assert found.unsupported > 0.8
    assert found.mean_weight.estimate == pytest.approx(1.0 - found.unsupported, abs=0.02)


def test_features_are_linear_in_the_room_and_leave_the_own_fold_out(uniform):
    """Expected features of a policy that always takes what was logged are the logged ones."""
    seen = replay(uniform, ServedPolicy(Random(), GREEDY), clicks(uniform))
    own = [seen.rooms.own_columns(seen.chosen.shape[1], f) for f in range(3)]
    assert len({len(columns) for columns in own}) == 1
    assert len(own[0]) == seen.chosen.shape[1] - 4, "two folds' means, plain and times swipe"
    moved = clicks(uniform)
    moved[seen.fold == 0] += 5.0
    other = replay(uniform, ServedPolicy(Random(), GREEDY), moved)
    np.testing.assert_array_equal(other.chosen[:, own[0]], seen.chosen[:, own[0]])
    assert (other.chosen[:, own[1]] != seen.chosen[:, own[1]]).any()
    # uniform over all that is left: the mean over candidates does not depend on the choice
    tops = seen.place == 0
    slot = seen.shown.time_s[tops] // 600
    bands = seen.expected[tops][:, seen.rooms.n_bands]
    assert np.ptp(bands[slot == slot[0]]) < 1.0
    assert np.isfinite(seen.expected).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reward": np.zeros(3)}, "reward has shape"),
        ({"logger": ServedPolicy(Table(), GREEDY)}, "other propensities than the log"),
        ({"folds": 1}, "folds = 1"),
    ],
)
def test_bad_input_is_one_line(uniform, options, words):
    given = {"reward": clicks(uniform), **options}
    with pytest.raises(OffPolicyError, match=words) as caught:
        replay(uniform, ServedPolicy(Table(), Exploration("softmax")), **given)
    assert "\n" not in str(caught.value)


def test_unknown_spans_are_refused(uniform):
    seen = replay(uniform, ServedPolicy(Random(), GREEDY), clicks(uniform), places=False)
    with pytest.raises(OffPolicyError, match="span = 'day'; allowed: request, session, user"):
        seen.slates("day")  # type: ignore[arg-type]


def test_an_empty_log_is_refused():
    nothing = Log.nothing(TICK_S, DAY_S)
    with pytest.raises(OffPolicyError, match="no impressions"):
        replay(nothing, ServedPolicy(Random(), GREEDY), np.zeros(0))
