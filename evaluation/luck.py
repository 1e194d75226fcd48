"""Common random numbers: how much of the noise of a comparison twins of one world share.

Two policies A and B are compared by the mean over users of d_u = a_u - b_u, the difference in
seconds watched. With U independent users its variance is Var(d) / U. Under common random numbers
the same users arrive with the same moods, and the same (user, streamer, moment, kind of event)
meets the same noise. *Independent draws* can mean three things, from the closest to the farthest:

    luck      the same people, rooms, sessions and moods; every draw inside a session is new
    sessions  the same people and rooms; who arrives when, in which mood, is drawn anew as well
    people    B serves other users, as when users are split at random: Var(a) + Var(b)

Source of the idea: common random numbers as in Law, Simulation Modeling and Analysis, 5th ed.,
section 11.2; in a trial of their own the founders found the keying by pair and kind of event best.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.online import SCOPES, SUMS, user_totals
from evaluation.results import ALL
from policies.contract import FitContext, Policy
from policies.heuristics import Popularity, Random
from policies.rank import Exploration, Server
from sim.arrivals import Sessions
from sim.config import WorldConfig
from sim.log import Log
from sim.rng import MAX_SEED
from sim.scene import Scene
from sim.schema import DAY_S, Requests
from sim.state import State
from sim.world import World

DRAWS = ("common", "luck", "sessions", "people")
"""Kinds of draws, by how much of the noise is new."""

WARM_DAYS = 2
"""Days for which popularity is learnt before the comparison, which takes one day."""

EXPLORED, SWAPPED = 0.01, 20
"""Share of positions that the second policy of a pair fills at random; pairs of neighbours among
the most popular streamers that it swaps."""


class OtherLuck(World):
    """A world with the same people and rooms in which everything else is drawn anew.

    Args:
        config: parameters.
        seed: decides who exists and what is on air.
        luck: seed of what happens.
        same_sessions: whether the same users arrive at the same moments in the same mood.
    """

    def __init__(self, config: WorldConfig, seed: int, luck: int, same_sessions: bool) -> None:
        super().__init__(config, seed)
        self.people_seed, self.same_sessions = seed, same_sessions
        self.seed = luck

    def scene(self, day: int) -> Scene:
        """Return the scene of a day, which is that of the original world."""
        # the constructor of the world asks before the luck is set
        luck, self.seed = self.seed, getattr(self, "people_seed", self.seed)
        try:
            return super().scene(day)
        finally:
            self.seed = luck

    def sessions(self, day: int) -> Sessions:
        """Return who arrives on `day`."""
        if not self.same_sessions:
            return super().sessions(day)
        luck, self.seed = self.seed, self.people_seed
        try:
            return super().sessions(day)
        finally:
            self.seed = luck


@dataclass(frozen=True)
class NearPair:
    """Two policies that differ little, each with how it explores."""

    name: str
    first: Policy
    second: Policy
    explored: float
    """Share of positions that the second one fills at random; the first none."""


@dataclass(frozen=True)
class SharedLuck:
    """Variance of the difference in watch time per user, by kind of draws."""

    pair: str
    difference_s: float
    """Mean of the difference under common random numbers, seconds per user."""
    variance_s2: dict[str, float]
    """Variance of d_u by DRAWS, square seconds."""

    def times_smaller(self, draws: str) -> float:
        """Return how many times smaller the variance is under common random numbers."""
        return self.variance_s2[draws] / self.variance_s2["common"]


class Frozen:
    """Ranks by a table of scores by streamer and learns no more.

    A policy that goes on learning passes every difference on to all users, by its counters.
    """

    def __init__(self, rate: NDArray[np.float64]) -> None:
        self.rate = rate

    def fit(self, log: Log, context: FitContext) -> Frozen:
        """Return self; there is nothing to learn."""
        return self

    def score(self, requests: Requests) -> NDArray[np.float64]:
        """Return the score of each candidate, float64 [B, C]; the last one of unknown ids."""
        return self.rate[np.minimum(requests.candidate_id, len(self.rate) - 1)]


def warmed_up(config: WorldConfig, seed: int) -> tuple[State, Popularity]:
    """Return the world after WARM_DAYS under exploring popularity, and what that has learnt."""
    policy = Popularity().fit(Log.nothing(config.tick_s, DAY_S), FitContext())
    world = World(config, seed)
    for _ in world.run(Server(policy, Exploration("epsilon", eps=0.2)), WARM_DAYS):
        pass
    return world.state, policy


def near_pairs(learnt: Popularity) -> tuple[NearPair, ...]:
    """Return pairs of near-identical policies, and one of different ones for comparison."""
    rate = learnt.rate_
    swapped, order = rate.copy(), np.argsort(-rate[:-1], kind="stable")
    for i in range(0, 3 * SWAPPED, 3):  # among the best, who are shown
        swapped[order[i]], swapped[order[i + 1]] = rate[order[i + 1]], rate[order[i]]
    slower = copy.deepcopy(learnt)
    slower.half_life_s *= 1.05
    return (
        NearPair(f"fixed order, {EXPLORED:.0%} at random", Frozen(rate), Frozen(rate), EXPLORED),
        NearPair(f"fixed order, {SWAPPED} swaps", Frozen(rate), Frozen(swapped), 0.0),
        NearPair("learning, half-life + 5 %", learnt, slower, 0.0),
        NearPair(f"learning, {EXPLORED:.0%} at random", learnt, learnt, EXPLORED),
        NearPair("popularity and random", learnt, Random(), 0.0),
    )


def shared_luck(config: WorldConfig, seed: int) -> tuple[SharedLuck, ...]:
    """Measure every near pair in one world, on the day after it has warmed up.

    Args:
        config: the world.
        seed: of the people and rooms; the other luck takes the seed after it.
    """
    state, learnt = warmed_up(config, seed)
    luck = (seed + 1) % (MAX_SEED + 1)

    def twin(draws: str) -> World:
        if draws == "common":
            return World(config, seed)
        return OtherLuck(config, seed, luck, same_sessions=draws == "luck")

    rows = []
    for pair in near_pairs(learnt):
        first = watched_s(twin("common"), state, pair.first, 0.0)
        second = {
            draws: watched_s(twin(draws), state, pair.second, pair.explored) for draws in DRAWS[:3]
        }
        variance = {draws: float((other - first).var()) for draws, other in second.items()}
        variance["people"] = float(first.var() + second["common"].var())
        gap = float((second["common"] - first).mean())
        rows.append(SharedLuck(pair.name, gap, variance))
    return tuple(rows)


def watched_s(world: World, state: State, policy: Policy, explored: float) -> NDArray[np.float64]:
    """Return the seconds that each user watches on one day under a policy [U].

    Args:
        world: altered: it begins at `state` and runs for a day.
        state: where to begin.
        policy: not altered.
        explored: share of positions filled at random.
    """
    world.state = state
    server = Server(copy.deepcopy(policy), Exploration("epsilon", eps=explored))
    record = next(world.run(server, 1))
    totals = user_totals(
        record.impressions, record.purchases, world.config.objective, record.catalogue.n_users
    )
    return np.asarray(totals.sums[SUMS.index("watch_s"), SCOPES.index(ALL)])
