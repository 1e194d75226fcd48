"""Gates: what must hold before an experiment is believed, each green or red.

    sample ratio   arms have the shares that were planned (chi-square)
    stickiness     nobody meets two arms
    balance        arms do not differ in what users are: a chi-square of arm by profile
    before         arms do not differ in what was measured before (A/A on the covariate), and
                   nothing of the covariate became known after the start
    A/A            the analysis, on assignments drawn again over the same data, rejects as often as
                   it says: too often where errors are clustered wrongly
    leak           no prediction beats the true probability: one that does has seen the label (for
                   policies that predict; `swipelab ab` serves any policy and does not run it)

Gates on chance are red below RED, which a sound experiment meets once in a thousand times
(Fabijan et al., "Diagnosing sample ratio mismatch in online controlled experiments", KDD 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr
from scipy.stats import binomtest, chi2, chisquare

from evaluation.ab.assignment import redrawn
from evaluation.ab.contrast import between
from evaluation.ab.level import cuped_levels, ratio_level
from evaluation.ab.moments import Moments, assigned
from evaluation.ab.panel import Panel
from evaluation.classification import cross_entropy
from evaluation.intervals import clustered_mean

RED = 0.001
"""p-value below which a gate is red."""

Analysis = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""From assignments [R, U] to p-values of no effect [R]."""


@dataclass(frozen=True)
class Gate:
    """One check."""

    name: str
    passes: bool
    value: float
    """The p-value, rate or count that decided."""
    reason: str
    """One sentence with figures."""


def sample_ratio(counts: Sequence[int], shares: Sequence[float]) -> Gate:
    """Check that the arms hold as many users as was planned.

    Args:
        counts: users seen in each arm.
        shares: planned shares, summing to 1.

    Raises:
        ValueError: the lengths differ or a share is not in (0, 1).
    """
    planned = np.asarray(shares, np.float64)
    if len(counts) != len(planned) or not ((planned > 0.0) & (planned < 1.0)).all():
        raise ValueError(
            f"counts = {list(counts)}, shares = {list(shares)}; allowed: one share in (0, 1) each"
        )
    total = float(np.sum(counts))
    p = float(chisquare(counts, planned / planned.sum() * total).pvalue) if total else 0.0
    seen = ", ".join(f"{count / max(total, 1.0):.4f}" for count in counts)
    return Gate("sample ratio", p >= RED, p, f"shares {seen} of {total:,.0f} users, p = {p:.2g}")


def stickiness(user_id: NDArray[np.integer], arm: NDArray[np.integer]) -> Gate:
    """Check that every user met one arm.

    Args:
        user_id: of each exposure [N].
        arm: that served it [N].
    """
    pairs = np.unique(np.column_stack([user_id, arm]), axis=0)
    users, arms = np.unique(pairs[:, 0], return_counts=True)
    torn = int((arms > 1).sum())
    if not len(users):
        return _untested("stickiness", "nobody was served")
    return Gate("stickiness", torn == 0, torn, f"{torn:,} of {len(users):,} users met two arms")


def balance(arm: NDArray[np.integer], profile: NDArray[np.integer], name: str) -> Gate:
    """Check that the arm is independent of what users are.

    Args:
        arm: of each user [U].
        profile: band or tier of each user [U].
        name: of the profile field.
    """
    arms, row = np.unique(arm, return_inverse=True)
    bands, column = np.unique(profile, return_inverse=True)
    table = np.zeros((len(arms), len(bands)))
    np.add.at(table, (row, column), 1.0)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / max(len(arm), 1)
    df = (len(arms) - 1) * (len(bands) - 1)
    name = f"balance of {name}"
    if len(arms) < 2:
        return _untested(name, f"{len(arm)} users in {len(arms)} arms")
    statistic = float(((table - expected) ** 2 / expected).sum()) if df else 0.0
    p = float(chi2.sf(statistic, df)) if df else 1.0  # all alike: balanced whatever the arms
    return Gate(name, p >= RED, p, f"arm by profile: chi-square {statistic:.1f}, p = {p:.2g}")


