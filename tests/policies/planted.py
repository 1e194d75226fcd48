"""Tiny records made by hand, shared by the tests of policies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from policies.checks_stage import Stage
from sim.events import Revisits
from sim.schema import (
    PAD,
    SCENARIOS,
    Catalogue,
    Impressions,
    Purchases,
    Refunds,
    Requests,
    Supply,
)

if TYPE_CHECKING:
    from sim.log import Log


def catalogue(n_users: int = 20, n_streamers: int = 12) -> Catalogue:
    """Return a catalogue with one product per streamer."""
    users, streamers = np.arange(n_users), np.arange(n_streamers)
    return Catalogue(
        user_age_band=(users % 4).astype(np.int8),
        user_gender=(users % 2).astype(np.int8),
        user_city_tier=(users % 3).astype(np.int8),
        user_spend_tier=(users % 5).astype(np.int8),
        user_joined_day=np.zeros(n_users, np.int32),
        streamer_category=(streamers % 4).astype(np.int8),
        streamer_price_tier=(streamers % 3).astype(np.int8),
        streamer_follower_band=(streamers % 5).astype(np.int8),
        streamer_joined_day=np.zeros(n_streamers, np.int32),
        product_streamer_id=streamers.astype(np.int32),
        product_category=(streamers % 4).astype(np.int8),
        product_price_cny=(10.0 + streamers).astype(np.float32),
        product_joined_day=np.zeros(n_streamers, np.int32),
    )


def requests(candidates: Sequence[Sequence[int]], time_s: float = 86_400.0) -> Requests:
    """Return one request per row of streamer ids, each its own supply row; PAD cells are masked.

    Streamer s went live at 100 s.
    """
    ids = np.array(candidates, dtype=np.int32)
    n, here = len(ids), ids != PAD
    supply = Supply(
        streamer_id=ids,
        product_id=ids.copy(),
        room_id=ids.astype(np.int64),
        room_start_s=np.where(here, 100.0 * ids, PAD),
    )
    swipe = np.arange(n) % 2 == 1
    return Requests(
        request_id=np.arange(n, dtype=np.int64),
        session_id=np.arange(n, dtype=np.int64),
        user_id=(np.arange(n) % 20).astype(np.int32),
        scenario=np.where(swipe, SCENARIOS.index("swipe"), 0).astype(np.int8),
        entry=np.zeros(n, np.int8),
        time_s=np.full(n, time_s),
        session_start_s=np.full(n, time_s),
        step=np.zeros(n, np.int16),
        refer_id=np.where(swipe, 0, PAD).astype(np.int32),
        refer_watch_s=np.where(swipe, 30.0, 0.0).astype(np.float32),
        mask=here,
        row=np.arange(n, dtype=np.int32),
        supply=supply,
        catalogue=catalogue(),
    )


def impressions(
    streamer_id: Sequence[int], engage: Sequence[bool], known_s: Sequence[float]
) -> Impressions:
    """Return channel impressions of user 0, clicked where `engage`; nothing else happens."""
    n = len(streamer_id)
    flags = np.zeros(n, np.bool_)
    times = np.array(known_s, dtype=np.float64)
    return Impressions(
        request_id=np.arange(n, dtype=np.int64),
        session_id=np.arange(n, dtype=np.int64),
        user_id=np.zeros(n, np.int32),
        streamer_id=np.array(streamer_id, dtype=np.int32),
        room_id=np.array(streamer_id, dtype=np.int64),
        product_id=np.array(streamer_id, dtype=np.int32),
        scenario=np.zeros(n, np.int8),
        entry=np.zeros(n, np.int8),
        time_s=times - 1.0,
        session_start_s=times - 1.0,
        step=np.zeros(n, np.int16),
        position=np.zeros(n, np.int8),
        refer_id=np.full(n, PAD, np.int32),
        refer_watch_s=np.zeros(n, np.float32),
        n_candidates=np.full(n, 12, np.int32),
        propensity=np.full(n, 1.0 / 12.0),
        click=np.array(engage, dtype=np.bool_),
        watch_s=np.zeros(n, np.float32),
        view=flags,
        like=flags,
        comment=flags,
        follow=flags,
        bag_click=flags,
        cart=flags,
        known_s=times,
        purchase_s=np.full(n, np.nan),
    )


def no_purchases() -> Purchases:
    """Return an empty purchase table."""
    kinds = (
        np.float64,
        np.float64,
        np.float64,
        np.int64,
        np.int32,
        np.int32,
        np.int32,
        np.int8,
        np.int8,
        np.float32,
    )
    columns: list[NDArray[np.generic]] = [np.zeros(0, kind) for kind in kinds]
    names = [f.name for f in fields(Purchases)]
    return Purchases(**dict(zip(names, columns, strict=True)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class PlantedTick:
    """The part of a tick that policies replay."""

    now_s: float
    known: Impressions
    purchases: Purchases

    def slates(self) -> tuple[Requests, NDArray[np.int64]]:
        """Return one slate of two rooms, rows 0 and 1."""
        return requests([[0, 1]], self.now_s), np.array([[0, 1]])


@dataclass(frozen=True)
class PlantedLog:
    """A log of hand-made impressions; ticks last one hour.

    `rows` may reach beyond `as_of_s`, as the files of a log do: reading them is cheating.
    """

    rows: Impressions
    as_of_s: float
    tick_s: float = 3600.0

    def ticks(self) -> Iterator[PlantedTick]:
        """Yield ticks from 0 until before `as_of_s`."""
        before = -np.inf
        for now_s in np.arange(0.0, self.as_of_s, self.tick_s):
            yield PlantedTick(float(now_s), self._known(before, now_s), no_purchases())
            before = now_s

    def known_after_last_tick(self) -> tuple[Impressions, Purchases]:
        """Return what became known after the last tick began."""
        last = np.arange(0.0, self.as_of_s, self.tick_s)[-1]
        return self._known(last, self.as_of_s), no_purchases()

    def impressions(self) -> Impressions:
        """Return what began before `as_of_s`."""
        return self.rows.take(np.flatnonzero(self.rows.time_s <= self.as_of_s))

    def purchases(self) -> Purchases:
        """Return nothing."""
        return no_purchases()

    def refunds(self) -> Refunds:
        """Return no refunds."""
        return Refunds.empty()

    def revisits(self) -> Revisits:
        """Return no visits after a stay."""
        return Revisits.empty()

    def catalogue(self) -> Catalogue:
        """Return the catalogue."""
        return catalogue()

    def _known(self, after_s: float, until_s: float) -> Impressions:
        return self.rows.take((self.rows.known_s > after_s) & (self.rows.known_s <= until_s))


def stage() -> Stage:
    """Return a stage for checks of policies, known at two hours; the twin differs later."""
    rng = np.random.default_rng(0)
    now_s, n = 7200.0, 300
    known_s = np.sort(rng.uniform(2.0, 2 * now_s, n))
    ids, luck = rng.integers(0, 12, n), rng.random(n)
    rows = impressions(ids.tolist(), (luck < ids / 12.0).tolist(), known_s.tolist())
    other = np.where(known_s <= now_s, ids, 11 - ids)
    twin = impressions(other.tolist(), (luck < ids / 12.0).tolist(), known_s.tolist())
    slates = [[*rng.permutation(12)[:7].tolist(), PAD, PAD] for _ in range(8)]
    return Stage(
        log=log(rows, now_s),
        twin=log(twin, now_s),
        now_s=now_s,
        requests=requests(slates, now_s + 60.0),
        later=rows.take(known_s > now_s),
        later_purchases=no_purchases(),
        later_s=2 * now_s,
    )


def log(rows: Impressions, as_of_s: float) -> Log:
    """Return a planted log under the type that policies are annotated with."""
    return cast("Log", PlantedLog(rows, as_of_s))
