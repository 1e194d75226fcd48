"""DBMTL 1.0: shared bottom, towers, and a Bayesian relation layer over any acyclic target graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from policies.blocks.relation import BayesianRelation
from policies.blocks.towers import Heads
from policies.blocks.trunk import Trunk
from policies.columns import Statistics
from policies.fusion import Fusion
from policies.memory import FeatureConfig
from policies.multitask import MultiTaskPolicy
from policies.neural import EncoderConfig
from policies.target_graph import TargetGraph
from policies.trainer import Trainer
from sim.config import MAX_WIDTH, require_bool, require_int, require_widths


class DBMTLNetwork(Trunk):
    """h = MLP_b(x); u_k = MLP_k(h); r_k = ReLU(W_k [u_k; r of parents]); z_k = w_k . r_k + b_k.

    Source: DBMTL (arXiv 1902.09154); x = [user; refer, if read; moment; streamer; pair].

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        refer: whether the network reads the refer.
        graph: the target graph.
        bottom: widths of the bottom's layers.
        towers: widths of each tower's layers.
        relation: width of each r_k.
    """

    def __init__(
        self,
        statistics: Statistics,
        encoder: EncoderConfig,
        refer: bool,
        graph: TargetGraph,
        bottom: Sequence[int],
        towers: Sequence[int],
        relation: int,
    ) -> None:
        """Create the layers."""
        super().__init__(statistics, encoder, refer, bottom, towers, len(graph.targets))
        self.relation = BayesianRelation(graph, self.towers.width, relation)
        self.heads = Heads(relation, statistics.base_rates(graph.targets))

    def join(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return logits [N, T] in the order of graph.targets."""
        u = self.tower_outputs(request, streamer, pair, position)
        out: Tensor = self.heads(self.relation(u))
        return out


class DBMTL(MultiTaskPolicy):
    """Ranks by fused probabilities of a DBMTL network.

    Args:
        graph: {child: parents}, any acyclic graph over names of TARGETS; its names are the targets.
        target_weights: {target: weight in the loss}.
        refer: whether the network reads the refer; without it the model is blind to what was just
            watched, as the talk's models before RUI.
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
        refer: bool,
        bottom: Sequence[int],
        towers: Sequence[int],
        relation: int,
        fusion: Fusion,
        features: FeatureConfig,
        encoder: EncoderConfig,
        trainer: Trainer,
    ) -> None:
        """Store and check the arguments."""
        self.graph = graph
        self._graph = TargetGraph.build(graph)
        super().__init__(target_weights, fusion, features, encoder, trainer)
        self.refer = refer
        self.bottom = bottom
        self.towers = towers
        self.relation = relation
        require_bool(self, "refer")
        require_widths(self, "bottom")
        require_widths(self, "towers")
        require_int(self, "relation", 1, MAX_WIDTH)

    @property
    def targets(self) -> tuple[str, ...]:
        """Targets in the order of the graph."""
        return self._graph.targets

    def build(self, statistics: Statistics) -> nn.Module:
        """Return an untrained `DBMTLNetwork`."""
        return DBMTLNetwork(
            statistics,
            self.encoder,
            self.refer,
            self._graph,
            self.bottom,
            self.towers,
            self.relation,
        )
