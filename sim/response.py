"""How users respond to a room: click, stay, and what follows, as logits of latent quantities.

    click    = c_m + affinity A + quality/2 Q + bait b_u B + popularity P + N + mood - satiation
    stay     = s_m + S + mood,        S = affinity A + quality Q - disappointment B + N - satiation
    social   = i_k + social_affinity A_soc + charm + propensity_u + coupling h(stay)
    commerce = i_k + commerce_affinity A_com + appeal + intent_u - price_u log price + coupling h

A are cosines between momentary interests and room content, N = follow + intensity log(1 + views)
is the bond with the streamer, h grades how long the user stayed (under 10 s, up to the cap, over
it). The misleading title works through B: it raises clicks and lowers stays. Intercepts are solved
so that base rates over random pairs equal those of the config.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from sim.config import WorldConfig
from sim.parameters import FeedbackConfig
from sim.watch import stay_classes

Array = NDArray[np.floating]

STAY_GRADES = (-2.0, 0.0, 1.0)
"""h of a stay under 10 s, up to the bounce cap, and over it."""

SOCIAL = ("like", "comment", "follow")


@dataclass(frozen=True)
class Attraction:
    """What decides click and stay; arrays that broadcast to a common shape."""

    scenario: NDArray[np.int8]
    affinity: NDArray[np.float32]
    """Cosine of momentary interest and content."""
    satiation: NDArray[np.float32]
    """Penalty in logits, non-negative."""
    quality: Array
    bait: Array
    fame: Array
    bait_sensitivity: Array
    mood: Array
    views: NDArray[np.float32]
    follows: NDArray[np.bool_]
    remaining_s: NDArray[np.float32]
    """Seconds until the room or the session ends."""


@dataclass(frozen=True)
class Inclination:
    """What decides the targets after the stay; arrays that broadcast to a common shape."""

    social: Array
    """Cosine of social interest and content."""
    commerce: Array
    """Cosine of commerce interest and the product on show."""
    charm: Array
    appeal: Array
    log_price: Array
    sociability: Array
    intent: Array
    price_sensitivity: Array
    mood: Array
    follows: NDArray[np.bool_]


@dataclass(frozen=True)
class Intercepts:
    """Solved intercepts, in logits."""

    click: tuple[float, ...]
    """By scenario; 0 where there is no click."""
    stay: tuple[float, ...]
    satisfaction: float
    """Mean satisfaction over random pairs, subtracted where satisfaction scales watch time."""
    like: float
    comment: float
    follow: float
    bag_click: float
    cart: float
    purchase: float


class Response:
    """The response laws of a world.

    Args:
        config: the world's parameters.
        attraction: random pairs over which base rates hold, per scenario.
        inclination: what goes with the pairs of the last scenario.
    """

    def __init__(
        self, config: WorldConfig, attraction: list[Attraction], inclination: Inclination
    ) -> None:
        self.config = config
        zero = tuple(0.0 for _ in config.scenarios)
        free = Intercepts(zero, zero, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        self.intercepts = free
        click, stay = [], []
        for pairs, scenario in zip(attraction, config.scenarios, strict=True):
            if scenario.base_click is None:
                weight = np.ones(len(pairs.affinity))
                click.append(0.0)
            else:
                logit = self._click_logit(pairs)
                click.append(_solve(expit, logit, scenario.base_click))
                weight = expit(click[-1] + logit)
            stay.append(
                _solve(
                    expit, self.satisfaction(pairs) + pairs.mood, scenario.base_engaged_stay, weight
                )
            )
        pairs = attraction[-1]
        mean = float(np.mean(self.satisfaction(pairs)))
        self.intercepts = Intercepts(tuple(click), tuple(stay), mean, **dict.fromkeys(_AFTER, 0.0))
        classes = self.stay(pairs)
        rates, solved = config.feedback, {}
        for name in ("like", "comment", "follow", "bag_click"):
            logits = self.graded_logits(name, inclination)
            solved[name] = _solve_graded(logits, classes, getattr(rates, name))
        self.intercepts = Intercepts(
            tuple(click), tuple(stay), mean, **{**dict.fromkeys(_AFTER, 0.0), **solved}
        )
        reach = self.after_stay("bag_click", inclination, classes)
        for name in ("cart", "purchase"):
            logit = self._commerce_logit(name, inclination)
            solved[name] = _solve(expit, logit, getattr(rates, name), reach)
            reach = reach * expit(solved[name] + logit)
        self.intercepts = Intercepts(tuple(click), tuple(stay), mean, **solved)

    def p_click(self, pairs: Attraction) -> Array:
        """Return P(click | examined), 1 in the swipe, where the room simply plays."""
        by_scenario = np.array(self.intercepts.click, np.float32)
        has_click = np.array([s.base_click is not None for s in self.config.scenarios])
        p = expit(by_scenario[pairs.scenario] + self._click_logit(pairs))
        return np.where(has_click[pairs.scenario], p, np.float32(1))

    def satisfaction(self, pairs: Attraction) -> Array:
        """Return content satisfaction in logits, centred over random pairs."""
        r = self.config.response
        logit: Array = (
            r.affinity * pairs.affinity
            + r.quality * pairs.quality
            - r.bait_disappointment * pairs.bait
            + self._bond(pairs)
            - pairs.satiation
            - self.intercepts.satisfaction
        )
        return logit

    def p_engaged(self, pairs: Attraction, satisfaction: Array) -> Array:
        """Return P(the stay is engaged | entered)."""
        by_scenario = np.array(self.intercepts.stay, np.float32)
        shift = by_scenario[pairs.scenario] + np.float32(self.intercepts.satisfaction)
        return np.asarray(expit(shift + satisfaction + pairs.mood))

    def stay(self, pairs: Attraction) -> tuple[Array, Array, Array]:
        """Return P(short), P(view), P(long) of the stay, given that the room was entered."""
        satisfaction = self.satisfaction(pairs)
        p_engaged = self.p_engaged(pairs, satisfaction)
        return stay_classes(self.config.watch, p_engaged, satisfaction, pairs.remaining_s)

    def after_stay(
        self, name: str, inclination: Inclination, classes: tuple[Array, Array, Array]
    ) -> Array:
        """Return P(like | comment | follow | bag_click) averaged over how long the user stays."""
        logits = self.graded_logits(name, inclination)
        p = sum(c * expit(x) for c, x in zip(classes, logits, strict=True))
        return np.where(inclination.follows, 0.0, p) if name == "follow" else np.asarray(p)

    def given_stay(self, name: str, inclination: Inclination, grade: NDArray[np.int8]) -> Array:
        """Return P(target) given the grade (0, 1, 2) of the stay that happened."""
        base = self._base_logit(name, inclination)
        step = self.config.response.target_coupling * np.array(STAY_GRADES, np.float32)
        p = expit(base + step[grade])
        return np.where(inclination.follows, 0.0, p) if name == "follow" else np.asarray(p)

    def graded_logits(self, name: str, inclination: Inclination) -> list[Array]:
        """Return the target's logit for each grade of stay."""
        base = self._base_logit(name, inclination)
        coupling = self.config.response.target_coupling
        return [base + np.float32(coupling * grade) for grade in STAY_GRADES]

    def p_cart(self, inclination: Inclination) -> Array:
        """Return P(cart | bag click)."""
        logit = self._commerce_logit("cart", inclination)
        return np.asarray(expit(np.float32(self.intercepts.cart) + logit))

    def p_purchase(self, inclination: Inclination) -> Array:
        """Return the ultimate P(purchase | cart); the rest is cured."""
        logit = self._commerce_logit("purchase", inclination)
        return np.asarray(expit(np.float32(self.intercepts.purchase) + logit))

    def _bond(self, pairs: Attraction) -> Array:
        r = self.config.response
        return r.follow * pairs.follows + r.intensity_weight * np.log1p(pairs.views)

    def _click_logit(self, pairs: Attraction) -> Array:
        r = self.config.response
        logit: Array = (
            r.affinity * pairs.affinity
            + r.quality / 2 * pairs.quality
            + r.bait * pairs.bait_sensitivity * pairs.bait
            + r.popularity * pairs.fame
            + self._bond(pairs)
            + pairs.mood
            - pairs.satiation
        )
        return logit

    def _base_logit(self, name: str, inclination: Inclination) -> Array:
        intercept = np.float32(getattr(self.intercepts, name))
        if name in SOCIAL:
            f = self.config.feedback
            logit: Array = (
                intercept
                + f.social_affinity * inclination.social
                + f.charm * inclination.charm
                + f.propensity_sigma * inclination.sociability
                + inclination.mood
            )
            return logit
        return intercept + self._commerce_logit(name, inclination)

    def _commerce_logit(self, name: str, inclination: Inclination) -> Array:
        f: FeedbackConfig = self.config.feedback
        # a price that is fine for looking hurts more the closer the user gets to paying
        price = f.price * {"bag_click": 0.25, "cart": 0.5, "purchase": 1.0}[name]
        logit: Array = (
            f.commerce_affinity * inclination.commerce
            + f.appeal * inclination.appeal
            + f.propensity_sigma * inclination.intent
            - price * inclination.price_sensitivity * inclination.log_price
            + inclination.mood
        )
        return logit


_AFTER = ("like", "comment", "follow", "bag_click", "cart", "purchase")


def _solve(
    link: Callable[[Array], Array], logit: Array, rate: float, weight: Array | None = None
) -> float:
    """Return b with weighted mean of link(b + logit) equal to `rate`."""
    x = logit.astype(np.float64)
    w = np.ones(len(x)) if weight is None else weight.astype(np.float64)
    w = w / w.sum()
    return float(brentq(lambda b: float(w @ link(b + x)) - rate, -40.0, 40.0, xtol=1e-9))


def _solve_graded(logits: list[Array], classes: tuple[Array, ...], rate: float) -> float:
    """Return b with the mean over grades of stay of sigma(b + logit) equal to `rate`."""
    x = [v.astype(np.float64) for v in logits]

    def mean(b: float) -> float:
        return float(np.mean(sum(c * expit(b + v) for c, v in zip(classes, x, strict=True))))

    return float(brentq(lambda b: mean(b) - rate, -40.0, 40.0, xtol=1e-9))
