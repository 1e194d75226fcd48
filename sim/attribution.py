"""Attribution: which impressions a purchase is credited to, by a window and a rule.

The world knows better: every row of `Log.purchases()` names the impression that caused it, and the
labels of `Log.impressions()` are of that one. Platforms see no causes. They credit touches: stays
and clicks of the same user in the same streamer's rooms (or with the same product on show), at most
a window before the purchase. This is a view of the same log as such a platform has it; nothing in
the world depends on it.

    log = Log.open(folder)
    shown, bought = log.impressions(), log.purchases()
    credits = attribute(shown, bought, window_s=WINDOWS_S["3 d"], rule="last")
    label = credits.labels(len(shown))

Source of rules and windows: product documents and papers gathered in the survey on delayed feedback
(1 d and 7 d social ads, 3 d CASCADE, arXiv 2601.19965, 5 d Tencent, 30 d Criteo). Only events that
the platform knows are handed over, so a view as of t is as late as its reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.columns import Columns
from sim.config import ConfigError
from sim.schema import DAY_S, Impressions, Purchases

RULES = ("last", "first", "any")
"""Of the touches in the window the last one, the first one, or each one is credited."""

LEVELS = ("streamer", "product")
"""What touch and purchase must share, beside the user. A product belongs to one streamer, so the
second is the stricter one."""

WINDOWS_S: Mapping[str, float] = {
    f"{days} d": days * DAY_S for days in (1, 3, 5, 7, 30)
}  # fmt: skip
"""Windows in use, seconds."""


@dataclass(frozen=True)
class Credits(Columns):
    """Pairs of a credited impression and a purchase, arrays [M], in the order of purchases.

    A purchase without a touch in its window is credited to nobody. With the rule "any" a purchase
    may stand in several rows; with every rule an impression may, for it may be credited with
    several purchases.
    """

    impression: NDArray[np.int64]
    """Row of the impressions handed over."""
    purchase: NDArray[np.int64]
    """Row of the purchases handed over."""

    def labels(self, n_impressions: int) -> NDArray[np.bool_]:
        """Return which of the impressions [N] are credited with a purchase."""
        label = np.zeros(n_impressions, np.bool_)
        label[self.impression] = True
        return label


def attribute(
    impressions: Impressions,
    purchases: Purchases,
    *,
    window_s: float,
    rule: str,
    level: str = "streamer",
) -> Credits:
    """Credit impressions with purchases.

    A touch is an impression that was clicked or watched; it happens at `time_s`. It may be
    credited with a purchase if purchase - window <= touch <= purchase. Touches of one moment count
    as later the later their row is.

    Args:
        impressions: rows [N] of a log, in any order.
        purchases: purchases [P], likewise.
        window_s: longest time from touch to purchase, seconds, above 0; may be infinite.
        rule: one of RULES.
        level: one of LEVELS.

    Raises:
        ConfigError: a setting is not allowed.
    """
    if not window_s > 0.0:
        raise ConfigError(f"window_s = {window_s!r}; allowed: seconds above 0")
    for name, value, allowed in (("rule", rule, RULES), ("level", level, LEVELS)):
        if value not in allowed:
            raise ConfigError(f"{name} = {value!r}; allowed: {', '.join(allowed)}")
    touches = np.flatnonzero(impressions.click | (impressions.watch_s > 0.0))
    touch_s, bought_s = impressions.time_s[touches], purchases.event_s
    # who and whom as one number, and moments as their rank: rows are then in order by one key
    entity = f"{level}_id"
    pairs = np.concatenate(
        [
            _pairs(part.user_id, getattr(part, entity))
            for part in (impressions.take(touches), purchases)
        ]
    )
    pair = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
    moments = np.unique(np.concatenate([touch_s, bought_s - window_s, bought_s]))
    whose, who = pair[: len(touches)] * len(moments), pair[len(touches) :] * len(moments)
    key = whose + np.searchsorted(moments, touch_s)
    order = np.argsort(key, kind="stable")
    key, touches = key[order], touches[order]
    low = np.searchsorted(key, who + np.searchsorted(moments, bought_s - window_s), side="left")
    high = np.searchsorted(key, who + np.searchsorted(moments, bought_s), side="right")
    if rule == "last":
        low = np.maximum(low, high - 1)
    elif rule == "first":
        high = np.minimum(high, low + 1)
    count = high - low
    purchase = np.repeat(np.arange(len(purchases)), count)
    row = np.arange(len(purchase)) - np.repeat(np.cumsum(count) - count, count) + low[purchase]
    return Credits(touches[row], purchase)


def _pairs(user_id: NDArray[np.int32], entity_id: NDArray[np.int32]) -> NDArray[np.int64]:
    return user_id.astype(np.int64) << 32 | entity_id
