"""What follows a purchase: it may be refunded, and both are reported with a lag.

    P(refund) = sigma(logit probability + price x log price)
    refund delay ~ fast_share Exp(fast_mean) + (1 - fast_share) Exp(slow_mean), from the purchase
    lag ~ (1 - late_share) Exp(mean) + late_share Exp(late_mean), from the event to its arrival

A mixture of two exponentials is drawn with one uniform: the uniform, rescaled within the part that
it falls into, is a uniform again. All functions are compiled scalars; `law` is
`sim.kernel.numbers` of the section.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.delay_parameters import RefundConfig, ReportingConfig
from sim.kernel import kernel

_HOUR_S = 3600.0


@kernel
def two_speeds(share: float, mean: float, other_mean: float, u: float) -> float:
    """Draw from share Exp(mean) + (1 - share) Exp(other_mean) with one uniform in (0, 1)."""
    if u < share:
        return -mean * math.log1p(-u / share)
    return -other_mean * math.log((1.0 - u) / (1.0 - share))


@kernel
def p_refund(law: RefundConfig, log_price: float) -> float:
    """Return P(refund | purchase) of a product by its log price relative to the median."""
    if law.probability <= 0.0:
        return 0.0
    odds = law.probability / (1.0 - law.probability) * math.exp(law.price * log_price)
    return odds / (1.0 + odds)


@kernel
def draw_refund_s(law: RefundConfig, u: float) -> float:
    """Draw the seconds from a purchase to its refund."""
    fast_s, slow_s = law.fast_mean_h * _HOUR_S, law.slow_mean_h * _HOUR_S
    return two_speeds(law.fast_share, fast_s, slow_s, u)


@kernel
def draw_lag_s(law: ReportingConfig, u: float) -> float:
    """Draw the seconds from an event to its arrival."""
    return two_speeds(1.0 - law.late_share, law.mean_s, law.late_mean_h * _HOUR_S, u)


def refund_cdf(config: RefundConfig, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return P(refunded within t_s of the purchase | refunded) [N]."""
    fast = -np.expm1(-t_s / (config.fast_mean_h * _HOUR_S))
    slow = -np.expm1(-t_s / (config.slow_mean_h * _HOUR_S))
    return np.asarray(config.fast_share * fast + (1.0 - config.fast_share) * slow)


def lag_cdf(config: ReportingConfig, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return P(an event has arrived t_s after it happened) [N]."""
    means = ((config.mean_s, 1 - config.late_share), (config.late_mean_h * 3600, config.late_share))
    arrived = np.zeros(np.shape(t_s))
    for mean_s, share in means:
        arrived += share * (-np.expm1(-t_s / mean_s) if mean_s > 0.0 else np.asarray(t_s) >= 0.0)
    return arrived
