"""ESMM: targets as products along a graph of needs, all learnt from all impressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from policies.architecture import Architecture
from policies.blocks.experts import ExpertBank
from policies.blocks.pairwise import PairNetwork
from policies.blocks.towers import Heads
from policies.columns import Statistics
from policies.factorisation import EntireSpace, entire_space
from policies.neural import EncoderConfig
from policies.target_graph import TargetGraph
from sim.config import require_bool, require_widths


@dataclass(frozen=True)
class ESMM(Architecture):
    """Config of `ESMMNetwork`."""

    needs: Mapping[str, Sequence[str]]
    """{child: parents}, acyclic: a child is never more probable than its parents. Targets outside
    are roots; with {purchase: [engage]} alone, P(purchase) = P(engage) P(purchase | engage)."""
    refer: bool
    """Whether the network reads the refer; without it the model is blind to what was just watched,
    as the models of the Taobao Live talk (2021) before RUI."""
    towers: Sequence[int]
    """Widths of each tower's layers."""

    def __post_init__(self) -> None:
        """Check the fields."""
        TargetGraph.build(self.needs, "needs")
        require_bool(self, "refer")
        require_widths(self, "towers")

    def order(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Return the targets in their usual order; see `Architecture`."""
        ordered = super().order(targets)
        self.factorisation(ordered)
        return ordered

    def factorisation(self, targets: Sequence[str]) -> EntireSpace:
        """Return products over every target's ancestors, learnt from all impressions."""
        return entire_space(self.needs, targets)

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return an untrained `ESMMNetwork`."""
        return ESMMNetwork(statistics, encoder, self, targets)


class ESMMNetwork(PairNetwork):
    """z_k = w_k . MLP_k(x) + b_k: towers over shared embeddings and nothing else.

    Source: ESMM (arXiv 1804.07931, section 2.3), for any number of targets. The first layers of all
    towers are one product.

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        model: what needs what, and widths of layers.
        targets: T names of LABELS.
    """

    def __init__(
        self,
        statistics: Statistics,
        encoder: EncoderConfig,
        model: ESMM,
        targets: Sequence[str],
    ) -> None:
        """Create the layers; the heads begin at the shares whose products are the base rates."""
        towers = ExpertBank(len(targets), model.towers)
        super().__init__(statistics, encoder, model.refer, towers.n_first)
        self.towers = towers
        rates = model.factorisation(targets).factors(statistics.base_rates(targets))
        self.heads = Heads(towers.width, rates)

    def upper(self, first: Tensor) -> Tensor:
        """Return logits [N, T] of the conditional probabilities; see `PairNetwork`."""
        out: Tensor = self.heads(self.towers(first).transpose(1, 2))
        return out
