"""Kaplan-Meier curves of users who come back: the product limit with intervals clustered by user.

With Y(s) episodes at risk and N(s) purchases at waiting time s,

    log S(t) = sum_{s <= t} log(1 - N(s) / Y(s)),   C(t) = sum_{s <= t} N(s) / (Y(s) (Y(s) - N(s)))

The derivative of log S(t) by the weight of an episode with waiting time T is its influence

    C(min(T, t)) - [purchased at T <= t] / (Y(T) - N(T))

Squares summed over episodes give Greenwood's C(t); squares of the sums over each user's episodes
give the variance that holds where the episodes of a user are alike. Intervals are symmetric for
log(-log S) and by Student's t with (users - 1) degrees of freedom.

Sources: Kaplan & Meier (1958); Ying & Wei, "The Kaplan-Meier estimate for dependent failure time
observations" (1994); the log-log interval is that of Kalbfleisch & Prentice (1980). Axis letters:
N episodes, U users, G times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from evaluation.intervals import LEVEL


@dataclass(frozen=True)
class ConversionCurve:
    """Share that has bought by each of the times [G]."""

    rate: NDArray[np.float64]
    """1 - S(t)."""
    low: NDArray[np.float64]
    """Lower end; NaN before the first purchase, at a rate of 1, and with fewer than two users."""
    high: NDArray[np.float64]
    design_effect: NDArray[np.float64]
    """Variance with users as clusters / Greenwood's; NaN before the first purchase."""


def conversion_curve(
    duration_s: NDArray[np.floating],
    purchased: NDArray[np.bool_],
    user: NDArray[np.integer],
    times_s: NDArray[np.float64],
) -> ConversionCurve:
    """Estimate the share of episodes that end in a purchase by each time.

    Args:
        duration_s: [N] waiting times until the purchase or the end of observation, seconds; N > 0.
        purchased: [N] whether the wait ended in a purchase.
        user: [N] user of each episode, any ids.
        times_s: [G] times in any order, seconds.
    """
    steps, place = np.unique(duration_s, return_inverse=True)
    ended, bought = (np.bincount(place, weights=w, minlength=len(steps)) for w in (None, purchased))
    at_risk = len(duration_s) - np.cumsum(ended) + ended
    left = at_risk - bought
    safe = np.where(left > 0, left, np.nan)  # all who were left have bought: S is 0
    log_survival = np.cumsum(np.log(safe / at_risk))
    greenwood = np.cumsum(bought / (at_risk * safe))
    at = np.searchsorted(steps, times_s, side="right") - 1
    before = at < 0
    log_s = np.where(before, 0.0, log_survival[at])
    whole = greenwood[place] - purchased / safe[place]  # influence once the wait is over
    plain = np.where(before, 0.0, greenwood[at])
    variance = _clustered(duration_s, user, times_s, whole, plain)
    hazard = -log_s
    users = len(np.unique(user))
    quantile = stdtrit(users - 1, 0.5 + LEVEL / 2) if users > 1 else np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.exp(quantile * np.sqrt(variance) / hazard)
        low, high = -np.expm1(-hazard / factor), -np.expm1(-hazard * factor)
        effect = variance / plain
    known = hazard > 0
    rate = np.where(np.isnan(log_s), 1.0, -np.expm1(log_s))
    ends = (np.where(known, end, np.nan) for end in (low, high, effect))
    return ConversionCurve(rate, *ends)


def _clustered(
    duration_s: NDArray[np.floating],
    user: NDArray[np.integer],
    times_s: NDArray[np.float64],
    whole: NDArray[np.float64],
    partial: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the variance of log S at the times [G] with users as clusters.

    Args:
        duration_s: [N] waiting times, seconds.
        user: [N] user of each episode.
        times_s: [G] times, seconds.
        whole: [N] influence of an episode whose wait is over.
        partial: [G] influence at each time of an episode that still waits.
    """
    _, who = np.unique(user, return_inverse=True)
    users = int(who.max()) + 1
    if users < 2:
        return np.full(len(times_s), np.nan)
    order = np.argsort(times_s, kind="stable")
    # every episode is added once, at the first time that its wait does not outlast
    slot = np.searchsorted(times_s[order], duration_s, side="left")
    by_slot = np.argsort(slot, kind="stable")
    edges = np.searchsorted(slot[by_slot], np.arange(len(times_s) + 1))
    over, waiting = np.zeros(users), np.bincount(who, minlength=users).astype(np.float64)
    out = np.empty(len(times_s))
    for index, at in enumerate(order):
        rows = by_slot[edges[index] : edges[index + 1]]
        over += np.bincount(who[rows], weights=whole[rows], minlength=users)
        waiting -= np.bincount(who[rows], minlength=users)
        influence = over + waiting * partial[at]
        out[at] = users / (users - 1) * np.dot(influence, influence)
    return out
