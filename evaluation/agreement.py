"""Agreement of orders: do offline metrics order policies as deployment does, sampled as full?

Kendall's tau-b over policies (Kendall, "A new measure of rank correlation", Biometrika 1938). Its
p-value is exact: the share of all orders of the policies that agree, or disagree, at least as much;
with ties too, for up to EXACT policies, beyond them by Kendall's normal approximation.
"""

from __future__ import annotations

import re
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evaluation.leaderboard import goodness

EXACT = 8
"""Most policies whose orders (8! = 40,320) are all counted."""

MIN_POLICIES = 3
"""Fewer policies have no order worth a correlation."""

_SAMPLED = re.compile(r"/s\d+(_[a-z0-9.]+)?$")


def online_agreement(offline: pd.DataFrame, lift: pd.Series) -> pd.DataFrame:
    """Return how far each offline metric orders policies as their online lift does.

    Args:
        offline: columns policy, metric, estimate.
        lift: online lift (share) indexed by policy; the control takes part with 0.

    Returns:
        Columns metric, tau in [-1, 1], p_value (two-sided, no association), policies (count), best
        agreement first. Metrics known for fewer than MIN_POLICIES policies, or equal for all of
        them, are left out.
    """
    rows: list[tuple[str, float, float, int]] = []
    for metric, part in offline.groupby("metric", sort=True):
        values = goodness(str(metric), part.set_index("policy")["estimate"]).dropna()
        both = values.index.intersection(lift.dropna().index)
        if len(both) < MIN_POLICIES:
            continue
        tau, p = agreement(values.loc[both].to_numpy(), lift.loc[both].to_numpy())
        if not np.isnan(tau):
            rows.append((str(metric), tau, p, len(both)))
    table = pd.DataFrame(rows, columns=["metric", "tau", "p_value", "policies"])
    ordered = table.sort_values(["tau", "metric"], ascending=[False, True])
    return ordered.reset_index(drop=True)


def agreement(first: NDArray[np.floating], second: NDArray[np.floating]) -> tuple[float, float]:
    """Return (tau-b, two-sided p-value of no association) of two rankings of n policies.

    Args:
        first: values [n].
        second: values [n].

    Returns:
        NaN for both where one of them is the same for all policies.
    """
    result = _kendall(first, second)
    tau, n = float(result.statistic), len(first)
    if np.isnan(tau) or n > EXACT:
        return tau, float(result.pvalue)
    i, j = np.triu_indices(n, 1)
    gap = np.sign(first[i] - first[j])
    orders = np.array(list(permutations(range(n))), np.int8)
    # tau-b of every order has the same denominator, so that the sums of signs can be compared
    score = np.sign(second[orders[:, i]] - second[orders[:, j]]) @ gap
    return tau, float(np.mean(np.abs(score) >= abs(score[0])))


def tau_b(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return Kendall's tau-b alone; NaN where one of them is the same for all policies."""
    return float(_kendall(first, second).statistic)


def _kendall(first: NDArray[np.floating], second: NDArray[np.floating]) -> Any:
    from scipy.stats import kendalltau  # a second of imports that only reports need

    return kendalltau(first, second)


def sampled_pairs(metrics: list[str]) -> list[tuple[str, str]]:
    """Return (full, sampled) names for every sampled or corrected metric with its full one."""
    full = [(_SAMPLED.sub("", name), name) for name in metrics if _SAMPLED.search(name)]
    return [(base, name) for base, name in full if base in metrics]


def beside(offline: pd.DataFrame, full: str, sampled: str) -> pd.DataFrame:
    """Put a full metric and its sampled version side by side.

    Args:
        offline: columns policy, metric, estimate.
        full: name of the full metric.
        sampled: name of the sampled metric.

    Returns:
        Columns policy, full, sampled (metric units), full_rank, sampled_rank (1 best, ties share
        the mean rank), best by the full metric first; policies that have both.
    """
    wide = offline.pivot(index="policy", columns="metric", values="estimate")
    table = wide[[full, sampled]].dropna().set_axis(["full", "sampled"], axis=1)
    for column in ("full", "sampled"):
        good = goodness(full, table[column])
        table[f"{column}_rank"] = good.rank(ascending=False)
    ordered = table.reset_index().sort_values(["full_rank", "policy"])
    return ordered.reset_index(drop=True).rename_axis(columns=None)


def flips(pairs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the pairs of policies that the sampled metric puts the other way round.

    Args:
        pairs: what `beside` returned.

    Returns:
        (better by the full metric, better by the sampled one), best first; ties are no flips.
    """
    rows = list(zip(pairs["policy"], pairs["full_rank"], pairs["sampled_rank"], strict=True))
    return [(str(a[0]), str(b[0])) for a, b in combinations(rows, 2) if a[1] < b[1] and a[2] > b[2]]
