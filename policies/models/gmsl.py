"""GMSL: a recurrence over a chain of targets, whose probabilities are products along it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.architecture import Architecture
from policies.blocks.mlp import MLP
from policies.blocks.pairwise import PairNetwork
from policies.blocks.recurrence import ChainRecurrence
from policies.blocks.towers import Heads, TowerBank
from policies.columns import Statistics
from policies.factorisation import EntireSpace, entire_space
from policies.neural import EncoderConfig
from policies.target_graph import TargetGraph
from sim.config import MAX_WIDTH, ConfigError, require_bool, require_int, require_widths


@dataclass(frozen=True)
class GMSL(Architecture):
    """Config of `GMSLNetwork`."""

    chain: Sequence[str]
    """Names of TARGETS from the first stage to the last, at least two. Other targets are no stage
    of a chain and keep ordinary towers: what a graph has beside its chain, GMSL cannot say."""
    refer: bool
    """Whether the network reads the refer; without it the model is blind to what was just watched,
    as the models of the Taobao Live talk (2021) before RUI."""
    bottom: Sequence[int]
    """Widths of the bottom's layers."""
    towers: Sequence[int]
    """Widths of each tower's layers."""
    recurrence: int
    """Width of the recurrence."""

    def __post_init__(self) -> None:
        """Check the fields."""
        several = isinstance(self.chain, Sequence) and not isinstance(self.chain, str)
        if not several or len(self.chain) < 2 or len(set(self.chain)) < len(self.chain):
            raise ConfigError(
                f"{type(self).__name__}.chain = {self.chain!r}; allowed: two or more targets, each "
                "once"
            )
        TargetGraph.build(self.needs())
        require_bool(self, "refer")
        require_widths(self, "bottom")
        require_widths(self, "towers")
        require_int(self, "recurrence", 1, MAX_WIDTH)

    def needs(self) -> dict[str, list[str]]:
        """Return the chain as {child: [parent]}."""
        return {child: [parent] for parent, child in pairwise(self.chain)}

    def order(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Return the chain, then the other targets in their usual order; see `Architecture`."""
        others = [name for name in super().order(targets) if name not in self.chain]
        order = (*(name for name in self.chain if name in targets), *others)
        self.factorisation(order)
        return order

    def factorisation(self, targets: Sequence[str]) -> EntireSpace:
        """Return products along the chain, learnt from all impressions."""
        return entire_space(self.needs(), targets)

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return an untrained `GMSLNetwork`."""
        return GMSLNetwork(statistics, encoder, self, targets)


class GMSLNetwork(PairNetwork):
    """e_k = MLP_k(MLP_b(x)); h_k = GRU(e_k, h_(k-1)), h_0 = 0; c_k = w_k . h_k + b_k.

    P(stage k) = prod over j <= k of sigmoid(c_j), so that no stage is more probable than one before
    it; off the chain z_k = w_k . e_k + b_k. The Taobao Live talk (2021) says of GMSL only that a
    GRU runs over the chain of targets, and no public paper or code was found: this is one buildable
    reading, whose products and losses on all impressions are those of ESMM (arXiv 1804.07931).

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        model: the chain and widths of layers.
        targets: T names of LABELS, the chain first.
    """

    def __init__(
        self,
        statistics: Statistics,
        encoder: EncoderConfig,
        model: GMSL,
        targets: Sequence[str],
    ) -> None:
        """Create the layers; the heads begin at the shares whose products are the base rates."""
        super().__init__(statistics, encoder, model.refer, model.bottom[0])
        self.n_chain = len(model.chain)
        self.bottom = MLP(model.bottom[0], model.bottom[1:])
        self.towers = TowerBank(self.bottom.width, model.towers, len(targets))
        self.recurrence = ChainRecurrence(self.towers.width, model.recurrence)
        rates = model.factorisation(targets).factors(statistics.base_rates(targets))
        self.heads = Heads(model.recurrence, rates[: self.n_chain])
        others = rates[self.n_chain :]
        self.other_heads = Heads(self.towers.width, others) if len(others) else None

    def upper(self, first: Tensor) -> Tensor:
        """Return logits [N, T]; see `PairNetwork`."""
        e = self.towers(self.bottom(functional.relu(first, inplace=True)))
        h = self.recurrence(e[: self.n_chain].transpose(1, 2)).transpose(1, 2)
        z: Tensor = self.heads(h)
        if self.other_heads is None:
            return z
        return torch.cat([z, self.other_heads(e[self.n_chain :])], dim=1)
