"""From the decision to buy to the purchase: how long it takes, and what may come in between.

    weights   softmax of log weight + price x log price + intent x i + live_left x (hours left - 1)
    imm       clock delay ~ G_imm given G_imm <= left; with probability 1 - G_imm(left) from `short`
    short     operational delay ~ G_short given <= H, tail likewise
    promo     clock delay = wait for the sale + Exp(half-life), if a sale is at most a window away

The scale of each law is stretched by exp(price_stretch x log price + intent_stretch x i), those of
short and tail by the drift too. Competing events have a latent time T ~ Exp(sum of hazards) in
operational time; the purchase takes place if its own latent time comes first. Given the decision,
with f the density of a part in operational time u,

    incidence(t) = w_imm F_imm(t) + sum over short, tail of w int_0^t f(u) exp(-hazard u) du
                   + w_promo exp(-hazard A(sale)) B(t - sale)

and `completion` is its value at the horizon: P(purchase | decided). All functions are compiled
scalars; `law` is `sim.kernel.numbers` of a `DelayNumbers`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from sim.delay_families import family_cdf, family_quantile
from sim.delay_parameters import DelayConfig, PartConfig
from sim.kernel import kernel
from sim.operational_time import HOUR_S, Hours, clock_s, operational_s
from sim.schema import DAY_S

IMM, SHORT, TAIL, PROMO_WAIT = 0, 1, 2, 3
"""Ways to wait."""

PARTS = ("imm", "short", "tail", "promo_wait")

LOSSES = ("sold_out", "unfollow")
"""What may prevent a purchase."""

_GRID_LOW, _GRID_STEP, _GRID_SIZE = math.log(1e-3), 0.05, 561
"""Log seconds of the scales for which the share that outlives the hazards is tabulated; linear
interpolation on this grid is right to 5e-5."""

_MOST_DRIFT = 10.0
"""Logs beyond which a drift no longer moves a scale."""

_FOREVER_S = 1e15

_NODES, _NODE_WEIGHTS = (np.ascontiguousarray(x) for x in np.polynomial.legendre.leggauss(16))


class Moment(NamedTuple):
    """What the weights know of the moment at which a room is shown."""

    time_s: float
    live_left_s: float
    """Seconds until the live ends."""
    sale_wait_s: float
    """Seconds until the next sale starts; infinite (or NaN) where none is in sight."""


class Buyer(NamedTuple):
    """Whose delay it is; the fields of `BUYER`."""

    intent: float
    log_price: float
    """Relative to the median."""
    time_s: float
    """Of the impression: weights are of this moment."""
    start_s: float
    """End of the stay: delays count from here."""
    left_s: float
    """Seconds from then to the end of the live."""
    sale_wait_s: float
    """Seconds from the impression to the start of the next sale; infinite where there is none."""
    log_drift: float
    """Stretch of the scales of short and tail that the day adds."""


BUYER = np.dtype([(name, np.float64) for name in Buyer._fields])


@dataclass(frozen=True)
class DelayNumbers:
    """Parameters as compiled code takes them; arrays are by IMM, SHORT, TAIL."""

    horizon_s: float
    weight: tuple[float, float, float]
    """Relative to the tail, or to `short` where the tail has no weight."""
    price: tuple[float, float, float]
    intent: tuple[float, float, float]
    live_left: tuple[float, float, float]
    family: tuple[int, int, int]
    scale_s: tuple[float, float, float]
    place: tuple[float, float, float]
    """Of the scale on the grid of the tables below."""
    shape: tuple[float, float, float]
    price_stretch: tuple[float, float, float]
    intent_stretch: tuple[float, float, float]
    promo_weight: float
    promo_price: float
    promo_intent: float
    promo_nearness: float
    promo_window_s: float
    promo_mean_s: float
    hazards: tuple[float, float]
    """By LOSSES, per operational second."""
    hazard: float
    """Their sum."""
    short_lasts: tuple[float, ...]
    """Share of the `short` part that outlives the hazards, by log scale."""
    tail_lasts: tuple[float, ...]
    log_drift: float
    """Of the day that the numbers are for."""
    hours: Hours

    @classmethod
    def of(cls, config: DelayConfig, hour_weights: Sequence[float], day: int = 0) -> DelayNumbers:
        """Return the numbers of a day.

        Args:
            config: the parameters.
            hour_weights: relative activity in each hour of the day, 24 values.
            day: since the world began; decides the drift.
        """
        parts = (config.imm, config.short, config.tail)
        base = max(parts[::-1], key=lambda part: part.weight > 0.0)
        promo, loss = config.promo_wait, config.loss
        hazards = (loss.sold_out_per_day / DAY_S, loss.unfollow_per_day / DAY_S)
        return cls(
            horizon_s=config.horizon_days * DAY_S,
            weight=_three(part.weight / base.weight for part in parts),
            price=_three(part.price - base.price for part in parts),
            intent=_three(part.intent - base.intent for part in parts),
            live_left=_three(part.live_left - base.live_left for part in parts),
            family=(config.imm.family, config.short.family, config.tail.family),
            scale_s=_three(part.scale_h * HOUR_S for part in parts),
            place=_three(_place(part.scale_h * HOUR_S) for part in parts),
            shape=_three(part.shape for part in parts),
            price_stretch=_three(part.price_stretch for part in parts),
            intent_stretch=_three(part.intent_stretch for part in parts),
            promo_weight=promo.weight / base.weight,
            promo_price=promo.price - base.price,
            promo_intent=promo.intent - base.intent,
            promo_nearness=promo.nearness / DAY_S,
            promo_window_s=promo.window_days * DAY_S,
            promo_mean_s=promo.half_life_h * HOUR_S / math.log(2.0),
            hazards=hazards,
            hazard=sum(hazards),
            short_lasts=_lasting(config.short, config.horizon_days * DAY_S, sum(hazards)),
            tail_lasts=_lasting(config.tail, config.horizon_days * DAY_S, sum(hazards)),
            log_drift=drift_of(config, day),
            hours=Hours.of(hour_weights, config.time_of_day),
        )


def drift_of(config: DelayConfig, day: int) -> float:
    """Return the stretch of the log scales of short and tail on a day."""
    return min(max(config.drift.delay_per_day * day, -_MOST_DRIFT), _MOST_DRIFT)


def _three(values: Iterable[float]) -> tuple[float, float, float]:
    imm, short, tail = map(float, values)
    return imm, short, tail


def _place(scale_s: float) -> float:
    return (math.log(max(scale_s, math.exp(_GRID_LOW))) - _GRID_LOW) / _GRID_STEP


@cache
def _lasting(part: PartConfig, horizon_s: float, hazard: float) -> tuple[float, ...]:
    """Return the share of a part that outlives a hazard per second, on the grid of log scales."""
    scales = np.exp(_GRID_LOW + _GRID_STEP * np.arange(_GRID_SIZE))
    code, shape = part.family, part.shape
    return tuple(
        outlasting(code, shape, float(scale), horizon_s, horizon_s, hazard) for scale in scales
    )


@kernel
def outlasting(
    family: int, shape: float, scale_s: float, until_s: float, horizon_s: float, hazard: float
) -> float:
    """Return P(D <= until, D < T | D <= horizon) with T ~ Exp(hazard), in operational time.

    The integral of exp(-hazard x quantile) over probabilities, by Gauss-Legendre with 16
    nodes: right to 1e-5 at the hazards of the presets.
    """
    within = family_cdf(family, shape, horizon_s / scale_s)
    by_then = family_cdf(family, shape, until_s / scale_s)
    if hazard <= 0.0 or by_then <= 0.0:
        return by_then / within
    total = 0.0
    for j in range(len(_NODES)):
        p = 0.5 * by_then * (1.0 + _NODES[j])
        wait_s = scale_s * family_quantile(family, shape, p)
        total += 0.5 * _NODE_WEIGHTS[j] * math.exp(-hazard * wait_s)
    return by_then / within * total


@kernel
def log_stretch(
    law: DelayNumbers, part: int, intent: float, log_price: float, log_drift: float
) -> float:
    """Return the log of the factor by which a part's scale is stretched."""
    stretch = law.price_stretch[part] * log_price + law.intent_stretch[part] * intent
    return stretch if part == IMM else stretch + log_drift


