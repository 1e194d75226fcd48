"""One tick of a replayed log: what became known, who came, and what could have been shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.events import Revisits
from sim.schedule import SLOT_S, row_of
from sim.schema import PAD, Catalogue, Impressions, Purchases, Refunds, Requests, Supply


@dataclass(frozen=True)
class Tick:
    """A tick as a ranker meets it: first the news, then the sessions."""

    now_s: float
    """Start of the tick."""
    known: Impressions
    """Rows whose feedback became complete since the last tick."""
    purchases: Purchases
    """Purchases reported since the last tick."""
    refunds: Refunds
    """Refunds reported since the last tick; a ranker's `observe` is not handed them."""
    revisits: Revisits
    """Visits after a stay since the last tick; likewise."""
    shown: Impressions
    """Impressions of the sessions that start in this tick, ordered by request and position."""
    supply: Supply
    first_slot: int
    """Slot of the supply's first row, since the world began."""
    catalogue: Catalogue

    def requests(self) -> tuple[Requests, NDArray[np.int64], NDArray[np.int32]]:
        """Return the requests with every room on air as a candidate.

        Returns:
            The requests [B, C]; for each shown row its request [N] and column [N].
        """
        first, request = self._by_request()
        head = self.shown.take(first)
        slot = (head.time_s // SLOT_S).astype(np.int64) - self.first_slot
        row = np.zeros(len(head), np.int32)
        for code in np.unique(head.scenario):
            own = head.scenario == code
            row[own] = row_of(int(code), slot[own])
        mask = np.zeros((len(head), self.supply.valid.shape[1] + 1), np.bool_)
        mask[:, :-1] = self.supply.valid[row]
        self._strike_out_seen(mask, row, first, request)
        column = self.supply.column_of[row[request], self.shown.streamer_id]
        requests = self._assemble(head, mask[:, :-1], row, self.supply)
        return requests, request, column

    def slates(self) -> tuple[Requests, NDArray[np.int64]]:
        """Return the requests with only what was shown as candidates, for training.

        Returns:
            The requests [B, K]; rows into `shown` [B, K], PAD where a slate is shorter.
        """
        first, request = self._by_request()
        head = self.shown.take(first)
        place = np.arange(len(self.shown)) - first[request]
        width = int(place.max(initial=0)) + 1
        rows = np.full((len(head), width), PAD, np.int64)
        rows[request, place] = np.arange(len(self.shown))
        slot = (self.shown.time_s // SLOT_S).astype(np.int64) - self.first_slot
        start_s = np.full(len(self.shown), float(PAD))
        for code in np.unique(self.shown.scenario):
            own = np.flatnonzero(self.shown.scenario == code)
            table_row = row_of(int(code), slot[own])
            column = self.supply.column_of[table_row, self.shown.streamer_id[own]]
            start_s[own] = self.supply.room_start_s[table_row, column]

        shown = self.shown
        supply = Supply.spread(rows, shown.streamer_id, shown.product_id, shown.room_id, start_s)
        row = np.arange(len(head), dtype=np.int32)
        return self._assemble(head, rows != PAD, row, supply), rows

    def _by_request(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first row of each request [B] and the request of each row [N]."""
        ids = self.shown.request_id
        starts = np.concatenate([[True], ids[1:] != ids[:-1]]) if len(ids) else np.zeros(0, bool)
        return np.flatnonzero(starts), np.cumsum(starts) - 1

    def _strike_out_seen(
        self,
        mask: NDArray[np.bool_],
        row: NDArray[np.int32],
        first: NDArray[np.int64],
        request: NDArray[np.int64],
    ) -> None:
        """Remove rooms that the session was shown before, and the refers it came through.

        Works on the pairs (later request, earlier row) of each session.
        """
        shown = self.shown
        if not len(shown):
            return
        session = shown.session_id[first]
        start = np.searchsorted(session, session, side="left")
        first_row = first[start]
        count = first - first_row
        later = np.repeat(np.arange(len(first)), count)
        earlier = np.arange(len(later)) - np.repeat(np.cumsum(count) - count, count)
        earlier = earlier + first_row[later]
        mask[later, self.supply.column_of[row[later], shown.streamer_id[earlier]]] = False
        # the room through which the swipe was entered is the refer of the session's first request
        entry = shown.refer_id[first_row]
        with_refer = np.flatnonzero(entry != PAD)
        column = self.supply.column_of[row[with_refer], entry[with_refer]]
        mask[with_refer, column] = False

    def _assemble(
        self,
        head: Impressions,
        mask: NDArray[np.bool_],
        row: NDArray[np.int32],
        supply: Supply,
    ) -> Requests:
        return Requests(
            request_id=head.request_id,
            session_id=head.session_id,
            user_id=head.user_id,
            scenario=head.scenario,
            entry=head.entry,
            time_s=head.time_s,
            session_start_s=head.session_start_s,
            step=head.step,
            refer_id=head.refer_id,
            refer_watch_s=head.refer_watch_s,
            mask=mask,
            row=row,
            supply=supply,
            catalogue=self.catalogue,
        )
