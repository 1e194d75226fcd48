"""Parameters of what changes from day to day: visits, the calendar, drift, turnover.

Three axes can be switched apart: which ids exist (`TurnoverConfig`), how often they are met
(popularity in `DriftConfig`) and what users like (preferences in `DriftConfig`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim.bounds import refusal, require, require_each, require_int, require_one_of

PREFERENCE_DRIFTS = ("none", "gradual", "abrupt", "recurring")


@dataclass(frozen=True)
class VisitConfig:
    """When users come: a point process of days with a visit, and sessions within such a day.

    The hazard of a visit, g days after the last one, is
    rate a_u (1 + excitation exp(-(g - 1) / excitation_days)) exp(return_gain m_u) traffic,
    with a_u the user's activity and m_u the satisfaction that the user remembers.
    """

    rate_per_day: float
    """Hazard of a visit of a user of mean activity long after the last one."""
    excitation: float
    """How much a visit raises the hazard of the next day, as a multiple of `rate_per_day`."""
    excitation_days: float
    """Days after which this effect has fallen to 1 / e."""
    sessions_per_visit: float
    """Mean sessions of a user of mean activity on a day with a visit: one, and a Poisson number of
    others that grows with activity."""
    activity_log_sigma: float
    hour_weights: tuple[float, ...]
    """Relative number of session starts in each hour of the day, 24 values."""
    return_gain: float
    """Effect of remembered satisfaction on the log hazard of a visit; 0: what is shown today
    changes nobody's tomorrow."""
    satisfaction_memory: float
    """Share of the remembered satisfaction that is kept from one visit to the next."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self, "rate_per_day", 0.001, 10.0)
        require(self, "excitation", 0.0, 100.0)
        require(self, "excitation_days", 0.1, 30.0)
        require(self, "sessions_per_visit", 1.0, 10.0)
        require(self, "activity_log_sigma", 0.0, 3.0)
        require_each(self, "hour_weights", 0.0, 1e6, 24)
        if sum(self.hour_weights) <= 0:
            raise refusal(self, "hour_weights", "24 values, at least one above 0")
        require(self, "return_gain", 0.0, 10.0)
        require(self, "satisfaction_memory", 0.0, 1.0)


@dataclass(frozen=True)
class TurnoverConfig:
    """Arrivals and departures; arrivals replace departures, so sizes hold in expectation."""

    share_per_day: float
    """The dial: share of the population that leaves, and that arrives, per day."""
    streamers: float
    """Streamers' turnover as a multiple of `share_per_day`."""
    users: float
    products: float
    """Turnover of the goods on the shelves of streamers who stay."""
    starvation: float
    """Effect of earnings on the log hazard of a streamer's leaving, from the poorest (+) to the
    richest (-); 0: streamers leave by chance alone."""
    earnings_memory: float
    """Share of a streamer's earnings that still counts on the next day."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self, "share_per_day", 0.0, 0.9)
        for name in ("streamers", "users", "products"):
            require(self, name, 0.0, 10.0)
            if getattr(self, name) * self.share_per_day > 0.9:
                most = 0.9 / self.share_per_day
                raise refusal(self, name, f"at most {most:g}, 0.9 a day in all")
        require(self, "starvation", 0.0, 5.0)
        require(self, "earnings_memory", 0.0, 1.0)

    @property
    def streamers_per_day(self) -> float:
        """Share of streamers that leave, and that arrive, per day."""
        return self.share_per_day * self.streamers

    @property
    def users_per_day(self) -> float:
        """Share of users that leave, and that arrive, per day."""
        return self.share_per_day * self.users

    @property
    def products_per_day(self) -> float:
        """Share of products that are replaced by new ones, per day."""
        return self.share_per_day * self.products


@dataclass(frozen=True)
class CalendarConfig:
    """Weekly rhythm and the big sale: users wait before it, buy in it, are sated after it."""

    weekday_traffic: tuple[float, ...]
    """Relative hazard of a visit on each day of the week, 7 values; day 0 is the first."""
    sale_day: int | None
    """First day of the sale; None: there is none."""
    sale_days: int
    sale_period_days: int
    """Days from one sale to the next, 0: it comes once."""
    preheat_days: int
    """Days before the sale on which users collect in carts and wait."""
    aftermath_days: int
    sale_traffic: float
    """Factor on the hazard of a visit in the sale; half of its logarithm acts in the pre-heat."""
    preheat_cart: float
    """Effect of the pre-heat on bag clicks and carts, logits."""
    preheat_wait: float
    """Effect of the pre-heat on purchases, logits taken away."""
    sale_purchase: float
    """Effect of the sale on bag clicks, carts and purchases, logits."""
    aftermath_purchase: float
    """The same, taken away in the aftermath."""
    sale_discount: float
    """Mean share of the price that the sale takes off; between none and twice as much by
    product."""
    sale_thrift: float
    """Share of price sensitivity that the sale leaves."""
    sale_categories: float
    """Share of the categories, drawn at random, whose goods take part: in discount, thrift, and
    the effects on bag clicks, carts and purchases from pre-heat to aftermath, and in waiting for
    the sale. Visits are everybody's."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_each(self, "weekday_traffic", 0.01, 100.0, 7)
        if self.sale_day is not None:
            require_int(self, "sale_day", 0, 3650)
        require_int(self, "sale_days", 1, 60)
        require_int(self, "preheat_days", 0, 60)
        require_int(self, "aftermath_days", 0, 60)
        require_int(self, "sale_period_days", 0, 3650)
        whole = self.preheat_days + self.sale_days + self.aftermath_days
        if 0 < self.sale_period_days < whole:
            allowed = f"0, or at least the {whole} days from pre-heat to aftermath"
            raise refusal(self, "sale_period_days", allowed)
        require(self, "sale_traffic", 0.1, 20.0)
        for name in ("preheat_cart", "preheat_wait", "sale_purchase", "aftermath_purchase"):
            require(self, name, 0.0, 5.0)
        require(self, "sale_discount", 0.0, 0.45)
        require(self, "sale_thrift", 0.0, 1.0)
        require(self, "sale_categories", 0.0, 1.0)


@dataclass(frozen=True)
class DriftConfig:
    """Drift of popularity and of preferences, each to be switched on its own."""

    popularity_sigma: float
    """Spread of the drift of streamers' fame, in standard deviations of fame; an
    Ornstein-Uhlenbeck process."""
    popularity_days: float
    """Days after which the correlation of this drift has fallen to 1 / e."""
    jumps_per_day: float
    """Probability that a streamer's fame jumps on a day."""
    jump_size: float
    """Size of a jump, in standard deviations of fame; it decays like the rest."""
    preference: str
    """One of PREFERENCE_DRIFTS: how interests turn towards other ones, each user's own."""
    preference_angle: float
    """How far they turn, radians."""
    preference_day: int
    """Day in the middle of the change; of a recurring one, the first day of a cycle."""
    preference_days: float
    """Width of the change; of a recurring one, the length of its cycle."""
    watch_pull: float
    """Share of the way from interest to content that one effective view moves a user's long-term
    interest; 0: nobody learns to like what is shown."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self, "popularity_sigma", 0.0, 5.0)
        require(self, "popularity_days", 0.1, 365.0)
        require(self, "jumps_per_day", 0.0, 1.0)
        require(self, "jump_size", 0.0, 10.0)
        require_one_of(self, "preference", PREFERENCE_DRIFTS)
        require(self, "preference_angle", 0.0, math.pi)
        require_int(self, "preference_day", 0, 3650)
        require(self, "preference_days", 0.01, 365.0)
        require(self, "watch_pull", 0.0, 0.5)
