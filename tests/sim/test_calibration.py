"""The logged truth against what happened, and the logged propensities against other policies.

Given everything that happened before, an outcome is a draw with its logged probability: the
departures y - p are martingale differences, so that their sum over any rows that the past chooses
has variance sum p (1 - p), whatever users, sessions and pages have in common. That makes the
tests sharp; the error clustered by user, which assumes nothing, must tell the same.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy.stats import chi2, kstest, poisson

from policies.contract import FitContext
from policies.heuristics import Popularity, Random, Recency
from policies.oracle import Oracle
from policies.rank import Exploration, Server
from sim.delay_law import logged_delays
from sim.log import Log
from sim.schema import DAY_S, PAD, SCENARIOS, TARGETS, Impressions
from sim.truth import TruthRows
from sim.world import World
from tests.sim.worlds import TICK_S, config, server

LOGGERS = {"random": (None, 4), "popularity": (0.3, 3), "oracle": (0.1, 1)}
"""Who shows, with which exploration, for how many days: at random, what is popular, what is truly
best for each user."""


@cache
def logged(logger):
    """Return (shown, truth) of days of the default world with more follows, else too rare."""
    eps, days = LOGGERS[logger]
    world = World(config("default", feedback__follow=0.01), 21)
    records = list(world.run(server(logger, eps), days))
    return (
        Impressions.concat([r.impressions for r in records]),
        TruthRows.concat([r.truth for r in records]),
    )


def outcomes(shown, truth, target):
    """Return (probabilities [N], outcomes [N]) of a target."""
    y = truth.will_purchase if target == "purchase" else shown.target(target)
    return getattr(truth, f"p_{target}").astype(float), y.astype(float)


def departures(p, y, group):
    """Return (sums of y - p, their standard deviations, expected events) by group.

    Binary outcomes have the variance p (1 - p); of the watch time only the squares are known.
    """
    binary = np.isin(y, (0.0, 1.0)).all()
    variance = p * (1 - p) if binary else (y - p) ** 2
    gap, square, events = (np.bincount(group, weights=w) for w in (y - p, variance, p))
    return gap, np.sqrt(square), events


def tenths(p, events=8.0):
    """Cut rows at the deciles of p; from the bottom, parts join until each expects some events."""
    order = np.argsort(p, kind="stable")
    decile = np.empty(len(p), np.int64)
    decile[order] = np.arange(len(p)) * 10 // len(p)
    expected = np.bincount(decile, weights=p, minlength=10)
    part, new, filled = np.empty(10, np.int64), 0, 0.0
    for i in range(10):
        part[i] = new
        filled += expected[i]
        if filled >= events and expected[i + 1 :].sum() >= events:
            new, filled = new + 1, 0.0
    return part[decile]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("logger", LOGGERS)
def test_truth_equals_frequency(logger, scenario, target):
    """As a whole and by decile of the true probability, in every scenario, whoever ranks."""
    shown, truth = logged(logger)
    rows = np.flatnonzero(shown.scenario == SCENARIOS.index(scenario))
    assert len(rows) > 1000
    p, y = (values[rows] for values in outcomes(shown, truth, target))
    gap, error, events = departures(p, y, np.zeros(len(p), np.int64))
    assert abs(gap[0]) < 4 * max(error[0], 1.0), f"{y.mean():.5f} happened, {p.mean():.5f} was true"
    if events[0] < 30:  # nothing but the count can be judged
        assert poisson.cdf(y.sum(), events[0]) > 1e-5
        assert poisson.sf(y.sum() - 1, events[0]) > 1e-5
        return
    if events[0] > 200:  # of fewer events the spread between users says little
        by_user = np.sqrt((np.bincount(shown.user_id[rows], weights=y - p) ** 2).sum())
        assert abs(gap[0]) < 4 * by_user
        assert 0.8 < by_user / error[0] < 1.25  # users share no luck
    gap, error, events = departures(p, y, tenths(p))
    z = gap / error
    assert chi2.sf((z**2).sum(), len(z)) > 1e-5, np.round(z, 1)


def test_departures_are_those_of_chance_alone():
    """Over all rankers, scenarios and binary targets: squares of z average one."""
    squares = []
    for logger, scenario, target in product(LOGGERS, range(len(SCENARIOS)), TARGETS):
        if target == "watch":
            continue
        shown, truth = logged(logger)
        rows = shown.scenario == scenario
        p, y = (values[rows] for values in outcomes(shown, truth, target))
        gap, error, _ = departures(p, y, np.zeros(len(p), np.int64))
        squares.append((gap[0] / error[0]) ** 2)
    # cart and purchase share most of their luck with the bag: about five independent of seven
    freedom = len(squares) * 5 / 7
    assert chi2.sf(np.mean(squares) * freedom, freedom) > 1e-4


@pytest.mark.parametrize("target", ["engage", "watch", "like", "bag_click"])
def test_truth_tells_rows_apart(target):
    """The deciles of the frequent targets lie far apart, so that their calibration says much."""
    p, y = outcomes(*logged("random"), target)
    part = tenths(p)
    rate = np.bincount(part, weights=y) / np.bincount(part)
    assert len(rate) >= 9
    assert rate[-1] > 4 * rate[1]


def test_a_purchase_given_a_bag_click_has_its_own_truth():
    """Among bag clicks, those that will end in a purchase are as many as stated, by decile."""
    parts = [logged(logger) for logger in LOGGERS]
    bags = np.concatenate([shown.bag_click for shown, _ in parts])
    truth = TruthRows.concat([truth for _, truth in parts]).take(bags)
    p, y = truth.p_purchase_given_bag.astype(float), truth.will_purchase.astype(float)
    gap, error, _ = departures(p, y, tenths(p))
    assert len(gap) >= 8
    assert chi2.sf(((gap / error) ** 2).sum(), len(gap)) > 1e-5


def test_delays_of_purchases_follow_the_law_of_their_row():
    """F(delay) by each row's own published law is uniform, over all buyers of all rankers."""
    found = []
    for logger in LOGGERS:
        shown, truth = logged(logger)
        rows = np.flatnonzero(truth.will_purchase & (truth.purchase_delay_s > 1.0))
        own, seen = truth.take(rows), shown.take(rows)
        default = config("default")
        law = logged_delays(default.delay, default.visits.hour_weights, seen, own)
        found.append(law.cdf(own.purchase_delay_s.astype(float)))
    assert sum(map(len, found)) > 1000
    assert kstest(np.concatenate(found), "uniform").pvalue > 1e-4


