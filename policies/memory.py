"""What is known as of a moment: counters and histories fed by the stream of events.

A replayed log and a deployed policy feed it the same stream. Events count from the moment at which
they are known, never earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from policies.counters import Counters
from policies.histories import Histories, HistoryConfig
from policies.history import FIELDS, PairHistory
from sim.config import require, require_section
from sim.schema import TARGETS, Catalogue, Follows, Impressions, Ints, Purchases

DAY_S = 86_400.0

AFFINITY = ("engage", "watch", "bag_click")
"""Targets whose lifts are kept per (user, category)."""


@dataclass(frozen=True)
class FeatureConfig:
    """Numbers of the feature store."""

    half_life_days: float
    """Age at which an event counts half in the counters."""
    shrinkage: float
    """Pseudo-events that pull a lift to 0."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self, "half_life_days", 1e-3, 1e6)
        require(self, "shrinkage", 1e-3, 1e6)


@dataclass(frozen=True)
class SequenceFeatures(FeatureConfig):
    """Numbers of a feature store that remembers sequences of streamers, too."""

    histories: HistoryConfig
    """How much is remembered."""

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        require_section(self, "histories", HistoryConfig)


def plus_one(table: NDArray[np.integer], ids: Ints) -> NDArray[np.int32]:
    """Return table[ids] + 1 as int32, and 0 where an id is outside the table."""
    known = (ids >= 0) & (ids < len(table))
    if len(table) == 0:
        return np.zeros(ids.shape, np.int32)
    return np.where(known, table[np.where(known, ids, 0)].astype(np.int32) + 1, 0)


