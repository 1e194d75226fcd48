"""The request side of a rank tower: who asks, coming from where, at which moment."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from policies.blocks.sides import SideEncoder
from policies.columns import RequestTensors, Statistics


class RequestEncoder(nn.Module):
    """[user; moment], and with `refer` [user; moment; refer].

    Args:
        statistics: vocabularies and moments.
        id_dim: width of the embedding of an entity id.
        context_dim: width of the embedding of a small category.
        refer: whether the room watched before is read (RUI 1.0) or not.
    """

    def __init__(self, statistics: Statistics, id_dim: int, context_dim: int, refer: bool) -> None:
        """Create the encoders."""
        super().__init__()
        self.user = SideEncoder(statistics.user, id_dim, context_dim)
        self.moment = SideEncoder(statistics.moment, id_dim, context_dim)
        self.refer = SideEncoder(statistics.refer, id_dim, context_dim) if refer else None
        n_refer = self.refer.width if self.refer is not None else 0
        self.width = self.user.width + self.moment.width + n_refer

    def forward(self, request: RequestTensors) -> Tensor:
        """Return float32 [B, width]."""
        return torch.cat(self.parts(request), dim=1)

    def parts(self, request: RequestTensors) -> list[Tensor]:
        """Return the encoded [user, moment] or [user, moment, refer], before concatenation."""
        parts = [self.user(request.user), self.moment(request.moment)]
        if self.refer is not None:
            parts.append(self.refer(request.refer))
        return parts
