"""Many questions at once: family-wise error for decisions, false discoveries for screening.

    holm               family-wise, no assumption (Holm 1979)
    benjamini_hochberg expected share of false discoveries (Benjamini & Hochberg 1995)
    max_t              family-wise, by the joint law of all statistics: sharper where metrics and
                       policies share users, as they do under common random numbers (Westfall &
                       Young 1993; step-down with the bootstrap as in Romano & Wolf, "Stepwise
                       multiple testing as formalized data snooping", Econometrica 2005)

Axis letters: H hypotheses, R draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from evaluation.ab.bootstrap import resampled_ratios

Array = NDArray[np.float64]


def holm(p_values: Array) -> Array:
    """Return Holm's adjusted p-values [H]; NaN stays NaN and counts for nothing.

    Raises:
        ValueError: a p-value is outside [0, 1].
    """
    known = _known(p_values)
    out = np.full(p_values.shape, np.nan)
    p = p_values[known]
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(steps, 1.0)
    out[known] = adjusted
    return out


def benjamini_hochberg(p_values: Array) -> Array:
    """Return Benjamini and Hochberg's adjusted p-values [H]; NaN stays NaN.

    Raises:
        ValueError: a p-value is outside [0, 1].
    """
    known = _known(p_values)
    out = np.full(p_values.shape, np.nan)
    if known.any():
        out[known] = false_discovery_control(p_values[known], method="bh")
    return out


@dataclass(frozen=True)
class Joint:
    """Several estimates with draws of all of them together."""

    estimates: Array
    """[H]."""
    replicates: Array
    """[R, H] of the same draws of the clusters."""

    @property
    def standard_errors(self) -> Array:
        """Standard deviation over the draws [H]."""
        return np.asarray(self.replicates.std(axis=0, ddof=1))

    def max_t(self) -> Array:
        """Return step-down adjusted p-values of no effect [H]; NaN without an error.

        The centred draws stand for the null; the p-value of a hypothesis is how often the largest
        statistic of those not yet rejected exceeds its own, with one added to both counts.
        """
        error = self.standard_errors
        known = np.isfinite(error) & (error > 0.0) & np.isfinite(self.estimates)
        out = np.full(len(self.estimates), np.nan)
        if not known.any():
            return out
        error, value = error[known], self.estimates[known]
        seen = np.abs(value) / error
        null = np.abs(self.replicates[:, known] - self.replicates[:, known].mean(axis=0)) / error
        order = np.argsort(-seen, kind="stable")
        # largest of the statistics that come later in the order, itself included
        worst = np.maximum.accumulate(null[:, order[::-1]], axis=1)[:, ::-1]
        raw = (1.0 + (worst >= seen[order]).sum(axis=0)) / (1.0 + len(null))
        adjusted = np.empty(len(seen))
        adjusted[order] = np.maximum.accumulate(raw)
        out[known] = adjusted
        return out


def joint_differences(
    treated: tuple[Array, Array], control: tuple[Array, Array], draws: int, seed: int = 0
) -> Joint:
    """Return differences of ratios with their joint draws, clusters resampled whole.

    Works for twins (both arms on every user) and for split traffic (the other arm's sums are 0).

    Args:
        treated: sums y and x [U, H] of the treated arm of each hypothesis.
        control: those of its control.
        draws: R.
        seed: of the draws.

    Raises:
        ValueError: as in `evaluation.ab.bootstrap.resampled_sums`.
    """
    (y1, x1), (y0, x0) = treated, control
    ratios = resampled_ratios(np.hstack([y1, y0]), np.hstack([x1, x0]), draws, seed)
    high, low = np.hsplit(ratios, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = y1.sum(axis=0) / x1.sum(axis=0) - y0.sum(axis=0) / x0.sum(axis=0)
    return Joint(value, high - low)


def _known(p_values: Array) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = ~np.isnan(p_values)
    if bool(((p_values[known] < 0.0) | (p_values[known] > 1.0)).any()):
        raise ValueError("p_values hold values outside [0, 1]")
    return known
