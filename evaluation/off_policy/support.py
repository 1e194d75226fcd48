"""What a logging policy could have shown instead, as far as its log tells it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.schema import PAD, Impressions, Requests

Array = NDArray[np.float64]

TOLERANCE = 1e-6
"""Relative, between logged propensities and those of a replayed or of an even choice."""


def overlap(
    batch: Requests, column: NDArray[np.int64], top: Array, logged_top: Array
) -> tuple[Array, Array]:
    """Return the ratio of categories and the unsupported mass at the top [B]."""
    category = batch.catalogue.streamer_category[np.maximum(batch.candidate_id, 0)]
    same = category == np.take_along_axis(category, column[:, None], axis=1)
    of_target, of_logger = ((p * same).sum(axis=1) for p in (top, logged_top))
    unsupported = np.where(logged_top > 0.0, 0.0, top).sum(axis=1)
    return of_target / of_logger, np.where(np.isnan(of_logger), np.nan, unsupported)


def even_top(batch: Requests, slate: NDArray[np.int64], logged: Array) -> Array:
    """Return what is known of the logger's top choice [B, C]: uniform if it looks so, else NaN."""
    n = batch.mask.sum(axis=1)[:, None]
    left = n - np.arange(slate.shape[1])[None]
    uniform = ((slate == PAD) | (np.abs(logged * left - 1.0) < TOLERANCE)).all(axis=1)
    even = np.where(batch.mask, 1.0 / n, 0.0)
    return np.where(uniform[:, None], even, np.nan)


def is_uniform(shown: Impressions, place: NDArray[np.int64]) -> bool:
    """Return whether every row [N], at its place [N], was drawn evenly of what was left."""
    left = shown.n_candidates - place
    return bool((np.abs(shown.propensity * left - 1.0) < TOLERANCE).all())
