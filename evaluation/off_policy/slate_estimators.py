"""Estimators of a policy's value per slate, each exact under another view of what a slate does.

With w_l = p_target / p_logging of place l given the places above, w_1:l their product from the top,
m_l the ratio of the marginal probabilities of the item at its place, r_l the reward of the place:

    sips          w_1:L sum_l r_l              unbiased whatever a slate does
    snsips        the same / mean w_1:L        consistent, bounded by the rewards
    iips          sum_l m_l r_l                a place's reward depends on its own item alone
    rips          sum_l w_1:l r_l              ... on the items above too (cascade)
    pi            (1' G+ theta) sum_l r_l      the slate's reward is a sum over (place, item)
    cascade_dr    sum_l w_1:l (r_l - Q_l) + w_1:l-1 E_target Q_l      cascade, for any Q

RIPS over a whole session is the per-decision importance sampling of Precup, Sutton & Singh (ICML
2000). G = E_logging[1_s 1_s'] and theta = E_target[1_s] over indicators of (place, item); see
`evaluation.off_policy.marginals` for the weights in closed form.

Sources: IIPS of Li, Abbasi-Yadkori, Kveton, Muthukrishnan, Vinay & Wen (KDD 2018); RIPS of
McInerney, Brost, Chandar, Mehrotra & Carterette (KDD 2020); PI of Swaminathan et al. (NeurIPS
2017); Cascade-DR of Kiyohara et al. (WSDM 2022).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evaluation.intervals import Estimate, cluster_sums, ratio
from evaluation.off_policy.rounds import OffPolicyError
from evaluation.off_policy.single_action import weighted_users
from evaluation.off_policy.slates import Slates


def sips(slates: Slates) -> Estimate:
    """Return the estimate that weighs each slate as a whole."""
    return slates.estimate(slates.weight() * slates.sums(slates.reward))


def snsips(slates: Slates) -> Estimate:
    """Return the self-normalised estimate of whole slates, per slate whatever the divisor."""
    weight = slates.weight()
    weighted, size = (
        cluster_sums(v, slates.user_id, slates.n_users)
        for v in (weight * slates.sums(slates.reward), weight)
    )
    return ratio(weighted, size, len(slates))


def iips(slates: Slates) -> Estimate:
    """Return the estimate under independent places.

    Raises:
        OffPolicyError: the slates hold no ratios of marginals.
    """
    if slates.place_ratio is None:
        raise OffPolicyError("place_ratio = None; iips needs marginals of both policies")
    return slates.estimate(slates.sums(slates.place_ratio * slates.reward))


def rips(slates: Slates) -> Estimate:
    """Return the estimate under a cascade, which is per-decision importance sampling."""
    return slates.estimate(slates.sums(slates.prefix() * slates.reward))


def pi(slates: Slates) -> Estimate:
    """Return the pseudo-inverse estimate.

    Raises:
        OffPolicyError: the slates hold no weights for it.
    """
    if slates.pseudo_weight is None:
        raise OffPolicyError("pseudo_weight = None; pi needs uniform or factored logging")
    return slates.estimate(slates.pseudo_weight * slates.sums(slates.reward))


def cascade_dr(slates: Slates) -> Estimate:
    """Return the doubly robust estimate under a cascade.

    Raises:
        OffPolicyError: the slates hold no model of the reward.
    """
    if slates.q_chosen is None or slates.q_target is None:
        raise OffPolicyError("q_chosen, q_target = None; cascade_dr needs a reward model")
    weight = slates.prefix()
    above = np.empty_like(weight)
    above[1:] = weight[:-1]
    above[slates.start[:-1]] = 1.0
    corrected = weight * (slates.reward - slates.q_chosen) + above * slates.q_target
    # the model's term is there for every user: only a weight lets a user correct it
    events = weighted_users(slates.sums(weight), slates.user_id, slates.n_users)
    return replace(slates.estimate(slates.sums(corrected)), events=events)


def on_policy(slates: Slates) -> Estimate:
    """Return the mean reward of a slate: the value of the logging policy."""
    return slates.estimate(slates.sums(slates.reward))
