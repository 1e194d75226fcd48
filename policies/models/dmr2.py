"""DMR 2.0: vectors of a retrieval model inside match and rank tower, in two stages or in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.blocks.match import Match, UserMatch
from policies.columns import RequestTensors, SideTensors, Statistics
from policies.contract import FitContext
from policies.examples import Examples
from policies.fusion import Fusion
from policies.memory import SequenceFeatures
from policies.models.dbmtl import DBMTLNetwork
from policies.models.matched import Matched, MatchedNetwork
from policies.models.retrieval import RetrievalConfig, RetrievalNetwork
from policies.multitask import MultiTaskPolicy
from policies.neural import EncoderConfig, Phase
from policies.training.balance import Balance
from policies.training.checkpoint import METRICS, MetricsStream
from policies.training.likelihood import Likelihood
from policies.training.next_watched import ENGAGE, KindArea, NextWatched
from policies.training.trainer import Trainer, TrainingRecord, require_same_end
from sim.config import ConfigError, require, require_bool, require_one_of, require_section

POOLINGS = ("sum", "mean")
"""Allowed values of `DMR2.pooling`."""


@dataclass(frozen=True)
class DMR2(Matched):
    """Config of a `DMR2Network`."""

    retrieval: RetrievalConfig
    """Stage 1."""
    pooling: str
    """How the inner products of the kinds and of the match tower itself become one score."""
    frozen: bool
    """Whether the rank tower's loss leaves the retrieval model alone."""

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        require_section(self, "retrieval", RetrievalConfig)
        require_one_of(self, "pooling", POOLINGS)
        require_bool(self, "frozen")

    def match(self, n_user: int, n_refer: int, n_streamer: int) -> Match:
        """Return a `UserMatch`, the match tower's own."""
        return UserMatch(n_user, n_streamer, self.match_dim)

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return an untrained `DMR2Network`."""
        rank = DBMTLNetwork(statistics, encoder, self.rank)
        match = self.match(rank.request.user.width, 0, rank.streamer.width)
        retrieval = RetrievalNetwork(statistics, encoder, self.retrieval)
        return DMR2Network(rank, match, retrieval, self, len(targets))


class DMR2Network(MatchedNetwork):
    """z_k = rank_k([x; U_1..U_M; V]) + v_k s + c_k, s = pool(<U_1, V>, .., <U_M, V>, <e(u), f(i)>).

    U and V are the vectors of the retrieval model: extra inputs of the rank tower's first layer,
    and with the match tower's own inner product the match. Pooled, they are still one inner product
    of [sum_m U_m; e(u)] and [V; f(i)]. Source: Taobao Live talk (2021), DMR 2.0, stage 2.

    Args:
        rank: the rank tower; its encoders are shared with the match tower.
        match: the match tower's own inner product.
        retrieval: the model of stage 1, with tables of its own.
        model: pooling, and whether the retrieval model is frozen.
        n_targets: T.
    """

    def __init__(
        self,
        rank: DBMTLNetwork,
        match: Match,
        retrieval: RetrievalNetwork,
        model: DMR2,
        n_targets: int,
    ) -> None:
        """Put the retrieval model beside the towers."""
        super().__init__(rank, match, n_targets)
        self.retrieval = retrieval
        n, dim, width = retrieval.n_kinds, retrieval.dim, rank.first.request.out_features
        self.from_users = nn.Linear(n * dim, width, bias=False)
        self.from_item = nn.Linear(dim, width, bias=False)
        self.share = 1.0 / (n + 1) if model.pooling == "mean" else 1.0
        self.frozen = model.frozen

    @property
    def n_match(self) -> int:
        """Length of the vectors of the match."""
        return self.retrieval.dim + self.match.width

    def request_side(self, request: RequestTensors) -> Tensor:
        """Return [request vector of the match; request's part of the rank tower], [B, .]."""
        with torch.no_grad() if self.frozen else nullcontext():
            users = self.retrieval.users(request)
        own, n = super().request_side(request), self.match.width
        match = torch.cat([users.sum(1), own[:, :n]], dim=1) * self.share
        return torch.cat([match, own[:, n:] + self.from_users(users.flatten(1))], dim=1)

    def streamer_side(self, streamer: SideTensors) -> Tensor:
        """Return [room vector of the match; room's part of the rank tower], [N, .]."""
        with torch.no_grad() if self.frozen else nullcontext():
            item = self.retrieval.items(streamer)
        own, n = super().streamer_side(streamer), self.match.width
        return torch.cat([item, own[:, :n], own[:, n:] + self.from_item(item)], dim=1)


class Joint:
    """L = likelihood of all targets + weight x next-watched loss of the engaged rows of the batch.

    Source: Taobao Live talk (2021), which names the end-to-end form as the next step.

    Args:
        likelihood: the ranking task; its rows are those of this task.
        retrieval: stage 1's loss over the same examples.
        weight: of stage 1's loss.
    """

    def __init__(self, likelihood: Likelihood, retrieval: NextWatched, weight: float) -> None:
        """Store the two."""
        self.likelihood, self.retrieval, self.weight = likelihood, retrieval, weight

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.likelihood)

    def loss(self, rows: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        """Return the mean loss over `rows`; see `policies.training.task.Task`."""
        total = self.likelihood.loss(rows, generator, training)
        watched = self._watched(rows)
        if len(watched):
            total = total + self.weight * self.retrieval.loss_of(watched, generator, training)
        return total

    def held_out(self, rows: Tensor, whole: Tensor, generator: torch.Generator) -> Tensor:
        """Return what `rows` add to the loss over `whole`; see `task.Measurable`."""
        total = self.likelihood.part(rows, whole, generator, False)
        watched = self._watched(rows)
        if len(watched):
            share = len(watched) / len(self._watched(whole))
            total = total + self.weight * share * self.retrieval.loss_of(watched, generator, False)
        return total

    def _watched(self, rows: Tensor) -> Tensor:
        return rows[self.likelihood.examples.labels[rows, ENGAGE] > 0.5]


class _Retrieving(MultiTaskPolicy):
    """What both ways to train a `DMR2Network` share.

    Attributes:
        areas_: how well each kind finds what was watched at the held-out end of the log; empty
            where nothing was.
    """

    model: DMR2
    areas_: tuple[KindArea, ...]

    def _check(self) -> None:
        require_section(self, "model", DMR2)
        require_section(self, "features", SequenceFeatures)

    def _next_watched(self, network: nn.Module, examples: Examples) -> NextWatched:
        assert isinstance(network, DMR2Network)
        config = self.model.retrieval
        return NextWatched(
            network.retrieval,
            examples,
            config.weight,
            config.n_negatives,
            config.temperature,
            config.corrected,
            self.encoder.id_dropout,
        )

    def _measure(self, task: NextWatched, held_out: Tensor, phase: str, at: FitContext) -> None:
        """Note the areas of the kinds, in the metrics too; none where nothing was held out."""
        if not len(held_out):
            self.areas_ = ()
            return
        areas = task.areas(held_out, at.seed).tolist()
        self.areas_ = tuple(map(KindArea, self.model.retrieval.kinds, areas))
        path = None if at.folder is None else at.folder / f"{phase}.kinds.{METRICS}"
        metrics = MetricsStream(path, -1)
        for area in self.areas_:
            metrics.append({"stage": phase, "kind": area.kind, "valid_auc": area.auc, "step": 0})


class TwoStage(_Retrieving):
    """DMR 2.0: the retrieval model learns first, then the towers read its vectors.

    Both stages learn from the same rows, as no source says otherwise: in training the towers read
    vectors that have already seen what was watched there, and what was held out from both tells how
    much of them is memory.

    Args:
        model: the network's config.
        target_weights: {target: weight in the loss}; its names are the targets.
        fusion: probabilities -> score.
        features: numbers of the feature store, which must remember histories.
        encoder: how columns become vectors.
        pretrainer: training loop of stage 1; its rows are watched rooms.
        trainer: training loop of stage 2.

    Raises:
        ConfigError: the weights do not belong to the targets.

    Attributes:
        areas_: how well each kind finds what was watched at the held-out end of the log; empty
            where nothing was.
    """

    def __init__(
        self,
        model: DMR2,
        target_weights: Mapping[str, float],
        fusion: Fusion,
        features: SequenceFeatures,
        encoder: EncoderConfig,
        pretrainer: Trainer,
        trainer: Trainer,
    ) -> None:
        """Store and check the arguments."""
        super().__init__(model, target_weights, fusion, features, encoder, trainer)
        self.pretrainer = pretrainer
        self._check()
        require_section(self, "pretrainer", Trainer)
        require_same_end(self, pretrainer, trainer)

    def phases(self, network: nn.Module, examples: Examples) -> tuple[Phase, ...]:
        """Learn to retrieve, where anything was watched, then maximise the likelihood.

        Both hold out the same end of the log.
        """
        task = self._next_watched(network, examples)
        n_train = int((task.positive < self.trainer.n_train(len(examples))).sum())
        last = super().phases(network, examples)
        if n_train == 0:
            return last
        return (Phase("retrieve", task, self.pretrainer, n_train=n_train), *last)

    def finished(self, phase: Phase, record: TrainingRecord, context: FitContext) -> None:
        """Measure the kinds after stage 1."""
        super().finished(phase, record, context)
        if isinstance(phase.task, NextWatched):
            held_out = torch.arange(phase.n_train or 0, len(phase.task))
            self._measure(phase.task, held_out, phase.name, context)


class EndToEnd(_Retrieving):
    """DMR end to end: both stages in one loss, without a model that was trained before.

    Args:
        model: the network's config; nothing is frozen.
        target_weights: {target: weight in the loss}; its names are the targets.
        retrieval_weight: weight of the retrieval loss beside the likelihood.
        fusion: probabilities -> score.
        features: numbers of the feature store, which must remember histories.
        encoder: how columns become vectors.
        trainer: the training loop.

    Raises:
        ConfigError: the weights do not belong to the targets, or the model is frozen.

    Attributes:
        areas_: how well each kind finds what was watched at the held-out end of the log; empty
            where nothing was.
    """

    def __init__(
        self,
        model: DMR2,
        target_weights: Mapping[str, float],
        retrieval_weight: float,
        fusion: Fusion,
        features: SequenceFeatures,
        encoder: EncoderConfig,
        trainer: Trainer,
    ) -> None:
        """Store and check the arguments."""
        super().__init__(model, target_weights, fusion, features, encoder, trainer)
        self.retrieval_weight = retrieval_weight
        self._check()
        require(self, "retrieval_weight", 1e-6, 1000.0)
        if model.frozen:
            raise ConfigError("EndToEnd.model.frozen = True; allowed: False, there is one stage")
        if isinstance(target_weights, Balance):
            raise ConfigError(
                f"EndToEnd.target_weights = {target_weights!r}; allowed: {{target: weight}}"
            )

    def phases(self, network: nn.Module, examples: Examples) -> tuple[Phase, ...]:
        """Minimise both losses at once."""
        (phase,) = super().phases(network, examples)
        assert isinstance(phase.task, Likelihood)
        retrieval = self._next_watched(network, examples)
        task = Joint(phase.task, retrieval, self.retrieval_weight)
        return (Phase(phase.name, task, phase.trainer),)

    def finished(self, phase: Phase, record: TrainingRecord, context: FitContext) -> None:
        """Measure the kinds, too."""
        super().finished(phase, record, context)
        assert isinstance(phase.task, Joint)
        retrieval = phase.task.retrieval
        n_train = self.trainer.n_train(len(phase.task))
        held_out = torch.nonzero(retrieval.positive >= n_train).flatten()
        self._measure(retrieval, held_out, phase.name, context)
