"""Policies that predict several targets and rank by their fusion."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from policies.columns import Batch
from policies.contract import FitContext
from policies.examples import Examples
from policies.fusion import Fusion
from policies.memory import FeatureConfig
from policies.neural import EncoderConfig, NeuralPolicy
from policies.serving import TwoSided
from policies.trainer import Trainer, TrainingRecord
from sim.config import ConfigError, require_section
from sim.schema import TARGETS, Requests

MAX_WEIGHT = 1000.0


def logits(network: TwoSided, batch: Batch) -> Tensor:
    """Return the logits [n, T] of a two-sided network for training rows, positions included."""
    request = network.request_side(batch.user, batch.refer, batch.moment)
    streamer = network.streamer_side(batch.streamer)
    return network.join(request, streamer, batch.pair, batch.position)


@dataclass
class Likelihood:
    """Weighted negative log-likelihood of several targets over all impressions.

    L = sum_k w_k mean_rows BCE(y_k, z_k), on logits; the watch target is a share in [0, 1]. In a
    network whose heads read their parents it is -sum_k w_k log P(t_k | parents of k, x)
    (DBMTL, arXiv 1902.09154).
    """

    network: nn.Module
    examples: Examples
    targets: tuple[str, ...]
    """Targets of the network's logits, in their order."""
    weight: Tensor
    """float32 [T]."""
    id_dropout: float

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.examples)

    def loss(self, rows: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        """Return the mean loss over `rows`; see `policies.trainer.Task`."""
        batch = self.examples.batch(rows)
        if training:
            batch = without_ids(batch, self.id_dropout, generator)
        labels = batch.labels[:, [TARGETS.index(name) for name in self.targets]]
        each = functional.binary_cross_entropy_with_logits(
            logits(cast("TwoSided", self.network), batch), labels, reduction="none"
        )
        return each.mean(0) @ self.weight


def without_ids(batch: Batch, share: float, generator: torch.Generator) -> Batch:
    """Return the batch with a share of user, refer and streamer ids made unknown."""
    return Batch(
        user=batch.user.without_ids(share, generator),
        refer=batch.refer.without_ids(share, generator),
        moment=batch.moment,
        streamer=batch.streamer.without_ids(share, generator),
        pair=batch.pair,
        position=batch.position,
        labels=batch.labels,
        scenario=batch.scenario,
    )


class MultiTaskPolicy(NeuralPolicy):
    """Predicts unconditional probabilities of its targets and ranks by their fusion.

    Args:
        target_weights: weight in the loss of every target of the network.
        fusion: probabilities -> score.
        features: numbers of the feature store.
        encoder: how columns become vectors.
        trainer: the training loop.

    Raises:
        ConfigError: the weights do not belong to the targets.
    """

    def __init__(
        self,
        target_weights: Mapping[str, float],
        fusion: Fusion,
        features: FeatureConfig,
        encoder: EncoderConfig,
        trainer: Trainer,
    ) -> None:
        """Store and check the arguments."""
        super().__init__(features, encoder, trainer)
        self.target_weights = target_weights
        self.fusion = fusion
        require_section(self, "fusion", Fusion)
        check_weights(target_weights, self.targets)

    @property
    @abstractmethod
    def targets(self) -> tuple[str, ...]:
        """Targets of the network's logits, in their order."""

    def train(self, network: nn.Module, examples: Examples, context: FitContext) -> TrainingRecord:
        """Maximise the weighted likelihood of all targets."""
        weight = torch.tensor([float(self.target_weights[name]) for name in self.targets])
        task = Likelihood(network, examples, self.targets, weight, self.encoder.id_dropout)
        return self.trainer.run(network, task, context, "train")

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
            out[:, cells] = _sigmoid(z).T
        return {name: out[k].reshape(n_requests, width) for k, name in enumerate(self.targets)}

    def score(self, requests: Requests) -> NDArray[np.float32]:
        """Return fused scores float32 [B, C], 0 where masked; see `NeuralPolicy.score`."""
        out = np.zeros(requests.mask.size, np.float32)
        for cells, z in self._fitted().blocks(requests):
            out[cells] = self.fusion.fuse(_sigmoid(z), self.targets)
        return out.reshape(requests.mask.shape)


def check_weights(weights: Mapping[str, float], targets: tuple[str, ...]) -> None:
    """Raise `ConfigError` unless there is one non-negative number per target, one positive."""
    if not isinstance(weights, Mapping) or not weights:
        raise ConfigError(
            f"target_weights = {weights!r}; allowed: {{target: weight}} for some of "
            f"{', '.join(targets or TARGETS)}"
        )
    if set(weights) != set(targets):
        raise ConfigError(
            f"target_weights has {', '.join(map(str, weights))}; allowed: one weight for each of "
            f"{', '.join(targets or TARGETS)}"
        )
    for name, value in weights.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0.0 <= value <= MAX_WEIGHT:
            raise ConfigError(
                f"target_weights.{name} = {value!r}; allowed: a number in [0, {MAX_WEIGHT:g}]"
            )
    if not any(weights.values()):
        raise ConfigError(f"target_weights = {dict(weights)}; allowed: at least one above 0")


def _sigmoid(z: NDArray[np.float32]) -> NDArray[np.float32]:
    p: NDArray[np.float32] = torch.from_numpy(z).sigmoid().numpy()
    return p
