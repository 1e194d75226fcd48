"""DBMTL 2.0: MMoE below, a Bayesian relation layer over the graph of targets above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.architecture import Architecture
from policies.blocks.experts import ExpertBank, Gates
from policies.blocks.pairwise import PairNetwork
from policies.blocks.relation import BayesianRelation
from policies.blocks.towers import Heads, OwnTowers
from policies.columns import Statistics
from policies.models.mmoe import MAX_EXPERTS
from policies.neural import EncoderConfig
from policies.target_graph import TargetGraph
from sim.config import MAX_WIDTH, require_bool, require_int, require_widths


@dataclass(frozen=True)
class DBMTL2(Architecture):
    """Config of `DBMTL2Network`."""

    graph: Mapping[str, Sequence[str]]
    """{child: parents}, any acyclic graph over names of LABELS; its names are the targets."""
    refer: bool
    """Whether the network reads the refer; without it the model is blind to what was just watched,
    as the models of the Taobao Live talk (2021) before RUI."""
    n_experts: int
    """Number of experts."""
    experts: Sequence[int]
    """Widths of each expert's layers."""
    towers: Sequence[int]
    """Widths of each tower's layers."""
    relation: int
    """Width of each target's relation layer."""

    def __post_init__(self) -> None:
        """Check the fields."""
        TargetGraph.build(self.graph)
        require_bool(self, "refer")
        require_int(self, "n_experts", 1, MAX_EXPERTS)
        require_widths(self, "experts")
        require_widths(self, "towers")
        require_int(self, "relation", 1, MAX_WIDTH)

    def order(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Return the targets in the order of the graph; see `Architecture`."""
        return TargetGraph.build(self.graph).order(targets)

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return an untrained `DBMTL2Network`."""
        return DBMTL2Network(statistics, encoder, self)


class DBMTL2Network(PairNetwork):
    """h_k = mixture of experts by k's gate; u_k = MLP_k(h_k); then the relation layer and heads.

    Source: Taobao Live talk (2021), DBMTL 2.0: the towers of DBMTL (arXiv 1902.09154) fed by MMoE
    (KDD 2018). Logits in the order of the graph's targets.

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        model: the graph, number of experts and widths of layers.
    """

    def __init__(self, statistics: Statistics, encoder: EncoderConfig, model: DBMTL2) -> None:
        """Create the layers."""
        graph = TargetGraph.build(model.graph)
        bank = ExpertBank(model.n_experts, model.experts)
        gates = Gates(graph.targets, model.n_experts)
        super().__init__(statistics, encoder, model.refer, bank.n_first + gates.n_first)
        self.experts, self.gates = bank, gates
        self.towers = OwnTowers(bank.width, model.towers, len(graph.targets))
        self.relation = BayesianRelation(graph, self.towers.width, model.relation)
        self.heads = Heads(model.relation, statistics.base_rates(graph.targets))

    def upper(self, first: Tensor) -> Tensor:
        """Return logits [N, T]; see `PairNetwork`."""
        f, g = torch.split(first, [self.experts.n_first, self.gates.n_first], dim=1)
        h = self.gates(g, self.experts(f))
        out: Tensor = self.heads(self.relation(self.towers(h.transpose(0, 1))))
        return out