@dataclass
class Weigher:
    """Ranks by one server and notes how likely others would have shown the same slates.

    The probabilities are worked out here, position by position, from the definition of the
    exploration; nothing is taken from `policies.rank`.
    """

    own: Server
    others: dict[str, Server]

    def __post_init__(self):
        self.needs_truth = self.observes = True
        self.kept = {name: [] for name in self.others}
        self.logged, self.user_id, self.scenario = [], [], []

    def rank(self, requests, slate_size, uniforms, truth):
        handed = truth if self.own.needs_truth else None
        slate = self.own.rank(requests, slate_size, uniforms, handed)
        self.logged.append(self._padded(slate.propensity))
        self.user_id.append(requests.user_id)
        self.scenario.append(requests.scenario)
        for name, other in self.others.items():
            if other.needs_truth:
                scores = other.policy.score_with_truth(requests, truth)
            else:
                scores = other.policy.score(requests)
            p = chances(np.array(scores, float), requests.mask, slate.column, other.exploration)
            self.kept[name].append(self._padded(p))
        return slate

    def observe(self, impressions, purchases, now_s):
        for one in (self.own, *self.others.values()):
            one.observe(impressions, purchases, now_s)

    @staticmethod
    def _padded(p):
        return np.pad(p, ((0, 0), (0, 16 - p.shape[1])), constant_values=1.0)


def chances(scores, mask, column, exploration):
    """Return the probability of each choice given those above it [B, K], 1 where none was left."""
    free, rows = mask.copy(), np.arange(len(mask))
    out = np.ones(column.shape)
    for k in range(column.shape[1]):
        live = np.flatnonzero(column[:, k] != PAD)
        own, chosen = scores[live], column[live, k]
        best = np.where(free[live], own, -np.inf)
        if exploration.kind == "softmax":
            weight = np.exp((best - best.max(axis=1, keepdims=True)) / exploration.temperature)
            p = weight / weight.sum(axis=1, keepdims=True)
        else:
            top = free[live] & (own == best.max(axis=1, keepdims=True))
            eps = exploration.eps if exploration.kind == "epsilon" else 0.0
            p = (1 - eps) * top / top.sum(axis=1, keepdims=True)
            p = p + eps * free[live] / free[live].sum(axis=1, keepdims=True)
        out[live, k] = p[np.arange(len(live)), chosen]
        free[rows[live], chosen] = False
    return out


def fresh(policy, **exploration):
    """Return a server of an unfitted policy."""
    fitted = policy.fit(Log.nothing(TICK_S, DAY_S), FitContext())
    return Server(fitted, Exploration(**exploration))


@cache
def weighed(logger):
    """Return the weigher after two days of a world of its own."""
    own = {
        "epsilon": lambda: fresh(Popularity(), kind="epsilon", eps=0.3),
        "softmax": lambda: fresh(Popularity(), kind="softmax", temperature=0.2),
    }[logger]()
    others = {
        "uniform": fresh(Random(), kind="greedy"),
        "popularity": fresh(Popularity(half_life_s=40_000.0), kind="greedy"),
        "recency": fresh(Recency(), kind="epsilon", eps=0.5),
        "oracle": fresh(Oracle(), kind="softmax", temperature=1.0),
    }
    weigher = Weigher(own, others)
    list(World(config(population__n_users=1500), 11).run(weigher, 2))
    return weigher


@pytest.mark.parametrize("target", ["uniform", "popularity", "recency", "oracle"])
@pytest.mark.parametrize("logger", ["epsilon", "softmax"])
def test_importance_weights_have_mean_one(logger, target):
    """Of the top of every slate, and of whole slates where they don't explode."""
    weigher = weighed(logger)
    logged_p, other_p = np.concatenate(weigher.logged), np.concatenate(weigher.kept[target])
    user_id = np.concatenate(weigher.user_id)
    assert ((logged_p > 0) & (logged_p <= 1)).all()
    for depth in (1, 2):
        weight = (other_p[:, :depth] / logged_p[:, :depth]).prod(axis=1)
        gap = np.bincount(user_id, weights=weight - 1)
        error = np.sqrt((gap**2).sum()) / len(weight)
        assert abs(weight.mean() - 1) < 3 * error
        assert error < 0.1, "too few rows to say anything"


@pytest.mark.parametrize("logger", ["epsilon", "softmax"])
def test_logged_propensities_are_those_of_the_definition(logger):
    """Worked out again from the scores and the exploration, for every position shown."""
    weigher = weighed(logger)
    mine = Weigher(weigher.own, {"own": weigher.own})
    list(World(config(), 6).run(mine, 1))
    np.testing.assert_allclose(
        np.concatenate(mine.kept["own"]), np.concatenate(mine.logged), rtol=1e-9
    )
