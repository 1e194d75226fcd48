"""What the weights say about an estimate before its value is looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Interval, clustered_mean
from evaluation.off_policy.rounds import Rounds
from evaluation.off_policy.slates import Slates

LARGEST = 5
"""Largest weights that are listed."""


@dataclass(frozen=True)
class Diagnostics:
    """Overlap of target and logging policy."""

    n: int
    """Rounds or slates."""
    effective_n: float
    """(sum w)^2 / sum w^2 (Kish, Survey Sampling, 1965): rounds of the target that the log is
    worth."""
    largest: tuple[float, ...]
    """The largest weights, descending."""
    largest_share: float
    """Share of the sum of weights that the largest one holds."""
    mean_weight: Interval
    """Its expectation is 1 less what is not supported; an interval that excludes 1 tells of wrong
    propensities or of missing support."""
    unsupported: float
    """Mean probability that the target gives to what the logging policy never chooses; NaN where
    only the logged choices' propensities are known."""


def diagnose(log: Rounds | Slates, unsupported: NDArray[np.float64] | None = None) -> Diagnostics:
    """Return what the weights of rounds or whole slates say.

    Args:
        log: what an estimator would be given.
        unsupported: target mass without support of each round or slate, see `unsupported_mass`.
    """
    weight = log.weight if isinstance(log, Rounds) else log.weight()
    total, square = float(weight.sum()), float(np.dot(weight, weight))
    mean = clustered_mean(weight, log.user_id, log.n_users, "plain")
    return Diagnostics(
        n=len(weight),
        effective_n=total * total / square if square > 0.0 else 0.0,
        largest=tuple(np.sort(weight)[::-1][:LARGEST].tolist()),
        largest_share=float(weight.max()) / total if total > 0.0 else float("nan"),
        mean_weight=mean.interval(),
        unsupported=float("nan") if unsupported is None else float(np.mean(unsupported)),
    )


def unsupported_mass(
    p_logging: NDArray[np.float64], p_target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the target's probability of actions that are never logged [N], from tables [N, A]."""
    return np.asarray(np.where(p_logging > 0.0, 0.0, p_target).sum(axis=1), dtype=np.float64)
