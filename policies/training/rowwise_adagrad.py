"""Row-wise Adagrad: one accumulator per table row, updates of the rows that a batch touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class RowWiseAdagrad(torch.optim.Optimizer):
    """One learning rate for each row, from the squares of its gradients so far.

    For every row r of a table [V, D] that the batch touched, with gradient g_r [D],

        G_r <- G_r + mean_d g_rd^2
        w_r <- (1 - lr weight_decay) w_r - lr g_r / (sqrt(G_r) + epsilon)

    A row without a gradient keeps its weights and its accumulator: nothing decays or moves between
    two touches, so the time of a step grows with the batch and not with the table, and weight decay
    pulls on a row as often as the row is seen. That differs from Adam, whose moments and decay act
    on every row at every step. Source: the row-wise Adagrad of TorchRec and FBGEMM's fused
    optimisers; decay is decoupled as in AdamW.

    Gradients may be sparse (see `policies.blocks.embedding.FieldEmbedding.sparse`), coalesced or
    not, or dense; in a dense one the rows that are not zero count as touched. Repeated rows are
    summed in the order in which they occur, so a step is the same function on every run.

    Args:
        params: tables [V, D], float32.
        lr: learning rate, positive.
        weight_decay: decoupled, per unit of the learning rate, at least 0.
        epsilon: added to the root, positive.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        epsilon: float = 1e-10,
    ) -> None:
        """Store the numbers; accumulators come with the first gradient."""
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "epsilon": epsilon})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the touched rows of every table.

        Args:
            closure: not used; torch's signature.
        """
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update(table, group)

    def _update(self, table: Tensor, group: dict[str, Any]) -> None:
        rows, gradient = touched(table.grad)  # type: ignore[arg-type]
        state = self.state[table]
        if not state:
            state["sum"] = table.new_zeros(len(table))
        total = state["sum"].index_select(0, rows) + gradient.square().mean(1)
        state["sum"].index_copy_(0, rows, total)
        move = gradient / (total.sqrt() + group["epsilon"])[:, None]
        weight = table.index_select(0, rows) * (1.0 - group["lr"] * group["weight_decay"])
        table.index_copy_(0, rows, weight.sub_(move, alpha=group["lr"]))


def touched(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows int64 [n] that a table's gradient touches, ascending, and theirs [n, D].

    Args:
        gradient: [V, D], sparse or dense.
    """
    if gradient.layout != torch.sparse_coo:
        rows = torch.nonzero(gradient.any(1)).flatten()
        return rows, gradient.index_select(0, rows)
    values = gradient._values()
    rows, place = torch.unique(gradient._indices()[0], return_inverse=True)
    summed = values.new_zeros(len(rows), values.shape[1]).index_add_(0, place, values)
    return rows, summed
