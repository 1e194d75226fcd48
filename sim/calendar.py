"""The calendar: weekly rhythm and the big sale, as one day's effects on everybody.

Before the sale users collect in carts and wait, in it they come more often, buy more easily and pay
less, after it they are sated (pre-heat, peak, aftermath of promotions such as Double 11).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.change import CalendarConfig
from sim.rng import Purpose, uniforms
from sim.schema import DAY_S


@dataclass(frozen=True)
class Today:
    """What is special about a day; `sim.kernel.numbers` of it is handed to compiled code."""

    traffic: float
    """Factor on the hazard of a visit."""
    bag_shift: float
    """Logits; likewise below."""
    cart_shift: float
    purchase_shift: float
    thrift: float
    """Share of price sensitivity that is left."""
    discount: float
    """Mean share of the price that is off."""
    next_sale_s: float
    """Begin of the next sale, seconds since the world began; infinite if none comes."""

    @classmethod
    def of(cls, config: CalendarConfig, day: int) -> Today:
        """Return what is special about `day`."""
        week = config.weekday_traffic
        traffic = week[day % 7] * len(week) / sum(week)
        since, until = _sale_around(config, day)
        next_sale_s = (day + until) * DAY_S if until is not None else math.inf
        lift = config.sale_purchase
        if since is not None and since < config.sale_days:
            return cls(
                traffic * config.sale_traffic, lift, lift, lift, config.sale_thrift,
                config.sale_discount, next_sale_s,
            )  # fmt: skip
        if until is not None and until <= config.preheat_days:
            return cls(
                traffic * math.sqrt(config.sale_traffic), config.preheat_cart, config.preheat_cart,
                -config.preheat_wait, 1.0, 0.0, next_sale_s,
            )  # fmt: skip
        if since is not None and since < config.sale_days + config.aftermath_days:
            less = -config.aftermath_purchase
            return cls(traffic, less, less, less, 1.0, 0.0, next_sale_s)
        return cls(traffic, 0.0, 0.0, 0.0, 1.0, 0.0, next_sale_s)


def on_sale(config: CalendarConfig, n_categories: int, seed: int) -> NDArray[np.float32]:
    """Return 1 for categories [G] whose goods take part in the sale, 0 for the others.

    The order in which categories join as the share grows is the seed's.
    """
    u = uniforms(seed, Purpose.SALE, np.arange(n_categories))[0]
    place = np.argsort(np.argsort(u))
    return (place < round(config.sale_categories * n_categories)).astype(np.float32)


def _sale_around(config: CalendarConfig, day: int) -> tuple[int | None, int | None]:
    """Return the days since the begin of the last sale and until that of the next one."""
    if config.sale_day is None:
        return None, None
    since = day - config.sale_day
    if config.sale_period_days == 0:
        return (since, None) if since >= 0 else (None, -since)
    turn = since % config.sale_period_days
    until = config.sale_period_days - turn
    return (turn, until) if since >= 0 else (None, -since)
