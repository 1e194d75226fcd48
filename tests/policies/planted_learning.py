"""A small planted log that can be learnt: users like the streamers of their own category."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from policies import registry
from policies.columns import SequenceTensors
from policies.features import FeatureStore
from policies.histories import HistoryConfig
from policies.listings import Listings
from policies.memory import SequenceFeatures, plus_one
from sim.config import Objective, build
from sim.events import Revisits
from sim.schema import (
    PAD,
    SCENARIOS,
    SWIPE,
    Catalogue,
    Follows,
    Impressions,
    Purchases,
    Requests,
    Supply,
)
from tests.policies.planted import catalogue

if TYPE_CHECKING:
    from sim.log import Log

TICK_S = 3600.0
N_USERS, N_STREAMERS = 40, 24
SLATE = {s: 1 if s == SWIPE else 3 - s % 2 for s in range(len(SCENARIOS))}
"""Slate size by scenario."""

P_LIKED, P_OTHER = 0.75, 0.15
"""Probability of engagement with a streamer of the user's own category, and with another one."""

FEATURES = SequenceFeatures(
    half_life_days=7.0,
    shrinkage=2.0,
    histories=HistoryConfig(length=5, neighbours=4, join_every_h=2.0),
)

_VISIT = ("request_id", "user_id", "streamer_id", "product_id", "scenario")
"""What a visit shares with its impression."""

OBJECTIVE = Objective(
    engage=1.0, watch=1.0, like=1.0, comment=1.0, follow=1.0, bag_click=1.0, cart=1.0, purchase=1.0
)


def batch(
    user: NDArray[np.integer],
    scenario: NDArray[np.integer],
    time_s: NDArray[np.float64],
    refer: NDArray[np.integer],
    supply: Supply,
    row: NDArray[np.integer],
    known: Catalogue,
) -> Requests:
    """Return requests whose candidates are all cells of their supply row that hold a room."""
    n = len(user)
    return Requests(
        request_id=np.arange(n, dtype=np.int64),
        session_id=np.arange(n, dtype=np.int64),
        user_id=user.astype(np.int32),
        scenario=scenario.astype(np.int8),
        entry=(scenario == SWIPE).astype(np.int8),
        time_s=time_s,
        session_start_s=time_s,
        step=np.zeros(n, np.int16),
        refer_id=refer.astype(np.int32),
        refer_watch_s=np.where(refer >= 0, 45.0, 0.0).astype(np.float32),
        mask=(supply.streamer_id != PAD)[row],
        row=row.astype(np.int32),
        supply=supply,
        catalogue=known,
    )


def rooms(ids: NDArray[np.integer]) -> Supply:
    """Return a supply in which streamer s shows product s and went live at 60 s x s."""
    ids = ids.astype(np.int32)
    here = ids != PAD
    return Supply(
        streamer_id=ids,
        product_id=ids.copy(),
        room_id=ids.astype(np.int64),
        room_start_s=np.where(here, 60.0 * ids, float(PAD)),
    )


@dataclass(frozen=True)
class LearningTick:
    """The part of a tick that policies replay."""

    now_s: float
    known: Impressions
    purchases: Purchases
    shown: Impressions
    known_catalogue: Catalogue

    def slates(self) -> tuple[Requests, NDArray[np.int64]]:
        """Return the requests with what was shown, and rows into `shown` [B, K]."""
        ids, first = np.unique(self.shown.request_id, return_index=True)
        request = np.searchsorted(ids, self.shown.request_id)
        rows = np.full((len(ids), max(SLATE.values())), PAD, np.int64)
        rows[request, self.shown.position] = np.arange(len(self.shown))
        slate = np.where(rows >= 0, self.shown.streamer_id[np.maximum(rows, 0)], PAD)
        head = self.shown.take(first)
        requests = batch(
            head.user_id,
            head.scenario,
            head.time_s,
            head.refer_id,
            rooms(slate),
            np.arange(len(ids)),
            self.known_catalogue,
        )
        return requests, rows


