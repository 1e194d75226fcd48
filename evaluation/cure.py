"""Mixture cure models: the share that ever buys, and whether the data can tell it.

S(t) = 1 - p + p (1 - F(t)) with p the share that ever buys and F a Weibull or log-normal delay; the
smaller AIC is chosen. p is an extrapolation beyond the longest follow-up, and it fails silently: a
family whose tail does not fit stops extrapolating and returns the observed curve. So a fit comes
with doubts:

    follow-up     alpha = (1 - N / n)^n, N purchases after a wait in (2 t* - t, t*], t* the longest
                  wait of a purchase, t of any episode. Large where purchases still come at the
                  end of observation; below 0.05 the follow-up counts as sufficient
    rise          part of the observed share that came in the second half of the follow-up; above
                  0.02 the curve has not levelled off, whatever alpha says
    plateau       observed share / p; below 0.9 most of the rest is the model's word
    family gap    relative difference of p between the families; above 0.1 p is not identified
    misfit        the fit leaves the interval of the observed curve

The first two are necessary, not enough: alpha rests on the few longest waits, calls a quarter of
the follow-ups that end amid purchases sufficient, and more where few are watched for long (Shen
2000); and no statistic sees a tail too thin to show in the window.
Where the attribution horizon is known, compare with that.

Sources: Boag (1949), Berkson & Gage (1952); follow-up: Maller & Zhou, "Testing for sufficient
follow-up and outliers in survival data" (1994). The only module that imports lifelines.
Axis letters: N episodes, G times.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from lifelines import LogNormalFitter, MixtureCureFitter, WeibullFitter
from numpy.typing import NDArray

from evaluation.episodes import SHORTEST_S
from evaluation.intervals import Interval

MIN_PLATEAU_RATIO = 0.9
MAX_FAMILY_GAP = 0.1
MAX_ALPHA = 0.05
"""Level of the test of follow-up."""
MAX_RISE = 0.02
MIN_PURCHASES = 20
"""Below this no cure model is fitted: three parameters need more than a handful of events."""

_HOUR_S = 3600.0
_LOG_STEP = 0.02
"""Durations are grouped to 2 % before the cure fit, which bounds its cost for any N."""

Family = Literal["weibull", "lognormal"]


@dataclass(frozen=True)
class CureFit:
    """A mixture cure model with one delay family."""

    family: Family
    ultimate: Interval
    """p, the share that ever buys."""
    aic: float
    fitter: MixtureCureFitter

    def rate(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return p F(t) at the times [G], seconds."""
        survival = self.fitter.survival_function_at_times(time_s / _HOUR_S)
        return 1.0 - np.asarray(survival, dtype=np.float64)


@dataclass(frozen=True)
class Doubt:
    """A measure of how far a cure model can be believed."""

    metric: str
    """Name in the results table."""
    value: float
    warning: str
    """One sentence where the value is beyond its limit, else ""."""
    is_follow_up: bool = False
    """Whether the warning says that the follow-up is too short for an ultimate rate."""


def fit_cure(duration_s: NDArray[np.floating], purchased: NDArray[np.bool_]) -> list[CureFit]:
    """Fit mixture cure models with Weibull and log-normal delays, best AIC first.

    Args:
        duration_s: [N] waiting times, seconds.
        purchased: [N] whether the wait ended in a purchase.

    Returns:
        The families that converged; none with fewer than MIN_PURCHASES purchases.
    """
    if int(purchased.sum()) < MIN_PURCHASES:
        return []
    step = np.round(np.log(np.maximum(duration_s, SHORTEST_S)) / _LOG_STEP).astype(np.int64)
    group, weight = np.unique(2 * step + purchased, return_counts=True)
    if len(group) < 2:
        return []  # one waiting time for all says nothing about a distribution
    hours = np.exp((group >> 1) * _LOG_STEP) / _HOUR_S
    event = (group & 1).astype(np.bool_)
    # Start from the moments of the delays seen: half the work of lifelines' own start.
    delay = np.log(duration_s[purchased] / _HOUR_S)
    centre, spread = float(delay.mean()), max(float(delay.std()), 0.1)
    cured = float(np.clip(1.0 - purchased.mean(), 0.01, 0.99))
    starts: tuple[tuple[Family, WeibullFitter | LogNormalFitter, list[float]], ...] = (
        ("weibull", WeibullFitter(), [cured, np.exp(centre + 0.45 * spread), 1.28 / spread]),
        ("lognormal", LogNormalFitter(), [cured, centre, spread]),
    )
    fits = [
        _fit_family(family, base, np.array(start), (hours, event, weight), len(duration_s))
        for family, base, start in starts
    ]
    return sorted((fit for fit in fits if fit is not None), key=lambda fit: fit.aic)


