"""Columns as tensors: what networks read, and the statistics that they are built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from policies.auxiliary import LABELS
from policies.features import FeatureStore, Sequences, Side
from sim.schema import DAY_S, EFFECTIVE_VIEW_S, PAD, SCENARIOS, WATCH_CAP_S, Requests

SIDES = ("user", "refer", "moment", "streamer")
"""Column groups besides `pair`; the first three have one row per request."""


@dataclass(frozen=True)
class SideTensors:
    """`policies.features.Side` as tensors with N rows."""

    ids: Tensor
    """int32 [N, I]."""
    context: Tensor
    """int32 [N, F]."""
    dense: Tensor
    """float32 [N, D]."""

    def take(self, rows: Tensor) -> SideTensors:
        """Return the rows int64 [n] of every column."""
        parts = (self.ids, self.context, self.dense)
        return SideTensors(*(part.index_select(0, rows) for part in parts))

    def first(self, n: int) -> SideTensors:
        """Return the first n rows, as views."""
        return SideTensors(self.ids[:n], self.context[:n], self.dense[:n])

    def to(self, device: torch.device) -> SideTensors:
        """Return the columns on `device`."""
        return SideTensors(*(part.to(device) for part in (self.ids, self.context, self.dense)))

    @property
    def scenario(self) -> Tensor:
        """Index into SCENARIOS, int64 [N], of user, moment or streamer columns."""
        return (self.context[:, 0].long() - 1).clamp(0, len(SCENARIOS) - 1)

    def without_ids(self, share: float, generator: torch.Generator) -> SideTensors:
        """Return the columns with each id replaced by 0 (unknown) with probability `share`."""
        if share == 0.0 or self.ids.shape[1] == 0:
            return self
        drop = torch.rand(self.ids.shape, generator=generator) < share
        return replace(self, ids=self.ids.masked_fill(drop.to(self.ids.device), 0))


def tensors(side: Side) -> SideTensors:
    """Return the columns as tensors that share their memory."""
    parts = (side.ids, side.context, side.dense)
    return SideTensors(*(torch.from_numpy(part) for part in parts))


@dataclass(frozen=True)
class SequenceTensors:
    """`policies.features.Sequences` as tensors: B sequences of each kind over one table."""

    place: Tensor
    """int32 [B, K, L] rows of `streamers`, PAD where a sequence ends."""
    streamers: SideTensors
    """The table, shared by all that are taken of these sequences."""

    def take(self, rows: Tensor) -> SequenceTensors:
        """Return the sequences of the requests int64 [n]."""
        return replace(self, place=self.place.index_select(0, rows))

    def first(self, n: int) -> SequenceTensors:
        """Return the first n requests' sequences and the table up to the last row they meet."""
        place = self.place[:n]
        met = int(place.max()) + 1 if place.numel() else 0
        return SequenceTensors(place, self.streamers.first(met))

    def to(self, device: torch.device) -> SequenceTensors:
        """Return the sequences on `device`."""
        return SequenceTensors(self.place.to(device), self.streamers.to(device))

    def without_ids(self, share: float, generator: torch.Generator) -> SequenceTensors:
        """Return the sequences with a share of the table's ids made unknown."""
        return replace(self, streamers=self.streamers.without_ids(share, generator))


def sequence_tensors(sequences: Sequences | None) -> SequenceTensors | None:
    """Return the sequences as tensors that share their memory; None stays None."""
    if sequences is None:
        return None
    return SequenceTensors(torch.from_numpy(sequences.place), tensors(sequences.streamers))