@kernel
def part_weights(
    law: DelayNumbers, intent: float, log_price: float, moment: Moment
) -> tuple[float, float, float, float]:
    """Return the probabilities of the ways to wait, in the order of PARTS, given the decision."""
    missing_h = min(max(moment.live_left_s, 0.0) / HOUR_S, 1.0) - 1.0
    imm, short, tail = law.weight[IMM], law.weight[SHORT], law.weight[TAIL]
    if imm > 0.0:
        imm *= math.exp(
            law.price[IMM] * log_price + law.intent[IMM] * intent + law.live_left[IMM] * missing_h
        )
    if short > 0.0:
        short *= math.exp(
            law.price[SHORT] * log_price
            + law.intent[SHORT] * intent
            + law.live_left[SHORT] * missing_h
        )
    promo, wait_s = 0.0, moment.sale_wait_s
    if law.promo_weight > 0.0 and 0.0 < wait_s <= law.promo_window_s:
        promo = law.promo_weight * math.exp(
            law.promo_price * log_price + law.promo_intent * intent - law.promo_nearness * wait_s
        )
    total = imm + short + tail + promo
    return imm / total, short / total, tail / total, promo / total


@kernel
def completion(law: DelayNumbers, intent: float, log_price: float, moment: Moment) -> float:
    """Return P(purchase | decided to buy): the share that no competing event prevents.

    It depends on the moment of the impression only, so it is known before the stay.
    """
    if law.hazard <= 0.0:
        return 1.0
    imm, short, tail, promo = part_weights(law, intent, log_price, moment)
    drift = law.log_drift
    lasting = imm
    if short > 0.0:
        stretch = log_stretch(law, SHORT, intent, log_price, drift)
        lasting += short * _between(law.short_lasts, law.place[SHORT], stretch)
    if tail > 0.0:
        stretch = log_stretch(law, TAIL, intent, log_price, drift)
        lasting += tail * _between(law.tail_lasts, law.place[TAIL], stretch)
    if promo > 0.0:
        lasting += promo * sale_survival(law, moment.time_s, moment.sale_wait_s)
    return lasting


