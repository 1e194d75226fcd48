"""A recurrence over a chain of targets."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChainRecurrence(nn.Module):
    """h_k = GRU(e_k, h_(k-1)), h_0 = 0, with one cell for all steps of the chain.

    Source: the Taobao Live talk (2021) on GMSL, a GRU over the chain of targets.

    Args:
        n_in: width of every e_k.
        width: width of every h_k.
    """

    def __init__(self, n_in: int, width: int) -> None:
        """Create the cell."""
        super().__init__()
        self.cell = nn.GRUCell(n_in, width)
        self.width = width

    def forward(self, e: Tensor) -> Tensor:
        """Return h, float32 [K, N, width], for e [K, N, n_in] in the order of the chain."""
        h = e.new_zeros(e.shape[1], self.width)
        steps: list[Tensor] = []
        for step in e.unbind(0):
            h = self.cell(step, h)
            steps.append(h)
        return torch.stack(steps)
