"""Shared-bottom multi-task ranking: one hard-shared bottom, one tower per target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from policies.architecture import Architecture
from policies.blocks.mlp import MLP
from policies.blocks.pairwise import PairNetwork
from policies.blocks.towers import Heads, TowerBank
from policies.columns import Statistics
from policies.neural import EncoderConfig
from sim.config import require_bool, require_widths


@dataclass(frozen=True)
class SharedBottom(Architecture):
    """Config of `SharedBottomNetwork`."""

    refer: bool
    """Whether the network reads the refer; without it the model is blind to what was just watched,
    as the models of the Taobao Live talk (2021) before RUI."""
    bottom: Sequence[int]
    """Widths of the bottom's layers."""
    towers: Sequence[int]
    """Widths of each tower's layers."""

    def __post_init__(self) -> None:
        """Check the fields."""
        require_bool(self, "refer")
        require_widths(self, "bottom")
        require_widths(self, "towers")

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return an untrained `SharedBottomNetwork`."""
        return SharedBottomNetwork(statistics, encoder, self, targets)


class SharedBottomNetwork(PairNetwork):
    """h = MLP_b(x); z_k = w_k . MLP_k(h) + b_k.

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        model: widths of layers.
        targets: T names of LABELS.
    """

    def __init__(
        self,
        statistics: Statistics,
        encoder: EncoderConfig,
        model: SharedBottom,
        targets: Sequence[str],
    ) -> None:
        """Create the layers."""
        super().__init__(statistics, encoder, model.refer, model.bottom[0])
        self.bottom = MLP(model.bottom[0], model.bottom[1:])
        self.towers = TowerBank(self.bottom.width, model.towers, len(targets))
        self.heads = Heads(self.towers.width, statistics.base_rates(targets))

    def upper(self, first: Tensor) -> Tensor:
        """Return logits [N, T]; see `PairNetwork`."""
        h = self.bottom(functional.relu(first, inplace=True))
        out: Tensor = self.heads(self.towers(h))
        return out
