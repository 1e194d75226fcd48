"""How often a method chooses the better of two policies, and what its mistakes are made of.

A pair counts where the truth tells it apart: the interval of its lift lies beyond LEAST. (Twins
see differences of a hundredth of a per cent, which nobody deploys for.) A method then chooses by
the sign of its gap, equal numbers by a coin; a sampled metric by one draw of negatives, normal
around its expectation. `right` is the chance that the better policy is chosen.

The mistakes of a metric come in four kinds, which add up to all of them:

    noise      on randomised traffic it errs within its own interval: too few users
    proxy      on randomised traffic it errs and is sure: it orders a pair unlike the value does
    exposure   what the log of the logging policy adds, or takes away: whose labels there are, and
               the pages, sessions and news of a day that it served
    sampling   what the sampled negatives add to that

    wrong(sampled, logged) = wrong(full, randomised) = noise + proxy
                             + [wrong(full, logged)    - wrong(full, randomised)]
                             + [wrong(sampled, logged) - wrong(full, logged)]

An addend below 0 is a kind of error that happens to undo another. Beside that, `misled` is how
often a method is sure (by its own interval over users) of the worse policy, and `false_alarms` how
often it is sure of a difference between policies of equal worth: the interval of their true lift
lies within LEAST. Of a sampled metric both, and tau and regret, are of its expectation.

Sources: split and quantities after Pereira, Said, Santos, RecSys 2025 (predictive power), with the
truth of a simulator in the place of a fully observed data set. Intervals are over simulated worlds,
(preset, seed).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from evaluation.agreement import MIN_POLICIES, tau_b
from evaluation.intervals import clustered_mean, mean
from evaluation.leaderboard import goodness
from evaluation.ranking.corrections import RAW
from evaluation.reliability.pairs import CELL, METHOD
from evaluation.results import ALL

LEAST = 0.001
"""Relative lift in true value below which two policies count as equal: a thousandth."""

GAPS = (0.02, 0.05, 0.15)
"""Ends of the bands of relative lift in true value between two policies."""

VERDICT = (
    "pairs", "worlds", "right", "right_low", "right_high", "tau", "tau_low", "tau_high", "regret",
    "misled", "undecided", "false_alarms",
)  # fmt: skip
"""Columns of a verdict beside those that name the method."""

KINDS = ("wrong", "noise", "proxy", "exposure", "sampling")
"""All mistakes, and the kinds that they are made of."""


def known_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs that the truth tells apart, with two columns more.

    Returns:
        right   chance in [0, 1] that the method chooses the better policy
        band    of the true lift: 0 for the smallest, len(GAPS) for the largest
    """
    known = pairs[(pairs["truth_low"] > LEAST) | (pairs["truth_high"] < -LEAST)]
    toward = known["gap"].to_numpy(np.float64) * np.sign(known["truth"].to_numpy(np.float64))
    right = _chance(toward, known["draw_error"].to_numpy(np.float64))
    truth = known["truth"].to_numpy(np.float64)
    band = np.searchsorted(GAPS, np.maximum(truth, 1.0 / (1.0 + truth) - 1.0), side="right")
    return known.assign(right=right, band=band)


