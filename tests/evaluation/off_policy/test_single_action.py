"""Estimators for single actions: plain loops, enumeration, replicates, coverage, invariances."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.intervals import difference
from evaluation.off_policy import single_action as sa
from evaluation.off_policy.diagnostics import diagnose, unsupported_mass
from evaluation.off_policy.rounds import OffPolicyError, Rounds
from tests.evaluation.off_policy.bandits import bandit

CLIP, SWITCH, STRENGTH, BEND = 1.3, 1.7, 2.5, 0.3
ESTIMATORS = {
    "ips": sa.ips,
    "clipped_ips": lambda r: sa.clipped_ips(r, CLIP),
    "snips": sa.snips,
    "dm": sa.dm,
    "dr": sa.dr,
    "sndr": sa.sndr,
    "switch_dr": lambda r: sa.switch_dr(r, SWITCH),
    "dros": lambda r: sa.dros(r, STRENGTH),
    "sg_ips": lambda r: sa.sg_ips(r, BEND),
    "sg_dr": lambda r: sa.sg_dr(r, BEND),
    "mips": sa.mips,
}
UNBIASED = ("ips", "dr", "mips")


def by_loops(action, reward, p_logging, p_target, q, group):
    """Each estimator once more, term by term in plain Python."""
    n, n_actions = len(action), p_logging.shape[1]
    total = dict.fromkeys(ESTIMATORS, 0.0)
    weights = corrections = models = rewards = 0.0
    for i in range(n):
        a, r = int(action[i]), float(reward[i])
        w = float(p_target[i, a]) / float(p_logging[i, a])
        model = math.fsum(float(p_target[i, b] * q[i, b]) for b in range(n_actions))
        miss = r - float(q[i, a])
        mates = [b for b in range(n_actions) if group[b] == group[a]]
        wide = sum(p_target[i, b] for b in mates) / sum(p_logging[i, b] for b in mates)
        total["ips"] += w * r
        total["clipped_ips"] += (w if w < CLIP else CLIP) * r
        total["dm"] += model
        total["dr"] += model + w * miss
        total["switch_dr"] += model + (w * miss if w <= SWITCH else 0.0)
        total["dros"] += model + STRENGTH * w / (w**2 + STRENGTH) * miss
        total["sg_ips"] += w / (1 - BEND + BEND * w) * r
        total["sg_dr"] += model + w / (1 - BEND + BEND * w) * miss
        total["mips"] += float(wide) * r
        weights, rewards = weights + w, rewards + w * r
        models, corrections = models + model, corrections + w * miss
    out = {name: value / n for name, value in total.items()}
    out["snips"], out["sndr"] = rewards / weights, models / n + corrections / weights
    return out


def tables(seed, n=60, n_actions=6):
    """Return a made-up log with a model of the reward."""
    rng = np.random.default_rng(seed)
    p_logging, p_target = (rng.dirichlet(np.ones(n_actions), n) for _ in range(2))
    action, reward = rng.integers(0, n_actions, n), rng.normal(1.0, 2.0, n)
    q, group = rng.normal(1.0, 1.0, (n, n_actions)), rng.integers(0, 3, n_actions)
    return action, reward, p_logging, p_target, q, group


@pytest.mark.parametrize("seed", range(4))
def test_each_equals_plain_loops(seed):
    action, reward, p_logging, p_target, q, group = tables(seed)
    users = np.random.default_rng(seed).integers(0, 20, len(action))
    rounds = Rounds.of(action, reward, p_logging, p_target, user_id=users, q=q, group=group)
    naive = by_loops(action, reward, p_logging, p_target, q, group)
    for name, estimator in ESTIMATORS.items():
        assert estimator(rounds).value == pytest.approx(naive[name], rel=1e-12, abs=1e-12), name


def test_limits_of_parameters():
    """At one end of its parameter each is the unbiased estimator, at the other the blunt one."""
    action, reward, p_logging, p_target, q, group = tables(9)
    rounds = Rounds.of(action, reward, p_logging, p_target, q=q, group=group)
    ips, dr, dm = (f(rounds).value for f in (sa.ips, sa.dr, sa.dm))
    assert sa.clipped_ips(rounds, math.inf).value == ips == sa.sg_ips(rounds, 0.0).value
    assert sa.sg_ips(rounds, 1.0).value == pytest.approx(reward.mean())
    for end in (sa.switch_dr(rounds, math.inf), sa.dros(rounds, math.inf), sa.sg_dr(rounds, 0.0)):
        assert end.value == dr
    assert sa.switch_dr(rounds, 0.0).value == sa.dros(rounds, 0.0).value == dm


@pytest.mark.parametrize("name", UNBIASED)
def test_expectation_is_the_truth_by_enumeration(name):
    """The sum over all contexts, actions and rewards of probability times estimate is the truth."""
    world = bandit(1, by_group=name == "mips")
    mean = 0.0
    for x in range(len(world.p_context)):
        for a in range(world.p_logging.shape[1]):
            for r in (0.0, 1.0):
                p = world.p_context[x] * world.p_logging[x, a]
                p *= world.p_reward[x, a] if r else 1.0 - world.p_reward[x, a]
                rounds = Rounds.of(
                    np.array([a]), np.array([r]), world.p_logging[[x]], world.p_target[[x]],
                    q=world.q[[x]], group=world.group,
                )  # fmt: skip
                mean += p * ESTIMATORS[name](rounds).value
    assert mean == pytest.approx(world.value, abs=1e-12)


@pytest.mark.parametrize("by_group", [False, True])
def test_a_thousand_logs_are_right_on_average(by_group):
    """IPS and DR are unbiased, MIPS where groups decide; DM and clipping are seen to be biased."""
    world, rng = bandit(2, by_group=by_group), np.random.default_rng(0)
    found = {name: [] for name in ("ips", "dr", "mips", "dm", "clipped_ips")}
    for _ in range(1000):
        rounds = world.draw(rng, users=60, each=1)
        for name, values in found.items():
            values.append(ESTIMATORS[name](rounds).value)
    unbiased = set(UNBIASED) - (set() if by_group else {"mips"})
    for name, values in found.items():
        error = np.std(values) / np.sqrt(len(values))
        z = (np.mean(values) - world.value) / error
        assert (abs(z) < 3.5) == (name in unbiased), (name, z)


def test_intervals_cover():
    """Clustered intervals hold the truth in 93 to 97 of 100 logs, of differences too."""
    world, rng, logs = bandit(3, by_group=True), np.random.default_rng(1), 1500
    names = ("ips", "snips", "dr", "sndr", "mips")
    hits = dict.fromkeys((*names, "gap"), 0)
    gap = world.value - float(world.p_context @ (world.p_logging * world.p_reward).sum(axis=1))
    for _ in range(logs):
        rounds = world.draw(rng, users=150, each=3)
        for name in names:
            interval = ESTIMATORS[name](rounds).interval()
            hits[name] += interval.low <= world.value <= interval.high
        interval = difference(sa.dr(rounds), sa.on_policy(rounds)).interval()
        hits["gap"] += interval.low <= gap <= interval.high
    for name, count in hits.items():
        assert 0.93 <= count / logs <= 0.97, (name, count / logs)


def test_rows_alone_would_promise_too_much():
    """Users repeat themselves: without clusters the interval is too short."""
    rng = np.random.default_rng(4)
    user = np.repeat(np.arange(50), 20)
    p = np.full((1000, 2), 0.5)
    reward = rng.random(50)[user]
    args = (rng.integers(0, 2, 1000), reward, p, p)
    alone, together = Rounds.of(*args), Rounds.of(*args, user_id=user)
    assert sa.ips(together).standard_error > 3 * sa.ips(alone).standard_error


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10.0), st.floats(-5.0, 5.0))
def test_invariances(seed, scale, shift):
    """Order of rows is nothing, reward's unit passes through, weights of 1 give the mean."""
    action, reward, p_logging, p_target, q, group = tables(seed, 30)
    rng = np.random.default_rng(seed)
    order, users = rng.permutation(30), rng.integers(0, 9, 30)

    def made(rows, a, b, target=p_target):
        return Rounds.of(
            action[rows], a * reward[rows] + b, p_logging[rows], target[rows],
            user_id=users[rows], q=a * q[rows] + b, group=group,
        )  # fmt: skip

    every = np.arange(30)
    plain = made(every, 1.0, 0.0)
    for name, estimator in ESTIMATORS.items():
        one, other = estimator(plain), estimator(made(order, 1.0, 0.0))
        assert other.value == pytest.approx(one.value, rel=1e-9, abs=1e-9)
        assert other.standard_error == pytest.approx(one.standard_error, rel=1e-9, abs=1e-9)
        scaled = estimator(made(every, scale, 0.0))
        assert scaled.value == pytest.approx(scale * one.value, rel=1e-9, abs=1e-9)
        if name in ("snips", "dm", "dr", "sndr", "switch_dr", "dros", "sg_dr"):
            moved = estimator(made(every, 1.0, shift)).value
            assert moved == pytest.approx(one.value + shift, rel=1e-8, abs=1e-8)
    same = made(every, 1.0, 0.0, p_logging)
    for name in ("ips", "snips", "mips", "sg_ips"):
        assert ESTIMATORS[name](same).value == pytest.approx(reward.mean(), rel=1e-9, abs=1e-9)
    assert sa.on_policy(plain).value == pytest.approx(reward.mean())