class EventMemory:
    """Counters per streamer, user and (user, category), and the history of pairs.

    Args:
        config: see `FeatureConfig`; `SequenceFeatures` asks for histories.
        n_categories: G categories told apart; later ones count as unknown, bucket 0.

    Attributes:
        version: grows whenever what is known has changed.
        now_s: moment up to which events are known.
        streamers, users, tastes: `Counters`; row = id + 1, of tastes user row x (G + 1) + bucket.
        history: `PairHistory`.
        histories: `Histories`; None unless the config asks for them.
    """

    def __init__(self, config: FeatureConfig, n_categories: int) -> None:
        """Start empty."""
        self.config = config
        self.n_categories = n_categories
        self.version = 0
        self.now_s = 0.0
        half_life_s = config.half_life_days * DAY_S
        self.streamers = Counters(TARGETS, half_life_s, config.shrinkage)
        self.users = Counters(TARGETS, half_life_s, config.shrinkage)
        self.tastes = Counters(AFFINITY, half_life_s, config.shrinkage)
        self.history = PairHistory()
        asked = config.histories if isinstance(config, SequenceFeatures) else None
        self.histories = None if asked is None else Histories(asked)
        self._impressions: list[Impressions] = []
        self._purchases: list[Purchases] = []
        self._counted_s: float | None = None

    def update(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        """Take in events known by `now_s`; rows that become known later wait until then.

        Events are counted by `refresh`, which every reader of columns calls first. Rows known by
        an earlier count are taken as told before and do not count twice, so that a replay may
        begin with all that happened before it.
        """
        if len(impressions):
            self._impressions.append(impressions)
        if len(purchases):
            self._purchases.append(purchases)
        self.now_s = max(self.now_s, float(now_s))
        self.version += 1

    def tell(self, follows: Follows) -> None:
        """Take in follows from before the stream begins, where sequences are remembered."""
        if self.histories is not None:
            self.histories.tell(follows)
            self.version += 1

    def refresh(self, catalogue: Catalogue) -> None:
        """Count waiting events; `catalogue` supplies the categories of their streamers."""
        if self._counted_s == self.now_s and not (self._impressions or self._purchases):
            return
        told_s = -np.inf if self._counted_s is None else self._counted_s
        elapsed_s = 0.0 if self._counted_s is None else self.now_s - told_s
        for counters in (self.streamers, self.users, self.tastes):
            counters.decay(elapsed_s)
        shown, bought = Impressions.empty(), Purchases.empty()
        if self._impressions:
            waiting = Impressions.concat(self._impressions)
            known = waiting.known_s <= self.now_s
            self._impressions = [] if known.all() else [waiting.take(~known)]
            shown = waiting.take(known & (waiting.known_s > told_s))
            self._count_impressions(shown, catalogue)
        if self._purchases:
            reported = Purchases.concat(self._purchases)
            known = reported.known_s <= self.now_s
            self._purchases = [] if known.all() else [reported.take(~known)]
            bought = reported.take(known & (reported.known_s > told_s))
            self._count_purchases(bought)
        if self.histories is not None:
            self.histories.add(shown, bought, self.now_s)
        self._counted_s = self.now_s

    def row(self, ids: Ints, counters: Counters) -> NDArray[np.int64]:
        """Return the row of the counters of each id, 0 for unknown ids and PAD."""
        row = ids.astype(np.int64) + 1
        return np.where(row < len(counters.sums), row, 0)

    def bucket(self, category: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return categories plus 1 with those beyond the known ones as 0, int32 [...]."""
        return np.where(category <= self.n_categories, category, 0)

    def _taste_row(self, user_row: Ints, bucket: Ints) -> NDArray[np.int64]:
        row = user_row.astype(np.int64) * (self.n_categories + 1) + bucket
        return np.where(row < len(self.tastes.sums), row, 0)

    def _taste_rows(self, user: Ints) -> NDArray[np.int64]:
        """Return the rows of every category of each user [B, G + 1]."""
        buckets = np.arange(self.n_categories + 1)
        row = self.row(user, self.users)[:, None]
        return np.where(row > 0, self._taste_row(row, buckets), 0)

    def tastes_of(self, user: Ints) -> NDArray[np.float32]:
        """Return lifts of each user's categories, float32 [B, G + 1, A]; bucket 0 is unknown."""
        return self.tastes.lifts(self._taste_rows(user))

    def tastes_in(self, user: Ints, scenario: Ints) -> NDArray[np.float32]:
        """Return the same as `tastes_of` inside one scenario [B] each."""
        rows = self._taste_rows(user)
        wide = np.broadcast_to(scenario.astype(np.int64)[:, None], rows.shape)
        return self.tastes.lifts_in(rows, wide)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return everything the store knows as plain arrays."""
        counted = np.nan if self._counted_s is None else self._counted_s
        state: dict[str, NDArray[np.generic]] = {
            "clock": np.array([self.now_s, counted, self.n_categories], np.float64),
            **self.history.state(),
            **({} if self.histories is None else self.histories.state()),
        }
        for name in ("streamers", "users", "tastes"):
            counters: Counters = getattr(self, name)
            state[f"{name}_sums"], state[f"{name}_totals"] = counters.sums, counters.totals
        for kind, parts in (("impressions", self._impressions), ("purchases", self._purchases)):
            if parts:
                whole = type(parts[0]).concat(parts)  # type: ignore[arg-type]
                state |= {f"{kind}.{f.name}": getattr(whole, f.name) for f in fields(whole)}
        return state

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `state` returned."""
        now_s, counted_s, n_categories = (float(x) for x in state["clock"])
        self.now_s, self.n_categories = now_s, int(n_categories)
        self._counted_s = None if np.isnan(counted_s) else counted_s
        self.history.restore(state)
        if self.histories is not None:
            self.histories.restore(state)
        for name in ("streamers", "users", "tastes"):
            counters: Counters = getattr(self, name)
            counters.restore(state[f"{name}_sums"], state[f"{name}_totals"])  # type: ignore[arg-type]
        self._impressions, self._purchases = [], []
        if "impressions.known_s" in state:
            names = [f.name for f in fields(Impressions)]
            self._impressions = [Impressions(**{n: state[f"impressions.{n}"] for n in names})]  # type: ignore[arg-type]
        if "purchases.event_s" in state:
            names = [f.name for f in fields(Purchases)]
            self._purchases = [Purchases(**{n: state[f"purchases.{n}"] for n in names})]  # type: ignore[arg-type]
        self.version += 1

    def _count_impressions(self, known: Impressions, catalogue: Catalogue) -> None:
        weight = self._weight(known.known_s)
        self.users.grow(int(known.user_id.max(initial=-1)) + 1)
        self.streamers.grow(int(known.streamer_id.max(initial=-1)) + 1)
        self.tastes.grow(len(self.users.sums) * (self.n_categories + 1))
        streamer, user = known.streamer_id + 1, known.user_id + 1
        category = self.bucket(plus_one(catalogue.streamer_category, known.streamer_id))
        taste = self._taste_row(user, category)
        everything = ((self.streamers, streamer), (self.users, user), (self.tastes, taste))
        for counters, entity in everything:
            counters.add(entity, known.scenario, 0, weight)
        for name in TARGETS:
            if name != "purchase":  # counted when it happens, in `_count_purchases`
                amount = weight * known.target(name)
                for counters, entity in everything:
                    if name in counters.fields:
                        field = 1 + counters.fields.index(name)
                        counters.add(entity, known.scenario, field, amount)
        one = np.ones(len(known), np.float32)
        sums = {name: known.target(name) for name in FIELDS if name not in ("shown", "purchase")}
        sums |= {"shown": one, "purchase": 0.0 * one}
        self.history.add(
            known.user_id, known.streamer_id, np.stack([sums[name] for name in FIELDS], axis=1)
        )

    def _count_purchases(self, known: Purchases) -> None:
        known = known.take(known.ordinal == 0)  # the target is the first one
        weight = self._weight(known.event_s)
        self.users.grow(int(known.user_id.max(initial=-1)) + 1)
        self.streamers.grow(int(known.streamer_id.max(initial=-1)) + 1)
        self.tastes.grow(len(self.users.sums) * (self.n_categories + 1))
        field = 1 + TARGETS.index("purchase")
        self.streamers.add(known.streamer_id + 1, known.scenario, field, weight)
        self.users.add(known.user_id + 1, known.scenario, field, weight)
        amounts = np.zeros((len(known), len(FIELDS)), np.float32)
        amounts[:, FIELDS.index("purchase")] = 1.0
        self.history.add(known.user_id, known.streamer_id, amounts)

    def _weight(self, at_s: NDArray[np.float64]) -> NDArray[np.float64]:
        age_s = self.now_s - at_s
        return np.asarray(0.5 ** (age_s / (self.config.half_life_days * DAY_S)), np.float64)
