"""The optimisers of a network: one for its tables, chosen by name, and AdamW for all else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from policies.blocks.embedding import field_embeddings
from policies.training.rowwise_adagrad import RowWiseAdagrad

ADAM, ROWWISE_ADAGRAD = "adam", "rowwise_adagrad"
TABLES = (ADAM, ROWWISE_ADAGRAD)
"""How tables can be learnt.

`adam` is AdamW as for all other weights: exact, every row moves and decays at every step.
`rowwise_adagrad` touches the rows of the batch alone; its gradients are never as large as a table.
"""


class Optimisers:
    """Tables of every `FieldEmbedding` by the optimiser named, all other weights by fused AdamW.

    Tables are what grows with the number of ids; small embeddings of a position or a scenario
    belong to the other weights.

    Args:
        network: whose parameters are learnt.
        tables: one of TABLES.
        learning_rate: of the first step; `set_rate` changes it.
        table_rate: learning rate of the tables over that of the other weights.
        weight_decay: decoupled, per unit of the learning rate; see `RowWiseAdagrad` for what it
            means there.
    """

    def __init__(
        self,
        network: nn.Module,
        tables: str,
        learning_rate: float,
        table_rate: float,
        weight_decay: float,
    ) -> None:
        """Sort the parameters and tell the tables which gradients are wanted."""
        self.table_rate = table_rate
        embeddings = field_embeddings(network)
        for embedding in embeddings:
            embedding.sparse = tables == ROWWISE_ADAGRAD
        self._sparse = [embedding.table for embedding in embeddings if embedding.sparse]
        self._parts: list[list[Tensor]] = [[] for _ in self._sparse]
        own = {id(embedding.table): embedding.table for embedding in embeddings}
        rest = [p for p in network.parameters() if id(p) not in own]
        self._dense: list[torch.optim.Optimizer] = []
        self._tables: list[torch.optim.Optimizer] = []
        if rest:
            self._dense = [_adam(rest, learning_rate, weight_decay)]
        if own:
            wide = list(own.values())
            rate = learning_rate * table_rate
            self._tables = [
                RowWiseAdagrad(wide, rate, weight_decay)
                if tables == ROWWISE_ADAGRAD
                else _adam(wide, rate, weight_decay)
            ]

    def set_rate(self, learning_rate: float) -> None:
        """Set the learning rate of the next steps; the tables' in proportion."""
        for optimiser in self._dense:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate
        for optimiser in self._tables:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * self.table_rate

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimiser in (*self._dense, *self._tables):
            optimiser.zero_grad(set_to_none=True)

    def put_aside(self) -> None:
        """Put the sparse gradients of a part of a batch aside, until `take_together`.

        Torch would add the next part's to them by copying both, at every part.
        """
        for table, parts in zip(self._sparse, self._parts, strict=True):
            if table.grad is not None:
                parts.append(table.grad)
                table.grad = None

    def take_together(self) -> None:
        """Make the gradients that were put aside those of their tables, entry after entry."""
        for table, parts in zip(self._sparse, self._parts, strict=True):
            if parts:
                table.grad = together(parts)
                parts.clear()

    def step(self) -> None:
        """Update all parameters that have a gradient."""
        for optimiser in (*self._dense, *self._tables):
            optimiser.step()

    def state_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Return what `load_state_dict` restores, tensors and plain values."""
        return {
            "dense": [optimiser.state_dict() for optimiser in self._dense],
            "tables": [optimiser.state_dict() for optimiser in self._tables],
        }

    def load_state_dict(self, state: Mapping[str, list[dict[str, Any]]]) -> None:
        """Restore what `state_dict` returned for the same network and arguments."""
        for name, optimisers in (("dense", self._dense), ("tables", self._tables)):
            for optimiser, stored in zip(optimisers, state[name], strict=True):
                optimiser.load_state_dict(stored)


def together(parts: Sequence[Tensor]) -> Tensor:
    """Return the sum of gradients [V, D] of one table; sparse where all are."""
    if len(parts) == 1:
        return parts[0]
    if any(part.layout != torch.sparse_coo for part in parts):
        return torch.stack([part.to_dense() for part in parts]).sum(0)
    rows = torch.cat([part._indices() for part in parts], dim=1)
    values = torch.cat([part._values() for part in parts])
    return torch.sparse_coo_tensor(rows, values, parts[0].shape, check_invariants=False)


def _adam(parameters: list[nn.Parameter], rate: float, weight_decay: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=weight_decay, fused=True)
