"""Logged rounds of one action each: what estimators for single actions read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class OffPolicyError(ValueError):
    """Logged data that no estimator can use; one line."""


@dataclass(frozen=True)
class Rounds:
    """Rounds of a log, arrays [N].

    Raises:
        OffPolicyError: shapes disagree, a number is not finite, a weight is negative, or a user id
            is out of range.
    """

    reward: Array
    weight: Array
    """p_target(action | x) / p_logging(action | x) of the logged action, at least 0."""
    user_id: NDArray[np.int64]
    """Cluster of each round, in [0, n_users)."""
    n_users: int
    q_chosen: Array | None = None
    """Estimated reward of the logged action; cross-fitted, see `reward_model`."""
    q_target: Array | None = None
    """Expectation of the estimated reward over the target's actions."""
    group_weight: Array | None = None
    """p_target(group | x) / p_logging(group | x) of the group (embedding) of the logged action."""

    def __post_init__(self) -> None:
        """Check every array."""
        require_users(self.user_id, self.n_users)
        for name in ("reward", "weight", "q_chosen", "q_target", "group_weight"):
            values = getattr(self, name)
            if values is not None:
                require_column(name, values, len(self.user_id), "weight" in name)

    def __len__(self) -> int:
        return len(self.reward)

    @classmethod
    def of(
        cls,
        action: NDArray[np.integer],
        reward: NDArray[np.floating],
        p_logging: Array,
        p_target: Array,
        *,
        user_id: NDArray[np.integer] | None = None,
        q: Array | None = None,
        group: NDArray[np.integer] | None = None,
    ) -> Rounds:
        """Return rounds from whole tables.

        Args:
            action: chosen actions [N], below A.
            reward: what they brought [N].
            p_logging: the logging policy's probabilities [N, A].
            p_target: the target policy's [N, A].
            user_id: cluster of each round [N]; None takes every round for a user of its own.
            q: estimated rewards [N, A].
            group: group of every action [A], by which MIPS marginalises.

        Raises:
            OffPolicyError: shapes disagree, or a logged action has no logging probability.
        """
        n = len(action)
        if p_logging.ndim != 2 or p_logging.shape != p_target.shape or len(p_logging) != n:
            raise OffPolicyError(
                f"p_logging {p_logging.shape} and p_target {p_target.shape} for {n} rounds; "
                "both must be [N, A]"
            )
        at = (np.arange(n), action)
        users = np.arange(n) if user_id is None else np.asarray(user_id, np.int64)
        group_weight = None
        if group is not None:
            mass = [_by_group(p, group)[np.arange(n), group[action]] for p in (p_target, p_logging)]
            group_weight = ratio_of(*mass)
        return cls(
            reward=np.asarray(reward, np.float64),
            weight=ratio_of(p_target[at], p_logging[at]),
            user_id=users.astype(np.int64),
            n_users=int(users.max(initial=-1)) + 1,
            q_chosen=None if q is None else q[at],
            q_target=None if q is None else np.asarray((p_target * q).sum(axis=1)),
            group_weight=group_weight,
        )

    def modelled(self) -> tuple[Array, Array]:
        """Return `q_chosen` and `q_target`.

        Raises:
            OffPolicyError: the rounds hold no model of the reward.
        """
        if self.q_chosen is None or self.q_target is None:
            raise OffPolicyError("q_chosen, q_target = None; this estimator needs a reward model")
        return self.q_chosen, self.q_target


def ratio_of(p_target: Array, p_logging: Array) -> Array:
    """Return p_target / p_logging, of arrays of one shape.

    Raises:
        OffPolicyError: a probability is not one, or what was logged could not have been.
    """
    for name, p in (("p_target", p_target), ("p_logging", p_logging)):
        if not (np.isfinite(p).all() and (p >= 0.0).all() and (p <= 1.0 + 1e-9).all()):
            raise OffPolicyError(f"{name} spans [{p.min()}, {p.max()}]; allowed: [0, 1]")
    if (p_logging == 0.0).any():
        raise OffPolicyError(
            f"p_logging = 0 for {int((p_logging == 0.0).sum())} logged actions; allowed: above 0, "
            "as a policy logs only what it may choose"
        )
    return np.asarray(p_target / p_logging, dtype=np.float64)


def require_users(user_id: NDArray[np.integer], n_users: int) -> None:
    """Check that ids lie in [0, n_users).

    Raises:
        OffPolicyError: one does not.
    """
    if len(user_id) and not (int(user_id.min()) >= 0 and int(user_id.max()) < n_users):
        raise OffPolicyError(
            f"user_id spans [{user_id.min()}, {user_id.max()}]; allowed: [0, {n_users})"
        )


def require_column(name: str, values: Array, n: int, positive: bool = False) -> None:
    """Check that a column holds `n` finite numbers, none below 0 where `positive`.

    Raises:
        OffPolicyError: it does not.
    """
    if values.shape != (n,):
        raise OffPolicyError(f"{name} has shape {values.shape}; allowed: ({n},)")
    if not np.isfinite(values).all():
        raise OffPolicyError(
            f"{name} has {int((~np.isfinite(values)).sum())} numbers that are not finite"
        )
    if positive and n and values.min() < 0.0:
        raise OffPolicyError(f"{name} = {values.min()}; allowed: at least 0")


def _by_group(p: Array, group: NDArray[np.integer]) -> Array:
    """Return probabilities [N, G] of groups from those of actions [N, A]."""
    member = np.zeros((p.shape[1], int(group.max(initial=-1)) + 1))
    member[np.arange(p.shape[1]), group] = 1.0
    return np.asarray(p @ member)
