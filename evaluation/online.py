"""In-simulator comparison: what each deployed policy did to the same users.

Every policy is deployed in a twin of the same world under common random numbers: the same users
arrive at the same moments in the same mood. A deployment becomes sums per user, every metric a
ratio of two such sums, and a comparison pairs the users of two deployments by id.

    page_ctr        clicks / impressions, list layouts only
    user_ctr        users with a click / users who saw a list
    X_per_user      sum of X / users who visited
    value_per_user  sum over targets of objective weight x outcome / users who visited

Axis letters: M sums, S scenarios (then "all"), U users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Estimate, Scale, cluster_sums, difference, lift, ratio
from evaluation.results import ALL, Kind, ResultsError, Row, Subject
from sim.config import Objective
from sim.schema import SCENARIOS, SWIPE, Impressions, Purchases

SCOPES = (*SCENARIOS, ALL)
"""Scenarios of the rows; the position is the index of the scenario axis."""

SUMS = (
    "visitors", "list_visitors", "clickers", "list_impressions", "clicks", "watch_s", "views",
    "follows", "likes", "comments", "bag_clicks", "carts", "purchases", "gmv_cny", "value",
)  # fmt: skip
"""Sums per user; the first three are 0 or 1."""

_FLAGS = SUMS[:3]

METRICS = {
    "page_ctr": ("clicks", "list_impressions"),
    "user_ctr": ("clickers", "list_visitors"),
    **{f"{name}_per_user": (name, "visitors") for name in SUMS[4:]},
}
"""{metric: (sum in the numerator, sum in the denominator)}."""

SHARES = ("page_ctr", "user_ctr")
"""Metrics in [0, 1]; the others are sums per user, which have no upper end."""

CLICK_METRICS = ("page_ctr", "user_ctr", "clicks_per_user")
"""Undefined in the swipe, which has no click."""

DELAYED_METRICS = ("purchases_per_user", "gmv_cny_per_user", "value_per_user")
"""Differ between what is observed by the end and what ever comes of it."""


@dataclass(frozen=True)
class UserTotals:
    """Sums of one deployment per scenario and user."""

    sums: NDArray[np.float64]
    """[M, S + 1, U] in the order of SUMS and SCOPES."""

    @property
    def users(self) -> int:
        """Number of users U, visitors or not."""
        return int(self.sums.shape[2])

    def columns(
        self, metric: str, scenario: str = ALL
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return numerator and denominator [U] of a metric of METRICS in one of SCOPES.

        Raises:
            ResultsError: the metric or the scenario is unknown.
        """
        if metric not in METRICS:
            raise ResultsError(f"metric {metric!r} is unknown; allowed: {', '.join(METRICS)}")
        if scenario not in SCOPES:
            raise ResultsError(f"scenario {scenario!r} is unknown; allowed: {', '.join(SCOPES)}")
        scope = SCOPES.index(scenario)
        numerator, denominator = (self.sums[SUMS.index(name), scope] for name in METRICS[metric])
        return numerator, denominator

    def estimate(self, metric: str, scenario: str = ALL) -> Estimate:
        """Return a metric of METRICS in one of SCOPES, clustered by user.

        Raises:
            ResultsError: the metric or the scenario is unknown.
        """
        numerator, denominator = self.columns(metric, scenario)
        scale: Scale = "share" if metric in SHARES else "positive"
        return ratio(numerator, denominator, scale=scale)