@dataclass(frozen=True)
class LearningLog:
    """A log held in memory; `rows` and `bought` may reach beyond `as_of_s`."""

    rows: Impressions
    bought: Purchases
    as_of_s: float
    known_catalogue: Catalogue

    def ticks(self) -> Iterator[LearningTick]:
        """Yield hours from 0 until before `as_of_s`."""
        before = -np.inf
        for now_s in np.arange(0.0, self.as_of_s, TICK_S):
            mine = (self.rows.session_start_s >= now_s) & (
                self.rows.session_start_s < min(now_s + TICK_S, self.as_of_s)
            )
            yield LearningTick(
                float(now_s), *self._news(before, now_s), self.rows.take(mine), self.known_catalogue
            )
            before = now_s

    def known_after_last_tick(self) -> tuple[Impressions, Purchases]:
        """Return what became known after the last tick began."""
        return self._news(np.arange(0.0, self.as_of_s, TICK_S)[-1], self.as_of_s)

    def purchases(self) -> Purchases:
        """Return what was known of purchases at `as_of_s`."""
        return self.bought.take(self.bought.known_s <= self.as_of_s)

    def revisits(self) -> Revisits:
        """Return one visit a minute after every other stay with a bag click, as far as known."""
        rows = self.rows.take(self.rows.bag_click & (self.rows.request_id % 2 == 0))
        page = np.zeros(len(rows), np.int8)
        visits = Revisits(
            known_s=rows.known_s + 60.0,
            page=page,
            **{name: getattr(rows, name) for name in _VISIT},
        )
        return visits.take(visits.known_s <= self.as_of_s)

    def catalogue(self) -> Catalogue:
        """Return the catalogue."""
        return self.known_catalogue

    def follows(self) -> Follows:
        """Return two follows of each user from before the log begins, and those of the log."""
        user = np.repeat(np.arange(N_USERS, dtype=np.int32), 2)
        streamer = (3 * user + 11 * np.arange(len(user))) % N_STREAMERS
        rows = self.rows.take(self.rows.follow & (self.rows.known_s <= self.as_of_s))
        return Follows(
            known_s=np.concatenate([np.zeros(len(user)), rows.known_s]),
            user_id=np.concatenate([user, rows.user_id]),
            streamer_id=np.concatenate([streamer.astype(np.int32), rows.streamer_id]),
        )

    def _news(self, after_s: float, until_s: float) -> tuple[Impressions, Purchases]:
        known = (self.rows.known_s > after_s) & (self.rows.known_s <= until_s)
        bought = (self.bought.known_s > after_s) & (self.bought.known_s <= until_s)
        return self.rows.take(known), self.bought.take(bought)


def learning_log(hours: int = 6, per_hour: int = 120, seed: int = 0) -> LearningLog:
    """Return `hours` hours with `per_hour` requests each; engagement follows the category."""
    rng = np.random.default_rng(seed)
    people = catalogue(N_USERS, N_STREAMERS)
    n = hours * per_hour
    time_s = np.sort(rng.uniform(0.0, hours * TICK_S, n))
    scenario = rng.choice(len(SCENARIOS), n, p=[0.3, 0.1, 0.1, 0.1, 0.4])
    user = rng.integers(0, N_USERS, n)
    refer = np.where(scenario == SWIPE, rng.integers(0, N_STREAMERS, n), PAD)
    size = np.array([SLATE[int(s)] for s in scenario])
    request = np.repeat(np.arange(n), size)
    position = np.concatenate([np.arange(k) for k in size])
    start = rng.integers(0, N_STREAMERS, n)
    streamer = (start[request] + 7 * position) % N_STREAMERS
    taste = user[request] % 4 == people.streamer_category[streamer]
    engaged = rng.random(len(request)) < np.where(taste, P_LIKED, P_OTHER)
    swipe = scenario[request] == SWIPE
    watch_s = np.where(engaged, rng.uniform(30.0, 600.0, len(request)), 3.0 * swipe)
    at_s = time_s[request]
    acts = {
        name: engaged & (rng.random(len(request)) < 0.3)
        for name in ("like", "comment", "follow", "bag_click")
    }
    cart = acts["bag_click"] & (rng.random(len(request)) < 0.5)
    known_s = at_s + watch_s
    buys = cart & (rng.random(len(request)) < 0.6)
    rows = Impressions(
        request_id=request.astype(np.int64),
        session_id=request.astype(np.int64),
        user_id=user[request].astype(np.int32),
        streamer_id=streamer.astype(np.int32),
        room_id=streamer.astype(np.int64),
        product_id=streamer.astype(np.int32),
        scenario=scenario[request].astype(np.int8),
        entry=swipe.astype(np.int8),
        time_s=at_s,
        session_start_s=at_s,
        step=np.zeros(len(request), np.int16),
        position=position.astype(np.int8),
        refer_id=refer[request].astype(np.int32),
        refer_watch_s=np.where(swipe, 45.0, 0.0).astype(np.float32),
        n_candidates=np.full(len(request), N_STREAMERS, np.int32),
        propensity=np.full(len(request), 1.0 / N_STREAMERS),
        click=engaged & ~swipe,
        watch_s=watch_s.astype(np.float32),
        view=watch_s >= 10.0,
        cart=cart,
        known_s=known_s,
        purchase_s=np.where(buys, known_s + 60.0, np.nan),
        **acts,
    )
    bought = purchases_of(rows.take(buys))
    return LearningLog(rows, bought, hours * TICK_S, people)


