"""What the multi-task rankers share below their heads: encoders, a split bottom and towers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from policies.blocks.bottom import SplitBottom
from policies.blocks.request import RequestEncoder
from policies.blocks.sides import SideEncoder
from policies.blocks.towers import TowerBank
from policies.columns import SideTensors, Statistics
from policies.neural import EncoderConfig


class Trunk(nn.Module):
    """u_k = MLP_k(MLP_b(x)), x = [user; refer, if read; moment; streamer; pair].

    The first layer of the bottom is a sum of a request's part and a room's part, so that each is
    computed once, however many pairs they make.

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        refer: whether the network reads the refer.
        bottom: widths of the bottom's layers.
        towers: widths of each tower's layers.
        n_targets: towers T.
    """

    def __init__(
        self,
        statistics: Statistics,
        encoder: EncoderConfig,
        refer: bool,
        bottom: Sequence[int],
        towers: Sequence[int],
        n_targets: int,
    ) -> None:
        """Create the layers."""
        super().__init__()
        dims = (encoder.id_dim, encoder.context_dim)
        self.request = RequestEncoder(statistics, *dims, refer)
        self.streamer = SideEncoder(statistics.streamer, *dims)
        widths = self.request.width, self.streamer.width
        self.bottom = SplitBottom(*widths, statistics, bottom, refer)
        self.towers = TowerBank(self.bottom.width, towers, n_targets)

    def request_side(self, user: SideTensors, refer: SideTensors, moment: SideTensors) -> Tensor:
        """Return the request's part of the first layer [B, bottom[0]]."""
        out: Tensor = self.bottom.request_part(self.request(user, refer, moment))
        return out

    def streamer_side(self, streamer: SideTensors) -> Tensor:
        """Return the room's part of the first layer [N, bottom[0]]."""
        out: Tensor = self.bottom.streamer(self.streamer(streamer))
        return out

    def tower_outputs(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return u of all towers for joined pairs [N]."""
        out: Tensor = self.towers(self.bottom(request, streamer, pair, position))
        return out