def before(
    treated: NDArray[np.bool_],
    numerator: NDArray[np.float64],
    denominator: NDArray[np.float64],
    last_known_s: float,
    start_s: float,
) -> Gate:
    """Check the covariate of CUPED: from before the start, and alike in both arms.

    A covariate that took in what the treatment did differs by arm, and CUPED would subtract part
    of the effect.

    Args:
        treated: [U].
        numerator: of the covariate [U].
        denominator: of the covariate [U].
        last_known_s: when the latest event in it became known, seconds.
        start_s: when the experiment began, seconds.
    """
    columns = np.column_stack([numerator, denominator])
    one, other = (ratio_level(Moments.of(columns[rows])) for rows in (treated, ~treated))
    contrast = between(one, other)
    p = float(contrast.p_value)
    late_h = (last_known_s - start_s) / 3600.0
    if late_h > 0.0:
        return Gate("before", False, p, f"the covariate knows {late_h:.1f} hours of the experiment")
    if np.isnan(p):
        return _untested("before", "an arm without events or without spread before the start")
    return Gate("before", p >= RED, p, f"arms before the start: p = {p:.2g}")


def a_a(
    analysis: Analysis,
    clusters: int,
    runs: int = 4000,
    share: float = 0.5,
    level: float = 0.95,
    tolerance: float = 0.01,
    seed: int = 0,
) -> Gate:
    """Check that an analysis rejects as often as it says when nothing differs.

    The clusters are assigned again and again over the data as they are; whatever effect was there
    is spread over both arms.

    Args:
        analysis: p-values [R] of assignments [R, clusters].
        clusters: units of randomisation.
        runs: assignments, at least 100.
        share: of the treated.
        level: what the analysis claims.
        tolerance: by how much the rate may depart from 1 - level before chance is asked.
        seed: of the assignments.

    Raises:
        ValueError: `runs` is below 100.
    """
    if runs < 100:
        raise ValueError(f"runs = {runs}; allowed: at least 100")
    step = max(1, (1 << 22) // max(clusters, 1))
    assignments = redrawn(clusters, runs, share, seed)
    p_values = np.concatenate(
        [analysis(assignments[low : low + step]) for low in range(0, runs, step)]
    )
    size = 1.0 - level
    known = p_values[~np.isnan(p_values)]
    rejected = int((known < size).sum())
    rate = rejected / max(len(known), 1)
    if len(known) < runs // 2:
        return Gate("A/A", False, rate, f"{runs - len(known):,} of {runs:,} runs have no p-value")
    p = float(binomtest(rejected, len(known), size).pvalue)
    passes = abs(rate - size) <= tolerance or p >= RED
    return Gate(
        "A/A", passes, rate, f"{rate:.2%} of {len(known):,} runs reject, {size:.0%} is claimed"
    )


def split_analysis(panel: Panel, cuped: bool = False) -> Analysis:
    """Return the analysis of split traffic whose clusters are the rows of a panel.

    Args:
        panel: of the clusters that are assigned.
        cuped: whether to use the time before.
    """
    columns = panel.columns

    def p_values(treated: NDArray[np.bool_]) -> NDArray[np.float64]:
        arms = assigned(columns, treated)
        levels = cuped_levels(*arms) if cuped else tuple(ratio_level(arm) for arm in arms)
        return between(levels[0], levels[1]).p_value

    return p_values


def leak(
    label: NDArray[np.bool_],
    predicted: NDArray[np.floating],
    true: NDArray[np.floating],
    user_id: NDArray[np.integer],
) -> Gate:
    """Check that a prediction is no better than the true probability, which only labels allow.

    The expected log-loss is smallest for the true probability given everything but the outcome; the
    gap is tested by user.

    Args:
        label: what happened [N].
        predicted: probability that the policy gave [N].
        true: true probability, from the simulator [N].
        user_id: [N].
    """
    if not all(((p >= 0.0) & (p <= 1.0)).all() for p in (predicted, true)):
        return Gate("leak", False, np.nan, "predictions or truth that are no probabilities")
    happened = label.astype(np.float64)
    losses = (cross_entropy(p.astype(np.float64), happened) for p in (predicted, true))
    gap = next(losses) - next(losses)
    users, of = np.unique(user_id, return_inverse=True)
    estimate = clustered_mean(gap, of, len(users), "plain")
    error = estimate.standard_error
    if len(users) < 2:
        return _untested("leak", f"{len(users)} users")
    # without spread the predictions are the truth itself
    exact = float(estimate.value >= 0.0)
    p = float(stdtr(len(users) - 1, estimate.value / error)) if error > 0.0 else exact
    return Gate(
        "leak", p >= RED, p, f"log-loss {estimate.value:+.4f} against the truth, p = {p:.2g}"
    )


def _untested(name: str, what: str) -> Gate:
    """Return a red gate: what was not tested has not passed."""
    return Gate(name, False, np.nan, f"nothing to test: {what}")
