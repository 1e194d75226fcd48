"""Pooling over worlds: one number per policy and metric from several worlds of one experiment.

Worlds are independent draws of the same settings, so the estimate is the plain mean over the k
worlds. Its interval is that of Hartung, Knapp, Sidik and Jonkman with equal weights, mean +-
t(k - 1) s / sqrt(k) with s the standard deviation between worlds: it allows for worlds that truly
differ, and for not knowing by how much. Two worlds may agree by luck, so it is never narrower than
the fixed-effect interval, which holds the error within worlds only (the correction of Knapp &
Hartung 2003). The half width is put on the scale of the metric, so that no lift ends below -100 %.

Sources: Hartung & Knapp, "On tests of the overall treatment effect in meta-analysis with normally
distributed responses", 2001; IntHout, Ioannidis, Borm, "The Hartung-Knapp-Sidik-Jonkman method for
random effects meta-analysis is straightforward and considerably outperforms the standard
DerSimonian-Laird method", 2014.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit, stdtrit

from evaluation.intervals import LEVEL, Scale, spread
from evaluation.results import RELATIVE_LIFT

KEYS = ["policy", "control", "scenario", "slice", "metric", "unit", "kind"]
"""Columns that say what a number is about, apart from the world."""

Z95 = 1.959964

_SHARES = ("share", "auc", "ndcg", "reciprocal rank", "probability")
"""Units of metrics in [0, 1]."""


def pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """Average every estimate over worlds.

    Args:
        rows: results table of one experiment, each number once per world.

    Returns:
        One row per KEYS, columns KEYS, estimate, low, high (95 %), n (summed) and worlds (count).
        A number known from one world keeps its own interval; NaN estimates are left out. Where a
        world has too few events for an interval of its own, the pool has none either.
    """
    known = rows[rows["estimate"].notna()].drop_duplicates(["world_seed", *KEYS])
    grouped = known.assign(within=_standard_errors(known) ** 2).groupby(KEYS, sort=False)
    out = grouped.agg(
        estimate=("estimate", "mean"),
        low=("low", "first"),
        high=("high", "first"),
        n=("n", "sum"),
        worlds=("world_seed", "nunique"),
        between=("estimate", "var"),
        within=("within", lambda values: values.mean(skipna=False)),
    ).reset_index()
    worlds = out["worlds"].to_numpy(dtype=np.float64)
    many = worlds > 1
    quantile = stdtrit(np.maximum(worlds - 1, 1), 0.5 + LEVEL / 2)
    within = out["within"].to_numpy()
    # both terms are variances of the mean; a NaN within, no interval in some world, stays NaN
    half = np.sqrt(np.maximum(quantile**2 * out["between"].to_numpy(), Z95**2 * within) / worlds)
    value, low, high = (out[c].to_numpy(np.float64).copy() for c in ("estimate", "low", "high"))
    for scale, of_scale in _scales(out).items():
        at = many & of_scale
        low[at], high[at] = spread(value[at], half[at], scale)
    out["low"], out["high"] = low, high
    return out.drop(columns=["between", "within"])


def _scales(rows: pd.DataFrame) -> dict[Scale, NDArray[np.bool_]]:
    """Return which rows live on which scale of `evaluation.intervals`."""
    is_lift = (rows["unit"] == RELATIVE_LIFT).to_numpy()
    level = (rows["control"] == "").to_numpy()
    share = level & rows["unit"].isin(_SHARES).to_numpy()
    return {"lift": is_lift, "odds": share, "positive": level & ~share, "plain": ~level & ~is_lift}


def _standard_errors(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Return standard errors [R] in the unit of the estimate, from intervals on their scale."""
    value, low, high = (rows[c].to_numpy(np.float64) for c in ("estimate", "low", "high"))
    out: NDArray[np.float64] = (high - low) / (2 * Z95)
    with np.errstate(divide="ignore", invalid="ignore"):
        for scale, at in _scales(rows).items():
            if scale in ("lift", "positive"):
                shift = 1.0 if scale == "lift" else 0.0
                width = np.log((high + shift) / (low + shift))
                own = (value + shift) * width / (2 * Z95)
            elif scale == "odds":
                own = value * (1 - value) * (logit(high) - logit(low)) / (2 * Z95)
            else:
                continue
            # an end on the border of the scale, such as a share of 0, has no width there
            out = np.where(at & np.isfinite(own), own, out)
    return out
