"""Counts, means and covariances of an arm: all that a comparison of averages needs of its users.

Every array may have leading axes (runs), so that thousands of assignments of one log are compared
at the cost of one matrix product: an arm's moments are sums over its users, and the other arm has
what is left of the whole. Axis letters: R runs, U users (or other clusters), D columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BLOCK_CELLS = 1 << 24
"""Most cells of assignments that are widened to floats at a time."""


@dataclass(frozen=True)
class Moments:
    """Moments of D columns over the clusters of an arm; leading axes are runs."""

    n: Array
    """[...] clusters."""
    mean: Array
    """[..., D]."""
    cov: Array
    """[..., D, D] with n - 1 in the denominator; NaN below two clusters."""

    @classmethod
    def of(cls, values: Array) -> Moments:
        """Return the moments of rows [U, D]."""
        n = len(values)
        mean = values.mean(axis=0) if n else np.full(values.shape[1], np.nan)
        rest = values - mean
        with np.errstate(divide="ignore", invalid="ignore"):
            cov = (rest.T @ rest) / np.float64(n - 1)
        return cls(np.float64(n) + np.zeros(()), mean, cov)

    def merged(self, other: Moments) -> Moments:
        """Return the moments of both arms taken together."""
        n = self.n + other.n
        weight = (other.n / n)[..., None]
        mean = self.mean + weight * (other.mean - self.mean)
        gap = self.mean - other.mean
        between = (self.n * other.n / n)[..., None, None] * gap[..., :, None] * gap[..., None, :]
        own, others = ((m.n - 1.0)[..., None, None] * m.cov for m in (self, other))
        return Moments(n, mean, (own + others + between) / (n - 1.0)[..., None, None])

    def scaled(self, column: int, factor: float) -> Moments:
        """Return the moments after one column was multiplied by a factor."""
        by = np.ones(self.mean.shape[-1])
        by[column] = factor
        return Moments(self.n, self.mean * by, self.cov * by[:, None] * by)


def assigned(values: Array, treated: NDArray[np.bool_]) -> tuple[Moments, Moments]:
    """Return the moments of both arms under many assignments of the same clusters.

    Args:
        values: [U, D] finite.
        treated: [R, U].

    Returns:
        Moments of the treated and of the others, each with leading axis R.

    Raises:
        ValueError: the shapes do not agree.
    """
    if treated.ndim != 2 or treated.shape[1] != len(values):
        raise ValueError(
            f"treated has shape {treated.shape}; must be [R, U] with U = {len(values)}"
        )
    width = values.shape[1]
    centre = values.mean(axis=0)
    rest = values - centre  # sums of squares of what is left do not cancel
    left, right = np.triu_indices(width)
    table = np.column_stack([np.ones(len(rest)), rest, rest[:, left] * rest[:, right]])
    step = max(1, BLOCK_CELLS // max(len(values), 1))
    parts = [
        treated[low : low + step].astype(np.float64) @ table for low in range(0, len(treated), step)
    ]
    sums = np.concatenate(parts) if parts else np.zeros((0, table.shape[1]))
    return _from_sums(sums, centre), _from_sums(table.sum(axis=0) - sums, centre)


def _from_sums(sums: Array, centre: Array) -> Moments:
    """Return moments from [R, 1 + D + D (D + 1) / 2] sums of centred columns and products."""
    width = len(centre)
    left, right = np.triu_indices(width)
    n = sums[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums[:, 1 : 1 + width] / n[:, None]
        cov = np.empty((len(sums), width, width))
        flat = sums[:, 1 + width :] - n[:, None] * mean[:, left] * mean[:, right]
        cov[:, left, right] = cov[:, right, left] = flat / (n - 1.0)[:, None]
    return Moments(n, mean + centre, cov)
