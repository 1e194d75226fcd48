"""Quality of predicted probabilities on shown rows: AUC, GAUC, log loss, PCOC, with intervals.

    AUC      P(score of a positive > score of a negative) + 1/2 P(equal), over all pairs of rows
    GAUC     sum_u w_u AUC_u / sum_u w_u over users with both labels, w_u = impressions of user u,
             its positives, or 1; scores are compared as float32, those of AUC as they are
    log loss mean of -y ln p - (1 - y) ln(1 - p), p clipped to [1e-7, 1 - 1e-7]
    PCOC     sum p / sum y; 1 is calibrated, above 1 predicts too much

Each returns an `Estimate` clustered by user. The influence of a user on AUC is

    sum_{positives of u} (share of negatives below - AUC) / P
    + sum_{negatives of u} (share of positives above - AUC) / N

Sources: GAUC as in Zhou et al., "Deep Interest Network", KDD 2018, section 6.2 (weights:
impressions); clustered variance of AUC: Obuchowski, Biometrics 53 (1997), equation 5. Axis
letters: N rows, U users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Estimate, cluster_sums, ratio, undefined
from evaluation.ranking.pairs import UserPairs, share_won, user_pairs
from evaluation.ranking.ranks import MetricError

Weight = Literal["impressions", "positives", "users"]

_CLIP = 1e-7
_MAX_USERS = 1 << 31


@dataclass(frozen=True)
class Gauc:
    """Per-user AUC, and its mean under each weight that is in use.

    The weight moves the mean by as much as many claimed gains, so it is always to be named.
    """

    of_user: UserPairs
    n: int
    """Rows."""

    def estimate(self, weight: Weight = "impressions") -> Estimate:
        """Return the mean of per-user AUC over users with both labels.

        Args:
            weight: weight of a user: its impressions, its positives, or 1 for each user.
        """
        own = self.of_user
        both = own.pairs > 0
        weights = {
            "impressions": own.size,
            "positives": own.positives,
            "users": np.ones(len(both)),
        }[weight] * both
        area = np.where(both, own.auc, 0.0)
        whole = weights.astype(np.float64)
        return ratio(whole * area, whole, self.n, "share")

    @property
    def dropped(self) -> Estimate:
        """Share of the users with rows that lack one of the labels, on which GAUC is silent."""
        seen = self.of_user.size > 0
        lost = seen & (self.of_user.pairs == 0)
        return ratio(lost.astype(np.float64), seen.astype(np.float64), scale="share")


def auc_value(score: NDArray[np.floating], label: NDArray[np.generic]) -> float:
    """Return the AUC alone: one sort of the negatives, exact with ties.

    Args:
        score: [N] finite scores.
        label: [N] 0/1 or bool.

    Returns:
        AUC in [0, 1]; NaN without positives or without negatives.

    Raises:
        MetricError: shapes differ, a score is not finite, or a label is not binary.
    """
    return share_won(score, _binary(score, label))


def auc(
    score: NDArray[np.floating],
    label: NDArray[np.generic],
    user: NDArray[np.integer],
    users: int,
) -> Estimate:
    """Return the AUC over all pairs of rows, clustered by user.

    Args:
        score: [N] finite scores.
        label: [N] 0/1 or bool.
        user: [N] user of each row, in [0, users).
        users: number of users U.

    Returns:
        The estimate over U users; undefined without positives or without negatives.

    Raises:
        MetricError: shapes differ, a score is not finite, a label is not binary, or a user is
            out of range.
    """
    positive = _binary(score, label)
    _check_users(score, user, users)
    above, below = score[positive], score[~positive]
    p, n = len(above), len(below)
    if p == 0 or n == 0:
        return undefined(users, len(score))
    # Both sides sorted: a binary search with sorted needles stays in the cache.
    order_above, order_below = np.argsort(above), np.argsort(below)
    above, below = above[order_above], below[order_below]
    share_below = _mean_rank(below, above) / n
    share_above = 1.0 - _mean_rank(above, below) / p
    value = float(share_below.mean())
    who_above, who_below = user[positive][order_above], user[~positive][order_below]
    influence = cluster_sums((share_below - value) / p, who_above, users)
    influence += cluster_sums((share_above - value) / n, who_below, users)
    size, positives = (cluster_sums(v, user, users) for v in (None, positive))
    # users with a pair to win: either label may be the rare one
    events = int(min((positives > 0).sum(), (positives < size).sum()))
    return Estimate(value, influence, size > 0, len(score), events, "odds")


def gauc(
    score: NDArray[np.floating],
    label: NDArray[np.generic],
    user: NDArray[np.integer],
    users: int,
) -> Gauc:
    """Return the weighted means of per-user AUC from one sort of packed keys.

    Ties are exact, of scores as float32: scores of float64 that differ beyond its last digit tie.

    Args:
        score: [N] finite scores; compared as float32.
        label: [N] 0/1 or bool.
        user: [N] user of each row, in [0, users).
        users: number of users U, at most 2**31.

    Returns:
        GAUC with its estimates over U users; undefined where no user has both labels.

    Raises:
        MetricError: shapes differ, a score is not finite, a label is not binary, or a user is
            out of range.
    """
    positive = _binary(score, label)
    _check_users(score, user, users)
    return Gauc(user_pairs(score, positive, user, users), len(score))


def log_loss(
    probability: NDArray[np.floating],
    label: NDArray[np.generic],
    user: NDArray[np.integer],
    users: int,
) -> Estimate:
    """Return the mean cross entropy in nats, clustered by user; labels may lie inside [0, 1].

    Args:
        probability: [N] predictions in [0, 1].
        label: [N] labels in [0, 1].
        user: [N] user of each row, in [0, users).
        users: number of users U.

    Raises:
        MetricError: shapes differ, a value is outside [0, 1], or a user is out of range.
    """
    p, y = unit_interval("probability", probability), unit_interval("label", label)
    check_rows(p, y, user, users)
    total, size = (cluster_sums(v, user, users) for v in (cross_entropy(p, y), None))
    return ratio(total, size, len(p), "positive")


def cross_entropy(p: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return -y ln p - (1 - y) ln(1 - p) of each row [N], in nats; p is clipped, see the module."""
    p = np.clip(p, _CLIP, 1.0 - _CLIP)
    return np.asarray(-(y * np.log(p) + (1.0 - y) * np.log1p(-p)))


