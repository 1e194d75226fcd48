"""Cross-fitted models of the reward: no round is predicted by a model that saw its user.

Cross-fitting keeps the doubly robust estimate unbiased whatever the model is (Chernozhukov et al.,
"Double/debiased machine learning", Econometrics Journal 2018, section 3); the folds go by user, as
rounds of one user share what no feature holds. Two models, both small and convex:

    ridge      least |y - X b|^2 + n s |b|^2              in closed form
    logistic   least cross-entropy + n s / 2 |b|^2        by Newton's method

with standardised features and an intercept that is not penalised. The ridge model is linear, so
its expectation over a policy's choices is its value at the expected features: a replay needs to
keep no more of a request than that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from evaluation.off_policy.rounds import OffPolicyError
from sim.rng import philox4x32

Array = NDArray[np.float64]
Kind = Literal["ridge", "logistic"]

FOLDS = 3
STRENGTH = 1e-3
"""Penalty s per round, in units of standardised features."""

_STREAM = 0x464F4C
"""Second word of the Philox key that deals users to folds."""
_ROUNDS = 30
"""Newton steps at most; a handful suffices."""


@dataclass(frozen=True)
class Line:
    """A fitted model: `intercept + features @ slope`, through the logistic curve or not."""

    intercept: float
    slope: Array
    """[D] per unit of each feature."""
    kind: Kind = "ridge"

    def predict(self, features: Array) -> Array:
        """Return the estimated reward of features [..., D]."""
        logit = self.intercept + features @ self.slope
        return np.asarray(expit(logit) if self.kind == "logistic" else logit)


def fit_line(
    features: Array, reward: Array, kind: Kind = "ridge", strength: float = STRENGTH
) -> Line:
    """Return the model of rounds.

    Args:
        features: [N, D].
        reward: [N]; within [0, 1] where `kind` is logistic.
        kind: which model.
        strength: penalty per round, above 0.

    Raises:
        OffPolicyError: there is no round, or a reward is outside [0, 1] for the logistic model.
    """
    if not len(features) or not strength > 0.0:
        raise OffPolicyError(
            f"{len(features)} rounds, strength = {strength}; a reward model needs rounds and a "
            "strength above 0"
        )
    if kind == "logistic" and not bool(((reward >= 0.0) & (reward <= 1.0)).all()):
        raise OffPolicyError(
            f"rewards span [{reward.min()}, {reward.max()}]; the logistic model allows [0, 1]"
        )
    centre, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-12, spread, np.inf)  # a constant says nothing
    scaled = (features - centre) / spread
    solve = _ridge if kind == "ridge" else _logistic
    intercept, slope = solve(scaled, reward, strength)
    slope = slope / spread
    return Line(float(intercept - centre @ slope), slope, kind)


def fold_of(user_id: NDArray[np.integer], folds: int = FOLDS, seed: int = 0) -> NDArray[np.int64]:
    """Deal users to folds: one fold a user [N] in [0, folds), by a hash of id and seed.

    Raises:
        OffPolicyError: `folds` is below 2.
    """
    if folds < 2:
        raise OffPolicyError(f"folds = {folds}; allowed: at least 2")
    word = philox4x32((np.asarray(user_id, np.int64), 0, 0, 0), (seed, _STREAM))[0]
    return np.asarray(word % np.uint32(folds), dtype=np.int64)


def cross_fit(
    features: Array,
    reward: Array,
    fold: NDArray[np.integer],
    wanted: Array,
    kind: Kind = "ridge",
    strength: float = STRENGTH,
) -> Array:
    """Predict the reward of `wanted` by models of the other folds.

    Args:
        features: of what was logged [N, D].
        reward: what it brought [N].
        fold: of each round [N]; there must be rounds in at least two.
        wanted: features to predict [N, ..., D], such as those of every action.
        kind: which model.
        strength: penalty per round.

    Returns:
        Estimated rewards [N, ...].

    Raises:
        OffPolicyError: all rounds are in one fold, or `fit_line` refuses.
    """
    out = np.zeros(wanted.shape[:-1])
    for _, own in each_fold(fold):
        out[own] = fit_line(features[~own], reward[~own], kind, strength).predict(wanted[own])
    return out


def each_fold(fold: NDArray[np.integer]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield each fold with its rounds [N]: a model of all others is to predict them.

    Raises:
        OffPolicyError: all rounds are in one fold.
    """
    found = np.unique(fold)
    if len(fold) and len(found) < 2:
        raise OffPolicyError("all rounds are in one fold; cross-fitting needs users in two")
    for f in found.tolist():
        yield f, np.asarray(fold == f)


def _ridge(scaled: Array, reward: Array, strength: float) -> tuple[float, Array]:
    mean = float(reward.mean())
    n, d = scaled.shape
    gram = scaled.T @ scaled + n * strength * np.eye(d)
    return mean, np.linalg.solve(gram, scaled.T @ (reward - mean))


def _logistic(scaled: Array, reward: Array, strength: float) -> tuple[float, Array]:
    n, d = scaled.shape
    design = np.column_stack([np.ones(n), scaled])
    penalty = n * strength * np.diag([0.0, *np.ones(d)])
    share = (reward.sum() + 0.5) / (n + 1.0)  # finite also where all or none are rewarded
    beta = np.zeros(d + 1)
    beta[0] = np.log(share / (1.0 - share))
    if reward.min() == reward.max():
        return float(beta[0]), beta[1:]

    def loss(b: Array) -> float:
        logit = design @ b
        return float(np.logaddexp(0.0, logit).sum() - reward @ logit + b @ penalty @ b / 2.0)

    now = loss(beta)
    for _ in range(_ROUNDS):
        p = expit(design @ beta)
        slope = design.T @ (p - reward) + penalty @ beta
        curve = (design * (p * (1.0 - p))[:, None]).T @ design + penalty
        step = np.linalg.solve(curve + 1e-9 * np.eye(d + 1), slope)
        size = 1.0
        while (new := loss(beta - size * step)) > now and size > 1e-6:
            size /= 2.0
        beta = beta - size * step
        if abs(now - new) <= 1e-12 * (1.0 + abs(now)):
            break
        now = new
    return float(beta[0]), beta[1:]
