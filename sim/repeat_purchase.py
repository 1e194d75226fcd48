"""Further purchases of what was bought: how many, and after which gaps.

    P(a further one) = sigma(logit probability + intent x i), after each purchase anew
    number of further ones = geometric, cut at MOST_FURTHER
    gap ~ G given G <= horizon, in operational time, from the purchase before

The target `purchase` is the first one: its probability and delay know nothing of what follows.
All scalars are compiled; `law` is `sim.kernel.numbers` of a `RepeatNumbers`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.delay_families import family_cdf, family_quantile
from sim.delay_parameters import DelayConfig, RepeatConfig
from sim.kernel import kernel
from sim.normal import sigmoid
from sim.operational_time import HOUR_S, Hours, clock_s, operational_s
from sim.schema import DAY_S

MOST_FURTHER = 16
"""Purchases that at most follow a first one."""


@dataclass(frozen=True)
class RepeatNumbers:
    """Parameters as compiled code takes them."""

    odds: float
    """Of a further purchase of a user of mean intent; 0 where there are none."""
    intent: float
    family: int
    scale_s: float
    shape: float
    horizon_s: float
    within: float
    """Share of the gap's law within the horizon."""

    @classmethod
    def of(cls, config: DelayConfig) -> RepeatNumbers:
        """Return the numbers of a world's delays."""
        repeat, horizon_s = config.repeat, config.horizon_days * DAY_S
        family, scale_s = repeat.family, repeat.scale_h * HOUR_S
        within = float(family_cdf(family, repeat.shape, horizon_s / scale_s))
        odds = repeat.probability / (1.0 - repeat.probability)
        return cls(odds, repeat.intent, family, scale_s, repeat.shape, horizon_s, within)


@kernel
def p_repeat(law: RepeatNumbers, intent: float) -> float:
    """Return P(a further purchase | a purchase) of a user by intent."""
    if law.odds <= 0.0:
        return 0.0
    return sigmoid(np.log(law.odds) + law.intent * intent)


@kernel
def next_purchase_s(law: RepeatNumbers, hours: Hours, bought_s: float, u: float) -> float:
    """Draw the moment of the purchase that follows one at `bought_s`."""
    gap_s = law.scale_s * family_quantile(law.family, law.shape, u * law.within)
    gap_s = min(gap_s, law.horizon_s)
    # the way through operational time and back rounds
    return max(clock_s(hours, operational_s(hours, bought_s) + gap_s), bought_s)


def repeat_probability(config: RepeatConfig, intent: ArrayLike) -> NDArray[np.float64]:
    """Return P(a further purchase | a purchase) [N] of users by intent [N]."""
    if config.probability <= 0.0:
        return np.zeros(np.shape(intent))
    logit = np.log(config.probability / (1.0 - config.probability))
    odds = np.exp(logit + config.intent * np.asarray(intent, np.float64))
    return np.asarray(odds / (1.0 + odds))


def expected_further(config: RepeatConfig, intent: ArrayLike) -> NDArray[np.float64]:
    """Return the expected number of further purchases after a first one [N], by intent [N].

    That of all purchases of an impression is p_purchase (1 + this).
    """
    p = repeat_probability(config, intent)
    return np.asarray(p * (1.0 - p**MOST_FURTHER) / (1.0 - p))


def gap_cdf(config: DelayConfig, t_s: ArrayLike) -> NDArray[np.float64]:
    """Return P(gap <= t_s) [N], operational seconds from one purchase to the next."""
    repeat, horizon_s = config.repeat, config.horizon_days * DAY_S
    scale_s = repeat.scale_h * HOUR_S

    def cdf(x_s: float) -> float:
        return family_cdf(repeat.family, repeat.shape, x_s / scale_s)

    t = np.atleast_1d(np.clip(np.asarray(t_s, np.float64), 0.0, horizon_s))
    return np.array([cdf(float(x)) for x in t]) / cdf(horizon_s)
