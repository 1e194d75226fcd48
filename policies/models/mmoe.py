"""MMoE: experts shared by all targets, mixed by a gate for each target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.architecture import Architecture
from policies.blocks.experts import ExpertBank, Gates
from policies.blocks.pairwise import PairNetwork
from policies.blocks.towers import Heads, OwnTowers
from policies.columns import Statistics
from policies.neural import EncoderConfig
from sim.config import require_bool, require_int, require_widths

MAX_EXPERTS = 256


@dataclass(frozen=True)
class MMoE(Architecture):
    """Config of `MMoENetwork`."""

    refer: bool
    """Whether the network reads the refer; without it the model is blind to what was just watched,
    as the models of the Taobao Live talk (2021) before RUI."""
    n_experts: int
    """Number of experts."""
    experts: Sequence[int]
    """Widths of each expert's layers."""
    towers: Sequence[int]
    """Widths of each tower's layers."""

    def __post_init__(self) -> None:
        """Check the fields."""
        require_bool(self, "refer")
        require_int(self, "n_experts", 1, MAX_EXPERTS)
        require_widths(self, "experts")
        require_widths(self, "towers")

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return an untrained `MMoENetwork`."""
        return MMoENetwork(statistics, encoder, self, targets)


class MMoENetwork(PairNetwork):
    """h_k = sum_e softmax(G_k x)_e MLP_e(x); z_k = w_k . MLP_k(h_k) + b_k.

    Source: MMoE (KDD 2018, section 4.2); the first layers of all experts and the gates are one
    product.

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        model: number of experts and widths of layers.
        targets: T names of LABELS.
    """

    def __init__(
        self,
        statistics: Statistics,
        encoder: EncoderConfig,
        model: MMoE,
        targets: Sequence[str],
    ) -> None:
        """Create the layers."""
        bank = ExpertBank(model.n_experts, model.experts)
        gates = Gates(targets, model.n_experts)
        super().__init__(statistics, encoder, model.refer, bank.n_first + gates.n_first)
        self.experts, self.gates = bank, gates
        self.towers = OwnTowers(bank.width, model.towers, len(targets))
        self.heads = Heads(self.towers.width, statistics.base_rates(targets))

    def upper(self, first: Tensor) -> Tensor:
        """Return logits [N, T]; see `PairNetwork`."""
        f, g = torch.split(first, [self.experts.n_first, self.gates.n_first], dim=1)
        h = self.gates(g, self.experts(f))
        out: Tensor = self.heads(self.towers(h.transpose(0, 1)))
        return out
