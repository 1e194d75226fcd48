"""Training examples: a log replayed tick by tick into column tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policies.auxiliary import AuxiliaryLabels
from policies.columns import (
    Batch,
    LabelStatistics,
    RequestTensors,
    SequenceStatistics,
    SequenceTensors,
    SideTensors,
    Statistics,
    moments,
    side_statistics,
    tensors,
)
from policies.features import FeatureStore, Side
from policies.listings import Listings
from policies.memory import plus_one
from sim.schema import PAD, TARGETS, Requests

if TYPE_CHECKING:
    from sim.log import Log


@dataclass(frozen=True)
class Examples:
    """Every shown candidate of a log; N rows of Q requests, in the order of time."""

    requests: RequestTensors
    """[Q]."""
    streamer: SideTensors
    """[N]."""
    pair: Tensor
    """float32 [N, P]."""
    request: Tensor
    """int64 [N], row of the request columns."""
    position: Tensor
    """int32 [N]."""
    labels: Tensor
    """float32 [N, T], in the order of TARGETS, or of all `policies.auxiliary.LABELS`."""
    scenario: Tensor
    """int64 [N]."""
    tick: Tensor
    """int64 [N], number of the tick, from 0."""

    def __len__(self) -> int:
        """Number of rows N."""
        return len(self.request)

    def only(self, rows: Tensor) -> Examples:
        """Return the rows int64 [n] as examples of their own; columns of requests are shared."""
        names = ("pair", "request", "position", "labels", "scenario", "tick")
        taken = {name: getattr(self, name).index_select(0, rows) for name in names}
        return replace(self, streamer=self.streamer.take(rows), **taken)

    def first(self, n_rows: int) -> Examples:
        """Return the first rows, at least one, and the requests up to theirs, as views."""
        names = ("pair", "request", "position", "labels", "scenario", "tick")
        taken = {name: getattr(self, name)[:n_rows] for name in names}
        requests = self.requests.first(int(self.request[n_rows - 1]) + 1)
        return Examples(requests=requests, streamer=self.streamer.first(n_rows), **taken)

    def batch(self, rows: Tensor) -> Batch:
        """Return the rows int64 [n]."""
        return Batch(
            request=self.requests.take(self.request.index_select(0, rows)),
            streamer=self.streamer.take(rows),
            pair=self.pair.index_select(0, rows),
            position=self.position.index_select(0, rows),
            labels=self.labels.index_select(0, rows),
            scenario=self.scenario.index_select(0, rows),
        )

    def to(self, device: torch.device) -> Examples:
        """Return all columns on `device`."""
        columns = {field.name: getattr(self, field.name).to(device) for field in fields(self)}
        return Examples(**columns)

    def statistics(self, min_count: int) -> Statistics:
        """Return vocabularies and moments; ids met less than `min_count` times are unknown."""
        pair_mean, pair_scale = moments(self.pair)
        sequences = self.requests.sequences
        return Statistics(
            user=side_statistics(self.requests.user, min_count),
            refer=side_statistics(self.requests.refer, min_count),
            moment=side_statistics(self.requests.moment, min_count),
            streamer=side_statistics(self.streamer, min_count),
            pair_mean=pair_mean,
            pair_scale=pair_scale,
            labels=LabelStatistics.of(self.labels),
            n_positions=int(self.position.max().item()) + 1,
            sequences=None if sequences is None else SequenceStatistics.of(sequences, min_count),
        )


class _Parts:
    """Column parts of one group, stacked at the end and freed on the way."""

    def __init__(self) -> None:
        self.parts: list[SideTensors] = []

    def add(self, side: SideTensors) -> None:
        self.parts.append(side)

    def stacked(self) -> SideTensors:
        names = ("ids", "context", "dense")
        whole = SideTensors(*(torch.cat([getattr(p, name) for p in self.parts]) for name in names))
        self.parts = []
        return whole


class _Requests:
    """Request columns of ticks, stacked at the end; the streamers of their sequences, too."""

    def __init__(self) -> None:
        self.sides = {name: _Parts() for name in ("user", "refer", "moment")}
        self.streamers = _Parts()
        self.days: list[Tensor] = []
        self.places: list[Tensor] = []
        self.n_streamers = 0

    def add(self, columns: RequestTensors) -> None:
        for name, parts in self.sides.items():
            parts.add(getattr(columns, name))
        self.days.append(columns.day)
        if columns.sequences is not None:
            place, streamers = columns.sequences.place, columns.sequences.streamers
            self.places.append(torch.where(place == PAD, place, place + self.n_streamers))
            self.streamers.add(streamers)
            self.n_streamers += len(streamers.ids)

    def stacked(self) -> RequestTensors:
        user, refer, moment = (parts.stacked() for parts in self.sides.values())
        sequences = None
        if self.places:
            sequences = SequenceTensors(torch.cat(self.places), self.streamers.stacked())
        return RequestTensors(user, refer, moment, torch.cat(self.days), sequences)


def replay(log: Log, store: FeatureStore, auxiliary: bool = False) -> Examples:
    """Feed the log to the store tick by tick and return the columns of all that was shown.

    Features of a row are as of the start of the tick in which its session began; labels are as of
    `log.as_of_s`. Afterwards the store knows everything the log knows, ready to serve.

    Args:
        log: what is replayed.
        store: as new.
        auxiliary: whether the labels include those of `policies.auxiliary`.

    Raises:
        ValueError: the log has no impressions.
    """
    columns, streamer = _Requests(), _Parts()
    rest: dict[str, list[Tensor]] = {
        name: [] for name in ("pair", "request", "position", "labels", "scenario", "tick")
    }
    n_requests, extra = 0, AuxiliaryLabels(log) if auxiliary else None
    if store.histories is not None:
        follows = log.follows()
        store.tell(follows.take(follows.known_s <= 0.0))  # later ones come as impressions
    for number, tick in enumerate(log.ticks()):
        store.update(tick.known, tick.purchases, tick.now_s)
        if len(tick.shown) == 0:
            continue
        requests, rows = tick.slates()
        store.refresh(requests.catalogue)
        cells = np.flatnonzero(rows >= 0)
        of = cells // rows.shape[1]
        shown = tick.shown.take(rows.reshape(-1)[cells])
        columns.add(RequestTensors.of(store, requests))
        streamer.add(tensors(_streamers(store, requests, cells, of)))
        category = plus_one(requests.catalogue.streamer_category, shown.streamer_id)
        labels = np.stack([shown.target(name) for name in TARGETS], axis=1)
        own: dict[str, NDArray[np.generic]] = {
            "pair": store.pair(requests, cells, category, Listings(requests.supply)),
            "request": of.astype(np.int64) + n_requests,
            "position": shown.position.astype(np.int32),
            "labels": labels if extra is None else np.hstack([labels, extra.of(shown)]),
            "scenario": shown.scenario.astype(np.int64),
            "tick": np.full(len(cells), number, np.int64),
        }
        for name, values in own.items():
            rest[name].append(torch.from_numpy(values))
        n_requests += len(requests)
    if n_requests == 0:
        raise ValueError("the log has no impressions; allowed: logs with at least one")
    impressions, purchases = log.known_after_last_tick()
    store.update(impressions, purchases, log.as_of_s)
    store.refresh(log.catalogue())
    whole = {name: torch.cat(parts) for name, parts in rest.items()}
    return Examples(
        requests=columns.stacked(),
        streamer=streamer.stacked(),
        pair=whole["pair"],
        request=whole["request"],
        position=whole["position"],
        labels=whole["labels"],
        scenario=whole["scenario"],
        tick=whole["tick"],
    )


def _streamers(
    store: FeatureStore, requests: Requests, cells: NDArray[np.int64], of: NDArray[np.int64]
) -> Side:
    return store.streamer(
        requests.catalogue,
        requests.candidate_id.reshape(-1)[cells],
        requests.product_id.reshape(-1)[cells],
        requests.room_start_s.reshape(-1)[cells],
        requests.scenario[of],
    )
