"""The likelihood of several targets as a training task."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self, cast

import torch
from torch import Tensor, nn

from policies.auxiliary import LABELS
from policies.columns import Batch
from policies.examples import Examples
from policies.factorisation import Factorisation
from policies.serving import TwoSided


def logits(network: TwoSided, batch: Batch) -> Tensor:
    """Return the logits [n, T] of a two-sided network for training rows, positions included."""
    request = network.request_side(batch.request)
    streamer = network.streamer_side(batch.streamer)
    return network.join(request, streamer, batch.pair, batch.position)


@dataclass(frozen=True)
class Emphasis:
    """Factors on the terms of a target by the group of a row."""

    group: Tensor
    """int64 [N], of each row."""
    factor: Tensor
    """float32 [G, T]."""

    def of(self, rows: Tensor) -> Tensor:
        """Return the factors of the rows int64 [n], [n, T]."""
        return self.factor[self.group.index_select(0, rows)]

    def to(self, device: torch.device) -> Emphasis:
        """Return the factors on `device`."""
        return Emphasis(self.group.to(device), self.factor.to(device))


@dataclass
class Likelihood:
    """Weighted negative log-likelihood of several targets.

    L = sum_k w_k mean over the rows of k's sample space of -log P(y_k), on logits; the watch target
    is a share in [0, 1]. Which rows are a target's space, and what its logit stands for, says the
    factorisation. One convention for all models: a mean over the rows of the space in the batch,
    times the weight, so that a rare space weighs as much as a common one. A space without rows in
    the batch adds 0.
    """

    network: nn.Module
    examples: Examples
    targets: tuple[str, ...]
    """Targets of the network's logits, in their order."""
    factorisation: Factorisation
    weight: Tensor
    """float32 [T]."""
    id_dropout: float
    emphasis: Emphasis | None = None
    """Further weights by group of rows; None: all rows count alike."""
    _sizes: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)
    """The rows last asked for as a whole, and how many of them are in each target's space [T]."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.examples)

    def loss(self, rows: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        """Return the mean loss over `rows`; see `policies.training.task.Task`."""
        return self.part(rows, rows, generator, training)

    def to(self, device: torch.device) -> Self:
        """Return the task with its columns on `device`; the network is moved by the trainer."""
        if self.weight.device == device:
            return self
        return replace(
            self,
            examples=self.examples.to(device),
            weight=self.weight.to(device),
            emphasis=self.emphasis and self.emphasis.to(device),
        )

    def part(
        self, rows: Tensor, whole: Tensor, generator: torch.Generator, training: bool
    ) -> Tensor:
        """Return what `rows` add to the loss over `whole`; see `task.Divisible`."""
        return self.means(rows, whole, generator, training) @ self.weight

    def means(
        self, rows: Tensor, whole: Tensor, generator: torch.Generator, training: bool
    ) -> Tensor:
        """Return what `rows` add to each target's mean term over `whole`, [T], unweighted."""
        batch = self.examples.batch(rows)
        if training:
            batch = batch.without_ids(self.id_dropout, generator)
        labels = self._own(batch.labels)
        z = logits(cast("TwoSided", self.network), batch)
        terms, space = self.factorisation.terms(z, labels)
        if self.emphasis is not None:
            terms = terms * self.emphasis.of(rows)
        if space is None:
            return terms.sum(0) / len(whole)
        of_whole = space.sum(0) if len(rows) == len(whole) else self._size(whole)
        return (terms * space).sum(0) / of_whole.clamp(min=1.0)

    def present(self, rows: Tensor) -> Tensor:
        """Return 1 for targets with rows of their space among `rows`, else 0, float32 [T]."""
        return (self._size(rows) > 0.0).to(self.weight.dtype)

    def _size(self, whole: Tensor) -> Tensor:
        """Return how many of the rows int64 [m] are in each target's space, float32 [T].

        A whole is asked for once for each of its parts.
        """
        if self._sizes is None or self._sizes[0] is not whole:
            labels = self._own(self.examples.labels.index_select(0, whole))
            space = self.factorisation.space(labels)
            size = torch.full_like(self.weight, len(whole)) if space is None else space.sum(0)
            self._sizes = whole, size
        return self._sizes[1]

    def _own(self, labels: Tensor) -> Tensor:
        """Return the columns of the network's targets, [n, T], from those of LABELS."""
        return labels[:, [LABELS.index(name) for name in self.targets]]
