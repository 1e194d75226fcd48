"""What rankers share below their layers: the encoders of both sides and a split first layer."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from policies.blocks.request import RequestEncoder
from policies.blocks.sides import SideEncoder
from policies.blocks.split import SplitLinear
from policies.columns import RequestTensors, SideTensors, Statistics
from policies.neural import EncoderConfig


class PairEncoder(nn.Module):
    """W x + b, x = [user; moment; refer, if read; streamer; pair].

    The first layer is a sum of a request's part and a room's part, so that each is computed once,
    however many pairs they make.

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        refer: whether the network reads the refer.
        width: width W of the first layer, all that read x side by side.
        crosses: whether a refer that is read is also compared with the candidate.
    """

    def __init__(
        self,
        statistics: Statistics,
        encoder: EncoderConfig,
        refer: bool,
        width: int,
        crosses: bool = True,
    ) -> None:
        """Create encoders and first layer."""
        super().__init__()
        dims = (encoder.id_dim, encoder.context_dim)
        self.request = RequestEncoder(statistics, *dims, refer)
        self.streamer = SideEncoder(statistics.streamer, *dims)
        widths = self.request.width, self.streamer.width
        self.first = SplitLinear(*widths, statistics, width, refer and crosses)

    def request_side(self, request: RequestTensors) -> Tensor:
        """Return the request's part of the first layer [B, W]."""
        return self.first.request_part(self.request(request))

    def streamer_side(self, streamer: SideTensors) -> Tensor:
        """Return the room's part of the first layer [N, W]."""
        return self.first.streamer_part(self.streamer(streamer))


class PairNetwork(PairEncoder, ABC):
    """z = upper(W x + b) of a `PairEncoder`; a subclass says what stands above the first layer."""

    def join(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return logits [N, T] of joined pairs; see `policies.serving.TwoSided`."""
        return self.upper(self.first(request, streamer, pair, position))

    @abstractmethod
    def upper(self, first: Tensor) -> Tensor:
        """Return logits [N, T] from the first layer's output [N, W], before its activation.

        `first` may be overwritten.
        """
