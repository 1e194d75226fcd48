"""Conversion rates under delay: naive, Kaplan-Meier, mixture cure, and the truth beside them.

An episode starts when the feedback of an engaging impression (by default a product-bag click) is
complete, and ends with the purchase or, unknown outcome, with the log (administrative censoring).
With p the share that ever buys and F the delay distribution of buyers:

    naive(W)   purchases seen within W / episodes, however young: too small
    km(W)      1 - S_KM(W): needs no shape of F, but episodes observed for at least W
    cure(W)    p F(W) of the mixture cure model S(t) = 1 - p + p (1 - F(t)); p for W = ultimate,
               an extrapolation beyond the longest follow-up
    truth(W)   mean over episodes of p_i F_i(W)

The slice "latest" is the last time at which the curve can be read. Kaplan-Meier has an "ultimate"
rate only where that is the attribution horizon or later, beyond which no purchase counts. Where it
is not, or where `evaluation.cure` finds the follow-up too short, the ultimate rate of the cure
model has no interval: its error would be that of the sample, not that of the extrapolation.

Intervals are clustered by user: see `evaluation.kaplan_meier`; that of the cure model is widened by
the design effect of the curve. Axis letters: N episodes, G grid points of a curve, H horizons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evaluation.cure import CureFit, doubts, fit_cure
from evaluation.episodes import ConversionTruth, Episodes
from evaluation.intervals import Interval, clustered_mean
from evaluation.kaplan_meier import ConversionCurve, conversion_curve
from evaluation.results import ALL, Kind, Row, Subject
from evaluation.wording import span
from sim.schema import SCENARIOS

HORIZONS = (("15min", 900.0), ("1h", 3600.0), ("24h", 86400.0), ("72h", 259200.0))
"""(slice in the table, seconds); attribution windows in use, see conf/world for the delays."""

LATEST = "latest"
"""Slice of the conversion rate at the last readable time, which ``cvr_readable_s`` holds."""
ULTIMATE = "ultimate"
"""Slice of the conversion rate without a horizon."""

MIN_AT_RISK = 30
"""Where fewer episodes still wait, one purchase moves the curve by points: it is not read there."""

_GRID = 81
_CURVE_COLUMNS = ("scenario", "estimator", "t_s", "cumulative_conversion", "low", "high")


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
        horizons: (slice, seconds) at which rates are given, besides the latest and ultimate one.

    Returns:
        Rows, one curve per scenario with enough episodes, and warnings. A rate that the data do
        not identify (horizon beyond the follow-up of MIN_AT_RISK episodes, too few purchases for a
        cure model) is NaN.

    Raises:
        ValueError: the truth is about another number of episodes.
    """
    if truth is not None and len(truth.probability) != len(waiting):
        raise ValueError(
            f"truth is about {len(truth.probability)} episodes, but there are {len(waiting)}"
        )
    found = Survival([], [], [])
    scopes = [(name, waiting.scenario == code) for code, name in enumerate(SCENARIOS)]
    readable: dict[str, float] = {}
    for scenario, rows in (*scopes, (ALL, np.ones(len(waiting), dtype=np.bool_))):
        part = waiting.take(rows)
        if len(part) == 0:
            found.warnings.append(f"{scenario}: no episodes, so no conversion rate")
            continue
        own = None if truth is None else truth.take(rows)
        readable[scenario] = _analyse_scope(found, subject, scenario, part, own, horizons)
    horizon_s = np.inf if truth is None else truth.horizon_s
    short = {name: end for name, end in readable.items() if 0.0 < end < horizon_s}
    if short and np.isfinite(horizon_s):
        said = ", ".join(f"{span(end)} ({name})" for name, end in short.items())
        found.warnings.insert(
            0,
            f"purchases count for {span(horizon_s)}, but the curve can be read only up to {said}: "
            "nothing observed is an ultimate rate, and that of the cure model is a guess",
        )
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