def follow_up_alpha(duration_s: NDArray[np.floating], purchased: NDArray[np.bool_]) -> float:
    """Return the statistic of Maller & Zhou: small where the follow-up is sufficient.

    Args:
        duration_s: [N] waiting times.
        purchased: [N] whether the wait ended in a purchase.

    Returns:
        (1 - N_n / n)^n in [0, 1]; 1 without a purchase or where the longest wait ended in one.
    """
    if not purchased.any():
        return 1.0
    last, end = float(duration_s[purchased].max()), float(duration_s.max())
    late = purchased & (duration_s > 2.0 * last - end)
    if last >= end:
        return 1.0
    return float((1.0 - late.mean()) ** len(duration_s))


def doubts(
    duration_s: NDArray[np.floating],
    purchased: NDArray[np.bool_],
    fits: Sequence[CureFit],
    observed: tuple[float, float],
    misfit: tuple[float, bool],
) -> list[Doubt]:
    """Return every measure of a fit, with a warning where it is beyond its limit.

    Args:
        duration_s: [N] waiting times.
        purchased: [N] whether the wait ended in a purchase.
        fits: what `fit_cure` returned.
        observed: share that has bought by half the last readable time, and by all of it.
        misfit: largest relative distance of the fit from the observed curve, and whether it leaves
            its interval.
    """
    alpha = follow_up_alpha(duration_s, purchased)
    if not fits:
        bought = int(purchased.sum())
        why = (
            f"{bought} purchases, at least {MIN_PURCHASES} are needed"
            if bought < MIN_PURCHASES
            else "no delay family converged"
        )
        nan = float("nan")
        names = ("follow_up", "rise", "family_gap", "misfit")
        rest = (Doubt(f"cure_{name}", nan, "") for name in names)
        return [Doubt("cure_plateau_ratio", nan, f"no cure model: {why}"), *rest]
    p = fits[0].ultimate.estimate
    half, whole = observed
    reached = whole / p if p > 0 else float("nan")
    rise = 1.0 - half / whole if whole > 0 else float("nan")
    gap = abs(fits[1].ultimate.estimate - p) / p if len(fits) > 1 and p > 0 else float("nan")
    early = (
        "follow-up is too short for a cure model: purchases still come at the end of it "
        f"(Maller–Zhou α = {alpha:.2f}, limit {MAX_ALPHA:g})"
    )
    rising = (
        f"the observed curve has not levelled off: {rise:.0%} of its purchases came in the second "
        f"half of the follow-up (limit {MAX_RISE:.0%}), so more will come after it"
    )
    low = (
        f"the cure model extrapolates: the observed curve reaches only {reached:.0%} of its "
        f"ultimate rate {p:.4f} (limit {MIN_PLATEAU_RATIO:.0%})"
    )
    apart = (
        f"the cure model is not identified: Weibull and log-normal delays differ by {gap:.0%} in "
        f"the ultimate rate (limit {MAX_FAMILY_GAP:.0%})"
    )
    off = (
        f"the cure model does not fit: it misses the observed curve by up to {misfit[0]:.0%}, "
        "beyond the interval of the curve"
    )
    return [
        Doubt("cure_follow_up", alpha, early if alpha >= MAX_ALPHA else "", True),
        Doubt("cure_rise", rise, rising if rise > MAX_RISE else "", True),
        Doubt("cure_plateau_ratio", reached, low if reached < MIN_PLATEAU_RATIO else ""),
        Doubt("cure_family_gap", gap, apart if gap > MAX_FAMILY_GAP else ""),
        Doubt("cure_misfit", misfit[0], off if misfit[1] else ""),
    ]


def _fit_family(
    family: Family,
    base: WeibullFitter | LogNormalFitter,
    start: NDArray[np.float64],
    grouped: tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]],
    n: int,
) -> CureFit | None:
    hours, event, weight = grouped
    fitter = MixtureCureFitter(base_fitter=base)
    with warnings.catch_warnings():
        # Overflows on the optimiser's way are harmless; a failed fit raises or is not finite.
        warnings.simplefilter("ignore")
        try:
            fitter.fit(hours, event, weights=weight, timeline=hours[:1], initial_point=start)
            cured = fitter.summary.loc["cured_fraction_"]
            aic = float(fitter.AIC_)
        except (RuntimeError, ValueError, ArithmeticError, np.linalg.LinAlgError):
            return None  # lifelines' ConvergenceError is a ValueError
    ends = (1.0 - float(cured[f"coef {side} 95%"]) for side in ("upper", "lower"))
    low, high = (min(max(end, 0.0), 1.0) for end in ends)
    ultimate = Interval(1.0 - float(cured["coef"]), low, high, n)
    if not np.isfinite([ultimate.estimate, aic]).all():
        return None
    return CureFit(family, ultimate, aic, fitter)
