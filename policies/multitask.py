"""Policies that predict several targets and rank by their fusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from policies.architecture import Architecture
from policies.columns import Statistics
from policies.contract import FitContext
from policies.examples import Examples
from policies.factorisation import chains
from policies.fusion import Fusion
from policies.fusion_search import FusionSearch, SearchedFusion, Slates
from policies.memory import FeatureConfig
from policies.neural import EncoderConfig, NeuralPolicy, Phase
from policies.serving import BLOCK_PAIRS, TwoSided
from policies.target_weights import check_weights
from policies.training.balance import Balance, Fixed
from policies.training.likelihood import Likelihood, logits
from policies.training.trainer import Trainer
from sim.config import ConfigError, require_section
from sim.schema import TARGETS, Requests

_SEARCH = "fusion.json"


class MultiTaskPolicy(NeuralPolicy):
    """Predicts unconditional probabilities of its targets and ranks by their fusion.

    Args:
        model: the network's config.
        target_weights: {target: weight in the loss}, or a section that builds a
            `policies.training.balance.Balance`, which learns weights; its names are the targets.
        fusion: probabilities -> score; the weights of a `SearchedFusion` are found after training.
        features: numbers of the feature store.
        encoder: how columns become vectors.
        trainer: the training loop.

    Raises:
        ConfigError: the weights do not belong to the targets.

    Attributes:
        search_: what the search of fusion weights found, after `fit`, if there was one.
    """

    search_: FusionSearch

    def __init__(
        self,
        model: Architecture,
        target_weights: Mapping[str, float] | Balance,
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
        if isinstance(target_weights, Balance):
            self._balance = target_weights
        else:
            check_weights("target_weights", target_weights)
            self._balance = Fixed(target_weights)
        if isinstance(fusion, SearchedFusion) and trainer.valid_share == 0.0:
            raise ConfigError(
                f"{type(self).__name__}.trainer.valid_share = 0; allowed: above 0, as fusion is "
                "searched on the rows held out"
            )
        self._targets = model.order(tuple(self._balance.weights))
        self._factorisation = model.factorisation(self._targets)

    @property
    def targets(self) -> tuple[str, ...]:
        """Targets of the network's logits, in their order."""
        return self._targets

    @property
    def reads_auxiliary(self) -> bool:
        """Whether a target is none of TARGETS."""
        return not set(self._targets) <= set(TARGETS)

    @property
    def ranking(self) -> Fusion:
        """The fusion that ranks: as configured, or as found by its search."""
        return self.search_.fusion if hasattr(self, "search_") else self.fusion

    @property
    def kind(self) -> str:
        """What `save` notes and `load` expects: the name of the model."""
        return type(self.model).__qualname__

    @property
    def chains(self) -> tuple[tuple[str, str], ...]:
        """Pairs (parent, child) with P(child) <= P(parent) by construction; see `Chained`."""
        pairs = chains(self._factorisation, self.targets)
        return tuple(pair for pair in pairs if set(pair) <= set(TARGETS))

    def build(self, statistics: Statistics) -> nn.Module:
        """Return the untrained network of the model."""
        return self.model.build(statistics, self.encoder, self.targets)

    def phases(self, network: nn.Module, examples: Examples) -> tuple[Phase, ...]:
        """Maximise the weighted likelihood of all targets."""
        weight = torch.tensor([float(self._balance.weights[name]) for name in self.targets])
        likelihood = Likelihood(
            network,
            examples,
            self.targets,
            self._factorisation,
            weight,
            self.encoder.id_dropout,
            self.model.emphasis(examples, self.targets),
        )
        module, task = self._balance.task(likelihood)
        return (Phase("train", task, self.trainer, module, self.model.batches(examples)),)

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """Let the model set what it knows of the rows trained on."""
        n_train = self.trainer.n_train(len(examples))
        self.model.prepare(network, examples.first(n_train), self.targets)

    def settle(self, network: nn.Module, examples: Examples, context: FitContext) -> None:
        """Set what the model computes afterwards, then search the fusion's weights."""
        n_train = self.trainer.n_train(len(examples))
        self.model.settle(network, examples.first(n_train), self.targets)
        if isinstance(self.fusion, SearchedFusion):
            slates = self._held_out(network, examples, n_train, self.fusion)
            self.search_ = self.fusion.search(slates, self.targets, context.seed)
            if context.folder is not None:
                self.search_.write(context.folder / _SEARCH)

    def save(self, folder: Path) -> None:
        """Write network, store and found fusion weights; see `NeuralPolicy.save`."""
        super().save(folder)
        if isinstance(self.fusion, SearchedFusion):
            self.search_.write(folder / _SEARCH)

    def load(self, folder: Path) -> Self:
        """Restore what `save` wrote; see `NeuralPolicy.load`."""
        super().load(folder)
        if isinstance(self.fusion, SearchedFusion):
            self.search_ = FusionSearch.read(folder / _SEARCH, self.fusion.fusion)
        return self

    def _held_out(
        self, network: nn.Module, examples: Examples, n_train: int, fusion: SearchedFusion
    ) -> Slates:
        """Return the requests after the first `n_train` rows, with their predictions at the top."""
        own = examples.request > examples.request[n_train - 1]
        rows = torch.nonzero(own).flatten()
        scored = []
        with torch.inference_mode():
            for part in torch.split(rows, BLOCK_PAIRS):
                batch = replace(examples.batch(part), position=torch.zeros_like(part).int())
                scored.append(self._shares(logits(cast("TwoSided", network), batch).numpy()))
        weight = torch.tensor(list(fusion.worth.weights().values()))
        worth = examples.labels[rows, : len(TARGETS)] @ weight
        return Slates.of(examples.request[rows].numpy(), np.concatenate(scored), worth.numpy())

    def predict(self, requests: Requests) -> dict[str, NDArray[np.float32]]:
        """Return {target: probability float32 [B, C] at the top of the slate}, 0 where masked.

        Auxiliary labels are fused, and not among what is returned.
        """
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
        return {
            name: out[k].reshape(n_requests, width)
            for k, name in enumerate(self.targets)
            if name in TARGETS
        }

    def score(self, requests: Requests) -> NDArray[np.float32]:
        """Return fused scores float32 [B, C], 0 where masked; see `NeuralPolicy.score`."""
        out = np.zeros(requests.mask.size, np.float32)
        for cells, z in self._fitted().blocks(requests):
            out[cells] = self.ranking.fuse(self._shares(z), self.targets)
        return out.reshape(requests.mask.shape)

    def _shares(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unconditional probabilities [N, T] for logits [N, T]."""
        p: NDArray[np.float32] = self._factorisation.log_odds(torch.from_numpy(z)).sigmoid().numpy()
        return p