def _analyse_scope(
    found: Survival,
    subject: Subject,
    scenario: str,
    part: Episodes,
    truth: ConversionTruth | None,
    horizons: tuple[tuple[str, float], ...],
) -> float:
    """Add rows, warnings and a curve of one scenario; return its last readable time, seconds."""
    n = len(part)
    nothing = Interval(float("nan"), float("nan"), float("nan"), n)
    readable_s = _readable_s(part)
    horizon_s = np.inf if truth is None else truth.horizon_s
    whole = readable_s >= horizon_s
    latest_s = max(readable_s, 0.0)
    named = [*horizons, (LATEST, latest_s), (ULTIMATE, np.inf)]
    times = np.array([seconds for _, seconds in named[:-1]])
    km = conversion_curve(part.duration_s, part.purchased, part.user_id, times)
    fits = fit_cure(part.duration_s, part.purchased)
    best = fits[0] if fits else None
    cure = best.rate(times) if best else np.full(len(times), np.nan)
    seen = (times[:-1] <= readable_s) & (km.rate[:-1] > 0)
    misfit = _misfit(cure[:-1][seen], km.rate[:-1][seen], km.low[:-1][seen], km.high[:-1][seen])
    reached = float(km.rate[-1]) if readable_s > 0 else float("nan")
    half = conversion_curve(part.duration_s, part.purchased, part.user_id, times[-1:] / 2).rate
    raised = doubts(part.duration_s, part.purchased, fits, (float(half[0]), reached), misfit)
    short = not whole and (
        np.isfinite(horizon_s) or any(d.is_follow_up and bool(d.warning) for d in raised)
    )

    def add(metric: str, interval: Interval, slice_: str, kind: Kind = "offline") -> None:
        found.rows.append(subject.level(metric, kind, interval, scenario=scenario, slice=slice_))

    for index, (name, seconds) in enumerate(named):
        if seconds <= 0.0:
            continue  # no curve, so no latest time
        last = name == ULTIMATE
        at = index - 1 if last else index  # the latest value is the ultimate one, where it is whole
        readable = whole if last else seconds <= readable_s
        add("cvr/naive", _naive(part, seconds), name)
        add("cvr/km", _interval(km, at, n) if readable else nothing, name)
        if last:
            add("cvr/cure", _ultimate(best, km, short, n) if best else nothing, name)
        else:
            add("cvr/cure", replace(nothing, estimate=float(cure[index])), name)
        if truth is not None:
            exact = replace(nothing, estimate=truth.rate(seconds))
            add("cvr/truth", exact, name, "truth")
    if latest_s > 0.0:
        add("cvr_readable_s", replace(nothing, estimate=latest_s), LATEST)
    for doubt in raised:
        add(doubt.metric, replace(nothing, estimate=doubt.value), ULTIMATE)
        if doubt.warning:
            found.warnings.append(f"{scenario}: {doubt.warning}")
    if readable_s > 0:
        found.curves.append(_curve(scenario, part, readable_s, best, truth))
    else:
        text = f"{scenario}: {n} episodes, at least {MIN_AT_RISK} are needed for a curve"
        found.warnings.append(text)
    return latest_s


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


def _naive(part: Episodes, horizon_s: float) -> Interval:
    bought = (part.purchased & (part.duration_s <= horizon_s)).astype(np.float64)
    _, user = np.unique(part.user_id, return_inverse=True)
    return clustered_mean(bought, user, int(user.max()) + 1).interval()


def _interval(curve: ConversionCurve, index: int, n: int) -> Interval:
    rate, low, high = (float(a[index]) for a in (curve.rate, curve.low, curve.high))
    return Interval(rate, low, high, n)


def _ultimate(best: CureFit, km: ConversionCurve, short: bool, n: int) -> Interval:
    """Return p of the cure model, its interval widened for users who come back."""
    found = best.ultimate
    if short:
        return Interval(found.estimate, float("nan"), float("nan"), n)
    widening = np.sqrt(np.fmax(km.design_effect[-1], 1.0))
    low = found.estimate - (found.estimate - found.low) * widening
    high = found.estimate + (found.high - found.estimate) * widening
    return Interval(found.estimate, max(float(low), 0.0), min(float(high), 1.0), n)


def _curve(
    scenario: str,
    part: Episodes,
    readable_s: float,
    best: CureFit | None,
    truth: ConversionTruth | None,
) -> Curve:
    time_s = np.geomspace(60.0, max(readable_s, 61.0), _GRID)
    km = conversion_curve(part.duration_s, part.purchased, part.user_id, time_s)
    unknown = np.full(_GRID, np.nan)
    true_rate = unknown if truth is None else np.array([truth.rate(t) for t in time_s])
    waiting = len(part) - np.searchsorted(np.sort(part.duration_s), time_s, side="left")
    cure = best.rate(time_s) if best else unknown
    seen = np.searchsorted(np.sort(part.duration_s[part.purchased]), time_s, side="right")
    naive = seen / len(part)
    at_risk = waiting.astype(np.int64)
    return Curve(scenario, time_s, km.rate, km.low, km.high, naive, cure, true_rate, at_risk)
