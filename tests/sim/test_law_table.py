"""Every law of the world in one table: draws against a closed form written down here.

A row holds draws made by the world's own code, the law they should follow, worked out here from
the equations of its module and not by its code, and the mean and variance of that law. To add a
law, add a row to `CONTINUOUS` or `DISCRETE`, and its ends to `LIMITS`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, ndtr
from scipy.stats import chi2, kstest, lognorm, norm, pareto
from scipy.stats import poisson as poisson_law

from sim.arrivals import MAX_SESSIONS, hour_of_day, poisson, sessions_of_day
from sim.calendar import Today
from sim.change import DriftConfig
from sim.delay import Buyer, draw_purchase
from sim.delay_law import DelayLaw
from sim.drift import FameDrift, preference_angle, turned
from sim.kernel import numbers
from sim.parameters import WatchConfig
from sim.population import pick, rotation
from sim.response import (
    AT_CART,
    Attraction,
    Inclination,
    Intercepts,
    Laws,
    after_stay,
    p_cart,
    p_click,
    p_engaged,
    p_purchase,
    satisfaction_of,
    social_logit,
)
from sim.rng import Purpose, uniforms
from sim.scene import mix_interest
from sim.schedule import MAX_SLOTS, SLOT_S, rooms_of_day
from sim.schema import DETAIL, ENTRIES, PAD, SCENARIOS, SWIPE
from sim.tenure import FOREVER, tenure
from sim.watch import draw_watch_s, expected_watch_s, stay_classes
from sim.world import World
from tests.sim.worlds import config, run

N = 40_000
U = uniforms(17, Purpose.CALIBRATION, np.arange(N))
DEFAULT = config("default")
WATCH = DEFAULT.watch


@dataclass(frozen=True)
class Continuous:
    """A law with a density."""

    draw: Callable[[], np.ndarray]
    cdf: Callable[[np.ndarray], np.ndarray]
    mean: float
    variance: float


@dataclass(frozen=True)
class Discrete:
    """A law over 0, 1, 2, ..."""

    draw: Callable[[], np.ndarray]
    p: np.ndarray
    """Probability of each value; the last one holds what is beyond."""


def each(law: Callable[..., float], *columns: np.ndarray) -> np.ndarray:
    """Apply a compiled scalar law to every row."""
    return np.array([law(*row) for row in zip(*columns, strict=True)])


def stays(engaged: bool, satisfaction: float) -> Continuous:
    """A bounce or an engaged stay: a log-normal on its side of the cap."""
    median = WATCH.engaged_median_s if engaged else WATCH.bounce_median_s
    sigma = WATCH.engaged_log_sigma if engaged else WATCH.bounce_log_sigma
    mu = np.log(median) + WATCH.satisfaction_gain * np.clip(satisfaction, -2, 2)
    law, cap = lognorm(sigma, scale=np.exp(mu)), WATCH.bounce_cap_s
    side = 1 - law.cdf(cap) if engaged else law.cdf(cap)

    def power(k: int) -> float:
        """E[W ** k] given the side: partial moments of the log-normal."""
        z = (np.log(cap) - mu) / sigma - k * sigma
        return float(np.exp(k * mu + (k * sigma) ** 2 / 2) * ndtr(-z if engaged else z) / side)

    return Continuous(
        lambda: each(lambda u: draw_watch_s(numbers(WATCH), engaged, satisfaction, u), U[0]),
        lambda x: (law.cdf(x) - law.cdf(cap)) / side if engaged else law.cdf(x) / side,
        power(1),
        power(2) - power(1) ** 2,
    )


def delays() -> Continuous:
    """The delay of a purchase that takes place, by the closed form that the world publishes."""
    law = DelayLaw.of(
        DEFAULT.delay, DEFAULT.visits.hour_weights, intent=0.5, log_price=0.3, left_s=1800.0
    )
    buyer = tuple(float(law.buyers[name][0]) for name in Buyer._fields)
    # operational time bends the cdf at every full hour: eight Gauss-Legendre nodes in each
    ends = np.array([0.0, 60.0, 1800.0, *np.arange(3600.0, law.horizon_s + 1.0, 3600.0)])
    nodes, weights = np.polynomial.legendre.leggauss(8)
    width = np.diff(ends)[:, None] / 2
    t = (ends[:-1, None] + width * (1 + nodes)).ravel()
    tail = (1 - law.cdf(t)) * (width * weights).ravel()

    def taken() -> np.ndarray:
        delay_s, _, lost_to = each(
            lambda *u: draw_purchase(law.numbers, Buyer(*buyer), *u), *U[:4]
        ).T
        return delay_s[lost_to == PAD]

    mean = float(tail.sum())
    return Continuous(taken, law.cdf, mean, float((2 * t * tail).sum()) - mean**2)


def turned_axes() -> np.ndarray:
    """Return six axes after their own turns of 0.7 radians."""
    return turned(np.eye(6, dtype=np.float32), np.arange(6), 0.7, 31, 0)


def hours() -> Continuous:
    """The hour of a start: constant within each of 24 hours."""
    weights = np.array(DEFAULT.visits.hour_weights, float)
    share, middle = weights / weights.sum(), np.arange(24) + 0.5
    mean = float(share @ middle)
    return Continuous(
        lambda: hour_of_day(weights, U[2]),
        lambda x: np.interp(x, np.arange(25.0), np.concatenate([[0.0], np.cumsum(share)])),
        mean,
        float(share @ (middle - mean) ** 2 + 1 / 12),
    )


EVERYWHERE = {f"{name}__users_share": 1.0 for name in SCENARIOS}


@cache
def crowd() -> World:
    """A world of many users and streamers, none of whom comes or goes."""
    big = {"population__n_users": N, "population__n_streamers": 8000}
    return World(config("default", turnover__share_per_day=0.0, **EVERYWHERE, **big), 31)


def log_prices() -> Continuous:
    """Log price within the streamer's tier, four tiers a step of 0.4 apart."""
    products = crowd().population.products
    tier = crowd().population.streamers.price_tier[products.streamer_id]
    sigma = DEFAULT.population.price_log_sigma
    return Continuous(
        lambda: products.log_price - 0.4 * (tier - 1.5), norm(0, sigma).cdf, 0.0, sigma**2
    )


