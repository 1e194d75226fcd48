"""How users respond to a room: click, stay, and what follows, as logits of latent quantities.

    click    = c_m + affinity A + quality/2 Q + bait b_u B + popularity P + N + H + audience C
               + mood - satiation
    stay     = s_m + S + mood,    S = affinity A + quality Q - disappointment B + N + H - satiation
    social   = i_k + social_affinity A_soc + charm + propensity_u + coupling h(stay) - crowding C+
    commerce = i_k + commerce_affinity A_com + appeal + intent_u - price_u log price + coupling h
               - crowding C+

A are cosines between momentary interests and room content, N = follow + intensity log(1 + views)
is the bond with the streamer, H a highlight of the room, C its log audience (C+ where above the
mean), h grades how long the user stayed (under 10 s, up to the cap, over it). The misleading title
works through B: it raises clicks and lowers stays. Scenarios weigh Q, B and N in their own way and
shift social and commerce targets; the calendar shifts commerce targets and prices.

All functions are compiled scalars over one pair; `laws` is `sim.kernel.numbers` of a `Laws`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from sim.config import WorldConfig
from sim.delay import DelayNumbers
from sim.delay_parameters import RefundConfig, ReportingConfig
from sim.kernel import kernel
from sim.normal import sigmoid
from sim.parameters import (
    FeedbackConfig,
    ResponseConfig,
    SessionConfig,
)
from sim.repeat_purchase import RepeatNumbers
from sim.revisits import RevisitNumbers
from sim.watch import UncutStays, WatchNumbers

STAY_GRADES = (-2.0, 0.0, 1.0)
"""h of a stay under 10 s, up to the bounce cap, and over it."""

AT_BAG, AT_CART, AT_PURCHASE = 0.25, 0.5, 1.0
"""Share of the effect of the price: it hurts more the closer the user gets to paying."""


class Attraction(NamedTuple):
    """What decides click and stay of one pair."""

    scenario: int
    affinity: float
    """Cosine of momentary interest and content."""
    satiation: float
    """Penalty in logits, non-negative."""
    quality: float
    bait: float
    fame: float
    highlight: float
    """How far the moment is a highlight of the room, mean 0."""
    crowd: float
    """Log audience of the room relative to the mean one."""
    bait_sensitivity: float
    mood: float
    views: float
    follows: bool
    remaining_s: float
    """Seconds until the room or the session ends."""


class Reception(NamedTuple):
    """What click and stay of one pair come to."""

    p_enter: float
    """P(click | examined); 1 in the swipe."""
    satisfaction: float
    """With the content, centred logits."""
    p_engaged: float
    """P(the stay is engaged | entered)."""
    remaining_s: float


class Inclination(NamedTuple):
    """What decides the targets after the stay of one pair."""

    social: float
    """Cosine of social interest and content."""
    commerce: float
    """Cosine of commerce interest and the product on show."""
    charm: float
    appeal: float
    log_price: float
    """Of what has to be paid today, relative to the median price."""
    sociability: float
    intent: float
    price_sensitivity: float
    mood: float
    follows: bool
    social_shift: float
    """Shifts by scenario, day and crowd, logits; likewise below."""
    bag_shift: float
    cart_shift: float
    purchase_shift: float


@dataclass(frozen=True)
class Intercepts:
    """Intercepts in logits, so that base rates over random pairs equal those of the config."""

    click: tuple[float, ...]
    """By scenario; 0 where there is no click."""
    stay: tuple[float, ...]
    satisfaction: float
    """Mean satisfaction over random pairs, subtracted where satisfaction scales watch time."""
    contentment: float
    """Mean over their stays of 1 (over the cap), 0 or -1 (under 10 s)."""
    like: float
    comment: float
    follow: float
    bag_click: float
    cart: float
    purchase: float


@dataclass(frozen=True)
class Layouts:
    """What compiled code knows of the scenarios, by SCENARIOS."""

    has_click: tuple[int, ...]
    patience: tuple[float, ...]
    cascade: tuple[int, ...]
    """1 where cards are examined from the top by a cascade."""
    examination_decay: tuple[float, ...]
    after_click: tuple[float, ...]
    quality_weight: tuple[float, ...]
    bait_weight: tuple[float, ...]
    follow_weight: tuple[float, ...]
    social_shift: tuple[float, ...]
    commerce_shift: tuple[float, ...]


@dataclass(frozen=True)
class Odds:
    """Factors of the odds P / (1 - P) of what follows a stay: exp of the logits' constants."""

    like: float
    comment: float
    follow: float
    bag_click: float
    by_grade: tuple[float, ...]
    """exp(coupling h) by the grade of the stay."""


@dataclass(frozen=True)
class Laws:
    """Every parameter of the response."""

    response: ResponseConfig
    watch: WatchNumbers
    uncut: UncutStays
    feedback: FeedbackConfig
    delay: DelayNumbers
    refund: RefundConfig
    further: RepeatNumbers
    revisit: RevisitNumbers
    reporting: ReportingConfig
    session: SessionConfig
    layouts: Layouts
    intercepts: Intercepts
    odds: Odds

    @classmethod
    def of(cls, config: WorldConfig, intercepts: Intercepts, day: int = 0) -> Laws:
        """Return the laws of a world with solved intercepts, as its drifts have them on `day`."""
        conversion = config.delay.drift.conversion_per_day * day
        intercepts = replace(intercepts, purchase=intercepts.purchase + conversion)
        delay = DelayNumbers.of(config.delay, config.visits.hour_weights, day)
        layouts = Layouts(
            tuple(int(s.base_click is not None) for s in config.scenarios),
            tuple(float(s.patience) for s in config.scenarios),
            tuple(int(s.examination == "cascade") for s in config.scenarios),
            *(
                tuple(float(getattr(s, name)) for s in config.scenarios)
                for name in (
                    "examination_decay", "after_click", "quality_weight", "bait_weight",
                    "follow_weight", "social_shift", "commerce_shift",
                )
            ),
        )  # fmt: skip
        odds = Odds(
            math.exp(intercepts.like),
            math.exp(intercepts.comment),
            math.exp(intercepts.follow),
            math.exp(intercepts.bag_click),
            tuple(math.exp(config.response.target_coupling * h) for h in STAY_GRADES),
        )
        return cls(
            config.response, WatchNumbers.of(config.watch), UncutStays.of(config.watch),
            config.feedback, delay, config.delay.refund, RepeatNumbers.of(config.delay),
            RevisitNumbers.of(config.delay), config.delay.reporting, config.session, layouts,
            intercepts, odds,
        )  # fmt: skip