def test_diagnostics_by_hand():
    p_logging = np.array([[0.5, 0.5, 0.0]] * 4)
    p_target = np.array([[0.2, 0.6, 0.2]] * 4)
    rounds = Rounds.of(np.array([0, 1, 1, 0]), np.ones(4), p_logging, p_target)
    found = diagnose(rounds, unsupported_mass(p_logging, p_target))
    assert found.effective_n == pytest.approx(3.2**2 / (2 * 1.44 + 2 * 0.16))
    assert found.largest == pytest.approx((1.2, 1.2, 0.4, 0.4))
    assert found.largest_share == pytest.approx(1.2 / 3.2)
    assert found.mean_weight.estimate == pytest.approx(0.8)
    assert found.unsupported == pytest.approx(0.2)
    assert math.isnan(diagnose(rounds).unsupported)


def test_a_handful_of_weights_is_no_interval():
    """A model for everybody does not hide that three rounds of a thousand correct it."""
    n = 1000
    weight = np.where(np.arange(n) < 3, 5.0, 0.0)
    reward = 1.0 + 0.1 * np.sin(np.arange(n))
    q = np.column_stack([np.full(n, 0.9), 1.0 + 0.1 * np.cos(np.arange(n))])
    rounds = Rounds(reward, weight, np.arange(n), n, q[:, 0], q[:, 1])
    some = replace(rounds, weight=np.where(np.arange(n) < 40, 5.0, 0.0))
    corrected = {
        "dr": sa.dr,
        "sndr": sa.sndr,
        "switch_dr": lambda r: sa.switch_dr(r, 9.0),
        "dros": lambda r: sa.dros(r, 4.0),
        "sg_dr": lambda r: sa.sg_dr(r, 0.5),
    }
    for name, estimator in {"ips": sa.ips, "snips": sa.snips, **corrected}.items():
        assert math.isnan(estimator(rounds).interval().low), name
        assert math.isfinite(estimator(some).interval().low) or name == "snips", name
    # without any weight by choice it is the model, which says of itself what it leaves out
    for model in (sa.switch_dr(rounds, 0.0), sa.dros(rounds, 0.0)):
        assert model.interval() == sa.dm(rounds).interval()
        assert math.isfinite(model.interval().low)


