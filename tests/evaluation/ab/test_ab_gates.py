"""Gates turn red for faults put in on purpose, and stay green without."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from panels import heavy

from evaluation.ab import gates
from evaluation.ab.assignment import Split, redrawn
from evaluation.ab.effect import split_effect
from evaluation.ab.panel import Panel
from evaluation.ab.traffic import Traffic
from evaluation.ab.twin_run import serve
from sim.truth import TruthRows
from sim.world import World
from tests.sim.worlds import config, server

USERS = 4000


def by_row(rows: Panel, user_id: NDArray[np.integer]) -> gates.Analysis:
    """Return the analysis that takes the rows of users for independent."""
    inner = gates.split_analysis(rows)
    return lambda treated: inner(treated[:, user_id])


def impressions(users: int) -> tuple[Panel, NDArray[np.int64]]:
    """Return one row per impression, clicked by the user's own taste, and whose it is."""
    panel, rng = heavy(users, 3), np.random.default_rng(4)
    user_id = np.repeat(np.arange(users), panel.denominator.astype(int))
    taste = rng.beta(1.0, 4.0, users)
    click = (rng.random(len(user_id)) < taste[user_id]).astype(float)
    return Panel(click, np.ones(len(click))), user_id


# --- broken randomisation


def test_a_sound_split_is_green() -> None:
    rng, users = np.random.default_rng(0), np.arange(USERS)
    arm = Split(salt=9).of_users(users)
    panel = heavy(USERS, 5)
    assert gates.sample_ratio(np.bincount(arm).tolist(), (0.5, 0.5)).passes
    assert gates.stickiness(np.repeat(users, 3), np.repeat(arm, 3)).passes
    assert gates.balance(arm, rng.integers(0, 5, USERS), "age").passes
    assert panel.before_numerator is not None
    assert panel.before_denominator is not None
    known = gates.before(arm == 1, panel.before_numerator, panel.before_denominator, 5.0, 9.0)
    assert known.passes


def test_what_was_not_tested_is_red(logged) -> None:
    nobody, one = np.zeros(0, np.int64), np.zeros(USERS, np.int8)
    assert not gates.stickiness(nobody, nobody).passes
    assert not gates.balance(one, np.arange(USERS) % 3, "age").passes
    values = np.ones(USERS)
    assert not gates.before(one == 1, values, values, 5.0, 9.0).passes
    label, truth, user_id = logged
    true = truth.p_engage.astype(float)
    assert not gates.leak(label, np.full(len(label), np.nan), true, user_id).passes
    assert not gates.leak(label[:0], true[:0], true[:0], user_id[:0]).passes


def test_a_router_that_does_not_keep_to_the_plan_is_seen() -> None:
    """Exposures are what was served, not what was planned."""
    plan = Split(salt=3)

    class Broken(Traffic):
        def rank(self, requests, slate_size, uniforms, truth):
            self.plan = Split(salt=int(requests.time_s[0]) % 7)  # another hash at every step
            return super().rank(requests, slate_size, uniforms, truth)

    for kind, sound in ((Traffic, True), (Broken, False)):
        traffic = kind([server("random"), server("random")], plan)
        serve(traffic, World(config(), 5), 1)
        users, served = traffic.exposures.T
        planned = plan.of_users(users)
        gate = gates.stickiness(np.tile(users, 2), np.concatenate([served, planned]))
        assert gate.passes == sound


def test_a_lost_share_turns_the_sample_ratio_red() -> None:
    arm = Split(salt=9).of_users(np.arange(USERS))
    lost = np.random.default_rng(1).random(USERS) < 0.15 * (arm == 1)  # crashes of the treated
    gate = gates.sample_ratio(np.bincount(arm[~lost]).tolist(), (0.5, 0.5))
    assert not gate.passes
    assert gate.value < gates.RED
    assert gates.sample_ratio([300, 700], (0.3, 0.7)).passes
    assert not gates.sample_ratio([0, 0], (0.5, 0.5)).passes  # nobody is no experiment
    with pytest.raises(ValueError, match="one share"):
        gates.sample_ratio([1, 2], (1.0,))


def test_the_chi_square_is_tea_tastings() -> None:
    # 219 and 181 users, planned alike: normal without correction, tea-tasting 1.14.0
    assert gates.sample_ratio([219, 181], (0.5, 0.5)).value == pytest.approx(
        0.05743311963200361, rel=1e-9
    )


