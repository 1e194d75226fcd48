"""Conversion rates under delay: naive, Kaplan-Meier, mixture cure, and the truth beside them.

An episode starts when the feedback of an engaging impression (by default a product-bag click) is
complete, and ends with the purchase or, unknown outcome, with the log (administrative censoring).
With p the share that ever buys and F the delay distribution of buyers:

    naive(W)   purchases seen within W / episodes, however young: too small
    km(W)      1 - S_KM(W): needs no shape of F, but episodes observed for at least W
    cure(W)    p F(W) of the mixture cure model S(t) = 1 - p + p (1 - F(t)); p for W = ultimate,
               an extrapolation beyond the longest follow-up
    truth(W)   mean over episodes of p_i F_i(W)

Cure extrapolation fails silently, so a fit is flagged where the curve has not reached 0.9 of the
fitted p (plateau ratio), where Weibull and log-normal delays disagree on p by more than 10 % of
the chosen one (family gap), or where the fit leaves the interval of the curve itself (misfit; an
impulse plus a long tail makes a single family stop extrapolating). The smaller AIC is chosen.

Sources: Kaplan & Meier (1958) and Greenwood intervals as in lifelines; mixture cure: Boag (1949),
Berkson & Gage (1952). The only module that imports lifelines. Axis letters: N episodes, G grid
points of a curve.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from lifelines import KaplanMeierFitter, LogNormalFitter, MixtureCureFitter, WeibullFitter
from numpy.typing import NDArray

from evaluation.episodes import SHORTEST_S, ConversionTruth, Episodes
from evaluation.intervals import Interval, clustered_mean
from evaluation.results import ALL, Row, Subject
from sim.schema import SCENARIOS

HORIZONS = (("15min", 900.0), ("1h", 3600.0), ("24h", 86400.0), ("72h", 259200.0))
"""(slice in the table, seconds); attribution windows in use, see conf/world for the delays."""

ULTIMATE = "ultimate"
"""Slice of the conversion rate without a horizon."""

MIN_PLATEAU_RATIO = 0.9
MAX_FAMILY_GAP = 0.1
MIN_AT_RISK = 30
"""Where fewer episodes still wait, one purchase moves the curve by points: it is not read there."""
MIN_PURCHASES = 20
"""Below this no cure model is fitted: three parameters need more than a handful of events."""

_HOUR_S = 3600.0
_LOG_STEP = 0.02
"""Durations are grouped to 2 % before the cure fit, which bounds its cost for any N."""
_GRID = 81
_CURVE_COLUMNS = ("scenario", "estimator", "t_s", "cumulative_conversion", "low", "high")

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
class Curve:
    """Conversion rate against time since the start of the episode, arrays [G]."""

    scenario: str
    time_s: NDArray[np.float64]
    km: NDArray[np.float64]
    km_low: NDArray[np.float64]
    km_high: NDArray[np.float64]
    naive: NDArray[np.float64]
    cure: NDArray[np.float64]
    """NaN where no cure model could be fitted."""
    truth: NDArray[np.float64]
    """NaN where the truth was not given."""
    at_risk: NDArray[np.int64]
    """Episodes still waiting at each time."""


@dataclass(frozen=True)
class Survival:
    """Everything that the survival analysis says."""

    rows: list[Row]
    curves: list[Curve]
    warnings: list[str]
    """One sentence per scenario and reason not to believe a number."""


def analyse(
    subject: Subject,
    waiting: Episodes,
    truth: ConversionTruth | None = None,
    horizons: tuple[tuple[str, float], ...] = HORIZONS,
) -> Survival:
    """Estimate conversion rates per scenario and overall, and compare them with the truth.

    Args:
        subject: study and world of the rows; `policy` is "" where the log is of no one policy.
        waiting: N episodes.
        truth: the truth about the same episodes, where it may be known.
        horizons: (slice, seconds) at which rates are given, besides the ultimate one.

    Returns:
        Rows, one curve per scenario with enough episodes, and warnings. A rate that the data do
        not identify (horizon beyond the follow-up of MIN_AT_RISK episodes, fewer than MIN_PURCHASES
        purchases) is NaN; the ultimate rate of ``cvr/km`` is the curve where it is last readable.

    Raises:
        ValueError: the truth is about another number of episodes.
    """
    if truth is not None and len(truth.probability) != len(waiting):
        raise ValueError(
            f"truth is about {len(truth.probability)} episodes, but there are {len(waiting)}"
        )
    found = Survival([], [], [])
    scopes = [(name, waiting.scenario == code) for code, name in enumerate(SCENARIOS)]
    for scenario, rows in (*scopes, (ALL, np.ones(len(waiting), dtype=np.bool_))):
        part = waiting.take(rows)
        if len(part) == 0:
            found.warnings.append(f"{scenario}: no episodes, so no conversion rate")
            continue
        _analyse_scope(found, subject, scenario, part, truth, rows, horizons)
    return found


def curve_frame(curves: Sequence[Curve]) -> pd.DataFrame:
    """Return curves in long form, as the report reads them.

    Returns:
        Columns scenario, estimator (km, naive, cure, truth), t_s, cumulative_conversion, low, high;
        estimators without values are left out.
    """
    parts = []
    for curve in curves:
        unknown = np.full(len(curve.time_s), np.nan)
        for estimator, rate, low, high in (
            ("km", curve.km, curve.km_low, curve.km_high),
            ("naive", curve.naive, unknown, unknown),
            ("cure", curve.cure, unknown, unknown),
            ("truth", curve.truth, unknown, unknown),
        ):
            if np.isnan(rate).all():
                continue
            columns = (curve.scenario, estimator, curve.time_s, rate, low, high)
            parts.append(pd.DataFrame(dict(zip(_CURVE_COLUMNS, columns, strict=True))))
    if not parts:
        return pd.DataFrame(columns=list(_CURVE_COLUMNS))
    return pd.concat(parts, ignore_index=True)


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


def _analyse_scope(
    found: Survival,
    subject: Subject,
    scenario: str,
    part: Episodes,
    truth: ConversionTruth | None,
    rows: NDArray[np.bool_],
    horizons: tuple[tuple[str, float], ...],
) -> None:
    n = len(part)
    readable_s = _readable_s(part)
    times = np.array([seconds for _, seconds in horizons])
    km, km_low, km_high = _kaplan_meier(part, np.append(times, max(readable_s, 0.0)))
    fits = fit_cure(part.duration_s, part.purchased)
    best = fits[0] if fits else None
    cure = best.rate(times) if best else np.full(len(times), np.nan)

    def add(metric: str, interval: Interval, slice_: str) -> None:
        kind = "truth" if metric == "cvr/truth" else "offline"
        row = subject.level(metric, kind, interval, scenario=scenario, slice=slice_)  # type: ignore[arg-type]
        found.rows.append(row)

    for index, (name, seconds) in enumerate(horizons):
        add("cvr/naive", _naive(part, seconds), name)
        add("cvr/km", _or_nan(km, km_low, km_high, index, n, seconds <= readable_s), name)
        add("cvr/cure", Interval(float(cure[index]), np.nan, np.nan, n), name)
        if truth is not None:
            add("cvr/truth", Interval(truth.rate(seconds, rows), np.nan, np.nan, n), name)
    plateau = _or_nan(km, km_low, km_high, -1, n, readable_s > 0)
    add("cvr/naive", _naive(part, np.inf), ULTIMATE)
    add("cvr/km", plateau, ULTIMATE)
    add("cvr/cure", best.ultimate if best else Interval(np.nan, np.nan, np.nan, n), ULTIMATE)
    if truth is not None:
        add("cvr/truth", Interval(truth.rate(np.inf, rows), np.nan, np.nan, n), ULTIMATE)
    seen = np.append(times <= readable_s, False) & (km > 0)
    misfit = _misfit(np.append(cure, np.nan)[seen], km[seen], km_low[seen], km_high[seen])
    for metric, value, warning in _doubts(part, fits, plateau.estimate, misfit):
        add(metric, Interval(value, np.nan, np.nan, n), ULTIMATE)
        if warning:
            found.warnings.append(f"{scenario}: {warning}")
    if readable_s > 0:
        found.curves.append(_curve(scenario, part, readable_s, best, truth, rows))
    else:
        text = f"{scenario}: {n} episodes, at least {MIN_AT_RISK} are needed for a curve"
        found.warnings.append(text)


def _readable_s(part: Episodes) -> float:
    """Latest time at which MIN_AT_RISK episodes still wait; -inf where there never were as many."""
    if len(part) < MIN_AT_RISK:
        return -np.inf
    return float(np.partition(part.duration_s, -MIN_AT_RISK)[-MIN_AT_RISK])


def _misfit(
    cure: NDArray[np.float64],
    km: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> tuple[float, bool]:
    """Largest |cure / km - 1| over the horizons [H], and whether the fit leaves an interval."""
    if not len(cure) or np.isnan(cure).any():
        return float("nan"), False
    return float(np.abs(cure / km - 1.0).max()), bool(((cure < low) | (cure > high)).any())


def _doubts(
    part: Episodes, fits: list[CureFit], plateau: float, misfit: tuple[float, bool]
) -> list[tuple[str, float, str]]:
    """(metric, value, warning or "") for each reason not to believe the cure model."""
    names = ("cure_plateau_ratio", "cure_family_gap", "cure_misfit")
    if not fits:
        bought = int(part.purchased.sum())
        why = (
            f"{bought} purchases, at least {MIN_PURCHASES} are needed"
            if bought < MIN_PURCHASES
            else "no delay family converged"
        )
        texts = (f"no cure model: {why}", "", "")
        return [(name, float("nan"), text) for name, text in zip(names, texts, strict=True)]
    p = fits[0].ultimate.estimate
    reached = plateau / p if p > 0 else float("nan")
    gap = abs(fits[1].ultimate.estimate - p) / p if len(fits) > 1 and p > 0 else float("nan")
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
        (names[0], reached, low if reached < MIN_PLATEAU_RATIO else ""),
        (names[1], gap, apart if gap > MAX_FAMILY_GAP else ""),
        (names[2], misfit[0], off if misfit[1] else ""),
    ]


def _naive(part: Episodes, horizon_s: float) -> Interval:
    bought = (part.purchased & (part.duration_s <= horizon_s)).astype(np.float64)
    _, user = np.unique(part.user_id, return_inverse=True)
    return clustered_mean(bought, user, int(user.max()) + 1).interval()


def _kaplan_meier(
    part: Episodes, times_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """1 - S_KM at the times, with 95 % Greenwood (log-log) ends, [G] each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # log(0) where nobody has bought yet
        fitter = KaplanMeierFitter().fit(part.duration_s, part.purchased)
    steps = fitter.survival_function_.index.to_numpy()
    at = np.searchsorted(steps, times_s, side="right") - 1
    rate = 1.0 - fitter.survival_function_.to_numpy()[at, 0]
    ends = 1.0 - fitter.confidence_interval_.to_numpy()[at]
    # lifelines gives lower and upper ends of S; before the first purchase there is no interval.
    ends[rate == 0.0] = np.nan
    return rate, ends.min(axis=1), ends.max(axis=1)


def _or_nan(
    rate: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    index: int,
    n: int,
    identified: bool,
) -> Interval:
    if not identified:
        return Interval(float("nan"), float("nan"), float("nan"), n)
    return Interval(float(rate[index]), float(low[index]), float(high[index]), n)


def _curve(
    scenario: str,
    part: Episodes,
    readable_s: float,
    best: CureFit | None,
    truth: ConversionTruth | None,
    rows: NDArray[np.bool_],
) -> Curve:
    time_s = np.geomspace(60.0, max(readable_s, 61.0), _GRID)
    km, low, high = _kaplan_meier(part, time_s)
    unknown = np.full(_GRID, np.nan)
    true_rate = unknown if truth is None else np.array([truth.rate(t, rows) for t in time_s])
    waiting = len(part) - np.searchsorted(np.sort(part.duration_s), time_s, side="left")
    cure = best.rate(time_s) if best else unknown
    seen = np.searchsorted(np.sort(part.duration_s[part.purchased]), time_s, side="right")
    naive = seen / len(part)
    return Curve(scenario, time_s, km, low, high, naive, cure, true_rate, waiting.astype(np.int64))
