"""Estimators for slates: plain loops, enumeration under each assumption, replicates, coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.intervals import difference
from evaluation.off_policy import slate_estimators as se
from evaluation.off_policy.diagnostics import diagnose
from evaluation.off_policy.marginals import factored_weight, uniform_weight
from evaluation.off_policy.rounds import OffPolicyError
from evaluation.off_policy.slates import Slates
from tests.evaluation.off_policy.bandits import conditionals, marginals, orders, tuples

ITEMS, PLACES = 5, 3
TARGET = np.array([0.1, 2.0, 0.7, 1.5, 0.3])
LOGGING = np.array([1.0, 0.6, 1.3, 0.8, 1.1])


def rewards(kind, slates):
    """Return expected rewards of each place [S, K] under a view of what a slate does."""
    rng = np.random.default_rng(5)
    own = rng.random((PLACES, ITEMS))[np.arange(PLACES), slates]
    if kind == "independent":
        return own
    if kind == "additive":  # all of it at the last place: only the sum counts
        out = np.zeros_like(own)
        out[:, -1] = own.sum(axis=1)
        return out
    pull = rng.random((ITEMS, ITEMS))
    out = own.copy()
    for k in range(1, PLACES):  # the items above matter
        out[:, k] += pull[slates[:, k], slates[:, k - 1]] * own[:, :k].prod(axis=1)
    if kind == "any":  # ... and those below
        out[:, 0] += pull[slates[:, 0], slates[:, -1]]
    return out


def logged(slates, logging, target, reward, factored):
    """Return all slates of a logging policy as if each were logged once, and their chances."""
    if factored:  # places drawn apart, by tables [K, items]
        p_log, p_tar = (p[np.arange(PLACES), slates] for p in (logging, target))
        place = pseudo = None  # follow from the rest
    else:
        p_log, p_tar = conditionals(slates, logging), conditionals(slates, target)
        tables = [marginals(slates, p.prod(axis=1), ITEMS) for p in (p_tar, p_log)]
        at = (np.arange(PLACES), slates)
        place = tables[0][at] / tables[1][at]
        theta = tables[0][:, slates].transpose(1, 0, 2)  # [S, place, logged place]
        pseudo = uniform_weight(theta, slates, np.full(len(slates), ITEMS))
    q = np.random.default_rng(3).normal(size=(PLACES, ITEMS, ITEMS + 1))
    above = np.c_[np.full(len(slates), ITEMS), slates[:, :-1]]
    q_chosen = q[np.arange(PLACES), slates, above]
    q_target = np.empty(q_chosen.shape)
    for s, slate in enumerate(slates):
        for k in range(PLACES):
            if factored:
                p, items = target[k], np.arange(ITEMS)
            else:
                items = np.array([i for i in range(ITEMS) if i not in slate[:k]])
                p = target[items] / target[items].sum()
            q_target[s, k] = p @ q[k, items, above[s, k]]
    table = Slates.of(
        reward, p_log, p_tar, place_ratio=place, pseudo_weight=pseudo,
        q_chosen=q_chosen, q_target=q_target, independent=factored,
    )  # fmt: skip
    return table, p_log.prod(axis=1), p_tar.prod(axis=1)


def each(estimator, slates):
    """Return the contribution of every slate alone [S]."""
    value, n = estimator(slates).value, len(slates)
    # a mean's influence is (contribution - mean) / n
    return estimator(slates).influence * n + value


CASES = [
    (se.sips, "any", False),
    (se.rips, "cascade", False),
    (se.cascade_dr, "cascade", False),
    (se.iips, "independent", False),
    (se.sips, "any", True),
    (se.rips, "cascade", True),
    (se.cascade_dr, "cascade", True),
    (se.iips, "independent", True),
    (se.pi, "additive", True),
]


def policies(factored, rng):
    if not factored:
        return LOGGING, TARGET
    return tuple(rng.dirichlet(np.ones(ITEMS) * 2, PLACES) for _ in range(2))


@pytest.mark.parametrize(("estimator", "kind", "factored"), CASES)
def test_expectation_is_the_truth_by_enumeration(estimator, kind, factored):
    """Summed over all slates of the logging policy, to rounding."""
    slates = tuples(ITEMS, PLACES) if factored else orders(ITEMS, PLACES)
    logging, target = policies(factored, np.random.default_rng(1))
    table, p, p_target = logged(slates, logging, target, rewards(kind, slates), factored)
    assert p.sum() == pytest.approx(1.0) == p_target.sum()
    truth = p_target @ table.sums(table.reward)
    assert p @ each(estimator, table) == pytest.approx(truth, abs=1e-12)


def test_pseudo_inverse_is_exact_for_uniform_logging():
    """By enumeration, for additive rewards; a pair of items that interact breaks it, not SIPS."""
    slates = orders(ITEMS, PLACES)
    for kind, exact in (("additive", True), ("cascade", False)):
        reward = rewards(kind, slates)
        table, p, p_target = logged(slates, np.ones(ITEMS), TARGET, reward, False)
        truth = p_target @ table.sums(table.reward)
        assert (abs(p @ each(se.pi, table) - truth) < 1e-12) == exact
        assert p @ each(se.sips, table) == pytest.approx(truth, abs=1e-12)
        square = [p @ each(f, table) ** 2 for f in (se.pi, se.sips)]
        assert square[0] < square[1], "PI varies less, as in Swaminathan et al."


@pytest.mark.parametrize(("items", "places"), [(5, 3), (4, 4), (6, 1), (3, 2)])
def test_weights_equal_the_pseudo_inverse(items, places):
    """The closed forms against numpy's pinv of the second moments, slate by slate."""
    target = np.random.default_rng(items).random(items) + 0.1
    slates = orders(items, places)
    hot = np.zeros((len(slates), places * items))
    for k in range(places):
        hot[np.arange(len(slates)), k * items + slates[:, k]] = 1.0
    p = conditionals(slates, np.ones(items)).prod(axis=1)
    p_target = conditionals(slates, target).prod(axis=1)
    gamma, theta = hot.T @ (hot * p[:, None]), p_target @ hot
    by_hand = hot @ np.linalg.pinv(gamma) @ theta
    table = theta.reshape(places, items)[:, slates].transpose(1, 0, 2)
    found = uniform_weight(table, slates, np.full(len(slates), items))
    np.testing.assert_allclose(found, by_hand, atol=1e-10)

    free = tuples(items, places)
    rng = np.random.default_rng(places)
    log, tar = (rng.dirichlet(np.ones(items), places) for _ in range(2))
    hot = np.zeros((len(free), places * items))
    for k in range(places):
        hot[np.arange(len(free)), k * items + free[:, k]] = 1.0
    p, p_target = (t[np.arange(places), free].prod(axis=1) for t in (log, tar))
    by_hand = hot @ np.linalg.pinv(hot.T @ (hot * p[:, None])) @ (p_target @ hot)
    ratio = (tar / log)[np.arange(places), free].ravel()
    start = np.arange(len(free) + 1) * places
    np.testing.assert_allclose(factored_weight(ratio, start), by_hand, atol=1e-8)


