"""Policies that predict several targets and rank by their fusion."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from policies.architecture import Architecture
from policies.columns import Statistics
from policies.examples import Examples
from policies.factorisation import chains
from policies.fusion import Fusion
from policies.memory import FeatureConfig
from policies.neural import EncoderConfig, NeuralPolicy, Phase
from policies.training.likelihood import Likelihood
from policies.training.trainer import Trainer
from sim.config import ConfigError, require_section
from sim.schema import TARGETS, Requests

MAX_WEIGHT = 1000.0


class MultiTaskPolicy(NeuralPolicy):
    """Predicts unconditional probabilities of its targets and ranks by their fusion.

    Args:
        model: the network's config.
        target_weights: {target: weight in the loss}; its names are the targets.
        fusion: probabilities -> score.
        features: numbers of the feature store.
        encoder: how columns become vectors.
        trainer: the training loop.

    Raises:
        ConfigError: the weights do not belong to the targets.
    """

    def __init__(
        self,
        model: Architecture,
        target_weights: Mapping[str, float],
        fusion: Fusion,
        features: FeatureConfig,
        encoder: EncoderConfig,
        trainer: Trainer,
    ) -> None:
        """Store and check the arguments."""
        super().__init__(features, encoder, trainer)
        self.model = model
        self.target_weights = target_weights
        self.fusion = fusion
        require_section(self, "model", Architecture)
        require_section(self, "fusion", Fusion)
        check_weights(target_weights)
        self._targets = model.order(tuple(target_weights))
        self._factorisation = model.factorisation(self._targets)

    @property
    def targets(self) -> tuple[str, ...]:
        """Targets of the network's logits, in their order."""
        return self._targets

    @property
    def kind(self) -> str:
        """What `save` notes and `load` expects: the name of the model."""
        return type(self.model).__qualname__

    @property
    def chains(self) -> tuple[tuple[str, str], ...]:
        """Pairs (parent, child) with P(child) <= P(parent) by construction; see `Chained`."""
        return chains(self._factorisation, self.targets)

    def build(self, statistics: Statistics) -> nn.Module:
        """Return the untrained network of the model."""
        return self.model.build(statistics, self.encoder, self.targets)

    def phases(self, network: nn.Module, examples: Examples) -> tuple[Phase, ...]:
        """Maximise the weighted likelihood of all targets."""
        weight = torch.tensor([float(self.target_weights[name]) for name in self.targets])
        task = Likelihood(
            network, examples, self.targets, self._factorisation, weight, self.encoder.id_dropout
        )
        return (Phase("train", task, self.trainer, self.model.batches(examples)),)

    def predict(self, requests: Requests) -> dict[str, NDArray[np.float32]]:
        """Return {target: probability float32 [B, C] at the top of the slate}, 0 where masked."""
        return self._probabilities(requests, None)

    def predict_at(
        self, requests: Requests, position: NDArray[np.int32]
    ) -> dict[str, NDArray[np.float32]]:
        """Return {target: probability float32 [B, C] at `position` [B, C]}, 0 where masked."""
        return self._probabilities(requests, position)

    def _probabilities(
        self, requests: Requests, position: NDArray[np.int32] | None
    ) -> dict[str, NDArray[np.float32]]:
        n_requests, width = requests.mask.shape
        out = np.zeros((len(self.targets), n_requests * width), np.float32)
        for cells, z in self._fitted().blocks(requests, position):
            out[:, cells] = self._shares(z).T
        return {name: out[k].reshape(n_requests, width) for k, name in enumerate(self.targets)}

    def score(self, requests: Requests) -> NDArray[np.float32]:
        """Return fused scores float32 [B, C], 0 where masked; see `NeuralPolicy.score`."""
        out = np.zeros(requests.mask.size, np.float32)
        for cells, z in self._fitted().blocks(requests):
            out[cells] = self.fusion.fuse(self._shares(z), self.targets)
        return out.reshape(requests.mask.shape)

    def _shares(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unconditional probabilities [N, T] for logits [N, T]."""
        p: NDArray[np.float32] = self._factorisation.log_odds(torch.from_numpy(z)).sigmoid().numpy()
        return p


def check_weights(weights: Mapping[str, float]) -> None:
    """Raise `ConfigError` unless weights are non-negative numbers by target, one positive."""
    if not isinstance(weights, Mapping) or not weights or set(weights) - set(TARGETS):
        raise ConfigError(
            f"target_weights = {weights!r}; allowed: {{target: weight}} for some of "
            f"{', '.join(TARGETS)}"
        )
    for name, value in weights.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0.0 <= value <= MAX_WEIGHT:
            raise ConfigError(
                f"target_weights.{name} = {value!r}; allowed: a number in [0, {MAX_WEIGHT:g}]"
            )
    if not any(weights.values()):
        raise ConfigError(f"target_weights = {dict(weights)}; allowed: at least one above 0")