def verdicts(pairs: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per method, the most reliable first; few pairs make no rank of their own.

    Methods that judge fewer than half as many pairs as another come behind: only learned policies
    predict probabilities.

    Args:
        pairs: columns as in `pairs`.
        scores: columns as there.

    Returns:
        The columns of METHOD, and
        pairs          pairs with a known truth
        worlds         worlds that they are from
        right, right_low, right_high   mean chance of choosing the better policy, and its interval
        tau, tau_low, tau_high         mean over these worlds of Kendall's tau-b with true value
        regret         mean over these worlds of what the policy with the best number lacks in true
                       value to the best one, share of the latter
        misled         share of pairs in which the method is sure of the worse policy
        undecided      share of pairs in which its interval holds 0; both NaN where it has none
        false_alarms   share of the pairs of *equal* worth in which it is sure of a difference
    """
    known = known_pairs(pairs)
    equal = pairs[(pairs["truth_low"] >= -LEAST) & (pairs["truth_high"] <= LEAST)]
    alarms = equal.groupby(list(METHOD))["decided"].mean()
    orders = _orders(_told(known, scores)).groupby(list(METHOD))
    rows = []
    for key, part in known.groupby(list(METHOD), sort=True):
        world = part.groupby(list(CELL), sort=False).ngroup().to_numpy()
        share = clustered_mean(part["right"].to_numpy(), world, int(world.max()) + 1).interval()
        wrong = part["gap"] * np.sign(part["truth"]) < 0.0
        row = dict(zip(METHOD, key, strict=True))
        row |= {"pairs": len(part), "worlds": int(world.max()) + 1}
        row |= {"right": share.estimate, "right_low": share.low, "right_high": share.high}
        row |= _order_of(orders, key)
        row |= {
            "misled": float((part["decided"] * wrong).mean()),
            "undecided": float(1.0 - part["decided"].mean()),
            "false_alarms": float(alarms.get(key, np.nan)),
        }
        rows.append(row)
    table = pd.DataFrame(rows, columns=[*METHOD, *VERDICT])
    table["few"] = table["pairs"] < table["pairs"].max() / 2
    keys = ["few", "right", *METHOD]
    ordered = table.sort_values(keys, ascending=[key != "right" for key in keys], kind="stable")
    return ordered.drop(columns="few").reset_index(drop=True)


def errors(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return what the mistakes of each logged metric are made of.

    Returns:
        Columns metric, slice, m, correction, KINDS (shares of pairs; the others sum to the first),
        pairs. Metrics without a randomised twin are left out.
    """
    known = known_pairs(pairs)
    pair = [*CELL, "first", "second", "metric", "slice"]
    full = known[(known["m"] == 0) & (known["correction"] == RAW.name)]
    logged = known[known["source"] == "logged"]
    for source, name in (("randomised", "clean"), ("logged", "full")):
        own = full.loc[full["source"] == source, [*pair, "right", "decided"]]
        named = {"right": name, "decided": f"{name}_decided"}
        logged = logged.merge(own.rename(columns=named), on=pair, how="inner")
    unsure = 1.0 - logged["clean_decided"].fillna(0.0)
    logged = logged.assign(
        wrong=1.0 - logged["right"],
        noise=(1.0 - logged["clean"]) * unsure,
        proxy=(1.0 - logged["clean"]) * (1.0 - unsure),
        exposure=logged["clean"] - logged["full"],
        sampling=logged["full"] - logged["right"],
    )
    return _means(logged, ["metric", "slice", "m", "correction"], list(KINDS))


def flips(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return how often a sampled metric turns the order of the full one, and is wrong.

    Returns:
        Columns metric, m, correction, band (-1: all), flipped (chance that one draw prefers the
        other policy than the full metric does), wrong (than the truth does), pairs.
    """
    known = known_pairs(pairs)
    pair = [*CELL, "first", "second", "metric"]
    logged = known[(known["source"] == "logged")]
    full = logged.loc[(logged["m"] == 0) & (logged["slice"] == ALL), [*pair, "gap"]]
    sampled = logged[logged["m"] > 0].merge(full.rename(columns={"gap": "full"}), on=pair)
    sampled = sampled[sampled["full"] != 0.0]
    toward = (sampled["gap"] * np.sign(sampled["full"])).to_numpy(np.float64)
    agreed = _chance(toward, sampled["draw_error"].to_numpy(np.float64))
    sampled = sampled.assign(flipped=1.0 - agreed, wrong=1.0 - sampled["right"])
    both = pd.concat([sampled.assign(band=-1), sampled], ignore_index=True)
    return _means(both, ["metric", "m", "correction", "band"], ["flipped", "wrong"])


def by_band(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return METHOD, band, right, pairs: reliability by the size of the true gap."""
    return _means(known_pairs(pairs), [*METHOD, "band"], ["right"])


def by_world(pairs: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return METHOD, world, tau: agreement of orders, mean over the seeds of a world.

    Worlds in which the truth tells no pair apart are left out: their order is luck.
    """
    found = _orders(_told(known_pairs(pairs), scores))
    return found.groupby([*METHOD, "world"], sort=True)["tau"].mean().reset_index()


def _means(rows: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
    """Return the means of columns by what names a row, and the number of pairs."""
    groups = rows.groupby(by, sort=True)
    return groups[columns].mean().join(groups.size().rename("pairs")).reset_index()


def _chance(toward: NDArray[np.float64], draw_error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the chance that a number around `toward` is above 0; a coin decides at 0."""
    sure = 0.5 * (1.0 + np.sign(toward))
    drawn = draw_error > 0.0
    sure[drawn] = ndtr(toward[drawn] / draw_error[drawn])
    return sure


def _told(known: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of worlds of which some pair is known: where all tie, order is luck."""
    return scores.merge(known[list(CELL)].drop_duplicates(), on=list(CELL))


def _orders(scores: pd.DataFrame) -> pd.DataFrame:
    """Return METHOD, world, seed, tau, regret, of methods known for MIN_POLICIES policies."""
    true = scores[scores["source"] == "truth"].set_index([*CELL, "policy"])["estimate"]
    # of all policies, whether a method judges them or not
    best = true.groupby(list(CELL)).max().to_dict()
    rest = scores[scores["source"] != "truth"].join(true.rename("value"), on=[*CELL, "policy"])
    rows = []
    for key, part in rest.groupby([*CELL, *METHOD], sort=True):
        named = dict(zip((*CELL, *METHOD), key, strict=True))
        turned = part.assign(good=goodness(str(named["metric"]), part["estimate"]))
        turned = turned.dropna(subset=["good"])
        if len(turned) < MIN_POLICIES:
            continue
        good, value = turned[["good", "value"]].to_numpy(np.float64).T
        chosen = value[good == good.max()].mean()
        lost = 1.0 - chosen / best[key[: len(CELL)]]
        named |= {"tau": tau_b(good, value), "regret": lost}
        rows.append(named)
    return pd.DataFrame(rows, columns=[*CELL, *METHOD, "tau", "regret"])


def _order_of(orders: Any, key: Sequence[object]) -> dict[str, float]:
    """Return agreement and regret of one method over worlds."""
    names = ("tau", "tau_low", "tau_high", "regret")
    if tuple(key) not in orders.groups:
        return dict.fromkeys(names, float("nan"))
    part = orders.get_group(tuple(key))
    tau = mean(part["tau"].to_numpy(np.float64)).interval()
    numbers = (tau.estimate, tau.low, tau.high, float(part["regret"].mean()))
    return dict(zip(names, numbers, strict=True))
