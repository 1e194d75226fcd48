"""The shell shared by learned policies: log -> columns -> network, and requests -> scores."""

from __future__ import annotations

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from policies.blocks.embedding import FieldEmbedding
from policies.columns import Statistics
from policies.contract import FitContext, GradientNorms, TrainingCost
from policies.examples import Examples, replay
from policies.features import FeatureStore
from policies.memory import FeatureConfig
from policies.serving import Scorer, TwoSided
from policies.training.batches import Batches
from policies.training.parallel import Ranks
from policies.training.task import Task
from policies.training.trainer import Trainer, TrainingRecord, generator
from sim.config import require, require_int, require_section
from sim.schema import Impressions, Purchases, Requests

if TYPE_CHECKING:
    from sim.log import Log

PROBED = 4096
"""Rows of a task whose gradients are looked at, spread over it."""

_NETWORK = "network.pt"
_STORE = "store.npz"


@dataclass(frozen=True)
class EncoderConfig:
    """How columns become vectors."""

    id_dim: int
    """Width of an entity's embedding."""
    context_dim: int
    """Width of the embedding of a small category."""
    min_count: int
    """Ids met in fewer training rows share the unknown row."""
    id_dropout: float
    """Share of ids replaced by unknown in training, so that the unknown row is learnt."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_int(self, "id_dim", 1, 1024)
        require_int(self, "context_dim", 1, 1024)
        require_int(self, "min_count", 1, 10**9)
        require(self, "id_dropout", 0.0, 0.99)


@dataclass(frozen=True)
class Phase:
    """One run of a training loop."""

    name: str
    """Of its checkpoint, metrics and seeds."""
    task: Task
    """What is learnt."""
    trainer: Trainer
    """By which loop."""
    module: nn.Module | None = None
    """What is trained, the network inside, where that is more than the network."""
    batches: Batches | None = None
    """How an epoch is cut into steps; None shuffles all rows."""
    n_train: int | None = None
    """Rows that are trained on, the first ones; None: by the trainer's `valid_share`."""


def gradient_norms(network: nn.Module, scenario: int | None) -> GradientNorms:
    """Return the gradients that the network's parameters hold; see `GradientNorms`."""
    named = list(network.named_parameters())
    tables = {
        id(table)
        for module in network.modules()
        if isinstance(module, nn.Embedding | FieldEmbedding)
        for table in module.parameters(recurse=False)
    }
    norm = [np.nan if p.grad is None else float(p.grad.abs().max()) for _, p in named]
    return GradientNorms(
        scenario=scenario,
        name=tuple(name for name, _ in named),
        norm=np.array(norm, np.float64),
        is_table=np.array([id(p) in tables for _, p in named], np.bool_),
    )


class NotFittedError(RuntimeError):
    """A policy was asked for scores before `fit` or `load`."""


