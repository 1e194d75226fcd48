"""Shared-bottom multi-task ranking: one hard-shared bottom, one tower per target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from policies.blocks.bottom import SplitBottom
from policies.blocks.request import RequestEncoder
from policies.blocks.sides import SideEncoder
from policies.blocks.towers import Heads, TowerBank
from policies.columns import SideTensors, Statistics
from policies.fusion import Fusion
from policies.memory import FeatureConfig
from policies.multitask import MultiTaskPolicy
from policies.neural import EncoderConfig
from policies.trainer import Trainer
from sim.config import require_bool, require_widths
from sim.schema import TARGETS


class SharedBottomNetwork(nn.Module):
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
        super().__init__()
        dims = (encoder.id_dim, encoder.context_dim)
        self.request = RequestEncoder(statistics, *dims, refer)
        self.streamer = SideEncoder(statistics.streamer, *dims)
        widths = self.request.width, self.streamer.width
        self.bottom = SplitBottom(*widths, statistics, bottom, refer)
        self.towers = TowerBank(self.bottom.width, towers, len(targets))
        self.heads = Heads(self.towers.width, statistics.base_rates(targets))

    def request_side(self, user: SideTensors, refer: SideTensors, moment: SideTensors) -> Tensor:
        """Return the request's part of the first layer [B, bottom[0]]."""
        out: Tensor = self.bottom.request_part(self.request(user, refer, moment))
        return out

    def streamer_side(self, streamer: SideTensors) -> Tensor:
        """Return the room's part of the first layer [N, bottom[0]]."""
        out: Tensor = self.bottom.streamer(self.streamer(streamer))
        return out

    def join(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return logits [N, T]."""
        out: Tensor = self.heads(self.towers(self.bottom(request, streamer, pair, position)))
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