@dataclass(frozen=True)
class RequestTensors:
    """All column groups of requests, B rows each: what a network reads once per request."""

    user: SideTensors
    refer: SideTensors
    moment: SideTensors
    day: Tensor
    """int32 [B], whole days since the world began; no feature, but tells kinds of days apart."""
    sequences: SequenceTensors | None = None
    """Histories; None where the feature store remembers none."""

    @classmethod
    def of(cls, store: FeatureStore, requests: Requests) -> RequestTensors:
        """Return the columns of requests as of now."""
        return cls(
            user=tensors(store.user(requests)),
            refer=tensors(store.refer(requests)),
            moment=tensors(store.moment(requests)),
            day=torch.from_numpy((requests.time_s // DAY_S).astype(np.int32)),
            sequences=sequence_tensors(store.sequences(requests)),
        )

    def __len__(self) -> int:
        """Number of requests B."""
        return len(self.user.context)

    def take(self, rows: Tensor) -> RequestTensors:
        """Return the rows int64 [n]."""
        sides = (self.user.take(rows), self.refer.take(rows), self.moment.take(rows))
        day = self.day.index_select(0, rows)
        return RequestTensors(*sides, day, self.sequences and self.sequences.take(rows))

    def first(self, n: int) -> RequestTensors:
        """Return the first n rows, as views."""
        sides = (self.user.first(n), self.refer.first(n), self.moment.first(n))
        return RequestTensors(*sides, self.day[:n], self.sequences and self.sequences.first(n))

    def to(self, device: torch.device) -> RequestTensors:
        """Return the columns on `device`."""
        sides = (self.user.to(device), self.refer.to(device), self.moment.to(device))
        day = self.day.to(device)
        return RequestTensors(*sides, day, self.sequences and self.sequences.to(device))

    def without_ids(self, share: float, generator: torch.Generator) -> RequestTensors:
        """Return the columns with a share of the ids of user and refer made unknown."""
        return replace(
            self,
            user=self.user.without_ids(share, generator),
            refer=self.refer.without_ids(share, generator),
            sequences=self.sequences and self.sequences.without_ids(share, generator),
        )

    @property
    def scenario(self) -> Tensor:
        """Index into SCENARIOS of each request, int64 [B]."""
        return self.moment.scenario


@dataclass(frozen=True)
class Batch:
    """Rows of a training log as a network reads them; n rows."""

    request: RequestTensors
    streamer: SideTensors
    pair: Tensor
    """float32 [n, P]."""
    position: Tensor
    """int32 [n], rank in the slate from 0."""
    labels: Tensor
    """float32 [n, T] in the order of `policies.auxiliary.LABELS`, of which those beyond
    `sim.schema.TARGETS` may be absent."""
    scenario: Tensor
    """int64 [n]."""

    def without_ids(self, share: float, generator: torch.Generator) -> Batch:
        """Return the batch with a share of user, refer and streamer ids made unknown."""
        return replace(
            self,
            request=self.request.without_ids(share, generator),
            streamer=self.streamer.without_ids(share, generator),
        )


@dataclass(frozen=True)
class SideStatistics:
    """What is known of a column group before training."""

    ids: tuple[Tensor, ...]
    """Per id column: int32 [V + 1], row of each value in the column's part of the table; values
    met too rarely share row 0, unknown."""
    context: tuple[Tensor, ...]
    """Same for context columns."""
    mean: Tensor
    """float32 [D]."""
    scale: Tensor
    """float32 [D], standard deviation, 1 where a column is constant."""

    def state(self, name: str) -> dict[str, Tensor]:
        """Return plain tensors under keys that begin with `name`, for `restored`."""
        state = {f"{name}.mean": self.mean, f"{name}.scale": self.scale}
        state |= {f"{name}.ids.{i}": rows for i, rows in enumerate(self.ids)}
        return state | {f"{name}.context.{i}": rows for i, rows in enumerate(self.context)}

    @classmethod
    def restored(cls, state: Mapping[str, Tensor], name: str) -> SideStatistics:
        """Rebuild what `state` returned."""

        def several(prefix: str) -> tuple[Tensor, ...]:
            n = sum(key.startswith(prefix) for key in state)
            return tuple(state[f"{prefix}{i}"] for i in range(n))

        columns = several(f"{name}.ids."), several(f"{name}.context.")
        return cls(*columns, state[f"{name}.mean"], state[f"{name}.scale"])


def _rows(values: Tensor, min_count: int) -> Tensor:
    """Return int32 [max + 1]: rows for values met at least `min_count` times, 0 for the others."""
    count = torch.bincount(values.long())
    kept = count >= min_count
    kept[:1] = False
    return torch.where(kept, torch.cumsum(kept, 0), 0).int()


def moments(dense: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (1 where it is 0) of the columns of [N, D].

    Of no rows they are 0 and 1.
    """
    if dense.numel() == 0:
        return torch.zeros(dense.shape[1]), torch.ones(dense.shape[1])
    mean = dense.mean(0, dtype=torch.float64)
    spread = (dense.double() - mean).square().mean(0).sqrt() if len(dense) < 10_000 else None
    if spread is None:  # a strided sample keeps the double copy small
        sample = dense[:: len(dense) // 10_000].double()
        spread = (sample - mean).square().mean(0).sqrt()
    return mean.float(), torch.where(spread > 1e-6, spread, 1.0).float()


def side_statistics(side: SideTensors, min_count: int) -> SideStatistics:
    """Return the statistics of N rows; see `SideStatistics` for `min_count`."""
    mean, scale = moments(side.dense)
    return SideStatistics(
        ids=tuple(_rows(column, min_count) for column in side.ids.T),
        context=tuple(_rows(column, 1) for column in side.context.T),
        mean=mean,
        scale=scale,
    )


@dataclass(frozen=True)
class SequenceStatistics:
    """What is known of histories before training."""

    streamers: SideStatistics
    """Of the elements; an id counts as often as it is met in a sequence."""
    length: int
    """L."""

    @classmethod
    def of(cls, sequences: SequenceTensors, min_count: int) -> SequenceStatistics:
        """Return the statistics of sequences; see `SideStatistics` for `min_count`."""
        met = sequences.place[sequences.place != PAD].long()
        table = sequences.streamers
        side = side_statistics(table, 1)
        ids = tuple(_rows(column[met], min_count) for column in table.ids.T)
        return cls(replace(side, ids=ids), sequences.place.shape[2])


@dataclass(frozen=True)
class LabelStatistics:
    """What is known of the T labels before training, in the order of LABELS."""

    mean: Tensor
    """float32 [T], base rates of events and mean shares of quantities."""
    positive: Tensor
    """float32 [T], share of rows where a label is above 0."""
    log_seconds: Tensor
    """float32 scalar, mean of log(1 + seconds watched)."""
    effective: Tensor
    """float32 scalar, share of rows watched for at least EFFECTIVE_VIEW_S."""

    @classmethod
    def of(cls, labels: Tensor) -> LabelStatistics:
        """Return the statistics of labels float32 [N, T]."""
        seconds = WATCH_CAP_S * labels[:, LABELS.index("watch")]
        return cls(
            mean=labels.mean(0),
            positive=(labels > 0.0).float().mean(0),
            log_seconds=torch.log1p(seconds).mean(),
            effective=(seconds >= EFFECTIVE_VIEW_S).float().mean(),
        )


@dataclass(frozen=True)
class Statistics:
    """What a network is built from: vocabularies, moments and widths of its columns."""

    user: SideStatistics
    refer: SideStatistics
    moment: SideStatistics
    streamer: SideStatistics
    pair_mean: Tensor
    """float32 [P]."""
    pair_scale: Tensor
    labels: LabelStatistics
    n_positions: int
    sequences: SequenceStatistics | None = None
    """None where the log was replayed without histories."""

    def base_rates(self, targets: Sequence[str]) -> Tensor:
        """Return the base rates of `targets`, float32 [len(targets)]: where heads begin."""
        return self.labels.mean[[LABELS.index(name) for name in targets]]

    def beginning(self, logits: Mapping[str, float]) -> Statistics:
        """Return statistics by which the heads of some targets begin at these logits."""
        mean = self.labels.mean.clone()
        for name, z in logits.items():
            mean[LABELS.index(name)] = torch.tensor(z).sigmoid()
        return replace(self, labels=replace(self.labels, mean=mean))

    def state(self) -> dict[str, Tensor]:
        """Return plain tensors from which `restored` rebuilds the statistics."""
        state = {
            "pair.mean": self.pair_mean,
            "pair.scale": self.pair_scale,
            "label.mean": self.labels.mean,
            "label.positive": self.labels.positive,
            "label.log_seconds": self.labels.log_seconds,
            "label.effective": self.labels.effective,
            "positions": torch.tensor(self.n_positions),
        }
        for name in SIDES:
            side: SideStatistics = getattr(self, name)
            state |= side.state(name)
        if self.sequences is not None:
            state |= self.sequences.streamers.state("sequences")
            state["sequences.length"] = torch.tensor(self.sequences.length)
        return state

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> Statistics:
        """Rebuild what `state` returned."""
        sides = {name: SideStatistics.restored(state, name) for name in SIDES}
        sequences = None
        if "sequences.length" in state:
            streamers = SideStatistics.restored(state, "sequences")
            sequences = SequenceStatistics(streamers, int(state["sequences.length"]))
        return cls(
            user=sides["user"],
            refer=sides["refer"],
            moment=sides["moment"],
            streamer=sides["streamer"],
            pair_mean=state["pair.mean"],
            pair_scale=state["pair.scale"],
            labels=LabelStatistics(
                mean=state["label.mean"],
                positive=state["label.positive"],
                log_seconds=state["label.log_seconds"],
                effective=state["label.effective"],
            ),
            n_positions=int(state["positions"]),
            sequences=sequences,
        )