class NeuralPolicy(ABC):
    """A policy with a two-sided network; subclasses say which network and what it learns.

    Args:
        features: numbers of the feature store.
        encoder: how columns become vectors.
        trainer: the training loop.

    Raises:
        ConfigError: an argument is not usable.

    Attributes:
        network_: the trained network, after `fit` or `load`.
        store_: what is known, fed by `fit` and `observe`.
        records_: how each phase of training went, after `fit`.
    """

    network_: nn.Module
    store_: FeatureStore
    records_: tuple[TrainingRecord, ...]

    def __init__(self, features: FeatureConfig, encoder: EncoderConfig, trainer: Trainer) -> None:
        """Store and check the arguments."""
        self.features = features
        self.encoder = encoder
        self.trainer = trainer
        require_section(self, "features", FeatureConfig)
        require_section(self, "encoder", EncoderConfig)
        require_section(self, "trainer", Trainer)

    @property
    def kind(self) -> str:
        """What `save` notes and `load` expects: the name of the class."""
        return type(self).__qualname__

    @property
    def reads_auxiliary(self) -> bool:
        """Whether it learns from labels beyond TARGETS; see `policies.auxiliary`."""
        return False

    @abstractmethod
    def build(self, statistics: Statistics) -> nn.Module:
        """Return an untrained network (a `TwoSided`) for these vocabularies and moments."""

    @abstractmethod
    def phases(self, network: nn.Module, examples: Examples) -> tuple[Phase, ...]:
        """Return what the network learns, one phase after the other, the last one to be served."""

    def known(self, examples: Examples) -> Statistics:
        """Return the statistics of the rows trained on: what is held out is new to the network."""
        n_train = self.trainer.n_train(len(examples))
        return examples.first(n_train).statistics(self.encoder.min_count)

    def untrained(self, statistics: Statistics, seed: int) -> nn.Module:
        """Build the network with initial weights that depend on `seed` only."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.set_state(generator(seed, "weights").get_state())
            return self.build(statistics)

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """Do what is to be done before the weights are learnt; here nothing."""
        return None

    def settle(self, network: nn.Module, examples: Examples, context: FitContext) -> None:
        """Do what is left once the weights are learnt; here nothing."""
        return None

    def finished(self, phase: Phase, record: TrainingRecord, context: FitContext) -> None:
        """Note how a phase of training went, before the next begins."""
        self.records_ = (*self.records_, record)

    @abstractmethod
    def score(self, requests: Requests) -> NDArray[np.float32]:
        """Return scores float32 [B, C], 0 where masked.

        Raises:
            NotFittedError: neither `fit` nor `load` was called.
        """

    def fit(self, log: Log, context: FitContext) -> Self:
        """Replay the log, train, and stay ready to follow the stream that comes after it.

        With `context.folder`, checkpoints and metrics go there, and a killed fit that is rerun
        with the same folder, log and seed goes on from its last checkpoint.

        Raises:
            ValueError: the log has no impressions.
            TrainingError: the loss is not finite.
        """
        n_categories = int(log.catalogue().streamer_category.max(initial=-1)) + 1
        store = FeatureStore(self.features, n_categories)
        examples = replay(log, store, self.reads_auxiliary)
        self._statistics = self.known(examples)
        network = self.untrained(self._statistics, context.seed)
        self.prepare(network, examples)
        if context.folder is not None:
            context.folder.mkdir(parents=True, exist_ok=True)
        told = repr([getattr(self, name) for name in inspect.signature(type(self)).parameters])
        self.records_ = ()
        is_first = Ranks.from_environment(os.environ).rank == 0
        noting = context if is_first else replace(context, folder=None)
        for phase in self.phases(network, examples):
            record = phase.trainer.run(
                phase.module or network,
                phase.task,
                context,
                phase.name,
                phase.batches,
                told,
                phase.n_train,
            )
            self.finished(phase, record, noting)
        self.settle(network, examples, noting)
        self._serve(network, store)
        return self

    @property
    def training(self) -> TrainingCost:
        """What the last `fit` took."""
        parameters = sum(p.numel() for p in self.network_.parameters())
        return TrainingCost(parameters, self.records_[-1].examples_per_s)

    def gradients(self, log: Log, context: FitContext) -> Iterator[GradientNorms]:
        """Yield the gradients of an untrained network; see `policies.contract.Differentiable`."""
        n_categories = int(log.catalogue().streamer_category.max(initial=-1)) + 1
        store = FeatureStore(self.features, n_categories)
        examples = replay(log, store, self.reads_auxiliary)
        statistics = self.known(examples)
        for scenario in (None, *np.unique(examples.scenario.numpy()).tolist()):
            network = self.untrained(statistics, context.seed)
            part = examples
            if scenario is not None:
                part = examples.only(torch.nonzero(examples.scenario == scenario).flatten())
            for phase in self.phases(network, part):
                rows = torch.linspace(0, len(phase.task) - 1, min(len(phase.task), PROBED)).long()
                draw = generator(context.seed, phase.name, "gradients")
                torch.autograd.backward(phase.task.loss(rows, draw, True))
            yield gradient_norms(network, scenario)

    def observe(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        """Take in what became known; see `policies.contract.Updatable`."""
        self._fitted().store.update(impressions, purchases, now_s)

    def save(self, folder: Path) -> None:
        """Write network and store into an existing folder.

        Raises:
            NotFittedError: there is nothing to save.
            OSError: the folder cannot be written.
        """
        self._fitted()
        content = {
            "kind": self.kind,
            "statistics": self._statistics.state(),
            "network": self.network_.state_dict(),
        }
        torch.save(content, folder / _NETWORK)
        np.savez(folder / _STORE, **cast("dict[str, Any]", self.store_.state()))

    def load(self, folder: Path) -> Self:
        """Restore what `save` wrote into a policy built with the same arguments.

        Raises:
            ValueError: the folder holds another kind of policy, or one built otherwise.
            OSError: a file is missing.
        """
        content = torch.load(folder / _NETWORK, weights_only=True)
        if content["kind"] != self.kind:
            raise ValueError(
                f"{folder} holds a policy of kind {content['kind']}; allowed: {self.kind}"
            )
        self._statistics = Statistics.restored(content["statistics"])
        network = self.untrained(self._statistics, 0)
        try:
            network.load_state_dict(content["network"])
        except RuntimeError as error:
            raise ValueError(
                f"{folder} does not fit this {self.kind}; allowed: a policy saved by "
                "one built with the same arguments"
            ) from error
        network.eval()
        with np.load(folder / _STORE, allow_pickle=False) as stored:
            state = {name: stored[name] for name in stored.files}
        store = FeatureStore(self.features, int(state["clock"][2]))
        store.restore(state)
        self._serve(network, store)
        return self

    def _serve(self, network: nn.Module, store: FeatureStore) -> None:
        self.network_, self.store_ = network, store
        self._scorer = Scorer(cast("TwoSided", network), store)

    def _fitted(self) -> Scorer:
        if not hasattr(self, "_scorer"):
            raise NotFittedError(
                f"{type(self).__qualname__} is not fitted; allowed: after fit(log, context) or load"
            )
        return self._scorer
