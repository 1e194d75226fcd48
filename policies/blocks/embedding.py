"""Embeddings of several categorical columns in one table, each column with rows of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class FieldEmbedding(nn.Module):
    """One fused table; column f owns a range of rows, whose first row stands for unknown.

    Args:
        rows: per column int32 [V_f + 1], the row inside the column's range of every value.
        dim: width of an embedding.
        scale: standard deviation of the initial values.
    """

    sparse: bool = False
    """Whether the table's gradient is sparse, as `policies.training.optimisers` wants it; torch
    then keeps one entry for each row looked up, and nothing as large as the table."""
    row_of: Tensor
    start: Tensor
    size: Tensor

    def __init__(self, rows: Sequence[Tensor], dim: int, scale: float) -> None:
        """Allocate and draw the table."""
        super().__init__()
        heights = [int(column.max()) + 1 for column in rows]
        offset = 0
        mapped: list[Tensor] = []
        start: list[int] = []
        for column, height in zip(rows, heights, strict=True):
            start.append(sum(len(m) for m in mapped))
            mapped.append(column.int() + offset)
            offset += height
        empty = torch.zeros(0, dtype=torch.int32)
        self.register_buffer("row_of", torch.cat(mapped) if mapped else empty)
        self.register_buffer("start", torch.tensor(start, dtype=torch.int32))
        self.register_buffer("size", torch.tensor([len(m) for m in mapped], dtype=torch.int32))
        self.table = nn.Parameter(torch.randn(offset, dim) * scale)
        self.width = len(heights) * dim

    def forward(self, values: Tensor) -> Tensor:
        """Return float32 [N, F x dim] for int32 [N, F]; values out of range count as unknown."""
        known = torch.where((values >= 0) & (values < self.size), values, 0)
        rows = self.row_of.index_select(0, (known + self.start).flatten()).view(values.shape)
        return functional.embedding(rows, self.table, sparse=self.sparse).flatten(1)


def field_embeddings(network: nn.Module) -> list[FieldEmbedding]:
    """Return all tables of a network, in the order of its modules."""
    return [module for module in network.modules() if isinstance(module, FieldEmbedding)]
