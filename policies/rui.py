"""RUI 3.0: refer-aware ranking, a three-tower refer match added to a DBMTL rank tower's logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from policies.blocks.refer import ReferMatch
from policies.columns import SideTensors, Statistics
from policies.dbmtl import DBMTL, DBMTLNetwork
from policies.fusion import Fusion
from policies.memory import FeatureConfig
from policies.neural import EncoderConfig
from policies.target_graph import TargetGraph
from policies.trainer import Trainer
from sim.config import MAX_WIDTH, require_bool, require_int


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

    def request_side(self, user: SideTensors, refer: SideTensors, moment: SideTensors) -> Tensor:
        """Return [request vector of the match; request's part of the bottom], [B, .]."""
        u, m, r = self.rank.request.parts(user, refer, moment)
        match = self.match.request(u, r, refer.dense[:, 0])
        return torch.cat([match, self.rank.bottom.request_part(torch.cat([u, m, r], dim=1))], dim=1)

    def streamer_side(self, streamer: SideTensors) -> Tensor:
        """Return [room vector of the match; room's part of the bottom], [N, .]."""
        i = self.rank.streamer(streamer)
        return torch.cat([self.match.streamer(i), self.rank.bottom.streamer(i)], dim=1)

    def join(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return logits [N, T] in the order of the target graph."""
        n = self.match.width
        s = (request[:, :n] * streamer[:, :n]).sum(1, keepdim=True)
        z = self.rank.join(request[:, n:], streamer[:, n:], pair, position)
        out: Tensor = z + self.fc(s)
        return out


class RUI3(DBMTL):
    """Ranks by fused probabilities of a refer-aware network.

    Args:
        graph: {child: parents}, any acyclic graph over names of TARGETS; its names are the targets.
        target_weights: {target: weight in the loss}.
        match_dim: width of each of the three dot products.
        bound: whether the user's liking of the refer, u2r, is kept in (0, 1).
        bottom: widths of the bottom's layers.
        towers: widths of each tower's layers.
        relation: width of each target's relation layer.
        fusion: probabilities -> score.
        features: numbers of the feature store.
        encoder: how columns become vectors.
        trainer: the training loop.

    Raises:
        ConfigError: the graph has an unknown name or a cycle, weights do not fit its targets,
            or a width is none.
    """

    def __init__(
        self,
        graph: Mapping[str, Sequence[str]],
        target_weights: Mapping[str, float],
        match_dim: int,
        bound: bool,
        bottom: Sequence[int],
        towers: Sequence[int],
        relation: int,
        fusion: Fusion,
        features: FeatureConfig,
        encoder: EncoderConfig,
        trainer: Trainer,
    ) -> None:
        """Store and check the arguments."""
        super().__init__(
            graph=graph,
            target_weights=target_weights,
            refer=True,
            bottom=bottom,
            towers=towers,
            relation=relation,
            fusion=fusion,
            features=features,
            encoder=encoder,
            trainer=trainer,
        )
        self.match_dim = match_dim
        self.bound = bound
        require_int(self, "match_dim", 1, MAX_WIDTH)
        require_bool(self, "bound")

    def build(self, statistics: Statistics) -> nn.Module:
        """Return an untrained `RUINetwork`."""
        graph = TargetGraph.build(self.graph)
        rank = DBMTLNetwork(
            statistics, self.encoder, True, graph, self.bottom, self.towers, self.relation
        )
        return RUINetwork(rank, len(graph.targets), self.match_dim, self.bound)