def purchases_of(rows: Impressions) -> Purchases:
    """Return one purchase for each row, by event time."""
    rows = rows.take(np.argsort(rows.purchase_s, kind="stable"))
    return Purchases(
        event_s=rows.purchase_s,
        known_s=rows.purchase_s,
        impression_s=rows.time_s,
        request_id=rows.request_id,
        user_id=rows.user_id,
        streamer_id=rows.streamer_id,
        product_id=rows.product_id,
        scenario=rows.scenario,
        ordinal=np.zeros(len(rows), np.int8),
        amount_cny=np.full(len(rows), 10.0, np.float32),
    )


def later_changed(log: LearningLog, after_s: float) -> LearningLog:
    """Return the log with everything that was not known at `after_s` turned into its opposite.

    Rows shown before `after_s` but known later change, too; who came and what was shown stays.
    """
    rows = log.rows
    late = rows.known_s > after_s
    turned: dict[str, Any] = {
        name: getattr(rows, name) ^ late
        for name in ("click", "view", "like", "comment", "follow", "bag_click", "cart")
    }
    watch_s = np.where(late, 600.0 - rows.watch_s, rows.watch_s).astype(np.float32)
    bought = log.bought
    sold_late = bought.known_s > after_s
    moved = np.where(sold_late, (bought.streamer_id + 5) % N_STREAMERS, bought.streamer_id)
    return replace(
        log,
        rows=replace(rows, watch_s=watch_s, **turned),
        bought=replace(bought, streamer_id=moved.astype(np.int32)),
    )


def serving_requests(
    n: int, log: LearningLog, seed: int = 1, n_lists: int = 2, width: int = N_STREAMERS
) -> Requests:
    """Return `n` requests that share `n_lists` lists per scenario, some cells empty or masked."""
    rng = np.random.default_rng(seed)
    n_rows = n_lists * len(SCENARIOS)
    ids = np.stack([rng.permutation(N_STREAMERS)[:width] for _ in range(n_rows)])
    ids[::2, -2:] = PAD
    scenario = rng.integers(0, len(SCENARIOS), n)
    row = scenario * n_lists + rng.integers(0, n_lists, n)
    refer = np.where(scenario == SWIPE, rng.integers(0, N_STREAMERS, n), PAD)
    requests = batch(
        rng.integers(0, N_USERS, n),
        scenario,
        np.full(n, log.as_of_s + 30.0),
        refer,
        rooms(ids),
        row,
        log.known_catalogue,
    )
    return replace(requests, mask=requests.mask & (rng.random(requests.mask.shape) < 0.9))


def told_store(log: LearningLog) -> FeatureStore:
    """Return a store that knows the log."""
    store = FeatureStore(FEATURES, n_categories=4)
    follows = log.follows()
    store.tell(follows.take(follows.known_s <= 0.0))
    store.update(log.rows, log.bought, log.as_of_s)
    store.refresh(log.known_catalogue)
    return store


def elements(sequences: SequenceTensors | None) -> list[Tensor]:
    """Return the columns of every element of sequences [B, K, L, .], -1 where one ends."""
    assert sequences is not None
    place, table = sequences.place.long(), sequences.streamers
    there = (place != PAD)[..., None]
    parts = (table.ids, table.context, table.dense)
    if len(table.ids) == 0:
        return [torch.full((*place.shape, part.shape[1]), -1.0) for part in parts]
    return [torch.where(there, part[place.clamp(min=0)], -1.0) for part in parts]


def pair_columns(store: FeatureStore, requests: Requests) -> NDArray[np.float32]:
    """Return the pair columns of every unmasked cell."""
    cells = np.flatnonzero(requests.mask)
    listings = Listings(requests.supply)
    listings.index(requests)
    ids = requests.candidate_id.reshape(-1)[cells]
    category = plus_one(requests.catalogue.streamer_category, ids)
    return store.pair(requests, cells, category, listings)


def preset(name: str, **changes: object) -> Any:
    """Build the policy of conf/policy/<name>.yaml; `trainer__epochs=1` sets trainer.epochs."""
    objective = {"_target_": "sim.config.Objective"} | OBJECTIVE.weights()
    root = OmegaConf.create({"objective": objective, "policy": registry.node(name)})
    assert isinstance(root, DictConfig)
    for key, value in changes.items():
        OmegaConf.update(root.policy, key.replace("__", "."), value, merge=False)
    return build(root.policy)


def as_log(log: LearningLog) -> Log:
    """Return the log under the type that policies are annotated with."""
    return cast("Log", log)


def auc(labels: NDArray[np.floating], scores: NDArray[np.floating]) -> float:
    """Return the area under the ROC curve of binary labels, ties counting half."""
    positive, negative = scores[labels > 0.5], scores[labels <= 0.5]
    above = (positive[:, None] > negative[None, :]).mean()
    ties = (positive[:, None] == negative[None, :]).mean()
    return float(above + 0.5 * ties)
