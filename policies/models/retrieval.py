"""The retrieval model of DMR 2.0: a user vector from the profile and from each kind of history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.blocks.attention import SharedAttention
from policies.blocks.sides import SideEncoder
from policies.columns import RequestTensors, SideTensors, Statistics
from policies.histories import KINDS
from policies.neural import EncoderConfig
from sim.config import MAX_WIDTH, ConfigError, require, require_bool, require_int

PROFILE = "profile"
"""The kind that reads the user's own columns and no sequence."""

VIEWS = (PROFILE, *KINDS)
"""What a user vector may be made from."""

MAX_WEIGHT = 1000.0


@dataclass(frozen=True)
class RetrievalConfig:
    """Config of a `RetrievalNetwork` and of its loss."""

    kind_weights: Mapping[str, float]
    """{kind: weight of its softmax}; its names, of VIEWS, are the kinds that are used."""
    dim: int
    """Width of user and streamer vectors."""
    width: int
    """Width of the attention block."""
    heads: int
    """Heads of the attention, a divisor of `width`."""
    n_negatives: int
    """Rooms drawn per watched one; see `policies.training.next_watched.NextWatched`."""
    temperature: float
    """tau: inner products are divided by it in the softmax."""
    corrected: bool
    """Whether the softmax corrects for the exposure of the rooms drawn, by log q."""

    def __post_init__(self) -> None:
        """Check the fields."""
        check_kinds(self)
        require_int(self, "dim", 1, MAX_WIDTH)
        require_int(self, "width", 1, MAX_WIDTH)
        require_int(self, "heads", 1, MAX_WIDTH)
        if self.width % self.heads:
            raise ConfigError(
                f"RetrievalConfig.heads = {self.heads}; allowed: a divisor of width {self.width}"
            )
        require_int(self, "n_negatives", 1, 1000)
        require(self, "temperature", 1e-3, 100.0)
        require_bool(self, "corrected")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds used, in the order of VIEWS; M of them."""
        return tuple(kind for kind in VIEWS if kind in self.kind_weights)

    @property
    def weight(self) -> Tensor:
        """Their weights, float32 [M]."""
        return torch.tensor([float(self.kind_weights[kind]) for kind in self.kinds])


def check_kinds(config: RetrievalConfig) -> None:
    """Raise `ConfigError` unless weights are positive numbers by kind."""
    weights = config.kind_weights
    allowed = f"{{kind: weight}} for some of {', '.join(VIEWS)}"
    if not isinstance(weights, Mapping) or not weights:
        raise ConfigError(f"RetrievalConfig.kind_weights = {weights!r}; allowed: {allowed}")
    for name in weights:
        if name not in VIEWS:
            raise ConfigError(f"RetrievalConfig.kind_weights has {name}; allowed: {allowed}")
    for name, value in weights.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0.0 < value <= MAX_WEIGHT:
            raise ConfigError(
                f"RetrievalConfig.kind_weights.{name} = {value!r}; allowed: a number in "
                f"(0, {MAX_WEIGHT:g}]; leave a kind out to do without it"
            )


class RetrievalNetwork(nn.Module):
    """U_m = W_m h_m + b_m for every kind m of history, V = W x_i + b; scores are <U_m, V>.

    h_m is what `SharedAttention` makes of the sequence, and the encoded user for the profile. A
    user without such a history has the vector b_m, which all those share. Source: Taobao Live talk
    (2021), DMR 2.0, stage 1.

    Args:
        statistics: vocabularies and moments, histories among them.
        encoder: widths of embeddings.
        config: kinds and widths.
    """

    def __init__(
        self, statistics: Statistics, encoder: EncoderConfig, config: RetrievalConfig
    ) -> None:
        """Create the encoders and maps."""
        super().__init__()
        dims = (encoder.id_dim, encoder.context_dim)
        self.kinds, self.dim = config.kinds, config.dim
        self.of = [KINDS.index(kind) for kind in self.kinds if kind != PROFILE]
        self.user = self.profile = self.attention = None
        if PROFILE in self.kinds:
            self.user = SideEncoder(statistics.user, *dims)
            self.profile = nn.Linear(self.user.width, config.dim)
        if self.of:
            assert statistics.sequences is not None, "the log was replayed without histories"
            widths = config.width, config.heads
            self.attention = SharedAttention(statistics.sequences, *dims, *widths)
            bound = config.width**-0.5
            shape = len(self.of), config.width, config.dim
            self.weight = nn.Parameter((torch.rand(*shape) * 2.0 - 1.0) * bound)
            self.bias = nn.Parameter(torch.zeros(len(self.of), 1, config.dim))
        self.streamer = SideEncoder(statistics.streamer, *dims)
        self.item = nn.Linear(self.streamer.width, config.dim)

    @property
    def n_kinds(self) -> int:
        """Number of user vectors M."""
        return len(self.kinds)

    def users(self, request: RequestTensors) -> Tensor:
        """Return user vectors [B, M, dim], the kinds in the order of VIEWS."""
        vectors: list[Tensor] = []
        if self.user is not None and self.profile is not None:
            vectors.append(self.profile(self.user(request.user))[:, None])
        if self.attention is not None:
            assert request.sequences is not None, "the feature store remembers no histories"
            h = self.attention(request.sequences, self.of)
            vectors.append(torch.baddbmm(self.bias, h.transpose(0, 1), self.weight).transpose(0, 1))
        return torch.cat(vectors, dim=1)

    def items(self, streamer: SideTensors) -> Tensor:
        """Return streamer vectors [N, dim]."""
        vectors: Tensor = self.item(self.streamer(streamer))
        return vectors
