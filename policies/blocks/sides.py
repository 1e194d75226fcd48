"""Encoders of column groups: embeddings and standardised numbers beside each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from policies.blocks.embedding import FieldEmbedding
from policies.columns import SideStatistics, SideTensors

_CLIP = 8.0
"""Standardised numbers are cut here, so that drift cannot blow up a score."""


SCALE = 0.3
"""Standard deviation of initial embeddings: as large as other inputs, or products learn late."""


class SideEncoder(nn.Module):
    """[context embeddings; standardised numbers; id embeddings].

    Args:
        statistics: vocabularies and moments.
        id_dim: width of the embedding of an entity id.
        context_dim: width of the embedding of a small category.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, statistics: SideStatistics, id_dim: int, context_dim: int) -> None:
        """Create the tables."""
        super().__init__()
        self.ids = FieldEmbedding(statistics.ids, id_dim, SCALE) if statistics.ids else None
        self.context = FieldEmbedding(statistics.context, context_dim, SCALE)
        self.register_buffer("mean", statistics.mean.clone())
        self.register_buffer("scale", statistics.scale.clone())
        n_ids = self.ids.width if self.ids is not None else 0
        self.width = n_ids + self.context.width + len(statistics.mean)

    def forward(self, side: SideTensors) -> Tensor:
        """Return float32 [N, width]."""
        dense = ((side.dense - self.mean) / self.scale).clamp(-_CLIP, _CLIP)
        parts = [self.context(side.context), dense]
        if self.ids is not None:
            parts.append(self.ids(side.ids))
        return torch.cat(parts, dim=1)
