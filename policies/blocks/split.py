"""The first layer on a pair, split so that serving computes each side once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from policies.blocks.mlp import RawLinear
from policies.columns import Statistics
from policies.features import PAIR_FIELDS, REFER_CROSSES

POSITION_SCALE = 8.0
"""Factor on the position table. Adam moves an entry by about the learning rate a step, and weight
decay pulls it back, while the effect of a position is as large as that of any feature: without the
factor the few hundred steps of a fit learn half of it, and the rest passes for dislike of what
stood low (true probability at position 7 over that at the top 0.32, learnt 0.64, with it 0.40)."""


class SplitLinear(nn.Module):
    """W_r r + W_s s + W_p p + b on [request; streamer; pair], before any activation.

    The position in the slate adds a bias vector, in training and where a position is asked about;
    position 0 adds nothing, and ranking assumes position 0 for every candidate.

    Args:
        n_request: width of the encoded request.
        n_streamer: width of the encoded streamer.
        statistics: moments of the pair columns and the number of positions.
        width: output width.
        crosses: whether it reads the pair columns that compare candidate and refer.
    """

    def __init__(
        self, n_request: int, n_streamer: int, statistics: Statistics, width: int, crosses: bool
    ) -> None:
        """Create the layers."""
        super().__init__()
        self.n_pair = len(PAIR_FIELDS) if crosses else len(PAIR_FIELDS) - len(REFER_CROSSES)
        self.request = nn.Linear(n_request, width)
        self.streamer = nn.Linear(n_streamer, width, bias=False)
        moments = statistics.pair_mean[: self.n_pair], statistics.pair_scale[: self.n_pair]
        self.pair = RawLinear(*moments, width)
        self.position = nn.Embedding(statistics.n_positions, width, padding_idx=0)
        nn.init.zeros_(self.position.weight)

    def request_part(self, x: Tensor) -> Tensor:
        """Return what encoded requests [B, n_request] add, [B, width]."""
        part: Tensor = self.request(x) + self.pair.constant()
        return part

    def streamer_part(self, x: Tensor) -> Tensor:
        """Return what encoded streamers [N, n_streamer] add, [N, width]."""
        part: Tensor = self.streamer(x)
        return part

    def forward(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return the sum float32 [N, width].

        Args:
            request: [N, width], the output of `request_part`, which may be overwritten.
            streamer: [N, width], the output of `streamer_part`.
            pair: [N, P] raw pair columns.
            position: int32 [N], or None for position 0 everywhere; positions beyond those of the
                training log count as its last one.
        """
        base = request + streamer if torch.is_grad_enabled() else request.add_(streamer)
        if position is not None:
            known = position.clamp(max=self.position.num_embeddings - 1)
            base = base + POSITION_SCALE * self.position(known)
        return self.pair.add_to(base, pair[:, : self.n_pair])
