"""RUI 3.0: refer-aware ranking, a three-tower refer match added to a DBMTL rank tower's logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.architecture import Architecture
from policies.blocks.refer import ReferMatch
from policies.columns import RequestTensors, SideTensors, Statistics
from policies.models.dbmtl import DBMTL, DBMTLNetwork
from policies.neural import EncoderConfig
from sim.config import MAX_WIDTH, ConfigError, require_bool, require_int, require_section


@dataclass(frozen=True)
class RUI3(Architecture):
    """Config of `RUINetwork`."""

    rank: DBMTL
    """The rank tower, which must read the refer."""
    match_dim: int
    """Width of each of the three dot products."""
    bound: bool
    """Whether the user's liking of the refer, u2r, is kept in (0, 1)."""

    def __post_init__(self) -> None:
        """Check the fields."""
        require_section(self, "rank", DBMTL)
        require_int(self, "match_dim", 1, MAX_WIDTH)
        require_bool(self, "bound")
        if not self.rank.refer:
            raise ConfigError("RUI3.rank.refer = False; allowed: True, the match reads the refer")

    def order(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Return the targets in the order of the rank tower's graph."""
        return self.rank.order(targets)

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return an untrained `RUINetwork`."""
        rank = DBMTLNetwork(statistics, encoder, self.rank)
        return RUINetwork(rank, len(targets), self.match_dim, self.bound)


class RUINetwork(nn.Module):
    """z_k = rank_k(u, r, i) + v_k s + c_k, s = u2r r2i + u2i.

    The match score passes one fully connected layer (weights v_k, c_k) to each target's logit.
    Refer and streamer have encoders, and so embeddings, of their own. Source: Taobao Live talk
    (2021), DMR 1.0 for adding the match logit, RUI 3.0 for the score.

    Args:
        rank: the rank tower; its encoders are shared with the match.
        n_targets: T.
        dim: width of each dot product of the match.
        bound: see `ReferMatch`.
    """

    def __init__(self, rank: DBMTLNetwork, n_targets: int, dim: int, bound: bool) -> None:
        """Create the match beside the rank tower."""
        super().__init__()
        self.rank = rank
        request = rank.request
        assert request.refer is not None, "the rank tower of RUI reads the refer"
        widths = (request.user.width, request.refer.width, rank.streamer.width)
        self.match = ReferMatch(*widths, dim, bound)
        self.fc = nn.Linear(1, n_targets)
        nn.init.ones_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def request_side(self, request: RequestTensors) -> Tensor:
        """Return [request vector of the match; request's part of the rank tower], [B, .]."""
        u, m, r = self.rank.request.parts(request)
        match = self.match.request(u, r, request.refer.dense[:, 0])
        return torch.cat([match, self.rank.first.request_part(torch.cat([u, m, r], dim=1))], dim=1)

    def streamer_side(self, streamer: SideTensors) -> Tensor:
        """Return [room vector of the match; room's part of the rank tower], [N, .]."""
        i = self.rank.streamer(streamer)
        return torch.cat([self.match.streamer(i), self.rank.first.streamer_part(i)], dim=1)

    def join(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return logits [N, T] in the order of the target graph."""
        n = self.match.width
        s = (request[:, :n] * streamer[:, :n]).sum(1, keepdim=True)
        z = self.rank.join(request[:, n:], streamer[:, n:], pair, position)
        out: Tensor = z + self.fc(s)
        return out