def ragged(seed):
    """Return made-up slates of 1 to 5 rows."""
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 6, 40)
    n = int(size.sum())
    return Slates(
        start=np.r_[0, np.cumsum(size)].astype(np.int64),
        user_id=rng.integers(0, 12, 40),
        n_users=12,
        reward=rng.normal(1.0, 1.0, n),
        ratio=rng.gamma(4.0, 0.25, n),
        place_ratio=rng.gamma(4.0, 0.25, n),
        pseudo_weight=rng.normal(1.0, 1.0, 40),
        q_chosen=rng.normal(size=n),
        q_target=rng.normal(size=n),
    )


@pytest.mark.parametrize("seed", range(4))
def test_each_equals_plain_loops(seed):
    slates = ragged(seed)
    total = dict.fromkeys(("sips", "iips", "rips", "pi", "cascade_dr"), 0.0)
    weights = 0.0
    for b in range(len(slates)):
        whole, brought, dr, rips, iips = 1.0, 0.0, 0.0, 0.0, 0.0
        for i in range(int(slates.start[b]), int(slates.start[b + 1])):
            above = whole
            whole *= float(slates.ratio[i])
            brought += float(slates.reward[i])
            rips += whole * float(slates.reward[i])
            iips += float(slates.place_ratio[i]) * float(slates.reward[i])
            dr += whole * float(slates.reward[i] - slates.q_chosen[i])
            dr += above * float(slates.q_target[i])
        weights += whole
        for name, value in (
            ("sips", whole * brought),
            ("iips", iips),
            ("rips", rips),
            ("pi", float(slates.pseudo_weight[b]) * brought),
            ("cascade_dr", dr),
        ):
            total[name] += value / len(slates)
    for name, value in total.items():
        assert getattr(se, name)(slates).value == pytest.approx(value, rel=1e-12, abs=1e-12), name
    assert se.snsips(slates).value == pytest.approx(total["sips"] * len(slates) / weights)


