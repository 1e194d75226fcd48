"""The truth about delays of N purchases: cdf, density, hazard, quantile, and what may prevent them.

Two readings, equal where there are no competing events:

    incidence(t)  P(bought by t after the stay | decided to buy)       Aalen-Johansen's estimand
    cdf(t)        P(delay <= t | the purchase takes place) = incidence(t) / completion

The ultimate probability p of a purchase counts only purchases that take place, so p_W = p cdf(W)
is the probability of one within W. Times are seconds from the end of the stay. The law of
one buyer may be asked for many times at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.delay import (
    BUYER,
    IMM,
    SHORT,
    TAIL,
    Buyer,
    DelayNumbers,
    drift_of,
    moment_of,
    outlasting,
    part_scale_s,
    part_weights,
    sale_survival,
)
from sim.delay_families import family_cdf, family_pdf
from sim.delay_parameters import DelayConfig
from sim.kernel import Block, block, kernel, numbers
from sim.operational_time import operational_s, pace
from sim.schema import DAY_S, Impressions
from sim.truth import TruthRows

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DelayLaw:
    """Delay distributions of N decisions to buy."""

    numbers: DelayNumbers
    """`sim.kernel.numbers` of the parameters."""
    buyers: Block
    """BUYER [N]."""
    horizon_s: float
    """Longest delay, seconds."""

    @classmethod
    def of(
        cls,
        config: DelayConfig,
        hour_weights: Sequence[float],
        *,
        intent: ArrayLike = 0.0,
        log_price: ArrayLike = 0.0,
        time_s: ArrayLike = 0.0,
        start_s: ArrayLike | None = None,
        left_s: ArrayLike = np.inf,
        sale_wait_s: ArrayLike = np.inf,
        day: ArrayLike = 0,
    ) -> DelayLaw:
        """Return the laws of buyers; arguments broadcast to [N].

        Args:
            config: the parameters.
            hour_weights: relative activity in each hour of the day, 24 values.
            intent: of the user, standard normal.
            log_price: of the product, relative to the median.
            time_s: of the impression.
            start_s: end of the stay; None is the impression.
            left_s: seconds from then until the live ends.
            sale_wait_s: seconds from the impression to the start of the next sale.
            day: on which the session began; decides the drift.
        """
        start = time_s if start_s is None else start_s
        drift = config.drift.delay_per_day
        log_drift = np.clip(drift * np.asarray(day, np.float64), drift_of(config, -(10**9)), 10.0)
        columns = np.broadcast_arrays(
            np.atleast_1d(intent), log_price, time_s, start, left_s, sale_wait_s, log_drift
        )
        law = numbers(DelayNumbers.of(config, hour_weights))
        return cls(law, block(BUYER, *columns), config.horizon_days * DAY_S)

    def __len__(self) -> int:
        return len(self.buyers)

    def components(self) -> Array:
        """Return the probabilities of the ways to wait [N, 4], by `sim.delay.PARTS`.

        Of `imm` the share that does not fall inside the live waits by the law of `short`.
        """
        out = np.empty((len(self), 4))
        _fill_components(self.numbers, self.buyers, out)
        return out

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> DelayLaw:
        """Return the laws of some rows (indices, or mask [N])."""
        return replace(self, buyers=self.buyers[rows])

    def completion(self) -> Array:
        """Return P(the purchase takes place | decided) [N]; the rest sells out or unfollows."""
        return self._completion

    @cached_property
    def _completion(self) -> Array:
        whole = self.incidence(self.horizon_s)
        whole.flags.writeable = False
        return whole

    def incidence(self, t_s: ArrayLike) -> Array:
        """Return P(bought within t_s | decided to buy) [N]; `t_s` broadcasts against [N]."""
        return self._apply(_fill_incidence, t_s)

    def cdf(self, t_s: ArrayLike) -> Array:
        """Return P(delay <= t_s | the purchase takes place) [N]; `t_s` broadcasts."""
        return self.incidence(t_s) / self.completion()

    def pdf(self, t_s: ArrayLike) -> Array:
        """Return the density of `cdf` per second [N]; of a wait of 0, its part above 0."""
        return self._apply(_fill_density, t_s) / self.completion()

    def hazard(self, t_s: ArrayLike) -> Array:
        """Return pdf / (1 - cdf) per second [N], infinite once nothing is left."""
        left = 1.0 - self.cdf(t_s)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(left > 0.0, self.pdf(t_s) / left, np.inf)

    def quantile(self, p: ArrayLike) -> Array:
        """Return the least t_s with cdf(t_s) >= p [N]; `p` in [0, 1] broadcasts against [N].

        Raises:
            ValueError: a probability is not in [0, 1].
        """
        if not ((np.asarray(p) >= 0.0) & (np.asarray(p) <= 1.0)).all():
            raise ValueError(f"p = {p!r}; allowed: probabilities in [0, 1]")
        return self._apply(_fill_quantile, p)

    def _apply(self, fill: object, at: ArrayLike) -> Array:
        (n,) = np.broadcast_shapes((len(self),), np.shape(at))
        values = np.array(np.broadcast_to(np.asarray(at, np.float64), (n,)))
        buyers = self.buyers if len(self) == n else np.repeat(self.buyers, n)
        out = np.empty(n)
        fill(self.numbers, buyers, values, out)  # type: ignore[operator]
        return out


def logged_delays(
    config: DelayConfig, hour_weights: Sequence[float], shown: Impressions, truth: TruthRows
) -> DelayLaw:
    """Return the delay laws of logged impressions [N], each as if its user decided to buy.

    Args:
        config: delays of the world that made the log.
        hour_weights: its `visits.hour_weights`.
        shown: impressions.
        truth: their true side, in the same order.
    """
    return DelayLaw.of(
        config,
        hour_weights,
        intent=truth.delay_intent,
        log_price=truth.delay_log_price,
        time_s=shown.time_s,
        start_s=shown.known_s,
        left_s=truth.delay_left_s,
        sale_wait_s=truth.delay_sale_wait_s,
        day=shown.session_start_s // DAY_S,
    )


@kernel
def _buyer(row: Block) -> Buyer:
    return Buyer(
        row.intent, row.log_price, row.time_s, row.start_s, row.left_s, row.sale_wait_s,
        row.log_drift,
    )  # fmt: skip


@kernel
def bought_by(law: DelayNumbers, buyer: Buyer, t_s: float) -> float:
    """Return P(bought within t_s | decided to buy) of one buyer."""
    horizon_s = law.horizon_s
    t = min(t_s, horizon_s)
    if not t >= 0.0:
        return 0.0
    moment = moment_of(buyer)
    imm, short, tail, promo = part_weights(law, buyer.intent, buyer.log_price, moment)
    began = operational_s(law.hours, buyer.start_s)
    # the way through operational time rounds, and all is over at the horizon
    passed_s = horizon_s if t >= horizon_s else operational_s(law.hours, buyer.start_s + t) - began
    total = 0.0
    family, shape = law.family, law.shape
    short_s = part_scale_s(law, SHORT, buyer)
    if imm > 0.0:
        limit_s = min(max(buyer.left_s, 0.0), horizon_s)
        scale_s = part_scale_s(law, IMM, buyer)
        inside = family_cdf(family[IMM], shape[IMM], limit_s / scale_s)
        by_then = family_cdf(family[IMM], shape[IMM], min(t, limit_s) / scale_s)
        total += imm * by_then
        if inside < 1.0:
            held = family_cdf(family[SHORT], shape[SHORT], passed_s / short_s)
            held /= family_cdf(family[SHORT], shape[SHORT], horizon_s / short_s)
            total += imm * (1.0 - inside) * held
    if short > 0.0:
        total += short * _share(law, SHORT, short_s, passed_s)
    if tail > 0.0:
        total += tail * _share(law, TAIL, part_scale_s(law, TAIL, buyer), passed_s)
    wait_s = max(buyer.sale_wait_s - (buyer.start_s - buyer.time_s), 0.0)
    if promo > 0.0 and t >= wait_s:
        room = math.expm1(-(horizon_s - wait_s) / law.promo_mean_s)
        burst = math.expm1(-(t - wait_s) / law.promo_mean_s) / room
        total += promo * burst * sale_survival(law, buyer.time_s, buyer.sale_wait_s)
    return total


@kernel
def _share(law: DelayNumbers, part: int, scale_s: float, passed_s: float) -> float:
    if scale_s <= 0.0:
        return 1.0
    return outlasting(
        law.family[part], law.shape[part], scale_s, passed_s, law.horizon_s, law.hazard
    )


@kernel
def density_at(law: DelayNumbers, buyer: Buyer, t_s: float) -> float:
    """Return the density per second of `bought_by` at t_s > 0."""
    horizon_s = law.horizon_s
    if not 0.0 < t_s <= horizon_s:
        return 0.0
    imm, short, tail, promo = part_weights(law, buyer.intent, buyer.log_price, moment_of(buyer))
    began = operational_s(law.hours, buyer.start_s)
    passed_s = operational_s(law.hours, buyer.start_s + t_s) - began
    speed = pace(law.hours, buyer.start_s + t_s)
    total = 0.0
    family, shape = law.family, law.shape
    scale_s = part_scale_s(law, IMM, buyer)
    limit_s = min(max(buyer.left_s, 0.0), horizon_s)
    held = imm * (1.0 - family_cdf(family[IMM], shape[IMM], limit_s / scale_s))
    if imm > 0.0 and t_s <= limit_s and scale_s > 0.0:
        total += imm * family_pdf(family[IMM], shape[IMM], t_s / scale_s) / scale_s
    for part in (SHORT, TAIL):
        weight = short if part == SHORT else tail
        scale_s = part_scale_s(law, part, buyer)
        if scale_s > 0.0 and passed_s > 0.0:
            share = weight * math.exp(-law.hazard * passed_s) + (held if part == SHORT else 0.0)
            within = family_cdf(family[part], shape[part], horizon_s / scale_s)
            own = family_pdf(family[part], shape[part], passed_s / scale_s) / scale_s
            total += share * own / within * speed
    wait_s = max(buyer.sale_wait_s - (buyer.start_s - buyer.time_s), 0.0)
    if promo > 0.0 and t_s >= wait_s:
        room = -math.expm1(-(horizon_s - wait_s) / law.promo_mean_s)
        burst = math.exp(-(t_s - wait_s) / law.promo_mean_s) / law.promo_mean_s / room
        total += promo * burst * sale_survival(law, buyer.time_s, buyer.sale_wait_s)
    return total


@kernel
def _fill_components(law: DelayNumbers, buyers: Block, out: Array) -> None:
    for i in range(len(buyers)):
        buyer = _buyer(buyers[i])
        weights = part_weights(law, buyer.intent, buyer.log_price, moment_of(buyer))
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = weights


@kernel
def _fill_incidence(law: DelayNumbers, buyers: Block, t_s: Array, out: Array) -> None:
    for i in range(len(buyers)):
        out[i] = bought_by(law, _buyer(buyers[i]), t_s[i])


@kernel
def _fill_density(law: DelayNumbers, buyers: Block, t_s: Array, out: Array) -> None:
    for i in range(len(buyers)):
        out[i] = density_at(law, _buyer(buyers[i]), t_s[i])


@kernel
def _fill_quantile(law: DelayNumbers, buyers: Block, p: Array, out: Array) -> None:
    """Bisect, with Newton's steps where they stay inside the bracket."""
    for i in range(len(buyers)):
        buyer = _buyer(buyers[i])
        target = p[i] * bought_by(law, buyer, law.horizon_s)
        if bought_by(law, buyer, 0.0) >= target:
            out[i] = 0.0
            continue
        low, high = 0.0, law.horizon_s
        t = 0.5 * high
        for _ in range(200):
            gap = bought_by(law, buyer, t) - target
            if gap >= 0.0:
                high = t
            else:
                low = t
            if abs(gap) < 1e-14:
                low = high = t
            if high - low <= 1e-10 * high:
                break
            slope = density_at(law, buyer, t)
            t -= gap / slope if slope > 0.0 else np.inf
            # the far end shrinks too: a quantile may be seconds within weeks
            if not low < t < high:
                t = math.sqrt(low * high) if low > 0.0 else high / 64.0
        out[i] = high
