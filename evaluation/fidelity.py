"""Figures of live streaming, measured on a log in the way in which they were published.

A log is read day by day; what is kept grows with its users, streamers and pairs of both, not with
its impressions. `evaluation.published` says what an entry is and what a stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from evaluation.concentration import Pairs, Popularity
from evaluation.tally import Counts, DayRecord, Histogram, Measured, ratio, share, stays_of
from sim.log import Log
from sim.schedule import SLOT_S, SLOTS_PER_DAY
from sim.schema import DAY_S, SWIPE
from sim.truth_log import logged_truth, sessions_to_their_end

LONG_S = 60.0
"""Stays beyond this are long ones."""

HORIZON_S = 30 * DAY_S
"""Conversions later than this are not counted."""

FEW = 50
"""Users with fewer interactions than this in 21 days are little active ones."""


def measure(log: Log) -> dict[str, Measured]:
    """Return every figure of a log by its key in `evaluation.published`.

    Raises:
        LogError: a file cannot be read.
    """
    catalogue = log.catalogue()
    return tally(days_of(log), len(log.days), catalogue.n_users, catalogue.n_streamers)


def days_of(log: Log) -> Iterator[DayRecord]:
    """Yield the days of a log, one in memory at a time.

    Raises:
        LogError: a file cannot be read.
    """
    for day in log.days:
        truth = logged_truth(log.between(day * log.day_s, (day + 1) * log.day_s))
        delay_s = truth.purchase_delay_s[truth.will_purchase]
        yield DayRecord(day, sessions_to_their_end(log, day), log.airings(day), delay_s)


def tally(
    days: Iterable[DayRecord], n_days: int, n_users: int, n_streamers: int
) -> dict[str, Measured]:
    """Return every figure of some days, which begin with day 0 and ascend.

    Args:
        days: what happened.
        n_days: how many they are.
        n_users: ids of users are below this.
        n_streamers: ids of streamers are below this.
    """
    tallies = (
        _Users(n_users, n_days),
        _Stays(),
        _Rooms(n_days, n_streamers),
        _Clock(),
        Popularity(n_streamers),
        Pairs(n_days, n_streamers),
        _Delays(),
    )
    for record in days:
        for each in tallies:
            each.add(record)
    return {key: found for each in tallies for key, found in each.figures().items()}


class _Users:
    """What is counted per user: traffic, feedback per entry, days between visits."""

    def __init__(self, n_users: int, n_days: int) -> None:
        self.n_days = n_days
        names = ("cards", "clicks", "shown", "entries", "stays", "comments", "likes")
        self.count: dict[str, Counts] = {name: np.zeros(n_users, np.int64) for name in names}
        self.follows = 0
        self.seen = np.zeros((n_users, n_days), np.bool_)

    def add(self, record: DayRecord) -> None:
        shown = record.shown
        is_card, stayed = shown.scenario != SWIPE, stays_of(shown)
        chosen = {
            "cards": is_card, "clicks": shown.click & is_card, "shown": np.ones_like(is_card),
            "entries": shown.engage, "stays": stayed, "comments": shown.comment & stayed,
            "likes": shown.like & stayed,
        }  # fmt: skip
        for name, rows in chosen.items():
            user_id = shown.user_id[rows]
            self.count[name] += np.bincount(user_id, minlength=len(self.count[name]))
        self.follows += int((shown.follow & stayed).sum())
        date = (shown.time_s // DAY_S).astype(np.int64)
        inside = date < self.n_days
        self.seen[shown.user_id[inside], date[inside]] = True

    def figures(self) -> dict[str, Measured]:
        count = self.count
        entered = count["entries"] > 0
        like_kuailive = entered & (count["comments"] > 0) & (count["likes"] > 0)

        def rate(part: str, whole: str) -> Measured:
            own = [ratio(count[part][u].sum(), count[whole][u].sum())
                   for u in (slice(None), like_kuailive)]  # fmt: skip
            return Measured(own[0], int(count[whole].sum()), own[1])

        def per_day(name: str) -> Measured:
            own = [ratio(count[name][u].sum(), self.n_days * u.sum())
                   for u in (entered, like_kuailive)]  # fmt: skip
            return Measured(own[0], int(self.n_days * entered.sum()), own[1])

        did = count["entries"] + count["comments"] + count["likes"]
        few = [ratio((did[u] < FEW).sum(), u.sum()) for u in (entered, like_kuailive)]
        return {
            "entry_rate": rate("clicks", "cards"),
            "exposures_per_user_day": per_day("shown"),
            "entries_per_user_day": per_day("entries"),
            "few_interactions": Measured(few[0], int(entered.sum()), few[1]),
            "comments_per_entry": rate("comments", "stays"),
            "likes_per_entry": rate("likes", "stays"),
            "follows_per_entry": share(self.follows, float(count["stays"].sum())),
            **self._gaps(),
        }

    def _gaps(self) -> dict[str, Measured]:
        user, day = np.nonzero(self.seen)
        gap = np.diff(day)[np.diff(user) == 0]
        shares = {f"gap_{d}": share(float((gap == d).sum()), len(gap)) for d in range(1, 6)}
        return shares | {"gap_mean": share(float(gap.sum()), len(gap))}


class _Stays:
    """How long people stay in rooms."""

    def __init__(self) -> None:
        self.all, self.long = Histogram(), Histogram()

    def add(self, record: DayRecord) -> None:
        watch_s = record.shown.watch_s[stays_of(record.shown)]
        self.all.add(watch_s)
        self.long.add(watch_s[watch_s > LONG_S])

    def figures(self) -> dict[str, Measured]:
        found = {"long_stays": share(self.long.n, self.all.n)}
        for name, stays in (("stay", self.all), ("long_stay", self.long)):
            found |= {f"{name}_p{q}": stays.quantile(q / 100) for q in (25, 50, 75, 90)}
            found[f"{name}_mean"] = stays.mean
        return found


class _Rooms:
    """How long rooms are, how many streamers open, how many are on air when people enter."""

    def __init__(self, n_days: int, n_streamers: int) -> None:
        self.n_days = n_days
        self.n_slots: dict[int, int] = {}
        self.start_s: dict[int, float] = {}
        self.streamers: set[int] = set()
        self.entries_by_on_air = np.zeros(n_streamers + 1, np.int64)

    def add(self, record: DayRecord) -> None:
        airings, first = record.airings, record.day * SLOTS_PER_DAY
        slot = airings.slot.astype(np.int64) - first
        today = (slot >= 0) & (slot < SLOTS_PER_DAY)
        room, at, n = np.unique(airings.room_id[today], return_index=True, return_counts=True)
        start_s, who = airings.room_start_s[today][at], airings.streamer_id[today][at]
        begun = start_s >= 0
        rows = (column[begun].tolist() for column in (room, start_s, who, n))
        for room_id, since_s, streamer_id, slots in zip(*rows, strict=True):
            self.n_slots[room_id] = self.n_slots.get(room_id, 0) + slots
            self.start_s[room_id] = since_s
            self.streamers.add(streamer_id)
        on_air = np.bincount(slot[slot >= 0])
        at = (record.shown.time_s[record.shown.engage] // SLOT_S).astype(np.int64) - first
        at = at[(at >= 0) & (at < len(on_air))]
        size = len(self.entries_by_on_air)
        self.entries_by_on_air += np.bincount(on_air[at], minlength=size)

    def figures(self) -> dict[str, Measured]:
        begun_s = np.array(list(self.start_s.values()))
        whole = begun_s <= (self.n_days - 1) * DAY_S  # none is longer than a day
        length_min = np.array(list(self.n_slots.values()))[whole] * (SLOT_S / 60)
        lengths = Histogram()
        lengths.add(length_min)
        found = {f"room_p{q}": lengths.quantile(q / 100) for q in (25, 50, 75, 90)}
        found["room_mean"] = lengths.mean
        found["rooms_per_streamer_day"] = share(
            len(self.n_slots), len(self.streamers) * self.n_days
        )
        upto, rooms = np.cumsum(self.entries_by_on_air), np.arange(len(self.entries_by_on_air))
        n = int(upto[-1])
        mean = ratio(float(self.entries_by_on_air @ rooms), n)
        for q in (10, 50, 90):
            met = float(np.searchsorted(upto, q / 100 * n))
            found[f"on_air_p{q}"] = Measured(ratio(met, mean), n)
        return found


class _Clock:
    """At which hours people enter rooms."""

    def __init__(self) -> None:
        self.entries = np.zeros(24, np.int64)

    def add(self, record: DayRecord) -> None:
        time_s = record.shown.time_s[record.shown.engage]
        self.entries += np.bincount((time_s % DAY_S // 3600).astype(np.int64), minlength=24)

    def figures(self) -> dict[str, Measured]:
        n = int(self.entries.sum())
        if not n:
            return dict.fromkeys(("peak_start", "noon_bump"), Measured(float("nan"), 0))
        ring = np.concatenate([self.entries, self.entries[:5]])
        busiest = int(np.argmax(np.convolve(ring, np.ones(6), "valid")))
        around = (self.entries[10] + self.entries[14]) / 2
        bump = ratio(float(self.entries[12]), float(around))
        return {"peak_start": Measured(float(busiest), n), "noon_bump": Measured(bump, n)}


class _Delays:
    """How long purchases take."""

    def __init__(self) -> None:
        self.n = self.in_1h = self.in_24h = 0

    def add(self, record: DayRecord) -> None:
        delay_s = record.delay_s[record.delay_s <= HORIZON_S]
        self.n += len(delay_s)
        self.in_1h += int((delay_s <= 3600.0).sum())
        self.in_24h += int((delay_s <= DAY_S).sum())

    def figures(self) -> dict[str, Measured]:
        return {"delay_1h": share(self.in_1h, self.n), "delay_24h": share(self.in_24h, self.n)}
