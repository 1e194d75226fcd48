"""Matching inside ranking: a match tower whose score is added to every logit of a rank tower."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.architecture import Architecture
from policies.blocks.match import Match
from policies.columns import RequestTensors, SideTensors, Statistics
from policies.factorisation import Factorisation
from policies.models.dbmtl import DBMTL, DBMTLNetwork
from policies.neural import EncoderConfig
from sim.config import MAX_WIDTH, require_int, require_section


@dataclass(frozen=True)
class Matched(Architecture):
    """Config of a `MatchedNetwork`; a subclass says which match."""

    rank: DBMTL
    """The rank tower; its encoders are shared with the match."""
    match_dim: int
    """Width of each dot product of the match."""

    def __post_init__(self) -> None:
        """Check the fields."""
        require_section(self, "rank", DBMTL)
        require_int(self, "match_dim", 1, MAX_WIDTH)

    def order(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Return the targets in the order of the rank tower's graph."""
        return self.rank.order(targets)

    def factorisation(self, targets: Sequence[str]) -> Factorisation:
        """Return what the rank tower's logits stand for."""
        return self.rank.factorisation(targets)

    @property
    def crossed(self) -> bool:
        """Whether a rank tower that reads the refer reads its crosses with the candidate too."""
        return True

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return an untrained `MatchedNetwork`."""
        rank = DBMTLNetwork(statistics, encoder, self.rank, self.crossed)
        refer = rank.request.refer
        widths = rank.request.user.width, refer.width if refer is not None else 0
        return MatchedNetwork(rank, self.match(*widths, rank.streamer.width), len(targets))

    @abstractmethod
    def match(self, n_user: int, n_refer: int, n_streamer: int) -> Match:
        """Return the match over encodings of these widths; n_refer is 0 where none is read."""


class MatchedNetwork(nn.Module):
    """z_k = rank_k(u, r, i) + v_k s + c_k, s the score of the match.

    The score passes one fully connected layer (weights v_k, c_k) to each target's logit. Refer and
    streamer have encoders, and so embeddings, of their own. Source: Taobao Live talk (2021),
    DMR 1.0.

    Args:
        rank: the rank tower; its encoders are shared with the match.
        match: the match tower.
        n_targets: T.
    """

    def __init__(self, rank: DBMTLNetwork, match: Match, n_targets: int) -> None:
        """Put the match beside the rank tower."""
        super().__init__()
        self.rank = rank
        self.match = match
        self.fc = nn.Linear(1, n_targets)
        nn.init.ones_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    @property
    def n_match(self) -> int:
        """Length of the vectors of the match, the first numbers of both sides."""
        return self.match.width

    def request_side(self, request: RequestTensors) -> Tensor:
        """Return [request vector of the match; request's part of the rank tower], [B, .]."""
        parts = self.rank.request.parts(request)
        user, refer = parts[0], parts[-1]  # without a refer no match reads the second
        match = self.match.request(user, refer, request.refer.dense[:, 0])
        return torch.cat([match, self.rank.first.request_part(torch.cat(parts, dim=1))], dim=1)

    def streamer_side(self, streamer: SideTensors) -> Tensor:
        """Return [room vector of the match; room's part of the rank tower], [N, .]."""
        i = self.rank.streamer(streamer)
        return torch.cat([self.match.streamer(i), self.rank.first.streamer_part(i)], dim=1)

    def join(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return logits [N, T] in the order of the target graph."""
        n = self.n_match
        s = (request[:, :n] * streamer[:, :n]).sum(1, keepdim=True)
        z = self.rank.join(request[:, n:], streamer[:, n:], pair, position)
        out: Tensor = z + self.fc(s)
        return out
