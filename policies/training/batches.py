"""Batches: how the rows of an epoch are put together into optimiser steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Batches(Protocol):
    """Cuts the training rows, the first `n_rows` of a task, into the steps of an epoch."""

    @property
    def text(self) -> str:
        """What tells two ways apart: a run that is cut otherwise does not resume this one."""

    def count(self, n_rows: int, batch_rows: int) -> int:
        """Return the number of steps of every epoch."""

    def epoch(self, n_rows: int, batch_rows: int, draw: torch.Generator) -> list[Tensor]:
        """Return the rows of each step, `count` tensors int64 [at most batch_rows].

        Args:
            n_rows: training rows.
            batch_rows: most rows of a step.
            draw: the epoch's own generator; the result depends on nothing else that is random.
        """


@dataclass(frozen=True)
class Shuffled:
    """All rows in random order, cut into parts whose sizes differ by at most one row.

    A rest of a few rows as the last step would move the weights as far as a whole batch does, as
    Adam's steps do not shrink with what is behind them.
    """

    text = "shuffled evenly"

    def count(self, n_rows: int, batch_rows: int) -> int:
        """Return the number of steps."""
        return math.ceil(n_rows / batch_rows)

    def epoch(self, n_rows: int, batch_rows: int, draw: torch.Generator) -> list[Tensor]:
        """Return a random permutation in parts; see `Batches`."""
        steps = self.count(n_rows, batch_rows)
        return list(torch.tensor_split(torch.randperm(n_rows, generator=draw), steps))


@dataclass(frozen=True)
class Alternating:
    """Each step's rows come from one group, and groups take turns as evenly as can be.

    Of the steps of an epoch, as many as shuffling would take, group g gets a share in proportion
    to n_g^temper, and at least one: 1 meets every row about once, 0 gives all groups as many
    turns. A group whose turns ask for more rows than it has is gone through again, in a new order.
    Source: Taobao Live talk (2021), DBMTL 3.0, whose batches alternate between the scenarios; how
    often each has its turn is not told.
    """

    group: Tensor
    """int64 [N], group of each row of the task."""
    temper: float
    """In [0, 1]."""

    @property
    def text(self) -> str:
        """See `Batches`."""
        return f"alternating temper={self.temper}"

    def count(self, n_rows: int, batch_rows: int) -> int:
        """Return the number of steps."""
        return sum(turns for _, turns in self._turns(n_rows, batch_rows))

    def epoch(self, n_rows: int, batch_rows: int, draw: torch.Generator) -> list[Tensor]:
        """Return steps of one group each; see `Batches`."""
        steps: list[tuple[float, int, Tensor]] = []
        for at, (rows, turns) in enumerate(self._turns(n_rows, batch_rows)):
            size = min(batch_rows, len(rows))
            passes = math.ceil(turns * size / len(rows))
            order = torch.cat([torch.randperm(len(rows), generator=draw) for _ in range(passes)])
            for turn in range(turns):
                own = rows[order[turn * size : (turn + 1) * size]]
                steps.append(((turn + 0.5) / turns, at, own))
        return [own for _, _, own in sorted(steps, key=lambda step: step[:2])]

    def _turns(self, n_rows: int, batch_rows: int) -> list[tuple[Tensor, int]]:
        """Return the rows of each group that has some, and how many steps are its."""
        group = self.group[:n_rows]
        counts = torch.bincount(group)
        present = torch.nonzero(counts).flatten()
        share = counts[present].double() ** self.temper
        turns = (math.ceil(n_rows / batch_rows) * share / share.sum()).round().clamp(min=1)
        return [
            (torch.nonzero(group == g).flatten(), int(n))
            for g, n in zip(present, turns, strict=True)
        ]
