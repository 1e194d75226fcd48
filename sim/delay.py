"""Delay of a purchase that happens: an exponential part during the live and a Weibull tail.

    F(t) = a (1 - exp(-t / m)) / (1 - exp(-H / m)) + (1 - a) G(t) / G(H),  0 <= t <= H
    G(t) = 1 - exp(-(t / s) ** k)

a = sigma(logit(live_share) + intent_speed x intent), s = tail_scale x exp(price_stretch x
log price). Non-buyers are the cured fraction: they have no delay. Source: mixture cure model with
the two-part delay that passes through the published Criteo quantiles (Chapelle, KDD 2014; figures
in conf/world); no live-commerce delay curve is public.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from sim.parameters import DelayConfig

Array = NDArray[np.floating]


@dataclass(frozen=True)
class DelayLaw:
    """Delay distributions of N purchases; every method broadcasts against [N]."""

    config: DelayConfig
    live: Array
    """Probability of the live part [N]."""
    scale_s: Array
    """Weibull scale of the tail [N], seconds."""

    @classmethod
    def of(cls, config: DelayConfig, intent: Array, log_price: Array) -> DelayLaw:
        """Return the laws of buyers with `intent` [N] (standard normal) at `log_price` [N]."""
        share = np.clip(config.live_share, 1e-9, 1 - 1e-9)
        live = expit(logit(share) + config.intent_speed * intent)
        scale = config.tail_scale_h * 3600.0 * np.exp(config.price_stretch * log_price)
        return cls(config, live, scale)

    @property
    def horizon_s(self) -> float:
        """Longest delay, seconds."""
        return self.config.horizon_days * 86400.0

    def cdf(self, t_s: Array | float) -> Array:
        """Return P(delay <= t_s)."""
        t = np.clip(t_s, 0.0, self.horizon_s)
        mean, h = self.config.live_mean_s, self.horizon_s
        live = np.expm1(-t / mean) / np.expm1(-h / mean)
        tail = self._tail(t) / self._tail(h)
        return np.asarray(self.live * live + (1 - self.live) * tail)

    def draw(self, u_part: Array, u: Array) -> NDArray[np.float64]:
        """Draw delays [N], seconds, from uniforms for the part and the time within it."""
        mean, h = self.config.live_mean_s, self.horizon_s
        live = -mean * np.log1p(u * np.expm1(-h / mean))
        tail = self.scale_s * (-np.log1p(-u * self._tail(h))) ** (1 / self.config.tail_shape)
        return np.where(u_part < self.live, live, tail)

    def _tail(self, t: Array | float) -> Array:
        return -np.expm1(-((t / self.scale_s) ** self.config.tail_shape))
