"""Laws with a density, worked out here from the equations of their modules."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtr
from scipy.stats import lognorm, norm, pareto

from sim.arrivals import hour_of_day
from sim.change import DriftConfig
from sim.delay import Buyer, draw_purchase
from sim.delay_law import DelayLaw
from sim.drift import FameDrift
from sim.schema import PAD
from sim.watch import draw_watch_s
from tests.sim.law import DEFAULT, STAY, WATCH, Continuous, N, U, crowd, each


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
        lambda: each(lambda u: draw_watch_s(STAY, engaged, satisfaction, u), U[0]),
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
