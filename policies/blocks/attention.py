"""One transformer block over sequences of streamers, shared by all kinds of histories."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.blocks.sides import SideEncoder
from policies.columns import SequenceStatistics, SequenceTensors
from sim.schema import PAD


class SharedAttention(nn.Module):
    """h = mean over the elements of Block(W x + p): one vector per sequence, zeros where empty.

    x is an encoded element, id and side information; p a vector of its place. Block is multi-head
    self-attention and a feed-forward layer, each added to its input and normalised (Vaswani 2017,
    section 3.1). Elements attend to their own sequence alone, and what stands beyond its end has no
    influence. All kinds pass the same weights. Source: Taobao Live talk (2021), DMR 2.0.

    Args:
        statistics: vocabularies and moments of the elements, and L.
        id_dim: width of the embedding of an entity id.
        context_dim: width of the embedding of a small category.
        width: width of the block.
        heads: heads of the attention, a divisor of `width`.
    """

    def __init__(
        self,
        statistics: SequenceStatistics,
        id_dim: int,
        context_dim: int,
        width: int,
        heads: int,
    ) -> None:
        """Create the block."""
        super().__init__()
        self.element = SideEncoder(statistics.streamers, id_dim, context_dim)
        self.embed = nn.Linear(self.element.width, width)
        self.position = nn.Parameter(0.1 * torch.randn(statistics.length, width))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.heads, self.width = heads, width

    def forward(self, sequences: SequenceTensors, kinds: Sequence[int]) -> Tensor:
        """Return float32 [B, len(kinds), width]; `kinds` are indices into KINDS."""
        place = sequences.place[:, list(kinds)].long()
        there = place != PAD
        some = there[:, :, 0]  # sequences have their padding at the end
        pooled = torch.zeros(*some.shape, self.width, device=place.device)
        if not bool(some.any()):
            return pooled
        x = self._elements(sequences, place[some], there[some])
        pooled[some] = self._block(x, there[some])
        return pooled

    def _elements(self, sequences: SequenceTensors, place: Tensor, there: Tensor) -> Tensor:
        """Return the embedded elements [M, L, width]; each streamer is encoded once."""
        row, of = torch.unique(place[there], return_inverse=True)
        table = self.embed(self.element(sequences.streamers.take(row)))
        which = torch.zeros_like(place)
        which[there] = of
        out: Tensor = table[which] + self.position
        return out

    def _block(self, x: Tensor, there: Tensor) -> Tensor:
        """Return the pooled block output [M, width] of M sequences that are not empty."""
        n, length, _ = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        near = functional.scaled_dot_product_attention(q, k, v, there[:, None, None, :])
        x = self.norms[0](x + self.out(near.transpose(1, 2).reshape(n, length, self.width)))
        x = self.norms[1](x + self.narrow(functional.relu(self.wide(x))))
        weight = there / there.sum(1, keepdim=True)
        return (x * weight[:, :, None]).sum(1)