def draw(rng, table, p, users):
    """Draw slates of users, each of whom likes or dislikes all."""
    count = rng.integers(1, 5, users)
    user = np.repeat(np.arange(users), count)
    pick = rng.choice(len(p), len(user), p=p)
    rows = (pick[:, None] * PLACES + np.arange(PLACES)).ravel()
    noise = np.repeat(rng.normal(0.0, 0.3, users), count * PLACES) + rng.normal(0, 0.5, len(rows))
    return Slates(
        start=np.arange(len(user) + 1) * PLACES,
        user_id=user,
        n_users=users,
        reward=table.reward[rows] + noise,
        ratio=table.ratio[rows],
        place_ratio=table.place_ratio[rows],
        pseudo_weight=table.pseudo_weight[pick],
        q_chosen=table.q_chosen[rows],
        q_target=table.q_target[rows],
    )


@pytest.mark.parametrize("factored", [False, True])
def test_replicates_are_right_on_average_and_covered(factored):
    """1,500 logs: no bias under independence for all, and intervals hold in 93 to 97 of 100."""
    slates = tuples(ITEMS, PLACES) if factored else orders(ITEMS, PLACES)
    rng = np.random.default_rng(2)
    logging, target = np.ones(ITEMS), TARGET + 0.5
    if factored:
        logging, target = (rng.dirichlet(np.ones(ITEMS) * 6, PLACES) for _ in range(2))
    reward = rewards("independent", slates)
    table, p, p_target = logged(slates, logging, target, reward, factored)
    truth, mean = (q @ table.sums(table.reward) for q in (p_target, p))
    estimators = (se.sips, se.iips, se.rips, se.pi, se.cascade_dr)
    values = {f.__name__: [] for f in estimators}
    hits = dict.fromkeys((*values, "gap"), 0)
    logs = 1500
    for _ in range(logs):
        drawn = draw(rng, table, p, 150)
        for f in estimators:
            estimate = f(drawn)
            interval = estimate.interval()
            values[f.__name__].append(estimate.value)
            hits[f.__name__] += interval.low <= truth <= interval.high
        interval = difference(se.rips(drawn), se.on_policy(drawn)).interval()
        hits["gap"] += interval.low <= truth - mean <= interval.high
    for name, found in values.items():
        assert abs(np.mean(found) - truth) < 3.5 * np.std(found) / np.sqrt(logs), name
    for name, count in hits.items():
        assert 0.93 <= count / logs <= 0.97, (name, count / logs)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10.0))