def test_no_rounds_and_weights_of_nothing_are_undefined():
    none = Rounds(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), 3)
    assert math.isnan(sa.ips(none).value)
    lost = Rounds(np.ones(5), np.zeros(5), np.arange(5), 5)
    assert sa.ips(lost).value == 0.0
    assert math.isnan(sa.snips(lost).value)
    assert math.isnan(sa.ips(lost).interval().low)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Rounds(np.ones(3), np.ones(2), np.arange(3), 3), "weight has shape"),
        (lambda: Rounds(np.array([np.nan]), np.ones(1), np.arange(1), 1), "reward has 1 numbers"),
        (lambda: Rounds(np.ones(1), -np.ones(1), np.arange(1), 1), "weight = -1"),
        (lambda: Rounds(np.ones(1), np.ones(1), np.array([4]), 2), "user_id spans"),
        (lambda: sa.dm(Rounds(np.ones(1), np.ones(1), np.arange(1), 1)), "reward model"),
        (lambda: sa.mips(Rounds(np.ones(1), np.ones(1), np.arange(1), 1)), "group_weight = None"),
        (
            lambda: Rounds.of(np.array([1]), np.ones(1), np.array([[1.0, 0.0]]), np.eye(2)[:1]),
            "p_logging = 0 for 1",
        ),
        (
            lambda: Rounds.of(np.array([0]), np.ones(1), np.array([[0.5, 0.5]]), np.eye(2)[:1] * 3),
            "p_target spans",
        ),
        (lambda: Rounds.of(np.array([0]), np.ones(1), np.ones((1, 2)), np.ones((1, 3))), "both"),
        (
            lambda: sa.clipped_ips(Rounds(np.ones(1), np.ones(1), np.arange(1), 1), -1.0),
            "threshold = -1",
        ),
        (lambda: sa.sg_ips(Rounds(np.ones(1), np.ones(1), np.arange(1), 1), 1.5), "bend = 1.5"),
    ],
)
def test_bad_input_is_one_line(make, words):
    with pytest.raises(OffPolicyError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)
