"""A made-up log whose scores and probabilities are known, and policies that know them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from evaluation.offline import Judgement, OfflineProtocol, judge
from evaluation.results import Subject
from policies.contract import FitContext
from sim.log import Log
from sim.schema import PAD, SCENARIOS, Impressions, Purchases, Requests
from tests.evaluation.records import impressions, purchases_of, requests

USERS, STREAMERS, SLATE = 9, 12, 3
PROTOCOL = OfflineProtocol(("hr@3", "ndcg@3", "mrr", "query_auc"), (4,))
SUBJECT = Subject("quick", 0, "table")
PLACES = tuple(SCENARIOS.index(name) for name in ("channel", "tab", "swipe"))
"""Scenarios of the made-up log."""
TABLE = np.random.default_rng(0).normal(size=(USERS, STREAMERS))


@dataclass(frozen=True)
class MadeUpTick:
    """A tick with the whole supply as candidates, minus what the session has seen."""

    now_s: float
    known: Impressions
    purchases: Purchases
    shown: Impressions

    def requests(self) -> tuple[Requests, NDArray[np.int64], NDArray[np.int32]]:
        ids, request = np.unique(self.shown.request_id, return_inverse=True)
        first = self.shown.take(np.searchsorted(self.shown.request_id, ids))
        mask = np.ones((len(ids), STREAMERS), dtype=bool)
        mask[np.arange(len(ids)), first.refer_id] = False
        every = np.tile(np.arange(STREAMERS, dtype=np.int32), (len(ids), 1))
        return requests(first, every, mask), request, self.shown.streamer_id

    def slates(self) -> tuple[Requests, NDArray[np.int64]]:
        rows = np.arange(len(self.shown)).reshape(-1, SLATE)
        first = self.shown.take(rows[:, 0])
        ids = self.shown.streamer_id[rows]
        # Slates shorter than the longest one end in padding.
        rows, ids = (np.pad(t, ((0, 0), (0, 1)), constant_values=PAD) for t in (rows, ids))
        return requests(first, ids, ids != PAD), rows


class MadeUpLog:
    """Three ticks of ten requests each."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.parts = []
        for tick in range(3):
            n = 10 * SLATE
            request = np.repeat(np.arange(10), SLATE)
            order = rng.permuted(np.tile(np.arange(STREAMERS), (10, 1)), axis=1)
            user = rng.integers(0, USERS, 10)[request]
            streamer = order[:, :SLATE].ravel()
            clicked = rng.random(n) < 1 / (1 + np.exp(-TABLE[user, streamer]))
            shown = impressions(
                n,
                request_id=request + 10 * tick,
                user_id=user,
                streamer_id=streamer,
                scenario=np.array(PLACES, np.int8)[request % 3],
                refer_id=order[request, SLATE],
                click=clicked & (request % 3 != 2),
                view=clicked,
                position=np.tile(np.arange(SLATE), 10),
                time_s=np.full(n, 3600.0 * tick),
                known_s=3600.0 * tick + np.linspace(0, 3000, n),
            )
            self.parts.append(shown)

    as_of_s = 3 * 3600.0 + 1800.0

    def catalogue(self) -> object:
        return requests(self.parts[0].take(slice(0, 1)), np.zeros((1, 1), np.int32)).catalogue

    def ticks(self) -> Iterator[MadeUpTick]:
        old_s = [-5000.0, -4000, -100, 0]
        before = impressions(4, time_s=old_s, known_s=old_s, user_id=[0, 1, 2, 3])
        for tick, shown in enumerate(self.parts):
            known = before if tick == 0 else self.parts[tick - 1]
            yield MadeUpTick(3600.0 * tick, known, purchases_of(known, [0], [1.0]), shown)


LOG = cast("Log", MadeUpLog())


class TablePolicy:
    """Scores from a table of users and streamers."""

    def __init__(self, table: NDArray[np.float64] = TABLE) -> None:
        self.table = table

    def fit(self, log: Log, context: FitContext) -> Self:
        return self

    def score(self, batch: Requests) -> NDArray[np.floating]:
        return self.table[batch.user_id[:, None], batch.candidate_id]


class TablePredictor(TablePolicy):
    """Predicts two targets as well, the second far too high."""

    def predict(self, batch: Requests) -> dict[str, NDArray[np.floating]]:
        p = 1 / (1 + np.exp(-self.score(batch)))
        return {"purchase": np.full_like(p, 0.5), "engage": p}


class PlacePredictor(TablePredictor):
    """Says that a room is half as likely at each lower position."""

    def predict_at(
        self, batch: Requests, position: NDArray[np.int32]
    ) -> dict[str, NDArray[np.floating]]:
        return {name: p * 0.5**position for name, p in self.predict(batch).items()}


def judged(policy: TablePolicy, protocol: OfflineProtocol = PROTOCOL) -> Judgement:
    found = judge(policy, LOG, protocol, fitted_until_s=0.0)
    assert found is not None
    return found
