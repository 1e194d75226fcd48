"""Solving the intercepts of the response, so that base rates over random pairs are as stated.

The pairs are random users with random airings of the first day, as strangers; each intercept is
the root of (mean probability - stated rate), found by Brent's method.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from sim.kernel import allocating, numbers
from sim.relations import Relations
from sim.response import (
    AT_CART,
    AT_PURCHASE,
    STAY_GRADES,
    Intercepts,
    Laws,
    bag_logit,
    click_logit,
    commerce_logit,
    p_engaged,
    satisfaction_of,
    social_logit,
)
from sim.scene import ATTENTION, Scene, Stage, attraction_of, inclination_of, remaining_s_of
from sim.schedule import SLOT_S
from sim.schema import SCENARIOS
from sim.watch import stay_classes

Array = NDArray[np.float64]

_N_INPUTS = 10
_CLICK, _STAY, _SATISFACTION, _CLASSES, _SOCIAL, _BAG, _CART, _PURCHASE = 0, 1, 2, 3, 6, 7, 8, 9
_GRADED = (("like", _SOCIAL), ("comment", _SOCIAL), ("follow", _SOCIAL), ("bag_click", _BAG))


def solve(scene: Scene, user_u: Array, airing_u: Array, mood: Array) -> Intercepts:
    """Solve the intercepts of a world.

    Args:
        scene: the first day, without what the calendar makes special about it.
        user_u: uniforms [N] that pick users.
        airing_u: uniforms [N] that pick airings of each scenario.
        mood: session moods [N].
    """
    config = scene.config
    nothing = tuple(0.0 for _ in SCENARIOS)
    solved = Intercepts(nothing, nothing, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    born = np.flatnonzero(scene.population.users.joined_day == 0)
    user_id = born[np.minimum((user_u * len(born)).astype(np.int64), len(born) - 1)]
    scene = replace(scene, visitors=np.unique(user_id))
    stage = _among_strangers(scene, solved)
    click, stay, mean = [], [], 0.0
    for m, scenario in enumerate(config.scenarios):
        pool = np.flatnonzero(scene.on_air.in_scenario[:, m])
        airing = pool[np.minimum((airing_u * len(pool)).astype(np.int64), len(pool) - 1)]
        x = _inputs(scene, stage, m, user_id, airing, mood)
        weight = None
        if scenario.base_click is None:
            click.append(0.0)
        else:
            click.append(_root(x[_CLICK], scenario.base_click))
            weight = expit(click[-1] + x[_CLICK])
        stay.append(_root(x[_STAY], scenario.base_engaged_stay, weight))
        mean = float(x[_SATISFACTION].mean())
    solved = replace(solved, click=tuple(click), stay=tuple(stay), satisfaction=mean)

    # what follows a stay is solved over the stays of the last scenario, the swipe
    stage = _among_strangers(scene, solved)
    x = _inputs(scene, stage, len(SCENARIOS) - 1, user_id, airing, mood)
    classes = x[_CLASSES : _CLASSES + len(STAY_GRADES)]
    push = config.response.target_coupling * np.array(STAY_GRADES)
    rates = config.feedback
    after: dict[str, float] = {
        name: _root(x[row] + push[:, None], getattr(rates, name), classes) for name, row in _GRADED
    }
    reach = (classes * expit(after["bag_click"] + x[_BAG] + push[:, None])).sum(axis=0)
    after["cart"] = _root(x[_CART], rates.cart, reach)
    reach = reach * expit(after["cart"] + x[_CART])
    after["purchase"] = _root(x[_PURCHASE], rates.purchase, reach)
    contentment = float((classes[2] - classes[0]).mean())
    return Intercepts(solved.click, solved.stay, solved.satisfaction, contentment, **after)


def _root(logit: Array, rate: float, weight: Array | None = None) -> float:
    """Return b with the weighted mean of sigma(b + logit) equal to `rate`."""
    from scipy.optimize import brentq  # half a second of imports that only new worlds need

    share = np.ones(logit.shape) if weight is None else weight
    share = share / share.sum()
    return float(brentq(lambda b: float((share * expit(b + logit)).sum()) - rate, -40.0, 40.0))


def _among_strangers(scene: Scene, solved: Intercepts) -> Stage:
    """Return the stage on which nobody met anybody, as far as the intercepts are solved."""
    nobody = np.zeros(len(scene.population.streamers))
    return scene.stage(numbers(Laws.of(scene.config, solved)), Relations.empty(), nobody)


def _inputs(
    scene: Scene,
    stage: Stage,
    scenario: int,
    user_id: NDArray[np.int64],
    airing: NDArray[np.int64],
    mood: Array,
) -> Array:
    start_s = scene.on_air.slot[airing].astype(np.float64) * SLOT_S
    out = np.empty((_N_INPUTS, len(user_id)))
    _fill(stage, scenario, user_id, airing, start_s, mood, out)
    return out


@allocating
def _fill(
    stage: Stage,
    scenario: int,
    user_id: NDArray[np.int64],
    airing: NDArray[np.int64],
    start_s: Array,
    mood: Array,
    out: Array,
) -> None:
    fresh = np.zeros(stage.content.shape[1], np.float32)
    for i in range(len(user_id)):
        u, e = user_id[i], airing[i]
        left_s = remaining_s_of(stage, e, start_s[i], np.inf)
        interest = stage.interests[ATTENTION, scenario, u]
        pair = attraction_of(
            stage, scenario, u, mood[i], interest, fresh, e, left_s, 0.0, False
        )  # fmt: skip
        own = inclination_of(stage, scenario, u, mood[i], e, False)
        satisfaction = satisfaction_of(stage.laws[0], pair)
        out[_CLICK, i] = click_logit(stage.laws[0], pair)
        out[_STAY, i] = satisfaction + mood[i]
        out[_SATISFACTION, i] = satisfaction
        p_stays = p_engaged(stage.laws[0], pair, satisfaction)
        classes = stay_classes(stage.laws[0].watch, p_stays, satisfaction, left_s)
        for j in range(len(classes)):
            out[_CLASSES + j, i] = classes[j]
        out[_SOCIAL, i] = social_logit(stage.laws[0], own)
        out[_BAG, i] = bag_logit(stage.laws[0], own)
        out[_CART, i] = own.cart_shift + commerce_logit(stage.laws[0], own, AT_CART)
        out[_PURCHASE, i] = own.purchase_shift + commerce_logit(stage.laws[0], own, AT_PURCHASE)
