"""PLE: experts of each target beside shared ones, in stacked extraction levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from policies.architecture import Architecture
from policies.blocks.extraction import Extraction, Products
from policies.blocks.pairwise import PairNetwork
from policies.blocks.towers import Heads, OwnTowers
from policies.columns import Statistics
from policies.models.mmoe import MAX_EXPERTS
from policies.neural import EncoderConfig
from sim.config import require_bool, require_int, require_widths

MAX_LEVELS = 16


@dataclass(frozen=True)
class PLE(Architecture):
    """Config of `PLENetwork`."""

    refer: bool
    """Whether the network reads the refer; without it the model is blind to what was just watched,
    as the models of the Taobao Live talk (2021) before RUI."""
    n_levels: int
    """Number of extraction levels; one is CGC."""
    n_own: int
    """Experts of each target at each level."""
    n_shared: int
    """Shared experts at each level."""
    experts: Sequence[int]
    """Widths of each expert's layers, the same at each level."""
    towers: Sequence[int]
    """Widths of each tower's layers."""

    def __post_init__(self) -> None:
        """Check the fields."""
        require_bool(self, "refer")
        require_int(self, "n_levels", 1, MAX_LEVELS)
        require_int(self, "n_own", 1, MAX_EXPERTS)
        require_int(self, "n_shared", 1, MAX_EXPERTS)
        require_widths(self, "experts")
        require_widths(self, "towers")

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return an untrained `PLENetwork`."""
        return PLENetwork(statistics, encoder, self, targets)


class PLENetwork(PairNetwork):
    """q^j = extraction level j of q^(j-1), q^0 = x; z_k = w_k . MLP_k(q_k) + b_k.

    Source: PLE (RecSys 2020, section 4); the first level's experts and gates are one product.

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        model: numbers of experts and widths of layers.
        targets: T names of LABELS.
    """

    def __init__(
        self,
        statistics: Statistics,
        encoder: EncoderConfig,
        model: PLE,
        targets: Sequence[str],
    ) -> None:
        """Create the levels."""
        last = model.n_levels - 1
        levels = [
            Extraction(targets, model.n_own, model.n_shared, model.experts, is_last=j == last)
            for j in range(model.n_levels)
        ]
        super().__init__(statistics, encoder, model.refer, levels[0].n_first)
        self.levels = nn.ModuleList(levels)
        self.products = nn.ModuleList(Products(level, level.width) for level in levels[1:])
        self.towers = OwnTowers(levels[0].width, model.towers, len(targets))
        self.heads = Heads(self.towers.width, statistics.base_rates(targets))

    def upper(self, first: Tensor) -> Tensor:
        """Return logits [N, T]; see `PairNetwork`."""
        lowest, *later = self.levels
        assert isinstance(lowest, Extraction)
        q, q_0 = lowest(*lowest.first_level(first))
        for level, products in zip(later, self.products, strict=True):
            q, q_0 = level(*products(q, q_0))
        out: Tensor = self.heads(self.towers(q))
        return out
