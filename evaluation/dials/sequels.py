"""What dials are measured by that turn what follows a stay, or what changes from day to day."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from evaluation.dials.parts import Observed
from evaluation.dials.rates import Rows, contrast, rate
from evaluation.intervals import Estimate, cluster_sums, ratio
from sim.schema import DAY_S, PAD, SWIPE

SOON_S = 0.25 * DAY_S
"""Visits within this time of a stay are compared."""


def sales_a_purchase(seen: Observed) -> Estimate:
    """Purchases that come of an impression that leads to any."""
    bought = seen.ultimate
    total = cluster_sums(None, bought.user_id, seen.n_users)
    return ratio(total, cluster_sums(bought.ordinal == 0, bought.user_id, seen.n_users))


def unreported(seen: Observed) -> Estimate:
    """Share of all purchases of which nobody ever learns."""
    bought = seen.ultimate
    lost = cluster_sums(np.isinf(bought.known_s), bought.user_id, seen.n_users)
    return ratio(lost, cluster_sums(None, bought.user_id, seen.n_users))


def revisits_a_bag_click(seen: Observed) -> Estimate:
    """Visits soon after a stay with a bag click."""
    return rate(seen, _soon_revisits(seen), _watched_on(seen))


def pending_revisits(seen: Observed) -> Estimate:
    """How many more of them come while a purchase is pending than where none was decided."""
    truth, followed = seen.truth, _watched_on(seen)
    until_s = np.nan_to_num(truth.purchase_delay_s) + np.nan_to_num(truth.lost_delay_s)
    pending = followed & (until_s > SOON_S)
    return contrast(seen, _soon_revisits(seen), pending, followed & (truth.delay_part == PAD))


def old_taste(seen: Observed) -> Estimate:
    """How much closer list clicks of the last day are to the first taste than what was shown."""
    shown, people = seen.shown, seen.world.population
    rows = np.flatnonzero(_on_last_day(seen) & (shown.scenario != SWIPE))
    liking = np.zeros(len(shown))
    liking[rows] = np.einsum(
        "nk,nk->n",
        people.users.attention[shown.user_id[rows]],
        people.streamers.content[shown.streamer_id[rows]],
    )
    listed = np.zeros(len(shown), np.bool_)
    listed[rows] = True
    return contrast(seen, liking, listed & shown.click, listed)


def later_waits(seen: Observed) -> Estimate:
    """How much longer the log delay of purchases of the last day is than that of the first."""
    buys, last = seen.truth.will_purchase, _on_last_day(seen)
    log_delay = np.log(np.maximum(np.nan_to_num(seen.truth.purchase_delay_s, nan=1.0), 1.0))
    return contrast(seen, log_delay, buys & last, buys & ~last)


def later_buys(seen: Observed) -> Estimate:
    """How many more of the carts of the last day are bought than of those before."""
    cart, last = seen.shown.cart, _on_last_day(seen)
    return contrast(seen, seen.truth.will_purchase, cart & last, cart & ~last)


def _on_last_day(seen: Observed) -> Rows:
    return np.asarray(seen.shown.session_start_s >= seen.records[-1].day * DAY_S)


def _watched_on(seen: Observed) -> Rows:
    """Bag clicks whose next hours are all observed."""
    over_s = (seen.records[-1].day + 1) * DAY_S
    return np.asarray(seen.shown.bag_click & (seen.shown.known_s + SOON_S <= over_s))


def _soon_revisits(seen: Observed) -> NDArray[np.int64]:
    """Return the visits soon after each impression [N]."""
    visits = seen.revisits
    row = seen.rows_of(visits.request_id, visits.streamer_id)
    soon = visits.known_s - seen.shown.known_s[row] <= SOON_S
    return np.bincount(row[soon], minlength=len(seen.shown))


SEQUELS: Mapping[str, Callable[[Observed], Estimate]] = {
    "purchases of who buys": sales_a_purchase,
    "purchases never reported": unreported,
    "visits after a bag click": revisits_a_bag_click,
    "visits, pending less undecided": pending_revisits,
    "first taste in clicks of the last day": old_taste,
    "log delay, last day less before": later_waits,
    "carts bought, last day less before": later_buys,
}
"""Name -> measure, see `evaluation.dials.measures.MEASURES`."""