@kernel
def _between(table: tuple[float, ...], place: float, stretch: float) -> float:
    """Interpolate a table where a scale has its place, stretched by the exponential of a log."""
    place = min(max(place + stretch / _GRID_STEP, 0.0), _GRID_SIZE - 1.001)
    i = int(place)
    return table[i] + (place - i) * (table[i + 1] - table[i])


@kernel
def sale_survival(law: DelayNumbers, time_s: float, sale_wait_s: float) -> float:
    """Return the probability that nothing prevents the purchase until the sale starts."""
    sale_s = time_s + sale_wait_s
    passed_s = operational_s(law.hours, sale_s) - operational_s(law.hours, time_s)
    return math.exp(-law.hazard * passed_s)


@kernel
def draw_purchase(
    law: DelayNumbers, buyer: Buyer, u_part: float, u_time: float, u_loss: float, u_cause: float
) -> tuple[float, int, int]:
    """Draw what becomes of a decision to buy, by latent times of which the earliest wins.

    Args:
        law: the parameters.
        buyer: whose decision.
        u_part: uniform of the way to wait.
        u_time: uniform of the time within it.
        u_loss: uniform of the time of the competing event.
        u_cause: uniform of its kind.

    Returns:
        Seconds from the end of the stay to the purchase or to what prevented it; the way to wait;
        the index into LOSSES of what prevented the purchase, -1 where it takes place.
    """
    imm, short, tail, _ = part_weights(law, buyer.intent, buyer.log_price, moment_of(buyer))
    held, family, shape, horizon_s = False, law.family, law.shape, law.horizon_s
    part = IMM
    if u_part < imm:
        scale_s = part_scale_s(law, IMM, buyer)
        limit_s = min(max(buyer.left_s, 0.0), horizon_s)
        within = family_cdf(family[IMM], shape[IMM], limit_s / scale_s)
        if u_part < imm * within:
            x = family_quantile(family[IMM], shape[IMM], u_time * within)
            return min(scale_s * x, limit_s), IMM, -1
        part, held = SHORT, True
    elif u_part < imm + short:
        part = SHORT
    elif u_part < imm + short + tail:
        part = TAIL
    else:
        part = PROMO_WAIT
    loss_s = _FOREVER_S
    if law.hazard > 0.0 and not held:
        loss_s = -math.log(u_loss) / law.hazard
    cause = 0 if u_cause * law.hazard < law.hazards[0] else 1
    if part == PROMO_WAIT:
        sale_s = buyer.time_s + buyer.sale_wait_s
        shown = operational_s(law.hours, buyer.time_s)
        if shown + loss_s < operational_s(law.hours, sale_s):
            lost_s = clock_s(law.hours, shown + loss_s) - buyer.start_s
            return max(lost_s, 0.0), PROMO_WAIT, cause
        wait_s = max(sale_s - buyer.start_s, 0.0)
        room = -math.expm1(-(horizon_s - wait_s) / law.promo_mean_s)
        return wait_s - law.promo_mean_s * math.log1p(-u_time * room), PROMO_WAIT, -1
    scale_s = part_scale_s(law, part, buyer)
    within = family_cdf(family[part], shape[part], horizon_s / scale_s)
    passed_s = min(scale_s * family_quantile(family[part], shape[part], u_time * within), horizon_s)
    lost = loss_s < passed_s
    began = operational_s(law.hours, buyer.start_s)
    delay_s = clock_s(law.hours, began + min(loss_s, passed_s)) - buyer.start_s
    # the way through operational time and back rounds
    return min(max(delay_s, 0.0), horizon_s), part, cause if lost else -1


@kernel
def part_scale_s(law: DelayNumbers, part: int, buyer: Buyer) -> float:
    """Return the scale in seconds of one of IMM, SHORT and TAIL for a buyer."""
    stretch = log_stretch(law, part, buyer.intent, buyer.log_price, buyer.log_drift)
    return law.scale_s[part] * math.exp(stretch)


@kernel
def moment_of(buyer: Buyer) -> Moment:
    """Return the moment at which the buyer was shown the room."""
    live_left_s = buyer.left_s + buyer.start_s - buyer.time_s
    return Moment(buyer.time_s, live_left_s, buyer.sale_wait_s)