def trait(name: str, law: Any) -> Continuous:
    """A latent trait of users."""
    return Continuous(
        lambda: getattr(crowd().population.users, name).astype(float),
        law.cdf,
        law.mean(),
        law.var(),
    )


def lognormal(sigma: float) -> Any:
    """A log-normal law of mean 1."""
    return lognorm(sigma, scale=np.exp(-(sigma**2) / 2))


def fame() -> Continuous:
    """Popularity is Pareto; its log is exponential, whose moments exist for every tail."""
    tail = DEFAULT.population.popularity_tail
    return Continuous(
        lambda: np.log(crowd().population.streamers.popularity.astype(float)),
        lambda x: pareto(tail).cdf(np.exp(x)),
        1 / tail,
        1 / tail**2,
    )


DRIFT = DriftConfig(0.4, 5.0, 0.0, 0.0, "none", 1.0, 10, 5.0, 0.0)


def fame_drift(after_days: int) -> Continuous:
    """Drifted fame: stationary; less its memory it is new noise."""
    rho = np.exp(-after_days / DRIFT.popularity_days)
    sigma = DRIFT.popularity_sigma * np.sqrt(1 - rho**2)

    def draw() -> np.ndarray:
        drift = FameDrift(DRIFT, N, 31)
        return drift.at(4 + after_days).copy() - rho * FameDrift(DRIFT, N, 31).at(4)

    return Continuous(draw, norm(0, sigma).cdf, 0.0, sigma**2)


def moods() -> Continuous:
    """The mood of a session."""
    sigma = DEFAULT.session.mood_sigma
    return Continuous(
        lambda: crowd().sessions(0).mood.astype(float),
        norm(0, sigma).cdf,
        0.0,
        sigma**2,
    )


