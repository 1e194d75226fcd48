"""DBMTL whose likelihood is that of conditionals, and whose children read a chosen output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from policies.blocks.mlp import MLP
from policies.blocks.pairwise import PairNetwork
from policies.blocks.relation import BayesianRelation, OutputRelation
from policies.blocks.towers import Heads, TowerBank
from policies.columns import Statistics
from policies.factorisation import Conditional, conditional
from policies.models.dbmtl import DBMTL
from policies.neural import EncoderConfig
from policies.target_graph import TargetGraph
from sim.config import ConfigError

READS = ("hidden", "logit", "probability")
"""What of its parents a child may read."""


@dataclass(frozen=True)
class ConditionalDBMTL(DBMTL):
    """Config of `ConditionalDBMTLNetwork`."""

    needs: Mapping[str, Sequence[str]]
    """{child: parents}: which events cannot happen without which others. Such a child's logit is
    that of P(child | its parents happened), learnt from those rows alone. Other targets are learnt
    from all impressions, whatever they read; {root: []} makes every target one of these."""
    reads: str
    """What of its parents in `graph` a child reads, one of READS."""

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if self.reads not in READS:
            raise ConfigError(
                f"{type(self).__name__}.reads = {self.reads!r}; allowed: {', '.join(READS)}"
            )
        self.factorisation(TargetGraph.build(self.graph).targets)

    def factorisation(self, targets: Sequence[str]) -> Conditional:
        """Return the product of conditionals; see `Architecture`."""
        return conditional(self.needs, targets)

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return an untrained `ConditionalDBMTLNetwork`."""
        return ConditionalDBMTLNetwork(statistics, encoder, self)


class ConditionalDBMTLNetwork(PairNetwork):
    """h = MLP_b(x); u_k = MLP_k(h); z_k from u_k and the parents' hidden vector, logit or chance.

    Source: DBMTL (arXiv 1902.09154), whose loss is the weighted sum of conditional log-likelihoods.
    Logits of conditionals, in the order of the graph's targets.

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        model: the graph, what needs what, what is read, and widths of layers.
    """

    def __init__(
        self, statistics: Statistics, encoder: EncoderConfig, model: ConditionalDBMTL
    ) -> None:
        """Create the layers; the heads begin at the conditional base rates."""
        super().__init__(statistics, encoder, model.refer, model.bottom[0])
        graph = TargetGraph.build(model.graph)
        self.bottom = MLP(model.bottom[0], model.bottom[1:])
        self.towers = TowerBank(self.bottom.width, model.towers, len(graph.targets))
        sizes = (self.towers.width, model.relation)
        self.relation = (
            BayesianRelation(graph, *sizes)
            if model.reads == "hidden"
            else OutputRelation(graph, *sizes, probability=model.reads == "probability")
        )
        rates = model.factorisation(graph.targets).factors(statistics.base_rates(graph.targets))
        self.heads = Heads(model.relation, rates)

    def upper(self, first: Tensor) -> Tensor:
        """Return logits [N, T] of the conditional probabilities; see `PairNetwork`."""
        u = self.towers(self.bottom(functional.relu(first, inplace=True)))
        reads_output = isinstance(self.relation, OutputRelation)
        out: Tensor = self.relation(u, self.heads) if reads_output else self.heads(self.relation(u))
        return out
