"""DBMTL 1.0: shared bottom, towers, and a Bayesian relation layer over any acyclic target graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from policies.architecture import Architecture
from policies.blocks.mlp import MLP
from policies.blocks.pairwise import PairNetwork
from policies.blocks.relation import BayesianRelation
from policies.blocks.towers import Heads, TowerBank
from policies.columns import Statistics
from policies.neural import EncoderConfig
from policies.target_graph import TargetGraph
from sim.config import MAX_WIDTH, require_bool, require_int, require_widths


@dataclass(frozen=True)
class DBMTL(Architecture):
    """Config of `DBMTLNetwork`."""

    graph: Mapping[str, Sequence[str]]
    """{child: parents}, any acyclic graph over names of LABELS; its names are the targets."""
    refer: bool
    """Whether the network reads the refer; without it the model is blind to what was just watched,
    as the models of the Taobao Live talk (2021) before RUI."""
    bottom: Sequence[int]
    """Widths of the bottom's layers."""
    towers: Sequence[int]
    """Widths of each tower's layers."""
    relation: int
    """Width of each target's relation layer."""

    def __post_init__(self) -> None:
        """Check the fields."""
        TargetGraph.build(self.graph)
        require_bool(self, "refer")
        require_widths(self, "bottom")
        require_widths(self, "towers")
        require_int(self, "relation", 1, MAX_WIDTH)

    def order(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Return the targets in the order of the graph; see `Architecture`."""
        return TargetGraph.build(self.graph).order(targets)

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return an untrained `DBMTLNetwork`."""
        return DBMTLNetwork(statistics, encoder, self)


class DBMTLNetwork(PairNetwork):
    """h = MLP_b(x); u_k = MLP_k(h); r_k = ReLU(W_k [u_k; r of parents]); z_k = w_k . r_k + b_k.

    Source: DBMTL (arXiv 1902.09154); logits in the order of the graph's targets.

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        model: the graph and widths of layers.
        crosses: see `PairNetwork`.
    """

    def __init__(
        self,
        statistics: Statistics,
        encoder: EncoderConfig,
        model: DBMTL,
        crosses: bool = True,
    ) -> None:
        """Create the layers."""
        super().__init__(statistics, encoder, model.refer, model.bottom[0], crosses)
        graph = TargetGraph.build(model.graph)
        self.bottom = MLP(model.bottom[0], model.bottom[1:])
        self.towers = TowerBank(self.bottom.width, model.towers, len(graph.targets))
        self.relation = BayesianRelation(graph, self.towers.width, model.relation)
        self.heads = Heads(model.relation, statistics.base_rates(graph.targets))

    def upper(self, first: Tensor) -> Tensor:
        """Return logits [N, T]; see `PairNetwork`."""
        h = self.bottom(functional.relu(first, inplace=True))
        out: Tensor = self.heads(self.relation(self.towers(h)))
        return out
