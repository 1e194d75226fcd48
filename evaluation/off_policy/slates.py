"""Logged slates: rows in the order in which they were chosen, cut into slates of any length.

A slate is whatever is chosen step by step: the places of one page, all pages of a session, or a
user's whole day. Weights multiply along it, so that its span decides what an estimator answers;
`evaluation.off_policy.replay` says how.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Estimate, cluster_sums, ratio
from evaluation.off_policy.marginals import factored_weight
from evaluation.off_policy.rounds import OffPolicyError, ratio_of, require_column, require_users
from sim.kernel import kernel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Slates:
    """Slates [B] and their rows [N]; row i of slate b lies in [start[b], start[b + 1]).

    Raises:
        OffPolicyError: shapes disagree, a number is not finite, a ratio is negative, or a user id
            is out of range.
    """

    start: NDArray[np.int64]
    """First row of each slate, and N at the end [B + 1]; no slate is empty."""
    user_id: NDArray[np.int64]
    """Cluster of each slate [B], in [0, n_users)."""
    n_users: int
    reward: Array
    """Of each row [N]; a slate brings their sum."""
    ratio: Array
    """[N] p_target / p_logging of the row, both given the rows above it in its slate."""
    place_ratio: Array | None = None
    """[N] the same of the marginal probabilities that the item stands at its place."""
    pseudo_weight: Array | None = None
    """[B] weight of the pseudo-inverse estimator."""
    q_chosen: Array | None = None
    """[N] estimated reward from this row to the end of its slate."""
    q_target: Array | None = None
    """[N] its expectation over the target's choice of the row, given the rows above."""
    divisor: Array | None = None
    """[U] what a user's slates are divided by; None for their number: the value of a slate."""

    def __post_init__(self) -> None:
        """Check every array."""
        require_users(self.user_id, self.n_users)
        n, slates = len(self.reward), len(self.user_id)
        good = len(self.start) == slates + 1 and self.start[0] == 0 and self.start[-1] == n
        if not good or (np.diff(self.start) < 1).any():
            raise OffPolicyError(
                f"start holds {len(self.start)} numbers for {slates} slates of {n} rows; allowed: "
                "ascending from 0 to the number of rows, no slate empty"
            )
        for name in ("reward", "ratio", "place_ratio", "q_chosen", "q_target", "pseudo_weight"):
            values = getattr(self, name)
            if values is not None:
                size = slates if name == "pseudo_weight" else n
                require_column(name, values, size, "ratio" in name)
        if self.divisor is not None:
            require_column("divisor", self.divisor, self.n_users, positive=True)

    def __len__(self) -> int:
        return len(self.user_id)

    @classmethod
    def of(
        cls,
        reward: Array,
        p_logging: Array,
        p_target: Array,
        *,
        user_id: NDArray[np.integer] | None = None,
        place_ratio: Array | None = None,
        pseudo_weight: Array | None = None,
        q_chosen: Array | None = None,
        q_target: Array | None = None,
        independent: bool = False,
    ) -> Slates:
        """Return slates of one length from tables [B, K].

        Args:
            reward: of each place.
            p_logging: probability of each choice given the places above.
            p_target: likewise of the target.
            user_id: cluster of each slate [B]; None takes every slate for a user of its own.
            place_ratio: ratio of marginals of each place.
            pseudo_weight: of the pseudo-inverse [B].
            q_chosen: estimated reward from each place on.
            q_target: its expectation under the target.
            independent: both policies fill every place without regard to the others, as platforms
                do that allow an item twice: then `place_ratio` and `pseudo_weight` follow.

        Raises:
            OffPolicyError: a probability is not one, or what was logged could not have been.
        """
        b, k = reward.shape
        users = np.arange(b) if user_id is None else np.asarray(user_id)
        start = np.arange(b + 1, dtype=np.int64) * k
        if independent:
            place_ratio = ratio_of(p_target, p_logging)
            pseudo_weight = factored_weight(place_ratio.ravel(), start)
        tables = {"place_ratio": place_ratio, "q_chosen": q_chosen, "q_target": q_target}
        return cls(
            start=start,
            user_id=users.astype(np.int64),
            n_users=int(users.max(initial=-1)) + 1,
            reward=np.ascontiguousarray(reward, np.float64).ravel(),
            ratio=ratio_of(p_target, p_logging).ravel(),
            pseudo_weight=pseudo_weight,
            **{name: None if t is None else t.ravel() for name, t in tables.items()},
        )

    def prefix(self) -> Array:
        """Return the product of ratios from the top of the slate to each row, its own too [N]."""
        out = np.empty(len(self.ratio))
        _fill_prefix(self.start, np.ascontiguousarray(self.ratio), out)
        return out

    def sums(self, values: Array) -> Array:
        """Return sums [B] of row values [N]."""
        if not len(self):
            return np.zeros(0)
        return np.asarray(np.add.reduceat(values, self.start[:-1]), dtype=np.float64)

    def weight(self) -> Array:
        """Return the weight of each whole slate [B]."""
        return self.prefix()[self.start[1:] - 1]

    def estimate(self, contribution: Array) -> Estimate:
        """Return the value per slate, or per unit of `divisor`, from contributions [B]."""
        total = cluster_sums(contribution, self.user_id, self.n_users)
        size = self.divisor
        if size is None:
            size = cluster_sums(None, self.user_id, self.n_users)
        return ratio(total, size, len(self))


@kernel
def _fill_prefix(start: NDArray[np.int64], ratio_: Array, out: Array) -> None:
    for b in range(len(start) - 1):
        weight = 1.0
        for i in range(start[b], start[b + 1]):
            weight *= ratio_[i]
            out[i] = weight
