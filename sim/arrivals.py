"""Who arrives, when, where and in which mood.

A pure function of (seed, user, day) and of what the user carries from the days before; a policy
changes it only where users are made to remember how satisfied they were (`return_gain`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sim.calendar import Today
from sim.change import VisitConfig
from sim.columns import Columns
from sim.config import WorldConfig
from sim.population import Users, pick
from sim.rng import Purpose, uniforms
from sim.schedule import SLOT_S
from sim.schema import DETAIL, ENTRIES, SWIPE

Array = NDArray[np.float64]

MAX_SESSIONS = 12
"""Sessions of one user on one day beyond the first and these are dropped."""

_SESSION_DAY = 1 << 24
"""Sessions that a day can number."""


@dataclass(frozen=True)
class Sessions(Columns):
    """Sessions in the order of their start, arrays [N]."""

    session_id: NDArray[np.int64]
    user_id: NDArray[np.int32]
    scenario: NDArray[np.int8]
    entry: NDArray[np.int8]
    start_s: NDArray[np.float64]
    deadline_s: NDArray[np.float64]
    """The session ends here at the latest: time limit, or the user's next session."""
    moment: NDArray[np.int64]
    """Slot of the start; with the user it addresses every draw of the session."""
    mood: NDArray[np.float32]
    """Mood in logits."""


def sessions_of_day(
    config: WorldConfig,
    users: Users,
    day: int,
    seed: int,
    last_visit_day: NDArray[np.int32],
    satisfaction: NDArray[np.float32],
) -> Sessions:
    """Draw the sessions that start on `day`.

    Args:
        config: the world.
        users: everyone who exists; only those present on `day` arrive.
        day: day number from 0.
        seed: the world's seed.
        last_visit_day: of each user [U].
        satisfaction: that each user remembers [U].
    """
    present = np.flatnonzero((users.joined_day <= day) & (users.left_day > day))
    u = uniforms(seed, Purpose.ARRIVAL, present, day, 0, 0)
    volume = config.delay.drift.volume_per_day * day
    hazard = hazard_of_visit(
        config.visits,
        users.activity[present].astype(np.float64),
        day - last_visit_day[present],
        satisfaction[present].astype(np.float64),
        Today.of(config.calendar, day).traffic * math.exp(volume),
    )
    # users join by visiting
    visits = (u[0] < -np.expm1(-hazard)) | ((users.joined_day[present] == day) & (day > 0))
    present = present[visits]
    more = (config.visits.sessions_per_visit - 1.0) * users.activity[present].astype(np.float64)
    count = 1 + poisson(more, u[1][visits])
    user = np.repeat(present, count)
    index = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    u = uniforms(seed, Purpose.ARRIVAL, user, day, 1 + index, 0)

    hour = hour_of_day(np.array(config.visits.hour_weights), u[0]) + users.hour_shift[user]
    start_s = day * 86400.0 + np.mod(hour, 24.0) * 3600.0
    # float rounding must not push a start to the next day
    start_s = np.minimum(start_s, np.nextafter((day + 1) * 86400.0, 0.0))
    scenario = _scenarios(config, users.in_scenario[user], day, u[1])
    entry = np.full(len(user), ENTRIES.index("page"))
    channel = 1 + pick(np.array(config.session.entry_shares), u[2])
    entry = np.where(scenario == SWIPE, channel, entry)
    entry = np.where(scenario == DETAIL, ENTRIES.index("product"), entry)
    mood = config.session.mood_sigma * ndtri(u[3])

    by_user = np.lexsort((start_s, user))
    user, start_s = user[by_user], start_s[by_user]
    moment = (start_s // SLOT_S).astype(np.int64)
    # a slot addresses a session's draws: of a user's sessions in one slot the first takes place
    fresh = np.ones(len(user), np.bool_)
    fresh[1:] = (user[1:] != user[:-1]) | (moment[1:] != moment[:-1])
    rows = by_user[fresh]
    user, start_s, moment = user[fresh], start_s[fresh], moment[fresh]
    scenario, entry, mood = scenario[rows], entry[rows], mood[rows]

    deadline = start_s + config.session.max_session_s
    again = user[1:] == user[:-1]
    deadline[:-1] = np.where(again, np.minimum(deadline[:-1], start_s[1:]), deadline[:-1])
    by_time = np.argsort(start_s, kind="stable")  # users in one moment ascend already
    return Sessions(
        session_id=day * _SESSION_DAY + np.arange(len(user), dtype=np.int64),
        user_id=user[by_time].astype(np.int32),
        scenario=scenario[by_time].astype(np.int8),
        entry=entry[by_time].astype(np.int8),
        start_s=start_s[by_time],
        deadline_s=deadline[by_time],
        moment=moment[by_time],
        mood=mood[by_time].astype(np.float32),
    )


def hazard_of_visit(
    law: VisitConfig,
    activity: Array,
    gap_days: NDArray[np.integer],
    satisfaction: Array | float,
    traffic: float,
) -> Array:
    """Return the hazard [N] of a visit today, of users whose last one was `gap_days` ago.

    Args:
        law: parameters.
        activity: of the users, mean 1 [N].
        gap_days: at least 1 [N].
        satisfaction: that the users remember [N].
        traffic: factor of the day.
    """
    excited = 1.0 + law.excitation * np.exp(-(gap_days - 1.0) / law.excitation_days)
    mood = np.exp(law.return_gain * np.asarray(satisfaction))
    return np.asarray(law.rate_per_day * activity * excited * mood * traffic)


def _scenarios(
    config: WorldConfig, comes: NDArray[np.bool_], day: int, u: Array
) -> NDArray[np.int64]:
    """Draw the scenario of each session [N] among those that the user comes to [N, M]."""
    share = np.array([s.traffic_share * (s.opens_day <= day) for s in config.scenarios])
    weight = share * comes
    weight[:, SWIPE] += weight.sum(axis=1) == 0
    cdf = np.cumsum(weight, axis=1)
    passed = np.asarray(u[:, None] * cdf[:, -1:] >= cdf)
    return np.asarray(np.minimum(passed.sum(axis=1), SWIPE), np.int64)


def poisson(rate: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.int64]:
    """Draw Poisson counts [N] by inverse cdf, cut at MAX_SESSIONS."""
    term = np.exp(-rate)
    cdf, count = term.copy(), np.zeros(len(rate), np.int64)
    for k in range(1, MAX_SESSIONS + 1):
        count += u > cdf
        term = term * rate / k
        cdf += term
    return count


def hour_of_day(weights: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draw hours [N] in [0, 24) from a piecewise constant density with 24 pieces."""
    cdf = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])
    return np.asarray(np.interp(u, cdf, np.arange(25.0)))
