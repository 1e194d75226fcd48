"""Estimators of a policy's value per round, from rounds with one action each.

With w = p_target / p_logging of the logged action, r its reward, q its estimated reward and
DM = sum over actions of p_target q:

    ips          mean w r                                    Horvitz & Thompson (JASA 1952)
    clipped_ips  mean min(w, l) r                            Bottou et al. (JMLR 2013)
    snips        sum w r / sum w                             Swaminathan & Joachims (NeurIPS 2015)
    dm           mean DM                                     Beygelzimer & Langford (KDD 2009)
    dr           mean [DM + w (r - q)]                       Dudik, Langford & Li (ICML 2011)
    sndr         mean DM + sum w (r - q) / sum w             Thomas & Brunskill (ICML 2016)
    switch_dr    mean [DM + w 1{w <= l} (r - q)]             Wang, Agarwal & Dudik (ICML 2017)
    dros         mean [DM + l w / (w^2 + l) (r - q)]         Su et al. (ICML 2020)
    sg_ips, sg_dr   w replaced by w / (1 - l + l w)      Metelli, Russo & Restelli (NeurIPS 2021)
    mips         mean w(group) r                             Saito & Joachims (ICML 2022)

IPS and DR are unbiased where the logging policy supports the target and its propensities are exact,
DR for any q that was not fitted on the round itself; MIPS where an action moves the reward through
its group only. The others trade bias for variance. Each estimate is clustered by user. The events
of an estimate that corrects a model, below MIN_EVENTS of which it has no interval, are the users
whom a weight lets correct it: the model's term is there for everybody and tells nothing of its
error.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Estimate, cluster_sums, ratio
from evaluation.off_policy.rounds import OffPolicyError, Rounds

Array = NDArray[np.float64]


def ips(rounds: Rounds) -> Estimate:
    """Return the inverse propensity estimate."""
    return _mean(rounds, rounds.weight * rounds.reward)


def clipped_ips(rounds: Rounds, threshold: float) -> Estimate:
    """Return the inverse propensity estimate with weights cut at `threshold`, at least 0."""
    _require_threshold(threshold)
    return _mean(rounds, np.minimum(rounds.weight, threshold) * rounds.reward)


def snips(rounds: Rounds) -> Estimate:
    """Return the self-normalised estimate; the delta method covers its denominator."""
    return _self_normalised(rounds, rounds.reward)


def dm(rounds: Rounds) -> Estimate:
    """Return the direct estimate; its interval does not cover the error of the model."""
    return _mean(rounds, rounds.modelled()[1])


def dr(rounds: Rounds) -> Estimate:
    """Return the doubly robust estimate."""
    return _corrected(rounds, rounds.weight)


def sndr(rounds: Rounds) -> Estimate:
    """Return the doubly robust estimate with a self-normalised correction."""
    q_chosen, _ = rounds.modelled()
    correction = _self_normalised(rounds, rounds.reward - q_chosen)
    model = dm(rounds)
    return Estimate(
        model.value + correction.value,
        model.influence + correction.influence,
        model.active | correction.active,
        model.n,
        weighted_users(rounds.weight, rounds.user_id, rounds.n_users),
    )


def switch_dr(rounds: Rounds, threshold: float) -> Estimate:
    """Return the estimate that trusts the model alone where a weight exceeds `threshold`; 0: DM."""
    _require_threshold(threshold)
    if threshold == 0.0:
        return dm(rounds)
    kept = np.where(rounds.weight <= threshold, rounds.weight, 0.0)
    return _corrected(rounds, kept)


def dros(rounds: Rounds, strength: float) -> Estimate:
    """Return the doubly robust estimate with optimistically shrunken weights.

    Args:
        rounds: with a reward model.
        strength: l of the shrinkage, at least 0: at 0 it is DM, at infinity DR.
    """
    _require_threshold(strength)
    if strength == 0.0:
        return dm(rounds)
    return _corrected(rounds, shrunken(rounds.weight, strength))


def sg_ips(rounds: Rounds, bend: float) -> Estimate:
    """Return the inverse propensity estimate with sub-Gaussian weights.

    Args:
        rounds: any.
        bend: l in [0, 1]: at 0 it is IPS, at 1 every weight is 1.
    """
    return _mean(rounds, bent(rounds.weight, bend) * rounds.reward)


def sg_dr(rounds: Rounds, bend: float) -> Estimate:
    """Return the doubly robust estimate with sub-Gaussian weights; arguments as in `sg_ips`."""
    return _corrected(rounds, bent(rounds.weight, bend))


def mips(rounds: Rounds) -> Estimate:
    """Return the estimate with weights marginalised over the groups of actions.

    Raises:
        OffPolicyError: the rounds hold no weights of groups.
    """
    if rounds.group_weight is None:
        raise OffPolicyError("group_weight = None; mips needs the groups of the actions")
    return _mean(rounds, rounds.group_weight * rounds.reward)


def on_policy(rounds: Rounds) -> Estimate:
    """Return the mean reward: the value of the logging policy."""
    return _mean(rounds, rounds.reward)


def shrunken(weight: Array, strength: float) -> Array:
    """Return l w / (w^2 + l) [N], of l above 0; the limit l = infinity included."""
    if strength == np.inf:
        return weight
    return np.asarray(strength * weight / (weight * weight + strength))


def bent(weight: Array, bend: float) -> Array:
    """Return w / (1 - l + l w) [N]; at l = 1 every weight is 1, also one of 0.

    Raises:
        OffPolicyError: `bend` is outside [0, 1].
    """
    if not 0.0 <= bend <= 1.0:
        raise OffPolicyError(f"bend = {bend}; allowed: [0, 1]")
    if bend == 1.0:
        return np.ones_like(weight)
    return np.asarray(weight / (1.0 - bend + bend * weight))


def weighted_users(weight: Array, user_id: NDArray[np.integer], n_users: int) -> int:
    """Return how many users have a weight above 0, from weights [N] and users [N] of rows."""
    return int(np.count_nonzero(cluster_sums(weight, user_id, n_users)))


def _corrected(rounds: Rounds, weight: Array) -> Estimate:
    q_chosen, q_target = rounds.modelled()
    estimate = _mean(rounds, q_target + weight * (rounds.reward - q_chosen))
    return replace(estimate, events=weighted_users(weight, rounds.user_id, rounds.n_users))


def _mean(rounds: Rounds, values: Array) -> Estimate:
    total, size = (cluster_sums(v, rounds.user_id, rounds.n_users) for v in (values, None))
    return ratio(total, size, len(rounds))


def _self_normalised(rounds: Rounds, values: Array) -> Estimate:
    weighted, weight = (
        cluster_sums(v, rounds.user_id, rounds.n_users)
        for v in (rounds.weight * values, rounds.weight)
    )
    return ratio(weighted, weight, len(rounds))


def _require_threshold(threshold: float) -> None:
    if not threshold >= 0.0:
        raise OffPolicyError(f"threshold = {threshold}; allowed: at least 0, infinity included")
