"""Rates over the impressions of a world that has run, and their differences, clustered by user."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.dials.parts import Observed
from evaluation.intervals import Estimate, cluster_sums, difference, ratio

Rows = NDArray[np.bool_]


def rate(seen: Observed, value: NDArray[np.generic], rows: Rows) -> Estimate:
    """Return the mean of `value` [N] over `rows` [N] of the impressions, clustered by user."""
    user = seen.shown.user_id[rows]
    total = cluster_sums(value[rows], user, seen.n_users)
    return ratio(total, cluster_sums(None, user, seen.n_users))


def per_session(seen: Observed, value: NDArray[np.generic], rows: Rows) -> Estimate:
    """Return the sum of `value` [N] over `rows` [N] for each session that has such rows."""
    user = seen.shown.user_id[rows]
    _, first = np.unique(seen.shown.session_id[rows], return_index=True)
    total = cluster_sums(value[rows], user, seen.n_users)
    return ratio(total, cluster_sums(None, user[first], seen.n_users))


def contrast(seen: Observed, value: NDArray[np.generic], these: Rows, others: Rows) -> Estimate:
    """Return the mean of `value` [N] over `these` rows less that over `others`."""
    return difference(rate(seen, value, these), rate(seen, value, others))
