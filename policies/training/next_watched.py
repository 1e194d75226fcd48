"""Next-watched prediction: one softmax per kind of history over rooms of the same hour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from policies.columns import RequestTensors, SideTensors
from policies.examples import Examples
from policies.features import HOUR
from policies.training.contrast import Groups
from policies.training.trainer import generator
from sim.schema import TARGETS

ENGAGE = TARGETS.index("engage")
RIVALS = 20
"""Rooms that each watched one is compared with in `NextWatched.areas`."""

_CHUNK = 2048


class Vectors(Protocol):
    """A network with several user vectors and one streamer vector."""

    def users(self, request: RequestTensors) -> Tensor:
        """Return user vectors [B, M, D]."""

    def items(self, streamer: SideTensors) -> Tensor:
        """Return streamer vectors [N, D]."""


@dataclass(frozen=True)
class KindArea:
    """How well the user vectors of one kind find what was watched."""

    kind: str
    auc: float
    """Probability that a watched room stands above another one shown in the same hour, by what the
    kind's softmax reads; see `NextWatched.areas`."""


class NextWatched:
    """L = sum_m w_m mean of -log softmax_i(<U_m, V_i> / tau - log q_i) at the watched room.

    A row of the task is a watched room of the log. Its rivals are drawn from the rows of the same
    tick, hour and scenario, so they are rooms that were on air then, in proportion to their
    exposure q there, and rivals that are the watched room itself are masked. With log q, also of
    the watched one, the softmax is over all rooms alike and <U_m, V> says what is watched, exposure
    included (Bengio and Senecal 2008; YouTube, Yi 2019, section 3.2); without it, what is watched
    once it is shown. The history is as of the start of the tick, before any of this. Source: Taobao
    Live talk (2021), DMR 2.0, stage 1; negatives and temperature are not published.

    Args:
        network: makes the vectors.
        examples: the log; at least one row is engaged with.
        weight: w, float32 [M].
        n_negatives: rivals drawn per row.
        temperature: tau.
        corrected: whether log q is subtracted.
        id_dropout: share of ids made unknown in training.
    """

    def __init__(
        self,
        network: Vectors,
        examples: Examples,
        weight: Tensor,
        n_negatives: int,
        temperature: float,
        corrected: bool,
        id_dropout: float,
    ) -> None:
        """Group the rows by hour and scenario."""
        self.network, self.examples, self.weight = network, examples, weight
        self.n_negatives, self.temperature = n_negatives, temperature
        self.id_dropout = id_dropout
        hour = hour_of(examples)
        self.streamer = examples.streamer.ids[:, 0].long()
        self.positive = torch.nonzero(examples.labels[:, ENGAGE] > 0.5).flatten()
        self._shown = Groups(hour)
        room = hour * (int(self.streamer.max()) + 1) + self.streamer
        _, of, count = torch.unique(room, return_inverse=True, return_counts=True)
        share = count[of].double() / self._shown.count.double()
        self.log_q = torch.log(share).float() * float(corrected)

    def __len__(self) -> int:
        """Number of watched rooms."""
        return len(self.positive)

    def loss(self, rows: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        """Return the mean loss over `rows`; see `policies.training.task.Task`."""
        return self.loss_of(self.positive[rows], generator, training)

    def loss_of(self, watched: Tensor, draw: torch.Generator, training: bool) -> Tensor:
        """Return the mean loss of watched rooms, int64 [n] rows of the examples."""
        drop = self.id_dropout if training else 0.0
        rival = self._shown.draw(watched, self.n_negatives, draw)
        rows = torch.cat([watched[:, None], rival], dim=1)
        user, item = self._vectors(rows, drop, draw)
        valid = self.streamer[rows] != self.streamer[watched][:, None]
        valid[:, 0] = True
        log_p = log_softmaxes(user, item, self.log_q[rows], valid, self.temperature)
        total: Tensor = -(log_p[:, :, 0].mean(0) @ self.weight)
        return total

    def areas(self, rows: Tensor, seed: int) -> Tensor:
        """Return the AUC of each kind over watched rooms `rows` [n], float64 [M].

        Each is compared by what its softmax reads, <U_m, V> / tau - log q, with RIVALS rooms drawn
        as in training: that some rooms are shown more than others does not help. Ties count half,
        rivals that are the watched room itself not at all.
        """
        wins, pairs = torch.zeros(len(self.weight), dtype=torch.float64), 0
        for number, part in enumerate(torch.split(self.positive[rows], _CHUNK)):
            draw = generator(seed, "areas", number)
            shown = torch.cat([part[:, None], self._shown.draw(part, RIVALS, draw)], dim=1)
            with torch.no_grad():
                user, item = self._vectors(shown, 0.0, draw)
                z = scores(user, item, self.log_q[shown], self.temperature)
            other = self.streamer[shown[:, 1:]] != self.streamer[part][:, None]
            right = (z[:, :, :1] > z[:, :, 1:]) + 0.5 * (z[:, :, :1] == z[:, :, 1:])
            wins += (right * other[:, None]).sum((0, 2), dtype=torch.float64)
            pairs += int(other.sum())
        return wins / max(pairs, 1)

    def _vectors(self, rows: Tensor, drop: float, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return vectors [n, M, D] of the users of the first column and [n, C, D] of all rooms."""
        examples = self.examples
        request = examples.requests.take(examples.request[rows[:, 0]])
        shown = examples.streamer.take(rows.flatten())
        if drop:
            request, shown = request.without_ids(drop, draw), shown.without_ids(drop, draw)
        item = self.network.items(shown).view(*rows.shape, -1)
        return self.network.users(request), item


def scores(user: Tensor, item: Tensor, log_q: Tensor, temperature: float) -> Tensor:
    """Return what each kind's softmax reads, <U_m, V> / tau - log q, [n, M, C]."""
    near: Tensor = torch.einsum("nmd,nkd->nmk", user, item)
    return near / temperature - log_q[:, None]


def log_softmaxes(
    user: Tensor, item: Tensor, log_q: Tensor, valid: Tensor, temperature: float
) -> Tensor:
    """Return log p of every room under every kind's softmax, [n, M, C].

    Args:
        user: [n, M, D].
        item: [n, C, D].
        log_q: [n, C], log probability with which each was drawn.
        valid: bool [n, C], False where a room takes no part.
        temperature: divides the inner products.
    """
    z = scores(user, item, log_q, temperature)
    log_p: Tensor = functional.log_softmax(z.masked_fill(~valid[:, None], float("-inf")), dim=2)
    return log_p


def hour_of(examples: Examples) -> Tensor:
    """Return the tick, hour and scenario of each row as one number, int64 [N]."""
    hour = examples.requests.moment.context[:, HOUR].long().index_select(0, examples.request)
    key = (examples.tick * (int(hour.max()) + 1) + hour) * (int(examples.scenario.max()) + 1)
    number: Tensor = torch.unique(key + examples.scenario, return_inverse=True)[1]
    return number