def test_invariances(seed, scale):
    """Rewards' unit passes through; ratios of 1 give the mean; the order of slates is nothing."""
    slates = ragged(seed)
    one = np.ones_like(slates.ratio)
    mean = se.on_policy(slates).value
    same = Slates(slates.start, slates.user_id, 12, slates.reward, one, one, np.ones(40))
    for f in (se.sips, se.iips, se.rips, se.pi, se.snsips):
        assert f(same).value == pytest.approx(mean, rel=1e-9, abs=1e-9)
        more = Slates(
            slates.start, slates.user_id, 12, scale * slates.reward, slates.ratio,
            slates.place_ratio, slates.pseudo_weight,
        )  # fmt: skip
        assert f(more).value == pytest.approx(scale * f(slates).value, rel=1e-9, abs=1e-9)
    order = np.random.default_rng(seed).permutation(40)
    size = np.diff(slates.start)[order]
    rows = np.concatenate([np.arange(*slates.start[b : b + 2]) for b in order])
    other = Slates(
        np.r_[0, np.cumsum(size)], slates.user_id[order], 12, slates.reward[rows],
        slates.ratio[rows], slates.place_ratio[rows], slates.pseudo_weight[order],
        slates.q_chosen[rows], slates.q_target[rows],
    )  # fmt: skip
    for f in (se.sips, se.iips, se.rips, se.pi, se.cascade_dr):
        one_way, other_way = f(slates), f(other)
        assert other_way.value == pytest.approx(one_way.value, rel=1e-9, abs=1e-9)
        assert other_way.standard_error == pytest.approx(one_way.standard_error, rel=1e-9)


def test_diagnostics_are_of_whole_slates():
    slates = ragged(0)
    weight = np.array([part.prod() for part in np.split(slates.ratio, slates.start[1:-1])])
    found = diagnose(slates)
    assert found.n == 40
    assert found.effective_n == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
    assert found.largest[0] == pytest.approx(weight.max())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Slates(np.array([0, 0, 2]), np.zeros(2, int), 1, np.ones(2), np.ones(2)), "start"),
        (lambda: Slates(np.array([0, 1]), np.zeros(1, int), 1, np.ones(2), np.ones(2)), "start"),
        (lambda: Slates(np.array([0, 2]), np.ones(1, int), 1, np.ones(2), np.ones(2)), "user_id"),
        (
            lambda: Slates(np.array([0, 2]), np.zeros(1, int), 1, np.ones(2), -np.ones(2)),
            "ratio = -1",
        ),
        (
            lambda: Slates.of(np.ones((1, 2)), np.array([[0.5, 0.0]]), np.full((1, 2), 0.5)),
            "p_logging = 0 for 1",
        ),
        (lambda: se.iips(plain()), "place_ratio = None"),
        (lambda: se.pi(plain()), "pseudo_weight = None"),
        (lambda: se.cascade_dr(plain()), "reward model"),
    ],
)
def test_bad_input_is_one_line(make, words):
    with pytest.raises(OffPolicyError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def plain():
    return Slates(np.array([0, 2]), np.zeros(1, int), 1, np.ones(2), np.ones(2))


def test_no_slates_are_undefined():
    none = Slates(np.zeros(1, int), np.zeros(0, int), 3, np.zeros(0), np.zeros(0))
    for f in (se.sips, se.rips, se.on_policy):
        assert np.isnan(f(none).value)


def test_a_handful_of_weights_is_no_interval():
    """A model for everybody does not hide that three slates of a thousand correct it."""
    b, rng = 1000, np.random.default_rng(5)
    reward, q = rng.normal(1.0, 1.0, (b, 2)), rng.normal(1.0, 0.3, (b, 2))
    for weighted, known in ((3, False), (40, True)):
        ratio = np.where(np.arange(2 * b) < 2 * weighted, 1.5, 0.0)
        slates = Slates(
            np.arange(b + 1) * 2, np.arange(b), b, reward.ravel(), ratio,
            q_chosen=q.ravel(), q_target=q.ravel(),
        )  # fmt: skip
        for f in (se.rips, se.cascade_dr):
            assert np.isfinite(f(slates).interval().low) == known, f.__name__