def pcoc(
    probability: NDArray[np.floating],
    label: NDArray[np.generic],
    user: NDArray[np.integer],
    users: int,
) -> Estimate:
    """Return sum of predictions / sum of labels, clustered by user.

    Args:
        probability: [N] predictions in [0, 1].
        label: [N] labels, or true probabilities, in [0, 1].
        user: [N] user of each row, in [0, users).
        users: number of users U.

    Returns:
        The estimate over U users; undefined where the labels sum to 0.

    Raises:
        MetricError: shapes differ, a value is outside [0, 1], or a user is out of range.
    """
    p, y = unit_interval("probability", probability), unit_interval("label", label)
    check_rows(p, y, user, users)
    predicted, observed = (cluster_sums(v, user, users) for v in (p, y))
    return ratio(predicted, observed, len(p), "positive")


def unit_interval(name: str, values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return values [N] as float64.

    Args:
        name: what they are, for the error.
        values: [N].

    Raises:
        MetricError: a value is NaN or outside [0, 1].
    """
    out = values.astype(np.float64)
    # A NaN fails both comparisons, so it counts as outside.
    inside = (out >= 0.0) & (out <= 1.0)
    if not inside.all():
        at = int(np.argmin(inside))
        raise MetricError(
            f"{int((~inside).sum())} values of {name} lie outside [0, 1]; the first is {out[at]} "
            f"at row {at}"
        )
    return out


def check_rows(
    p: NDArray[np.float64], y: NDArray[np.float64], user: NDArray[np.integer], users: int
) -> None:
    """Refuse predictions [N], outcomes [N] and users [N] that do not belong together.

    Raises:
        MetricError: shapes differ, or a user is outside [0, users).
    """
    _check_users(p, user, users)
    _same_length(p, y)


def _mean_rank(ordered: NDArray[np.floating], needles: NDArray[np.floating]) -> NDArray[np.float64]:
    less = np.searchsorted(ordered, needles, side="left")
    at_most = np.searchsorted(ordered, needles, side="right")
    return (less + at_most) / np.float64(2.0)


def _binary(score: NDArray[np.floating], label: NDArray[np.generic]) -> NDArray[np.bool_]:
    if score.ndim != 1 or score.shape != label.shape:
        raise MetricError(f"scores {score.shape} and labels {label.shape} must have one shape [N]")
    if not np.isfinite(score).all():
        bad = int((~np.isfinite(score)).sum())
        raise MetricError(f"{bad} of {len(score)} scores are not finite; an AUC needs numbers")
    positive = label.astype(np.bool_)
    if label.dtype != np.bool_ and not np.array_equal(positive, label):
        raise MetricError("labels of an AUC must be 0 or 1")
    return positive


def _check_users(score: NDArray[np.floating], user: NDArray[np.integer], users: int) -> None:
    if user.shape != score.shape:
        raise MetricError(f"users {user.shape} and rows {score.shape} must have one shape [N]")
    if users > _MAX_USERS:
        raise MetricError(f"users is {users}; at most {_MAX_USERS}")
    if len(user) and (int(user.min()) < 0 or int(user.max()) >= users):
        raise MetricError(f"user ids span {user.min()}..{user.max()}; they must be in [0, {users})")


def _same_length(p: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    if p.shape != y.shape:
        raise MetricError(f"probabilities {p.shape} and labels {y.shape} must have one shape [N]")
