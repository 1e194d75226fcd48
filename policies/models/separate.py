"""Single-task models side by side: one network per target, nothing shared, encoders included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.architecture import Architecture
from policies.columns import RequestTensors, SideTensors, Statistics
from policies.models.shared_bottom import SharedBottom, SharedBottomNetwork
from policies.neural import EncoderConfig
from sim.config import require_section


@dataclass(frozen=True)
class Separate(Architecture):
    """Config of `SeparateNetwork`."""

    each: SharedBottom
    """The network of each target; over a single target its bottom is shared with nobody."""

    def __post_init__(self) -> None:
        """Check the field."""
        require_section(self, "each", SharedBottom)

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return an untrained `SeparateNetwork`."""
        return SeparateNetwork(statistics, encoder, self.each, targets)


class SeparateNetwork(nn.Module):
    """z_k = net_k(x), T networks that share no parameter.

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        each: widths of every network's layers.
        targets: T names of LABELS.
    """

    def __init__(
        self,
        statistics: Statistics,
        encoder: EncoderConfig,
        each: SharedBottom,
        targets: Sequence[str],
    ) -> None:
        """Create the networks."""
        super().__init__()
        self.networks = nn.ModuleDict(
            {name: SharedBottomNetwork(statistics, encoder, each, [name]) for name in targets}
        )

    def request_side(self, request: RequestTensors) -> Tensor:
        """Return the networks' request sides beside each other [B, T x W]."""
        return torch.cat([net.request_side(request) for net in self._networks()], dim=1)

    def streamer_side(self, streamer: SideTensors) -> Tensor:
        """Return the networks' streamer sides beside each other [N, T x W]."""
        return torch.cat([net.streamer_side(streamer) for net in self._networks()], dim=1)

    def join(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return logits [N, T]; see `policies.serving.TwoSided`."""
        n = len(self.networks)
        sides = zip(self._networks(), request.chunk(n, 1), streamer.chunk(n, 1), strict=True)
        return torch.cat([net.join(r, s, pair, position) for net, r, s in sides], dim=1)

    def _networks(self) -> list[SharedBottomNetwork]:
        return [net for net in self.networks.values() if isinstance(net, SharedBottomNetwork)]
