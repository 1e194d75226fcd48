"""Watch time: a stay is a bounce or engaged, each log-normal on its side of a cap.

    bounce:  log W ~ Normal(log bounce_median + g, bounce_log_sigma), given W <  cap
    engaged: log W ~ Normal(log engaged_median + g, engaged_log_sigma), given W >= cap

with g = satisfaction_gain x content satisfaction; the stay is cut where the room or the session
ends. Source: shape and medians fitted to KuaiLive (reference figures in conf/world); a single
log-normal fits neither the median nor the tail.

All functions are compiled scalars; `law` is `sim.kernel.numbers` of a `WatchConfig`.
"""

from __future__ import annotations

import math

from sim.kernel import kernel
from sim.normal import normal_cdf, normal_quantile
from sim.parameters import WatchConfig
from sim.schema import EFFECTIVE_VIEW_S


@kernel
def draw_watch_s(law: WatchConfig, engaged: bool, satisfaction: float, u: float) -> float:
    """Draw the uncut seconds of a stay.

    Args:
        law: parameters.
        engaged: whether the stay is engaged.
        satisfaction: content satisfaction, centred logits.
        u: uniform in (0, 1).
    """
    mean, sigma = _location(law, engaged, satisfaction)
    at_cap = normal_cdf((math.log(law.bounce_cap_s) - mean) / sigma)
    quantile = at_cap + u * (1 - at_cap) if engaged else u * at_cap
    # keep the quantile inside (0, 1) where the cap sits far in a tail
    quantile = min(max(quantile, 1e-12), 1 - 1e-12)
    return math.exp(mean + sigma * normal_quantile(quantile))


@kernel
def stay_classes(
    law: WatchConfig, p_engaged: float, satisfaction: float, remaining_s: float
) -> tuple[float, float, float]:
    """Return P(watch < 10 s), P(10 s <= watch < cap), P(watch >= cap) of a cut stay.

    Args:
        law: parameters.
        p_engaged: probability that the stay is engaged.
        satisfaction: content satisfaction, centred logits.
        remaining_s: seconds until the room or session ends.
    """
    mean, sigma = _location(law, False, satisfaction)
    below_view = normal_cdf((math.log(EFFECTIVE_VIEW_S) - mean) / sigma)
    below_cap = normal_cdf((math.log(law.bounce_cap_s) - mean) / sigma)
    p_short = (1 - p_engaged) * below_view / below_cap
    if remaining_s < EFFECTIVE_VIEW_S:
        p_short = 1.0
    p_long = 0.0 if remaining_s < law.bounce_cap_s else p_engaged
    return p_short, 1 - p_short - p_long, p_long


@kernel
def expected_watch_s(
    law: WatchConfig, p_engaged: float, satisfaction: float, cut_s: float
) -> float:
    """Return E[min(watch, cut_s)] in seconds, by the partial moments of the log-normal."""
    if cut_s <= 0.0:
        return 0.0
    log_cap, log_cut = math.log(law.bounce_cap_s), math.log(cut_s)
    # bounces: E[min(W, cut)] given log W < log cap
    mean, sigma = _location(law, False, satisfaction)
    stop = min(log_cut, log_cap)
    below_cap = normal_cdf((log_cap - mean) / sigma)
    bounce = math.exp(mean + sigma**2 / 2) * normal_cdf((stop - mean) / sigma - sigma)
    if log_cut < log_cap:
        bounce += cut_s * (below_cap - normal_cdf((stop - mean) / sigma))
    bounce /= below_cap
    if log_cut < log_cap:
        return p_engaged * cut_s + (1 - p_engaged) * bounce
    # engaged stays: the same given log W >= log cap
    mean, sigma = _location(law, True, satisfaction)
    low, stop = (log_cap - mean) / sigma, (log_cut - mean) / sigma
    part = normal_cdf(stop - sigma) - normal_cdf(low - sigma)
    engaged = math.exp(mean + sigma**2 / 2) * part + cut_s * normal_cdf(-stop)
    return p_engaged * engaged / normal_cdf(-low) + (1 - p_engaged) * bounce


@kernel
def _location(law: WatchConfig, engaged: bool, satisfaction: float) -> tuple[float, float]:
    """Return mean and standard deviation of the log watch time before the truncation."""
    gain = law.satisfaction_gain * min(max(satisfaction, -2.0), 2.0)
    if engaged:
        return math.log(law.engaged_median_s) + gain, law.engaged_log_sigma
    return math.log(law.bounce_median_s) + gain, law.bounce_log_sigma