CONTINUOUS: dict[str, Callable[[], Continuous]] = {
    "watch, bounce": lambda: stays(False, 0.0),
    "watch, bounce, disappointed": lambda: stays(False, -1.3),
    "watch, engaged": lambda: stays(True, 0.0),
    "watch, engaged, delighted": lambda: stays(True, 1.7),
    "watch, engaged, beyond the clip": lambda: stays(True, 5.0),
    "delay": delays,
    "hour of arrival": hours,
    "mood": moods,
    "log price": log_prices,
    "log popularity": fame,
    "drift of fame, of a day": lambda: fame_drift(1),
    "drift of fame, in the long run": lambda: fame_drift(60),
    "activity": lambda: trait("activity", lognormal(DEFAULT.visits.activity_log_sigma)),
    "bait sensitivity": lambda: trait("bait_sensitivity", lognormal(0.6)),
    "price sensitivity": lambda: trait("price_sensitivity", lognormal(0.5)),
    "intent": lambda: trait("intent", norm()),
    "patience": lambda: trait("patience", norm()),
    "shift of the hour": lambda: trait("hour_shift", norm(0, 1.5)),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_draws_follow_their_law(name):
    """Kolmogorov-Smirnov, mean, variance."""
    law = CONTINUOUS[name]()
    x = law.draw()
    assert len(x) >= 8000
    assert kstest(x, law.cdf).pvalue > 1e-4
    assert abs(x.mean() - law.mean) < 4.5 * np.sqrt(law.variance / len(x))
    square = (x - law.mean) ** 2
    # the fourth moment of the heavy tails is that of the sample, hence the width
    assert abs(square.mean() - law.variance) < 6 * square.std() / np.sqrt(len(x))


ROOM = Attraction(
    scenario=0, affinity=0.4, satiation=0.3, quality=0.8, bait=-0.5, fame=1.1, highlight=0.85,
    crowd=-0.6, bait_sensitivity=1.4, mood=0.2, views=3.0, follows=True, remaining_s=900.0,
)  # fmt: skip
BUYER = Inclination(
    social=0.3, commerce=0.5, charm=-0.7, appeal=0.9, log_price=0.6, sociability=0.4, intent=-0.2,
    price_sensitivity=1.3, mood=0.2, follows=False, social_shift=-0.25, bag_shift=0.1,
    cart_shift=0.35, purchase_shift=0.35,
)  # fmt: skip
EACH = np.linspace(-0.5, 0.5, len(SCENARIOS))
"""Something different for every scenario."""
SOLVED = Intercepts(
    click=tuple(-1.0 + EACH), stay=tuple(-1.5 - EACH), satisfaction=0.3, contentment=0.0,
    like=-3.2, comment=-3.0, follow=-6.0, bag_click=-2.4, cart=-0.8, purchase=-0.6,
)  # fmt: skip
LAWS = numbers(Laws.of(DEFAULT, SOLVED))
R, F = DEFAULT.response, DEFAULT.feedback
BOND = R.follow + R.intensity_weight * np.log1p(3.0)


def happens(p: float, law: Callable[[], float], lane: int) -> Discrete:
    """An event: the probability that the code gives, met by a uniform as in the world."""
    return Discrete(lambda: (U[lane] < law()).astype(int), np.array([1 - p, p]))


def click() -> Discrete:
    """A click on an examined card."""
    logit = (
        SOLVED.click[0] + R.affinity * 0.4 + R.quality / 2 * 0.8 - R.bait * 1.4 * 0.5
        + R.popularity * 1.1 + BOND + R.highlight * 0.85 - R.audience * 0.6 + 0.2 - 0.3
    )  # fmt: skip
    return happens(expit(logit), lambda: p_click(LAWS, ROOM), 0)


def engaged() -> Discrete:
    """An engaged stay; the misleading title disappoints."""
    logit = (
        SOLVED.stay[0] + R.affinity * 0.4 + R.quality * 0.8 + R.bait_disappointment * 0.5 + BOND
        + R.highlight * 0.85 + 0.2 - 0.3
    )  # fmt: skip
    return happens(expit(logit), lambda: p_engaged(LAWS, ROOM, satisfaction_of(LAWS, ROOM)), 1)


def like(grade: int) -> Discrete:
    """A like after a stay of one of three grades."""
    h = (-2.0, 0.0, 1.0)[grade]
    logit = (
        SOLVED.like + F.social_affinity * 0.3 - F.charm * 0.7 + F.propensity_sigma * 0.4 + 0.2
        + R.target_coupling * h - 0.25
    )  # fmt: skip
    return happens(
        expit(logit),
        lambda: after_stay(LAWS, np.exp(social_logit(LAWS, BUYER)), 1.0, False, grade)[0],
        2,
    )


def pays(intercept: float, share: float, law: Callable[..., float]) -> Discrete:
    """A cart given a bag click, or the ultimate purchase given a cart: the price bites."""
    logit = (
        intercept + F.commerce_affinity * 0.5 + F.appeal * 0.9 - F.propensity_sigma * 0.2
        - F.price * share * 1.3 * 0.6 + 0.2 + 0.35
    )  # fmt: skip
    return happens(expit(logit), lambda: law(LAWS, BUYER), 3)


def counts(rate: float) -> Discrete:
    """Sessions of a day with a visit, beyond the first."""
    p = poisson_law.pmf(np.arange(MAX_SESSIONS), rate)
    return Discrete(lambda: poisson(np.full(N, rate), U[3]), np.append(p, 1 - p.sum()))


def steps(scenario: str) -> Discrete:
    """Pages or swipes of a session: it goes on with probability sigma(patience - decay step)."""
    quiet = {
        "session__patience_gain": 0.0, "session__patience_sigma": 0.0,
        "session__patience_decay": 0.2, "visits__sessions_per_visit": 1.0,
        "population__n_users": 20_000, "watch__engaged_log_sigma": 0.3,
        "session__max_session_s": 14_400, f"{scenario}__max_requests": 12,
        f"{scenario}__patience": 1.0,
        f"{scenario}__slate_size": 1, "population__n_streamers": 800,
    }  # fmt: skip
    goes_on = expit(1.0 - 0.2 * np.arange(11))
    reach = np.concatenate([[1.0], np.cumprod(goes_on)])

    def draw() -> np.ndarray:
        shown = run(World(config(**quiet), 13), "random", 1)[0].impressions
        own = shown.take(shown.scenario == SCENARIOS.index(scenario))
        _, index = np.unique(own.session_id, return_inverse=True)
        last = np.zeros(index.max() + 1, np.int64)
        np.maximum.at(last, index, own.step)
        return last

    return Discrete(draw, reach - np.append(reach[1:], 0.0))


def gaps(days: int = 20) -> Discrete:
    """Days from one visit to the next of a user of mean activity: the hazard falls with time."""
    law = config("default", visits__activity_log_sigma=0.0, turnover__share_per_day=0.0).visits
    world = World(config("default", visits__activity_log_sigma=0.0, population__n_users=N), 31)
    gap = 1 + np.arange(days)
    rise = 1 + law.excitation * np.exp(-(gap - 1) / law.excitation_days)
    survives = np.exp(-np.cumsum(law.rate_per_day * rise))

    def draw() -> np.ndarray:
        users = world.population.users
        there = np.flatnonzero((users.joined_day == 0) & (users.left_day > days))
        last = np.full(len(users), -1, np.int32)
        first = np.full(len(users), days, np.int64)
        for day in range(days):
            came = sessions_of_day(world.config, users, day, 31, last, np.zeros(len(users)))
            fresh = first[came.user_id] == days
            first[came.user_id[fresh]] = day
        return first[there]

    return Discrete(draw, -np.diff(np.concatenate([[1.0], survives, [0.0]])))


def highlights() -> Discrete:
    """A moment that is a highlight of the room."""
    share = DEFAULT.schedule.highlight_share
    found = crowd().scene(0).on_air.highlight
    return Discrete(lambda: (found > 0).astype(int), np.array([1 - share, share]))


def replaced() -> Discrete:
    """A place on a shelf holds a new product on a given day."""
    rate = 0.15
    world = World(config("default", turnover__share_per_day=rate, turnover__products=1.0), 31)
    first = world.population.shelves.first_day
    joined = world.population.streamers.joined_day
    old = first[joined == 0]
    return Discrete(
        lambda: (old == 5).any(axis=2).reshape(-1).astype(int), np.array([1 - rate, rate])
    )


def on_stage() -> tuple[Any, Any]:
    """Streamers, and the days on which they leave."""
    streamers = crowd().population.streamers
    return streamers, streamers.left_day


def lengths() -> Discrete:
    """Length of a room in slots, rounded, from one to the most."""
    s = DEFAULT.schedule
    law = lognorm(s.length_log_sigma, scale=60 * s.length_median_min / SLOT_S)
    edge = np.append(0.0, law.cdf(np.arange(1, MAX_SLOTS) + 0.5))
    p = np.append(np.diff(edge), 1 - edge[-1])

    def draw() -> np.ndarray:
        rooms = rooms_of_day(s, *on_stage(), 0, 31)
        return rooms.end - rooms.start - 1

    return Discrete(draw, p)


def rooms_a_day() -> Discrete:
    """Rooms of a streamer on a day: two chances."""
    schedule = replace(DEFAULT.schedule, rooms_per_day=1.22)
    half = schedule.rooms_per_day / 2

    def draw() -> np.ndarray:
        rooms = rooms_of_day(schedule, *on_stage(), 0, 31)
        return np.bincount(rooms.streamer_id, minlength=8000)

    return Discrete(draw, np.array([(1 - half) ** 2, 2 * half * (1 - half), half**2]))


def lifetimes(rate: float) -> Discrete:
    """Days before a user or streamer leaves, from one on."""

    def draw() -> np.ndarray:
        joined, left = tenure(N, rate, np.arange(N), U[1])
        assert (joined == 0).all()
        return np.minimum(left - joined - 1, 60)

    stays_on = (1 - rate) ** np.arange(60)
    return Discrete(draw, np.append(rate * stays_on, (1 - rate) ** 60))


def choice() -> Discrete:
    """One of several by weight."""
    weights = np.array([0.5, 0.0, 3.0, 1.5])
    return Discrete(lambda: pick(weights, U[0]), weights / weights.sum())


def visits(what: str) -> Discrete:
    """Scenario of a session by traffic, and its way into the swipe."""
    sessions = crowd().sessions(0)
    if what == "scenario":
        share = np.array([s.traffic_share for s in DEFAULT.scenarios])
        return Discrete(lambda: sessions.scenario.astype(int), share)
    assert (sessions.entry[sessions.scenario == DETAIL] == ENTRIES.index("product")).all()
    swipe = sessions.scenario == SWIPE
    shares = np.array(DEFAULT.session.entry_shares)
    return Discrete(lambda: sessions.entry[swipe].astype(int) - 1, shares)


DISCRETE: dict[str, Callable[[], Discrete]] = {
    "click": click,
    "engaged stay": engaged,
    "like after a glance": lambda: like(0),
    "like after a view": lambda: like(1),
    "like after a long stay": lambda: like(2),
    "cart": lambda: pays(SOLVED.cart, AT_CART, p_cart),
    "purchase": lambda: pays(SOLVED.purchase, 1.0, p_purchase),
    "more sessions, few": lambda: counts(0.3),
    "more sessions, many": lambda: counts(2.5),
    "swipes of a session": lambda: steps("swipe"),
    "pages of a session": lambda: steps("channel"),
    "days between visits": gaps,
    "highlight": highlights,
    "new product on a place": replaced,
    "length of a room": lengths,
    "rooms a day": rooms_a_day,
    "lifetime, slow": lambda: lifetimes(0.02),
    "lifetime, fast": lambda: lifetimes(0.4),
    "choice by weight": choice,
    "scenario of a session": lambda: visits("scenario"),
    "entry of a swipe": lambda: visits("entry"),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_counts_follow_their_law(name):
    """Chi-square over the values, mean, variance."""
    law = DISCRETE[name]()
    x, p = law.draw(), law.p
    assert p.sum() == pytest.approx(1.0)
    assert len(x) >= 1500
    found = np.bincount(x, minlength=len(p))
    assert len(found) == len(p), "a value beyond the law's range"
    assert found[p == 0].sum() == 0
    kept = p > 0
    expected = len(x) * p[kept]
    common = expected >= 5  # rare values count together
    cells = [(found[kept][common], expected[common])]
    if not common.all():
        cells.append(
            (found[kept][~common].sum(keepdims=True), expected[~common].sum(keepdims=True))
        )
    statistic = sum(float(((a - e) ** 2 / e).sum()) for a, e in cells)
    freedom = sum(len(e) for _, e in cells) - 1
    assert chi2.sf(statistic, freedom) > 1e-5
    value = np.arange(len(p))
    mean = float(p @ value)
    variance = float(p @ (value - mean) ** 2)
    fourth = float(p @ (value - mean) ** 4)
    assert abs(x.mean() - mean) < 4.5 * np.sqrt(variance / len(x))
    spread = np.sqrt(max(fourth - variance**2, 1e-12) / len(x))
    assert abs(((x - mean) ** 2).mean() - variance) < 4.5 * spread + 1e-9


def mixed(pull: float, refer: np.ndarray, gain: float) -> np.ndarray:
    """Return momentary interest after a refer."""
    from dataclasses import replace

    rules = numbers(replace(DEFAULT.session, refer_pull=pull, refer_gain=gain))
    out = np.empty(2, np.float32)
    mix_interest(rules, np.array([1.0, 0.0], np.float32), refer, out)
    return out


def gradual(kind: str) -> DriftConfig:
    """Return a drift of preferences of one kind, by a radian around day 10."""
    return DriftConfig(0.4, 5.0, 0.0, 0.0, kind, 1.0, 10, 5.0, 0.0)


ACROSS = np.array([0.0, 1.0], np.float32)
ALONG = np.array([0.8, 0.6], np.float32)
STAY = numbers(WATCH)
FLAT = WatchConfig(3.6, 1.38, 60.0, 80.0, 1.85, 0.0)

LIMITS: dict[str, tuple[Callable[[], Any], Any]] = {
    "no time left, nothing watched": (lambda: expected_watch_s(STAY, 0.3, 0.5, 0.0), 0.0),
    "no cut: the mixture's mean": (
        lambda: expected_watch_s(STAY, 0.3, 0.0, 1e15),
        0.3 * stays(True, 0.0).mean + 0.7 * stays(False, 0.0).mean,
    ),
    "a short cut is reached by all engaged": (
        lambda: expected_watch_s(STAY, 1.0, 0.0, 30.0), 30.0,
    ),
    "who must leave within 10 s has no view": (
        lambda: stay_classes(STAY, 0.3, 0.0, 9.9), (1.0, 0.0, 0.0),
    ),
    "an endless room: engaged is long": (
        lambda: stay_classes(STAY, 0.3, 0.0, 1e9)[2], 0.3,
    ),
    "no gain: satisfaction does not stretch": (
        lambda: draw_watch_s(numbers(FLAT), True, 2.0, 0.7),
        draw_watch_s(numbers(FLAT), True, -2.0, 0.7),
    ),
    "the swipe has no click": (lambda: p_click(LAWS, ROOM._replace(scenario=SWIPE)), 1.0),
    "who follows cannot follow": (lambda: after_stay(LAWS, 1.0, 1.0, True, 2)[2], 0.0),
    "no pull: long-term interest": (lambda: mixed(0.0, ACROSS, 8.0), [1.0, 0.0]),
    "a disliked refer does not pull": (lambda: mixed(1.0, ACROSS, 100.0), [1.0, 0.0]),
    "a liked refer pulls all the way": (lambda: mixed(1.0, ALONG, 100.0), [0.8, 0.6]),
    "nobody leaves": (lambda: tenure(9, 0.0, np.arange(9), U[0, :9])[1], [FOREVER] * 9),
    "no activity, no session": (lambda: poisson(np.zeros(9), U[0, :9]), [0] * 9),
    "no drift of preferences": (lambda: preference_angle(DRIFT, 99), 0.0),
    "half way at its middle": (lambda: preference_angle(gradual("gradual"), 10), 0.5),
    "long before": (lambda: preference_angle(gradual("gradual"), -500), 0.0),
    "long after": (lambda: preference_angle(gradual("gradual"), 500), 1.0),
    "a step": (
        lambda: [preference_angle(gradual("abrupt"), d) for d in (9.9, 10)], [0.0, 1.0],
    ),
    "a cycle": (
        lambda: [preference_angle(gradual("recurring"), d) for d in (10, 12.5, 15)],
        [0.0, 1.0, 0.0],
    ),
    "interests turn by the angle": (
        lambda: (turned_axes() * np.eye(6)).sum(axis=1),
        [np.cos(0.7)] * 6,
    ),
    "and stay unit vectors": (
        lambda: np.linalg.norm(turned_axes(), axis=1), [1.0] * 6,
    ),
    "no sale, a day like any other": (
        lambda: list(vars(Today.of(DEFAULT.calendar, 3)).values())[:6],
        [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    ),
    "no angle, no rotation": (lambda: rotation(np.eye(4, dtype=np.float32), 0.0), np.eye(4)),
    "half a turn": (lambda: rotation(np.eye(4, dtype=np.float32), np.pi), -np.eye(4)),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name):
    """Where a law has an end, it reaches it."""
    value, expected = LIMITS[name]
    np.testing.assert_allclose(value(), expected, rtol=1e-6, atol=1e-6)


def test_the_engaged_tail_is_where_the_figures_say():
    """Half of the uncut, unmoved engaged law lies above its median; the cap cuts the rest."""
    law = stays(True, 0.0)
    assert law.cdf(np.array([WATCH.bounce_cap_s])) == pytest.approx(0.0)
    assert law.cdf(np.array([1e12])) == pytest.approx(1.0)
