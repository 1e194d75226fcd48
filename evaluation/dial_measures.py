"""What dials are measured by: one number of a world that has run, with the influence of each user.

Most measures are a rate over rows, or the difference of two rates; turning a dial moves the same
users under common random numbers, so that changes are paired. To add one, write a function of
`Observed` and enter it in `MEASURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from evaluation.dial_parts import Observed
from evaluation.intervals import Estimate, cluster_sums, difference, mean, ratio
from sim.schema import SCENARIOS, SWIPE, UNBORN

Rows = NDArray[np.bool_]

LONG_S, SHORT_S = 60.0, 10.0
"""Stays that count as long, and as short."""

DEEP = 4
"""First position that counts as deep in a page."""


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


def likeness_pays(seen: Observed) -> Estimate:
    """How much more a swiped room is viewed if it is of the category of a liked refer."""
    shown, category = seen.shown, seen.world.population.streamers.category
    rows = (shown.scenario == SWIPE) & (shown.refer_watch_s >= LONG_S)
    alike = category[np.maximum(shown.refer_id, 0)] == category[shown.streamer_id]
    return contrast(seen, shown.view, rows & alike, rows & ~alike)


def liked_stays_on(seen: Observed) -> Estimate:
    """How much more often a user swipes on after a long stay than after a short one."""
    shown = seen.shown
    last = np.append(shown.session_id[1:] != shown.session_id[:-1], True)
    swipe = shown.scenario == SWIPE
    long, short = shown.watch_s >= LONG_S, shown.watch_s < SHORT_S
    # a long stay also uses up the time that the session has: only its beginning is compared
    early = shown.time_s - shown.session_start_s < 600.0
    near = early & (shown.watch_s < 600.0)
    return contrast(seen, ~last, swipe & long & near, swipe & short & near)


def repeat_pays(seen: Observed) -> Estimate:
    """How much more a streamer is engaged with who was viewed on an earlier day."""
    shown = seen.shown
    pair = shown.user_id.astype(np.int64) << 32 | shown.streamer_id
    last = shown.session_start_s >= seen.records[-1].day * 86_400.0
    met = np.isin(pair, pair[~last & shown.view])
    return contrast(seen, shown.engage, last & met, last & ~met)


def tab_taste(seen: Observed) -> Estimate:
    """How much closer clicked rooms of the tab are to the taste of the channel than shown ones."""
    shown, people = seen.shown, seen.world.population
    rows = shown.scenario == SCENARIOS.index("tab")
    liking = np.zeros(len(shown))
    liking[rows] = np.einsum(
        "nk,nk->n",
        people.users.attention[shown.user_id[rows]],
        people.streamers.content[shown.streamer_id[rows]],
    )
    return contrast(seen, liking, rows & shown.click, rows)


def dear_waits(seen: Observed) -> Estimate:
    """How much longer the log delay of dear purchases is than that of cheap ones."""
    truth = seen.truth
    buys = truth.will_purchase
    log_delay = np.log(np.maximum(np.nan_to_num(truth.purchase_delay_s, nan=1.0), 1.0))
    dear = truth.amount_cny > np.median(truth.amount_cny)
    return contrast(seen, log_delay, buys & dear, buys & ~dear)


def eager_is_fast(seen: Observed) -> Estimate:
    """How many more of the purchases of eager users happen within the hour."""
    truth = seen.truth
    eager = seen.world.population.users.intent[seen.shown.user_id] > 0
    fast = np.nan_to_num(truth.purchase_delay_s, nan=np.inf) < 3600.0
    return contrast(seen, fast, truth.will_purchase & eager, truth.will_purchase & ~eager)


def share_of_tab(seen: Observed) -> Estimate:
    """Share of sessions that begin in the tab."""
    user, tab = seen.sessions.user_id, seen.sessions.scenario == SCENARIOS.index("tab")
    return ratio(cluster_sums(tab, user, seen.n_users), cluster_sums(None, user, seen.n_users))


def newcomers(seen: Observed) -> Estimate:
    """Share of the streamers on air on the last day who were not there on the first."""
    on_air = np.unique(seen.records[-1].on_air.streamer_id)
    joined = seen.world.population.streamers.joined_day
    there = np.zeros(len(joined))
    there[on_air] = 1.0
    return ratio(there * (joined > 0), there)


def catalogue_size(seen: Observed) -> Estimate:
    """Streamers present on the last day, as a share of the configured number."""
    streamers, day = seen.world.population.streamers, seen.records[-1].day
    present = (streamers.joined_day <= day) & (streamers.left_day > day)
    present &= streamers.joined_day != UNBORN
    n = len(present)
    configured = seen.world.config.population.n_streamers
    return ratio(present.astype(np.float64), np.full(n, configured / n))


def interests_agree(seen: Observed) -> Estimate:
    """Mean cosine of the directions in which attention and commerce look."""
    users = seen.world.population.users
    return mean(np.einsum("uk,uk->u", users.attention, users.commerce).astype(np.float64))


def tier_tells_intent(seen: Observed) -> Estimate:
    """Correlation of the observed spend tier with the latent intent."""
    users = seen.world.population.users
    born = users.joined_day != UNBORN
    tier, intent = (np.where(born, x, np.nan) for x in (users.spend_tier, users.intent))
    product = (tier - np.nanmean(tier)) * (intent - np.nanmean(intent))
    return mean(product / (np.nanstd(tier) * np.nanstd(intent)))


def uninterested(seen: Observed) -> Estimate:
    """Share of swipe sessions that were entered for a title or a reward."""
    rows = seen.sessions.scenario == SWIPE
    user, entry = seen.sessions.user_id[rows], seen.sessions.entry[rows]
    total = cluster_sums(entry > 1, user, seen.n_users)
    return ratio(total, cluster_sums(None, user, seen.n_users))


def _listed(seen: Observed) -> Rows:
    return np.asarray(seen.shown.scenario != SWIPE)


def _swiped(seen: Observed) -> Rows:
    return np.asarray(seen.shown.scenario == SWIPE)


def _entered(seen: Observed) -> Rows:
    return np.asarray(seen.shown.watch_s > 0)


def _of(trait: str, seen: Observed) -> NDArray[np.generic]:
    values: NDArray[np.generic] = getattr(seen.world.population.streamers, trait)
    return values[seen.shown.streamer_id]


def _scenario(name: str) -> Callable[[Observed], Estimate]:
    def clicks(seen: Observed) -> Estimate:
        top = (seen.shown.scenario == SCENARIOS.index(name)) & (seen.shown.position == 0)
        return rate(seen, seen.shown.click, top)

    return clicks


def _after_stay(target: str) -> Callable[[Observed], Estimate]:
    return lambda seen: rate(seen, seen.shown.target(target), _entered(seen))


def _long_pays(target: str) -> Callable[[Observed], Estimate]:
    def pays(seen: Observed) -> Estimate:
        watch_s, entered = seen.shown.watch_s, _entered(seen)
        long, short = entered & (watch_s >= LONG_S), entered & (watch_s < SHORT_S)
        return contrast(seen, seen.shown.target(target), long, short)

    return pays


MEASURES: Mapping[str, Callable[[Observed], Estimate]] = {
    "clicks at the top of the channel": _scenario("channel"),
    "clicks at the top of the tab": _scenario("tab"),
    "share of list clicks deep in the page": lambda seen: rate(
        seen, seen.shown.position >= DEEP, _listed(seen) & seen.shown.click
    ),
    "swipes viewed": lambda seen: rate(seen, seen.shown.view, _swiped(seen)),
    "long stays in the swipe": lambda seen: rate(seen, seen.shown.watch_s >= LONG_S, _swiped(seen)),
    "swipes a session": lambda seen: per_session(seen, np.ones(len(seen.shown)), _swiped(seen)),
    "bait of clicked rooms": lambda seen: rate(
        seen, _of("bait", seen), _listed(seen) & seen.shown.click
    ),
    "bait of long stays": lambda seen: rate(
        seen, _of("bait", seen), _swiped(seen) & (seen.shown.watch_s >= LONG_S)
    ),
    "fame of clicked rooms": lambda seen: rate(
        seen, _of("fame", seen), _listed(seen) & seen.shown.click
    ),
    "entry rooms watched long": lambda seen: rate(
        seen, seen.shown.refer_watch_s >= LONG_S, _swiped(seen) & (seen.shown.step == 0)
    ),
    "likes a stay": _after_stay("like"),
    "bag clicks a stay": _after_stay("bag_click"),
    "likes, long less short stays": _long_pays("like"),
    "bag clicks, long less short stays": _long_pays("bag_click"),
    "views, refer's category less others": likeness_pays,
    "going on, after long less short stays": liked_stays_on,
    "engagement, met before less not": repeat_pays,
    "taste of the channel in tab clicks": tab_taste,
    "log delay, dear less cheap": dear_waits,
    "bought within the hour, eager less others": eager_is_fast,
    "share of sessions in the tab": share_of_tab,
    "uninterested entries": uninterested,
    "newcomers on air": newcomers,
    "size of the catalogue": catalogue_size,
    "agreement of attention and commerce": interests_agree,
    "correlation of spend tier and intent": tier_tells_intent,
}
"""Name, as in the page and in `conf/dials.yaml` -> measure."""
