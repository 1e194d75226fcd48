"""All estimates of one target policy side by side, with what each took and how far from the truth.

    seen = replay(log, ServedPolicy(policy, exploration), reward, truth_for=truth_for)
    tops = assess_rounds(seen.rounds(), seen.tops.unsupported)    value of the top place
    pages = assess_slates(seen.slates("request"))                 value of a page
    tops.overlap.effective_n                                      to be looked at first
    beside(tops.findings["dr"].estimate, seen.tops.true_value.mean())

Whole and runnable: examples/off_policy.py. The truth of the top place is exact
(`Tops.true_value`). That of deploying the target is `evaluation.true_value`, per user who comes: to
be set beside the spans "session" and, as far as weights allow, "user", taken `per_user`; what is
left between them is interference and learning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Estimate, Interval, difference
from evaluation.off_policy import single_action as one
from evaluation.off_policy import slate_estimators as many
from evaluation.off_policy import tuning
from evaluation.off_policy.diagnostics import Diagnostics, diagnose
from evaluation.off_policy.rounds import Rounds
from evaluation.off_policy.slates import Slates
from evaluation.off_policy.tuning import Tuned


@dataclass(frozen=True)
class Finding:
    """What one estimator says."""

    estimate: Estimate
    parameter: float = float("nan")
    """Threshold, strength or bend that the data chose; NaN where the estimator has none."""


@dataclass(frozen=True)
class Beside:
    """An estimate beside the truth."""

    interval: Interval
    truth: float
    error: float
    """Estimate less truth."""
    relative_error: float
    """|estimate - truth| / |truth|; NaN where the truth is 0."""
    covers: bool
    """The truth lies inside the interval; False where there is none."""


@dataclass(frozen=True)
class Assessment:
    """What the log says about one target policy."""

    overlap: Diagnostics
    """What the weights say about all that follows."""
    logged: Estimate
    """What the logging policy brought: the level that the target is to beat."""
    findings: dict[str, Finding]
    """Estimator -> what it says of the target; those that the log allows."""


PLAIN: dict[str, Callable[[Rounds], Estimate]] = {
    "ips": one.ips,
    "snips": one.snips,
    "dm": one.dm,
    "dr": one.dr,
    "sndr": one.sndr,
    "mips": one.mips,
}
TUNED: dict[str, Callable[[Rounds], Tuned]] = {
    "clipped_ips": tuning.tuned_clipped_ips,
    "sg_ips": tuning.tuned_sg_ips,
    "switch_dr": tuning.tuned_switch_dr,
    "dros": tuning.tuned_dros,
    "sg_dr": tuning.tuned_sg_dr,
}
SLATE: dict[str, Callable[[Slates], Estimate]] = {
    "sips": many.sips,
    "snsips": many.snsips,
    "iips": many.iips,
    "rips": many.rips,
    "pi": many.pi,
    "cascade_dr": many.cascade_dr,
}


def assess_rounds(rounds: Rounds, unsupported: NDArray[np.float64] | None = None) -> Assessment:
    """Return every estimate that the rounds allow.

    Args:
        rounds: the log as the target sees it.
        unsupported: target mass without support of each round [N], see `diagnostics.diagnose`.
    """
    missing = set()
    if rounds.group_weight is None:
        missing |= {"mips"}
    if rounds.q_chosen is None:
        missing |= {"dm", "dr", "sndr", "switch_dr", "dros", "sg_dr"}
    plain = {name: Finding(f(rounds)) for name, f in PLAIN.items() if name not in missing}
    for name, choose in TUNED.items():
        if name not in missing:
            tuned = choose(rounds)
            plain[name] = Finding(tuned.estimate, tuned.parameter)
    return Assessment(diagnose(rounds, unsupported), one.on_policy(rounds), plain)


def assess_slates(slates: Slates) -> Assessment:
    """Return every estimate that the slates allow; the weights of `overlap` are of whole slates."""
    lacks = {
        "snsips": slates.divisor is not None,  # it is per slate, and the others are not
        "iips": slates.place_ratio is None,
        "pi": slates.pseudo_weight is None,
        "cascade_dr": slates.q_chosen is None,
    }
    found = {name: Finding(f(slates)) for name, f in SLATE.items() if not lacks.get(name, False)}
    return Assessment(diagnose(slates), many.on_policy(slates), found)


def differences(treated: Assessment, control: Assessment) -> dict[str, Estimate]:
    """Return treated less control of each estimator that both have, paired by user.

    Raises:
        ValueError: they are not of one log.
    """
    return {
        name: difference(found.estimate, control.findings[name].estimate)
        for name, found in treated.findings.items()
        if name in control.findings
    }


def beside(estimate: Estimate, truth: float) -> Beside:
    """Return an estimate with its interval and its error against the truth."""
    interval = estimate.interval()
    error = interval.estimate - truth
    return Beside(
        interval=interval,
        truth=truth,
        error=error,
        relative_error=abs(error) / abs(truth) if truth else float("nan"),
        covers=bool(interval.low <= truth <= interval.high),
    )
