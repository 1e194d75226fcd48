"""Small bandits and slates whose truth is known by enumeration."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.off_policy.rounds import Rounds

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bandit:
    """Contexts [X] with probabilities, actions [A], and rewards that are 0 or 1."""

    p_context: Array
    p_logging: Array
    p_target: Array
    p_reward: Array
    q: Array
    """A wrong model of `p_reward`."""
    group: NDArray[np.int64]

    @property
    def value(self) -> float:
        """The target's value."""
        return float(self.p_context @ (self.p_target * self.p_reward).sum(axis=1))

    def draw(self, rng: np.random.Generator, users: int, each: int) -> Rounds:
        """Return rounds of users who have a mood and a number of rounds of their own."""
        count = rng.integers(1, 2 * each, users)
        user = np.repeat(np.arange(users), count)
        n = len(user)
        x = rng.choice(len(self.p_context), n, p=self.p_context)
        action = (self.p_logging[x].cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
        mood = np.repeat(rng.uniform(-0.1, 0.1, users), count)
        reward = (rng.random(n) < self.p_reward[x, action] + mood).astype(float)
        return Rounds.of(
            action, reward, self.p_logging[x], self.p_target[x],
            user_id=user, q=self.q[x], group=self.group,
        )  # fmt: skip


def bandit(seed: int = 0, by_group: bool = False) -> Bandit:
    """Return a bandit of 6 contexts and 5 actions; rewards by group alone on request."""
    rng = np.random.default_rng(seed)
    x, a = 6, 5
    group = np.array([0, 0, 1, 1, 2])
    p_reward = rng.uniform(0.15, 0.85, (x, a))
    if by_group:
        p_reward = p_reward[:, group]
    q = np.clip(p_reward + rng.normal(0.0, 0.2, (x, a)), 0.0, 1.0)
    logging, target = (rng.dirichlet(np.full(a, 3.0), x) for _ in range(2))
    return Bandit(rng.dirichlet(np.ones(x)), logging, target, p_reward, q, group)


def orders(items: int, places: int) -> NDArray[np.int64]:
    """Return all ordered slates of distinct items [S, K]."""
    return np.array(list(itertools.permutations(range(items), places)))


def tuples(items: int, places: int) -> NDArray[np.int64]:
    """Return all slates in which items may repeat [S, K]."""
    return np.array(list(itertools.product(range(items), repeat=places)))


def conditionals(slates: NDArray[np.int64], weight: Array) -> Array:
    """Return Plackett-Luce probabilities of each place given those above, by plain loops [S, K]."""
    out = np.empty(slates.shape)
    for s, slate in enumerate(slates):
        left = list(range(len(weight)))
        for k, item in enumerate(slate):
            out[s, k] = weight[item] / sum(weight[i] for i in left)
            left.remove(item)
    return out


def marginals(slates: NDArray[np.int64], p: Array, items: int) -> Array:
    """Return the probability of each item at each place [K, items]."""
    out = np.zeros((slates.shape[1], items))
    for slate, chance in zip(slates, p, strict=True):
        for k, item in enumerate(slate):
            out[k, item] += chance
    return out
