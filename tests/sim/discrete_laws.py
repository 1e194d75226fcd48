"""Laws over 0, 1, 2, ..., worked out here from the equations of their modules."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import lognorm
from scipy.stats import poisson as poisson_law

from sim.arrivals import MAX_SESSIONS, poisson, sessions_of_day
from sim.kernel import numbers
from sim.population import pick
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
from sim.schedule import MAX_SLOTS, SLOT_S, rooms_of_day
from sim.schema import DETAIL, ENTRIES, SCENARIOS, SWIPE
from sim.tenure import tenure
from sim.world import World
from tests.sim.law import DEFAULT, Discrete, N, U, crowd
from tests.sim.worlds import config, run

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
