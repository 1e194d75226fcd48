"""Delay of a purchase that happens: an exponential part during the live and a Weibull tail.

    F(t) = a (1 - exp(-t / m)) / (1 - exp(-H / m)) + (1 - a) G(t) / G(H),  0 <= t <= H
    G(t) = 1 - exp(-(t / s) ** k)

a = sigma(logit(live_share) + intent_speed x intent), s = tail_scale x exp(price_stretch x
log price). Non-buyers are the cured fraction: they have no delay. Source: mixture cure model with
the two-part delay that passes through the published Criteo quantiles (Chapelle, KDD 2014; figures
in conf/world); no live-commerce delay curve is public.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.kernel import kernel
from sim.normal import sigmoid
from sim.parameters import DelayConfig
from sim.schema import DAY_S

Array = NDArray[np.floating]


@kernel
def delay_law(law: DelayConfig, intent: float, log_price: float) -> tuple[float, float]:
    """Return the live share a and the tail's scale s in seconds of one buyer and product.

    Args:
        law: `sim.kernel.numbers` of the parameters.
        intent: the buyer's intent, standard normal.
        log_price: log price relative to the median.
    """
    share = min(max(law.live_share, 1e-9), 1 - 1e-9)
    live = sigmoid(math.log(share / (1 - share)) + law.intent_speed * intent)
    return live, law.tail_scale_h * 3600.0 * math.exp(law.price_stretch * log_price)


@kernel
def draw_delay_s(law: DelayConfig, live: float, scale_s: float, u_part: float, u: float) -> float:
    """Draw a delay in seconds from uniforms for the part and for the time within it."""
    horizon_s = law.horizon_days * DAY_S
    if u_part < live:
        mean_s = law.live_mean_s
        return -mean_s * math.log1p(u * math.expm1(-horizon_s / mean_s))
    within = -math.expm1(-((horizon_s / scale_s) ** law.tail_shape))
    return float(scale_s * (-math.log1p(-u * within)) ** (1 / law.tail_shape))


@dataclass(frozen=True)
class DelayLaw:
    """Delay distributions of N purchases."""

    config: DelayConfig
    live: Array
    """Probability of the live part [N]."""
    scale_s: Array
    """Weibull scale of the tail [N], seconds."""

    @property
    def horizon_s(self) -> float:
        """Longest delay, seconds."""
        return self.config.horizon_days * DAY_S

    def cdf(self, t_s: Array | float) -> Array:
        """Return P(delay <= t_s) [N]; `t_s` broadcasts against [N]."""
        t = np.clip(t_s, 0.0, self.horizon_s)
        mean, h = self.config.live_mean_s, self.horizon_s
        live = np.expm1(-t / mean) / np.expm1(-h / mean)
        tail = self._tail(t) / self._tail(h)
        return np.asarray(self.live * live + (1 - self.live) * tail)

    def _tail(self, t: Array | float) -> Array:
        return -np.expm1(-((t / self.scale_s) ** self.config.tail_shape))