def user_totals(
    impressions: Impressions, purchases: Purchases, objective: Objective, n_users: int
) -> UserTotals:
    """Add up one deployment per user.

    Args:
        impressions: what the deployment showed.
        purchases: purchases known (kind "online") or ultimate (kind "truth"); those of requests
            outside `impressions` are left out, as they are none of this deployment's doing. The
            value counts the first one of an impression, sales and their number count all.
        objective: weights of `value_per_user`.
        n_users: number of users U; ids must be below it. Twins must be given the same number.

    Raises:
        ResultsError: a user id is not below `n_users`.
    """
    own = purchases.take(np.isin(purchases.request_id, impressions.request_id))
    for name, ids in (("impressions", impressions.user_id), ("purchases", own.user_id)):
        if len(ids) and int(ids.max()) >= n_users:
            raise ResultsError(f"{name} hold user id {ids.max()}; ids must be below {n_users}")
    cell = impressions.scenario.astype(np.int64) * n_users + impressions.user_id
    cells = len(SCENARIOS) * n_users

    def add(values: NDArray[np.generic] | None) -> NDArray[np.float64]:
        return cluster_sums(values, cell, cells)

    bought_at = own.scenario.astype(np.int64) * n_users + own.user_id
    bought, paid, firsts = (
        cluster_sums(v, bought_at, cells) for v in (None, own.amount_cny, own.ordinal == 0)
    )
    weights = objective.weights()
    worth = np.zeros(len(impressions))
    for target, weight in weights.items():
        if weight and target != "purchase":
            worth += weight * impressions.target(target)
    listed = impressions.scenario != SWIPE
    by_name = {
        "visitors": add(None) > 0,
        "list_visitors": add(listed) > 0,
        "clickers": add(impressions.click) > 0,
        "list_impressions": add(listed),
        "clicks": add(impressions.click),
        "watch_s": add(impressions.watch_s),
        "views": add(impressions.view),
        "follows": add(impressions.follow),
        "likes": add(impressions.like),
        "comments": add(impressions.comment),
        "bag_clicks": add(impressions.bag_click),
        "carts": add(impressions.cart),
        "purchases": bought,
        "gmv_cny": paid,
        "value": add(worth) + weights.get("purchase", 0.0) * firsts,
    }
    sums = np.empty((len(SUMS), len(SCOPES), n_users))
    for index, name in enumerate(SUMS):
        table = by_name[name].reshape(len(SCENARIOS), n_users)
        sums[index, :-1] = table
        sums[index, -1] = table.any(axis=0) if name in _FLAGS else table.sum(axis=0)
    return UserTotals(sums)


def level_rows(subject: Subject, totals: UserTotals, kind: Kind) -> list[Row]:
    """Return one row per metric and scenario; with kind "truth" the delayed metrics only."""
    return [
        subject.level(metric, kind, totals.estimate(metric, scenario).interval(), scenario=scenario)
        for metric, scenario in _cells(kind)
    ]


def comparison_rows(
    subject: Subject,
    totals: UserTotals,
    control: str,
    control_totals: UserTotals,
    kind: Kind,
) -> list[Row]:
    """Return the paired difference and relative lift per metric and scenario.

    Args:
        subject: the policy compared.
        totals: its deployment.
        control: name of the control.
        control_totals: the control's deployment in a twin of the same world, same users.
        kind: "online" for observed outcomes, "truth" for ultimate ones (delayed metrics only).

    Raises:
        ResultsError: the deployments have different numbers of users.
    """
    if totals.users != control_totals.users:
        raise ResultsError(
            f"{subject.policy} has {totals.users} users and {control} {control_totals.users}; "
            "a paired comparison needs deployments in twins of one world"
        )
    rows = []
    for metric, scenario in _cells(kind):
        pair = totals.estimate(metric, scenario), control_totals.estimate(metric, scenario)
        gap, gain = difference(*pair).interval(), lift(*pair).interval()
        rows.append(subject.difference(metric, kind, gap, control, scenario=scenario))
        rows.append(subject.lift(metric, kind, gain, control, scenario=scenario))
    return rows


def _cells(kind: Kind) -> list[tuple[str, str]]:
    metrics = DELAYED_METRICS if kind == "truth" else tuple(METRICS)
    swipe = SCENARIOS[SWIPE]
    return [(m, s) for s in SCOPES for m in metrics if s != swipe or m not in CLICK_METRICS]