def test_arms_by_request_turn_stickiness_red() -> None:
    class ByRequest(Split):
        def arms_of(self, user_id, session_start_s):
            return self.of_users((session_start_s * 1000).astype(np.int64))

    for plan, passes in ((Split(salt=1), True), (ByRequest(salt=1), False)):
        traffic = Traffic([server("random"), server("recency")], plan)
        shown = serve(traffic, World(config(), 3), 1).shown
        arm = plan.arms_of(shown.user_id, shown.session_start_s)
        gate = gates.stickiness(shown.user_id, arm)
        assert gate.passes == passes
        assert (gate.value > 10) != passes


def test_arms_by_age_of_account_turn_balance_and_before_red() -> None:
    """The shares are right, but the treated joined later, as where arms are even and odd hours."""
    panel = heavy(USERS, 6)
    assert panel.before_numerator is not None
    assert panel.before_denominator is not None
    active = np.argsort(np.argsort(panel.before_numerator, kind="stable")) / USERS
    u = np.random.default_rng(2).random(USERS)
    arm = (u < 0.4 + 0.2 * active).astype(np.int8)
    assert gates.sample_ratio(np.bincount(arm).tolist(), (0.5, 0.5)).passes
    assert not gates.balance(arm, (4 * active).astype(int), "tenure").passes
    assert not gates.before(arm == 1, panel.before_numerator, np.ones(USERS), 0.0, 1.0).passes


# --- leaking labels


def test_a_covariate_that_knows_the_experiment_turns_before_red() -> None:
    panel, treated = heavy(USERS, 7), redrawn(USERS, 1, 0.5, 3)[0]
    one = np.ones(USERS)
    lifted = panel.numerator * (1.0 + 0.5 * treated)
    sound = Panel(lifted, one, panel.before_numerator, one)
    leaking = Panel(lifted, one, panel.before_numerator + lifted, one)  # a window too long
    told = [split_effect(p, treated, "clicks", "lift", cuped=True) for p in (sound, leaking)]
    assert told[1].estimate < 0.6 * told[0].estimate  # it takes the effect away
    for p, passes in ((sound, True), (leaking, False)):
        assert p.before_numerator is not None
        assert gates.before(treated, p.before_numerator, one, 0.0, 0.0).passes == passes
    late = gates.before(treated, sound.before_numerator, one, 7200.0, 0.0)  # type: ignore[arg-type]
    assert not late.passes
    assert "2.0 hours" in late.reason


@pytest.fixture(scope="module")
def logged() -> tuple[NDArray[np.bool_], TruthRows, NDArray[np.int32]]:
    served = serve(server("random"), World(config(), 3), 2)
    return served.shown.engage, served.truth, served.shown.user_id


def test_predictions_without_labels_are_green(logged) -> None:
    label, truth, user_id = logged
    true = truth.p_engage.astype(float)
    rng = np.random.default_rng(3)
    for predicted in (
        true,
        np.full(len(label), label.mean()),
        np.clip(true * rng.lognormal(0.0, 0.3, len(true)), 0.001, 0.999),
    ):
        assert gates.leak(label, predicted, true, user_id).passes


def test_a_label_among_the_features_turns_leak_red(logged) -> None:
    label, truth, user_id = logged
    true = truth.p_engage.astype(float)
    for weight in (0.1, 0.9):  # even a little of the label
        predicted = (1.0 - weight) * true + weight * label
        gate = gates.leak(label, predicted, true, user_id)
        assert not gate.passes
        assert gate.value < gates.RED


# --- wrong clustering


def test_a_a_is_green_by_user_and_red_by_row() -> None:
    rows, user_id = impressions(1000)
    sums = [np.bincount(user_id, weights=v) for v in (rows.numerator, rows.denominator)]
    right = gates.a_a(gates.split_analysis(Panel(*sums)), 1000)
    assert right.passes
    assert 0.04 < right.value < 0.06
    wrong = gates.a_a(by_row(rows, user_id), 1000, runs=1000)
    assert not wrong.passes
    assert wrong.value > 0.08
    assert "is claimed" in wrong.reason


def test_an_analysis_that_never_or_hardly_answers_is_red() -> None:
    assert not gates.a_a(lambda t: np.ones(len(t)), 50).passes
    assert not gates.a_a(lambda t: np.full(len(t), np.nan), 50).passes
    with pytest.raises(ValueError, match="runs = 5"):
        gates.a_a(lambda t: np.ones(len(t)), 50, runs=5)
