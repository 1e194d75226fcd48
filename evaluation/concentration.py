"""How unequally interactions fall on streamers, and how often users come back to the same ones."""

from __future__ import annotations

import numpy as np

from evaluation.published import KUAILIVE_INTERACTIONS
from evaluation.tally import Counts, DayRecord, Measured, share, stays_of

COLD, HOT = 5 / KUAILIVE_INTERACTIONS, 40 / KUAILIVE_INTERACTIONS
"""Thresholds between which the tail of popularity is measured, as multiples of the mean."""


class Popularity:
    """How unequally interactions fall on streamers."""

    def __init__(self, n_streamers: int) -> None:
        self.interactions = np.zeros(n_streamers, np.int64)

    def add(self, record: DayRecord) -> None:
        """Count a day."""
        shown, stayed = record.shown, stays_of(record.shown)
        for rows in (shown.engage, shown.comment & stayed, shown.like & stayed):
            size = len(self.interactions)
            self.interactions += np.bincount(shown.streamer_id[rows], minlength=size)

    def figures(self) -> dict[str, Measured]:
        """Return what was measured, by key."""
        met = self.interactions[self.interactions > 0]
        if not len(met):
            nothing = Measured(float("nan"), 0)
            return dict.fromkeys(
                ("popularity_tail", "cold_streamers", "hot_streamers", "top_ten"), nothing
            )
        warm, hot = (met >= COLD * met.mean()).sum(), (met > HOT * met.mean()).sum()
        slope = float(np.log(warm / hot) / np.log(HOT / COLD)) if hot else float("nan")
        top = np.sort(met)[-10:].sum()
        return {
            "popularity_tail": Measured(slope, len(met)),
            "cold_streamers": Measured(1.0 - float(warm / len(met)), len(met)),
            "hot_streamers": share(float(hot), len(met)),
            "top_ten": share(float(top), float(met.sum())),
        }


class Pairs:
    """How often users come back to the same streamers, and how they spread their time on them."""

    def __init__(self, n_days: int, n_streamers: int) -> None:
        self.n_streamers = n_streamers
        self.judged_from = -(-2 * n_days // 3)
        """First day of the last third."""
        self.key = np.zeros(0, np.int64)
        """Pairs met, ascending: user x streamers + streamer."""
        self.entries = np.zeros(0, np.int64)
        self.watch_s = np.zeros(0)
        self.judged = self.judged_known = 0

    def add(self, record: DayRecord) -> None:
        """Count a day."""
        shown = record.shown
        stayed = stays_of(shown)
        key = shown.user_id[stayed].astype(np.int64) * self.n_streamers + shown.streamer_id[stayed]
        pair, place = np.unique(key, return_inverse=True)
        entered = np.bincount(place, shown.engage[stayed], len(pair)).astype(np.int64)
        watch_s = np.bincount(place, shown.watch_s[stayed], len(pair))
        known: Counts = np.asarray(np.searchsorted(self.key, pair), np.int64)
        old = np.zeros(len(pair), np.bool_)
        inside = known < len(self.key)
        old[inside] = self.key[known[inside]] == pair[inside]
        before = np.zeros(len(pair), np.int64)
        before[old] = self.entries[known[old]]
        if record.day >= self.judged_from:
            fresh = (before == 0) & (entered > 0)
            self.judged += int(entered.sum())
            self.judged_known += int(entered.sum() - fresh.sum())
        self.entries[known[old]] += entered[old]
        self.watch_s[known[old]] += watch_s[old]
        joined = np.concatenate([self.key, pair[~old]])
        order = np.argsort(joined, kind="stable")
        self.key = joined[order]
        self.entries = np.concatenate([self.entries, entered[~old]])[order]
        self.watch_s = np.concatenate([self.watch_s, watch_s[~old]])[order]

    def figures(self) -> dict[str, Measured]:
        """Return what was measured, by key."""
        entered = self.entries > 0
        found = {
            "repeated_pairs": share(float((self.entries > 1).sum()), float(entered.sum())),
            "known_streamers": share(self.judged_known, self.judged),
        }
        own = self.key // max(self.n_streamers, 1)
        user, first = np.unique(own, return_index=True)
        if not len(user):
            return found | dict.fromkeys(("top_share_p50", "top_share_p90"), share(0, 0))
        total, top = (f.reduceat(self.watch_s, first) for f in (np.add, np.maximum))
        parts = top[total > 0] / total[total > 0]
        for q in (50, 90):
            value = float(np.quantile(parts, q / 100)) if len(parts) else float("nan")
            found[f"top_share_p{q}"] = Measured(value, len(parts))
        return found
