"""What a training loop is told to learn: a task, and what more it may know of itself."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


class Task(Protocol):
    """What is learnt: rows in the order of time and a loss over some of them."""

    def __len__(self) -> int:
        """Number of rows."""

    def loss(self, rows: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        """Return the mean loss over `rows` int64 [n], a scalar; random draws from `generator`."""


@runtime_checkable
class Divisible(Protocol):
    """A task whose loss over a batch is a sum over parts of it.

    Then a batch can run through the network in pieces that stay in cache, or be shared by several
    processes, with the gradient of the whole batch. The others run whole, and share a batch as the
    mean over the processes' losses, each weighed by its rows.
    """

    def part(
        self, rows: Tensor, whole: Tensor, generator: torch.Generator, training: bool
    ) -> Tensor:
        """Return what `rows` add to the loss over `whole`, a scalar.

        Parts of `whole` sum to `loss(whole)` where nothing is drawn: means are divided by the
        counts of `whole`, and what belongs to no row counts in proportion to the rows.

        Args:
            rows: int64 [n], some of `whole`.
            whole: int64 [m].
            generator: of random draws.
            training: as for `Task.loss`.
        """


@runtime_checkable
class Measurable(Protocol):
    """A task whose batches run whole, but whose held-out loss is a sum over parts all the same."""

    def held_out(self, rows: Tensor, whole: Tensor, generator: torch.Generator) -> Tensor:
        """Return what `rows` int64 [n] add to the loss over `whole` int64 [m] outside training."""