@kernel
def click_logit(laws: Laws, pair: Attraction) -> float:
    """Return the click's logit without its intercept."""
    r, here = laws.response, laws.layouts
    return (
        r.affinity * pair.affinity
        + r.quality / 2 * here.quality_weight[pair.scenario] * pair.quality
        + r.bait * here.bait_weight[pair.scenario] * pair.bait_sensitivity * pair.bait
        + r.popularity * pair.fame
        + _bond(laws, pair)
        + r.highlight * pair.highlight
        + r.audience * pair.crowd
        + pair.mood
        - pair.satiation
    )


@kernel
def p_click(laws: Laws, pair: Attraction) -> float:
    """Return P(click | examined), 1 in the swipe, where the room simply plays."""
    if laws.layouts.has_click[pair.scenario] == 0:
        return 1.0
    return sigmoid(laws.intercepts.click[pair.scenario] + click_logit(laws, pair))


@kernel
def satisfaction_of(laws: Laws, pair: Attraction) -> float:
    """Return content satisfaction in logits, centred over random pairs."""
    r, here = laws.response, laws.layouts
    return (
        r.affinity * pair.affinity
        + r.quality * here.quality_weight[pair.scenario] * pair.quality
        - r.bait_disappointment * here.bait_weight[pair.scenario] * pair.bait
        + _bond(laws, pair)
        + r.highlight * pair.highlight
        - pair.satiation
        - laws.intercepts.satisfaction
    )


@kernel
def p_engaged(laws: Laws, pair: Attraction, satisfaction: float) -> float:
    """Return P(the stay is engaged | entered)."""
    shift = laws.intercepts.stay[pair.scenario] + laws.intercepts.satisfaction
    return sigmoid(shift + satisfaction + pair.mood)


@kernel
def reception_of(laws: Laws, pair: Attraction) -> Reception:
    """Return what click and stay of one pair come to."""
    satisfaction = satisfaction_of(laws, pair)
    p_stays = p_engaged(laws, pair, satisfaction)
    return Reception(p_click(laws, pair), satisfaction, p_stays, pair.remaining_s)


@kernel
def social_logit(laws: Laws, own: Inclination) -> float:
    """Return what like, comment and follow share: their logit without intercept and stay."""
    f = laws.feedback
    return (
        f.social_affinity * own.social
        + f.charm * own.charm
        + f.propensity_sigma * own.sociability
        + own.mood
        + own.social_shift
    )


@kernel
def commerce_logit(laws: Laws, own: Inclination, price_share: float) -> float:
    """Return the logit of bag click, cart or purchase without intercept, stay and shift."""
    f = laws.feedback
    return (
        f.commerce_affinity * own.commerce
        + f.appeal * own.appeal
        + f.propensity_sigma * own.intent
        - f.price * price_share * own.price_sensitivity * own.log_price
        + own.mood
    )


@kernel
def bag_logit(laws: Laws, own: Inclination) -> float:
    """Return the logit of a bag click without intercept and stay."""
    return own.bag_shift + commerce_logit(laws, own, AT_BAG)


@kernel
def after_stay(
    laws: Laws, social_odds: float, commerce_odds: float, follows: bool, grade: int
) -> tuple[float, float, float, float]:
    """Return P(like), P(comment), P(follow), P(bag click) given the grade (0, 1, 2) of the stay.

    Args:
        laws: the laws.
        social_odds: exp of `social_logit`.
        commerce_odds: exp of `bag_logit`.
        follows: whether the user follows the streamer already.
        grade: of the stay.
    """
    odds = laws.odds
    social, commerce = social_odds * odds.by_grade[grade], commerce_odds * odds.by_grade[grade]
    return (
        _share(odds.like * social),
        _share(odds.comment * social),
        0.0 if follows else _share(odds.follow * social),
        _share(odds.bag_click * commerce),
    )


@kernel
def _share(odds: float) -> float:
    return odds / (1.0 + odds)


@kernel
def p_cart(laws: Laws, own: Inclination) -> float:
    """Return P(cart | bag click)."""
    return sigmoid(laws.intercepts.cart + own.cart_shift + commerce_logit(laws, own, AT_CART))


@kernel
def p_purchase(laws: Laws, own: Inclination) -> float:
    """Return P(decides to buy | cart); the rest is cured.

    P(purchase | cart) is this times `sim.delay.completion`.
    """
    logit = laws.intercepts.purchase + own.purchase_shift
    return sigmoid(logit + commerce_logit(laws, own, AT_PURCHASE))


@kernel
def _bond(laws: Laws, pair: Attraction) -> float:
    known = laws.response.follow * pair.follows
    if pair.views > 0.0:  # most never met
        known += laws.response.intensity_weight * math.log1p(pair.views)
    return laws.layouts.follow_weight[pair.scenario] * known
