"""Watch time: a stay is a bounce or engaged, each log-normal on its side of a cap.

    bounce:  log W ~ Normal(log bounce_median + g, bounce_log_sigma), given W <  cap
    engaged: log W ~ Normal(log engaged_median + g, engaged_log_sigma), given W >= cap

with g = satisfaction_gain x content satisfaction; the stay is cut where the room or the session
ends. Source: shape and medians fitted to KuaiLive (reference figures in conf/world); a single
log-normal fits neither the median nor the tail.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from sim.parameters import WatchConfig
from sim.schema import EFFECTIVE_VIEW_S

Array = NDArray[np.floating]


def draw_watch_s(
    config: WatchConfig, engaged: NDArray[np.bool_], satisfaction: Array, u: Array
) -> NDArray[np.float64]:
    """Draw uncut watch times.

    Args:
        config: the law.
        engaged: whether the stay is engaged [N].
        satisfaction: content satisfaction, centred logits [N].
        u: uniforms in (0, 1) [N].

    Returns:
        Seconds [N].
    """
    mean, sigma = _location(config, engaged, satisfaction)
    at_cap = ndtr((np.log(config.bounce_cap_s) - mean) / sigma)
    quantile = np.where(engaged, at_cap + u * (1 - at_cap), u * at_cap)
    # keep the quantile inside (0, 1) where the cap sits far in a tail
    score = ndtri(np.clip(quantile, 1e-12, 1 - 1e-12))
    return np.asarray(np.exp(mean + sigma * score), np.float64)


def stay_classes(
    config: WatchConfig, p_engaged: Array, satisfaction: Array, remaining_s: Array
) -> tuple[Array, Array, Array]:
    """Return P(watch < 10 s), P(10 s <= watch < cap), P(watch >= cap) of a cut stay.

    Args:
        config: the law.
        p_engaged: probability that the stay is engaged.
        satisfaction: content satisfaction, centred logits.
        remaining_s: seconds until the room or session ends.
    """
    mean = np.log(config.bounce_median_s) + config.satisfaction_gain * _bounded(satisfaction)
    sigma = config.bounce_log_sigma
    below_view = ndtr((np.log(EFFECTIVE_VIEW_S) - mean) / sigma)
    below_cap = ndtr((np.log(config.bounce_cap_s) - mean) / sigma)
    p_short = (1 - p_engaged) * below_view / below_cap
    p_short = np.where(remaining_s < EFFECTIVE_VIEW_S, 1.0, p_short)
    p_long = np.where(remaining_s < config.bounce_cap_s, 0.0, p_engaged)
    return p_short, 1 - p_short - p_long, p_long


def expected_watch_s(
    config: WatchConfig, p_engaged: Array, satisfaction: Array, cut_s: Array
) -> Array:
    """Return E[min(watch, cut_s)] in seconds, by the partial moments of the log-normal."""
    g = config.satisfaction_gain * _bounded(satisfaction)
    log_cap = np.log(config.bounce_cap_s)
    with np.errstate(divide="ignore"):
        log_cut = np.log(np.maximum(cut_s, 0.0))
    bounce = _capped_mean(
        np.log(config.bounce_median_s) + g, config.bounce_log_sigma, None, log_cap, log_cut
    )
    engaged = _capped_mean(
        np.log(config.engaged_median_s) + g, config.engaged_log_sigma, log_cap, None, log_cut
    )
    return p_engaged * engaged + (1 - p_engaged) * bounce


def _bounded(satisfaction: Array) -> Array:
    return np.clip(satisfaction, -2.0, 2.0)


def _location(
    config: WatchConfig, engaged: NDArray[np.bool_], satisfaction: Array
) -> tuple[Array, Array]:
    median = np.where(engaged, config.engaged_median_s, config.bounce_median_s)
    sigma = np.where(engaged, config.engaged_log_sigma, config.bounce_log_sigma)
    return np.log(median) + config.satisfaction_gain * _bounded(satisfaction), sigma


def _capped_mean(
    mean: Array, sigma: float, low: float | None, high: float | None, log_cut: Array
) -> Array:
    """E[min(W, cut)] for log W ~ Normal(mean, sigma) given low <= log W < high."""
    p_low = ndtr((low - mean) / sigma) if low is not None else 0.0
    p_high = ndtr((high - mean) / sigma) if high is not None else 1.0
    stop = log_cut if high is None else np.minimum(log_cut, high)
    start_moment = ndtr((low - mean) / sigma - sigma) if low is not None else 0.0
    stop = np.maximum(stop, low) if low is not None else stop
    p_stop = ndtr((stop - mean) / sigma)
    moment = np.exp(mean + sigma**2 / 2) * (ndtr((stop - mean) / sigma - sigma) - start_moment)
    cut = np.exp(log_cut)
    inside = (moment + cut * (p_high - p_stop)) / (p_high - p_low)
    return np.where(cut < np.exp(low), cut, inside) if low is not None else inside
