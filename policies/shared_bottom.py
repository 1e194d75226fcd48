"""Shared-bottom multi-task ranking: one hard-shared bottom, one tower per target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from policies.blocks.towers import Heads
from policies.blocks.trunk import Trunk
from policies.columns import Statistics
from policies.fusion import Fusion
from policies.memory import FeatureConfig
from policies.multitask import MultiTaskPolicy
from policies.neural import EncoderConfig
from policies.trainer import Trainer
from sim.config import require_bool, require_widths
from sim.schema import TARGETS


class SharedBottomNetwork(Trunk):
    """h = MLP_b([user; refer, if read; moment; streamer; pair]); z_k = w_k . MLP_k(h) + b_k.

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        refer: whether the network reads the refer.
        targets: T names of TARGETS.
        bottom: widths of the bottom's layers.
        towers: widths of each tower's layers.
    """

    def __init__(
        self,
        statistics: Statistics,
        encoder: EncoderConfig,
        refer: bool,
        targets: Sequence[str],
        bottom: Sequence[int],
        towers: Sequence[int],
    ) -> None:
        """Create the layers."""
        super().__init__(statistics, encoder, refer, bottom, towers, len(targets))
        self.heads = Heads(self.towers.width, statistics.base_rates(targets))

    def join(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return logits [N, T]."""
        out: Tensor = self.heads(self.tower_outputs(request, streamer, pair, position))
        return out


class SharedBottom(MultiTaskPolicy):
    """Ranks by fused probabilities of a shared-bottom network.

    Args:
        target_weights: {target: weight in the loss}; its names are the targets.
        refer: whether the network reads the refer; without it the model is blind to what was just
            watched, as the talk's models before RUI.
        bottom: widths of the bottom's layers.
        towers: widths of each tower's layers.
        fusion: probabilities -> score.
        features: numbers of the feature store.
        encoder: how columns become vectors.
        trainer: the training loop.

    Raises:
        ConfigError: a name is no target, a weight is negative, or a width is none.
    """

    def __init__(
        self,
        target_weights: Mapping[str, float],
        refer: bool,
        bottom: Sequence[int],
        towers: Sequence[int],
        fusion: Fusion,
        features: FeatureConfig,
        encoder: EncoderConfig,
        trainer: Trainer,
    ) -> None:
        """Store and check the arguments."""
        named = target_weights if isinstance(target_weights, Mapping) else {}
        self._targets = tuple(name for name in TARGETS if name in named)
        super().__init__(target_weights, fusion, features, encoder, trainer)
        self.refer = refer
        self.bottom = bottom
        self.towers = towers
        require_bool(self, "refer")
        require_widths(self, "bottom")
        require_widths(self, "towers")

    @property
    def targets(self) -> tuple[str, ...]:
        """Targets in the order of TARGETS."""
        return self._targets

    def build(self, statistics: Statistics) -> nn.Module:
        """Return an untrained `SharedBottomNetwork`."""
        return SharedBottomNetwork(
            statistics, self.encoder, self.refer, self.targets, self.bottom, self.towers
        )
