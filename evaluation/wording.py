"""How numbers, metrics and scenarios are written for people: signs, digits, units, names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from evaluation.leaderboard import PREFERRED
from evaluation.results import ALL, split_name, unit_of

MINUS, MISSING = "\N{MINUS SIGN}", "\N{EN DASH}"

_SCENARIOS = {ALL: "All scenarios", "channel": "Channel page", "feed": "App feed",
              "tab": "Guess you like", "detail": "Product page", "swipe": "Swipe"}  # fmt: skip
_METRICS = {"page_ctr": "page CTR", "user_ctr": "user CTR", "watch_s_per_user": "watch time",
            "gmv_cny_per_user": "GMV per user"}  # fmt: skip
_OFFLINE = {"hr": "hit rate", "ndcg": "NDCG", "mrr": "mean reciprocal rank",
            "query_auc": "AUC per request", "auc": "AUC", "gauc": "AUC within users",
            "recall": "recall", "precision": "precision", "ap": "average precision",
            "gauc_by_positives": "AUC within users weighted by positives",
            "gauc_by_users": "AUC within users of equal weight",
            "top_value": "worth of the top of a page", "request_value": "worth of a page",
            "logloss": "log loss", "pcoc": "predicted over observed",
            "pcoc_true": "predicted over true", "ece": "calibration error",
            "ece_true": "calibration error against the truth",
            "inversion": "predicted above what it needs"}  # fmt: skip
_UNITS = {"share": "share", "ndcg": "0 to 1", "reciprocal rank": "0 to 1", "auc": "0 to 1",
          "average precision": "0 to 1", "nats": "nats"}  # fmt: skip
_SAMPLED = re.compile(r"/s\d+(_[a-z0-9.]+)?$")
_CORRECTIONS = {"rank": "the estimated rank", "cls": "monotone least squares"}
_CUT = re.compile(r"@\d+")


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what is written, and a smaller note such as an interval."""

    text: str
    note: str = ""


def lift(estimate: float, low: float = np.nan, high: float = np.nan) -> Cell:
    """Write a relative lift (0.05 is "+5.0 %"), with its interval as the note."""
    if np.isnan(estimate):
        return Cell(MISSING)
    text = f"{_signed(100 * estimate)}\N{NO-BREAK SPACE}%"
    return Cell(text, "" if np.isnan(low) or np.isnan(high) else interval(low, high))


def interval(low: float, high: float) -> str:
    """Write the ends of an interval of a lift: "+3.9 to +6.1 %"; "" where there is none."""
    if np.isnan(low) or np.isnan(high):
        return ""
    return f"{_signed(100 * low)} to {_signed(100 * high)}\N{NO-BREAK SPACE}%"


def number(value: float, name: str) -> Cell:
    """Write the level of a metric with as many digits as its unit deserves."""
    if np.isnan(value):
        return Cell(MISSING)
    digits = 4 if unit_of(name) in _UNITS else 3
    return Cell(f"{value:.{digits}f}".replace("-", MINUS))


def tau(value: float) -> Cell:
    """Write a rank correlation with sign and two digits."""
    return Cell(f"{value:+.2f}".replace("-", MINUS))


def tau_is(value: float) -> str:
    """Write a rank correlation as an equation that does not break over lines."""
    return f"τ\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{tau(value).text}"


def probability(value: float, low: float = np.nan, high: float = np.nan) -> Cell:
    """Write a share in per cent, with its interval as the note."""
    if np.isnan(value):
        return Cell(MISSING)
    note = "" if np.isnan(low) or np.isnan(high) else f"{100 * low:.2f} to {100 * high:.2f}"
    return Cell(f"{100 * value:.2f}\N{NO-BREAK SPACE}%", note)


def metric(name: str) -> str:
    """Name an online metric: "purchases per user", "page CTR"."""
    return _METRICS.get(name) or name.replace("_", " ")


def offline(name: str) -> str:
    """Name an offline metric with its meaning and unit, as an axis title."""
    return f"{name}: {meaning(name)} ({_UNITS.get(unit_of(name), unit_of(name))})"


def meaning(name: str) -> str:
    """Say what an offline metric is: "hit rate among 20 sampled rooms"."""
    base, target = split_name(name)
    head, _, detail = base.partition("/")
    words = _OFFLINE.get(_CUT.sub("", head), head)
    if detail and not _SAMPLED.search(base):
        words += f" by {detail.replace('_', ' ')}"
    elif detail:
        number, _, correction = detail[1:].partition("_")
        words += f" among {number} sampled rooms"
        if correction:
            named = _CORRECTIONS.get(correction) or f"bias and variance at γ = {correction[2:]}"
            words += f" corrected by {named}"
    if target:
        words += f" of {target.replace('_', ' ')}"
    return words


def scenario(name: str) -> str:
    """Name a scenario."""
    return _SCENARIOS.get(name, name)


def span(seconds: float) -> str:
    """Write a length of time in the unit that suits it: "5.5 days", "90 min"."""
    for unit, size, least in (("days", 86400.0, 2.0), ("h", 3600.0, 2.0), ("min", 60.0, 2.0)):
        if seconds >= least * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def listed(names: Iterable[str], shown: int = 2) -> str:
    """Write a list of names that may be long: "hr@10, mrr and 3 more"."""
    found = sorted(names, key=metric_order)
    if len(found) > shown + 1:
        return f"{', '.join(found[:shown])} and {len(found) - shown} more"
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def is_common(name: str) -> bool:
    """Return whether an offline metric is one that people quote: of ranking at 10, or of engage."""
    base = _SAMPLED.sub("", name)
    return base in ("hr@10", "ndcg@10", "mrr", "query_auc") or name.endswith("/engage")


def metric_order(name: str) -> tuple[int, str]:
    """Return a sort key that puts the metrics people look at first, first."""
    base = _SAMPLED.sub("", name)
    return (PREFERRED.index(base) if base in PREFERRED else len(PREFERRED), name)


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", MINUS)
