"""What dials are measured by: one number of a world that has run, with the influence of each user.

Most measures are a rate over rows, or the difference of two rates; turning a dial moves the same
users under common random numbers, so that changes are paired. To add one, write a function of
`Observed` and enter it in `MEASURES`. What follows stays, or changes from day to day, stands in
`evaluation.dials.sequels`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from evaluation.dials.parts import Observed
from evaluation.dials.rates import Rows, contrast, per_session, rate
from evaluation.dials.sequels import SEQUELS
from evaluation.intervals import Estimate, cluster_sums, difference, mean, ratio
from sim.schema import SCENARIOS, SWIPE, UNBORN

LONG_S, SHORT_S = 60.0, 10.0
"""Stays that count as long, and as short."""

DEEP = 4
"""First position that counts as deep in a page."""


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


def highlights_draw(seen: Observed) -> Estimate:
    """How much more the clicked list rooms are at a highlight than those shown."""
    slot, streamers = 600.0, len(seen.world.population.streamers)
    moment: dict[int, float] = {}
    for record in seen.records:
        on_air = record.on_air
        keys = on_air.slot.astype(np.int64) * streamers + on_air.streamer_id
        moment.update(zip(keys.tolist(), on_air.highlight.tolist(), strict=True))
    shown = seen.shown
    key = (shown.time_s // slot).astype(np.int64) * streamers + shown.streamer_id
    height = np.array([moment.get(k, 0.0) for k in key.tolist()])
    return contrast(seen, height, _listed(seen) & shown.click, _listed(seen))


def visitors(seen: Observed) -> Estimate:
    """Share of the users of the first day who come on the last one."""
    there = (seen.world.population.users.joined_day == 0).astype(np.float64)
    last = seen.sessions.start_s >= seen.records[-1].day * 86_400.0
    came = cluster_sums(None, seen.sessions.user_id[last], seen.n_users) > 0
    return ratio(came * there, there)


def content_returns(seen: Observed) -> Estimate:
    """How much more of those come on the last day who stayed long on the days before."""
    shown = seen.shown
    before = (shown.session_start_s < seen.records[-1].day * 86_400.0) & _entered(seen)
    user = shown.user_id[before]
    stays = cluster_sums(None, user, seen.n_users)
    long = cluster_sums(shown.watch_s[before] >= LONG_S, user, seen.n_users)
    share = np.divide(long, stays, out=np.zeros_like(long), where=stays > 0)
    met = stays > 0
    content = met & (share > np.median(share[met]))
    last = seen.sessions.start_s >= seen.records[-1].day * 86_400.0
    came = (cluster_sums(None, seen.sessions.user_id[last], seen.n_users) > 0).astype(np.float64)
    others = met & ~content
    return difference(ratio(came * content, content * 1.0), ratio(came * others, others * 1.0))


def crowds_draw(seen: Observed) -> Estimate:
    """How much larger the last tick's audience of clicked list rooms is than of those shown."""
    log = _log_audience(seen)
    listed = _listed(seen)
    return contrast(seen, log, listed & seen.shown.click, listed)


def crowds_mute(seen: Observed) -> Estimate:
    """How much larger the last tick's audience is where a stay is liked than where it is not."""
    log, entered, like = _log_audience(seen), _entered(seen), seen.shown.like
    return contrast(seen, log, entered & like, entered & ~like)


def _log_audience(seen: Observed) -> NDArray[np.float64]:
    """Return log(1 + stays in the room's last tick) of each impression [N]."""
    shown, n = seen.shown, len(seen.world.population.streamers)
    tick = (shown.session_start_s // seen.world.config.tick_s).astype(np.int64)
    audience = cluster_sums(
        None, (tick * n + shown.streamer_id)[_entered(seen)], (tick.max() + 1) * n
    )
    before = (tick - 1) * n + shown.streamer_id
    return np.asarray(np.log1p(np.where(tick > 0, audience[np.maximum(before, 0)], 0.0)))


def fame_moves(seen: Observed) -> Estimate:
    """Mean absolute drift of the fame of streamers between the first and the last day."""
    drift = seen.world.fame_drift
    first, last = drift.at(0).copy(), drift.at(seen.records[-1].day).copy()
    return mean(np.abs(last - first))


def watched_pulls(seen: Observed) -> Estimate:
    """How far users' interests have moved towards what they watched."""
    shift = seen.world.state.memory.interest_shift
    moved = np.sqrt((shift.astype(np.float64) ** 2).sum(axis=1))
    return mean(moved if shift.shape[1] else np.zeros(seen.n_users))


def carts_bought(seen: Observed) -> Estimate:
    """Share of carts that end in a purchase, sooner or later."""
    return rate(seen, seen.truth.will_purchase, seen.shown.cart)


def paid_of_price(seen: Observed) -> Estimate:
    """What is asked today as a share of the catalogue's price."""
    price = seen.world.population.products.price_cny[seen.shown.product_id]
    everything = np.ones(len(seen.shown), np.bool_)
    return rate(seen, seen.truth.amount_cny / price, everything)


def feed_users(seen: Observed) -> Estimate:
    """Share of visitors who come to the feed."""
    user, feed = seen.sessions.user_id, seen.sessions.scenario == SCENARIOS.index("feed")
    came = cluster_sums(None, user, seen.n_users) > 0
    there = cluster_sums(feed, user, seen.n_users) > 0
    return ratio(there * 1.0, came * 1.0)


def id_tells_age(seen: Observed) -> Estimate:
    """Rank correlation of streamers' ids with the day on which they arrive."""
    joined = seen.world.population.streamers.joined_day
    born = joined != UNBORN
    ids = np.flatnonzero(born).astype(np.float64)
    late = (joined[born] > 0).astype(np.float64)
    ranks = np.argsort(np.argsort(ids)) / len(ids) - 0.5
    product = np.full(len(joined), np.nan)
    product[born] = (late - late.mean()) * ranks / max(late.std() * ranks.std(), 1e-12)
    return mean(product)


def poor_leave(seen: Observed) -> Estimate:
    """How many more of the streamers who sold nothing are about to leave than of the others."""
    there = seen.world.population.streamers.joined_day == 0
    gone = (seen.world.left_day < seen.records[-1].day + 3).astype(np.float64)  # notice is two days
    bought = [record.purchases.streamer_id for record in seen.records]
    rich = cluster_sums(None, np.concatenate(bought), len(there)) > 0
    poor, others = ((there & rows).astype(np.float64) for rows in (~rich, rich))
    return difference(ratio(gone * poor, poor), ratio(gone * others, others))


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
    present = (streamers.joined_day <= day) & (seen.world.left_day > day)
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
    "clicked rooms at a highlight less shown": highlights_draw,
    "audience of clicked rooms less shown": crowds_draw,
    "audience of liked stays less others": crowds_mute,
    "visitors on the last day": visitors,
    "visitors, content less others": content_returns,
    "drift of fame": fame_moves,
    "interests moved by watching": watched_pulls,
    "carts that are bought": carts_bought,
    "price asked of price listed": paid_of_price,
    "visitors who come to the feed": feed_users,
    "correlation of id and arrival": id_tells_age,
    "leaving, who sold nothing less others": poor_leave,
    "newcomers on air": newcomers,
    "size of the catalogue": catalogue_size,
    "agreement of attention and commerce": interests_agree,
    "correlation of spend tier and intent": tier_tells_intent,
    **SEQUELS,
}
"""Name, as in the page and in `conf/dials.yaml` -> measure."""
