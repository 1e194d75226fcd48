"""SASS: scenario-adaptive and self-supervised multi-scenario retrieval, also usable as a ranker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from policies.blocks.mlp import MLP
from policies.blocks.sides import SideEncoder
from policies.blocks.transfer import ScenarioTransfer
from policies.columns import RequestTensors, SideTensors, Statistics
from policies.examples import Examples
from policies.memory import FeatureConfig
from policies.neural import EncoderConfig, NeuralPolicy, Phase
from policies.training.contrast import Blocks, Groups, Partners, info_nce, triplet
from policies.training.trainer import Trainer, require_same_end
from sim.config import require, require_int, require_section, require_widths
from sim.schema import TARGETS, Requests

ENGAGE = TARGETS.index("engage")

BLOCK = 8
"""Positives that share their negatives: exposed at the same place, so encoded once for all."""


class SASSNetwork(nn.Module):
    """Two symmetric towers; e_s = n_s + A x + MLP_bias(c_s), scores are inner products.

    x is the encoded side, n_s what a `ScenarioTransfer` makes of it, c_s the scenario's embedding.
    The global vector is g + A x; it serves the auxiliary loss only. Hour and step are left out:
    which rooms are exposed depends on them. Item vectors differ by scenario, one index per
    scenario. Source: SASS (arXiv 2208.11457), authors' talk.

    A x is not in the source. An inner product of two ReLU towers learns late that a user's taste
    for a category goes with rooms of that category, since the sides meet in no layer: without A
    the order within a request stayed that of popularity (held-out AUC 0.65 against 0.66 in the
    swipe, 0.62 against 0.65 on the tab, 0.60 against 0.62 on the channel page of the default
    world). Inner products and not cosines: the length of a room's vector can say how good it is
    for everybody.

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        layers: widths of both towers' layers.
        bias: widths of the hidden layers of both bias nets.
    """

    def __init__(
        self,
        statistics: Statistics,
        encoder: EncoderConfig,
        layers: Sequence[int],
        bias: Sequence[int],
    ) -> None:
        """Create the towers."""
        super().__init__()
        dims = (encoder.id_dim, encoder.context_dim)
        self.user = SideEncoder(statistics.user, *dims)
        self.streamer = SideEncoder(statistics.streamer, *dims)
        self.user_tower = ScenarioTransfer(self.user.width, layers, encoder.context_dim)
        self.item_tower = ScenarioTransfer(self.streamer.width, layers, encoder.context_dim)
        self.user_linear = nn.Linear(self.user.width, layers[-1], bias=False)
        self.item_linear = nn.Linear(self.streamer.width, layers[-1], bias=False)
        self.user_bias = bias_net(encoder.context_dim, bias, layers[-1])
        self.item_bias = bias_net(encoder.context_dim, bias, layers[-1])

    def users(self, user: SideTensors) -> tuple[Tensor, Tensor]:
        """Return the scenario's and the global vector of each request, [B, D] each."""
        x, scenario = self.user(user), user.scenario
        own, shared = self.user_tower(x, scenario)
        linear = self.user_linear(x)
        return own + linear + self.user_bias(self.user_tower.scenario(scenario)), shared + linear

    def items(self, streamer: SideTensors) -> tuple[Tensor, Tensor]:
        """Return the scenario's and the global vector of each room, [N, D] each."""
        x, scenario = self.streamer(streamer), streamer.scenario
        own, shared = self.item_tower(x, scenario)
        linear = self.item_linear(x)
        return own + linear + self.item_bias(self.item_tower.scenario(scenario)), shared + linear

    def request_side(self, request: RequestTensors) -> Tensor:
        """Return request vectors [B, D]; the refer is not read."""
        return self.users(request.user)[0]

    def streamer_side(self, streamer: SideTensors) -> Tensor:
        """Return room vectors [N, D]."""
        return self.items(streamer)[0]

    def join(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return inner products [N, 1]; pair columns and position are not read."""
        return (request * streamer).sum(1, keepdim=True)


def bias_net(n_in: int, hidden: Sequence[int], n_out: int) -> nn.Module:
    """Return an MLP [N, n_in] -> [N, n_out] with a linear last layer."""
    mlp = MLP(n_in, hidden)
    return nn.Sequential(mlp, nn.Linear(mlp.width, n_out))


class Anchors:
    """Rows of one side whose owner was met in two scenarios, those trained on before the others.

    Partners are of the same part of the log as their anchor.

    Args:
        owner: int64 [N], user or streamer of each row, in the order of time.
        scenario: int64 [N].
        n_train: rows trained on, the first ones.
    """

    def __init__(self, owner: Tensor, scenario: Tensor, n_train: int) -> None:
        """Sort once."""
        held_out = torch.arange(len(owner)) >= n_train
        self.owner = owner
        self._partners = Partners(2 * owner + held_out, scenario)
        rows = self._partners.anchors
        self.trained_on, self.held_out = rows[rows < n_train], rows[rows >= n_train]

    def pair(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return anchors, int64 [n], and a partner drawn for each."""
        return rows, self._partners.draw(rows, generator)


@dataclass
class Views:
    """Stage 1: the same user (item) seen in two scenarios is the positive pair of InfoNCE.

    Uses every visit, engaged or not. A row of the task is an anchor of each side, spread evenly
    over those that there are; its partner, another row of the same owner in a different scenario,
    is drawn anew each time.

    Attributes:
        n_train: rows of the task that are trained on, the first ones.
    """

    network: SASSNetwork
    examples: Examples
    temperature: float
    id_dropout: float
    n_anchors: int
    """Anchors of each side; fewer where there are not so many."""
    n_rows: int
    """Rows of the examples that are trained on, the first ones."""

    def __post_init__(self) -> None:
        """Find the anchors."""
        examples, n_rows = self.examples, self.n_rows
        n_requests = int(examples.request[n_rows - 1]) + 1
        requests = examples.requests
        self._users = Anchors(requests.user.ids[:, 0].long(), requests.scenario, n_requests)
        self._items = Anchors(examples.streamer.ids[:, 0].long(), examples.scenario, n_rows)
        sides = self._users, self._items
        held_out = self.n_anchors * (len(examples) - n_rows) // len(examples)
        self.n_train = min(self.n_anchors - held_out, max(len(side.trained_on) for side in sides))
        self._n = self.n_train + min(held_out, max(len(side.held_out) for side in sides))

    def __len__(self) -> int:
        """Number of anchors."""
        return self._n

    def loss(self, rows: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        """Return InfoNCE over users plus over items; see `policies.training.task.Task`."""
        drop = self.id_dropout if training else 0.0
        examples, network = self.examples, self.network
        total = torch.zeros(())
        for side, columns, vectors in (
            (self._users, examples.requests.user, network.users),
            (self._items, examples.streamer, network.items),
        ):
            anchors = self._anchors(side, rows)
            if len(anchors):
                pair = side.pair(anchors, generator)
                a, b = (
                    functional.normalize(
                        vectors(columns.take(seen).without_ids(drop, generator))[0], dim=1
                    )
                    for seen in pair
                )
                total = total + info_nce(a, b, side.owner[anchors], self.temperature)
        return total

    def _anchors(self, side: Anchors, rows: Tensor) -> Tensor:
        """Return the anchors that rows of the task stand for."""
        first, later = rows[rows < self.n_train], rows[rows >= self.n_train] - self.n_train
        found = []
        for part, at, n in (
            (side.trained_on, first, self.n_train),
            (side.held_out, later, self._n - self.n_train),
        ):
            if len(part) and n:
                found.append(part[at * len(part) // n])
        return torch.cat(found) if found else rows[:0]


@dataclass
class Triplets:
    """Stage 2: an engaged room against rooms exposed at the same place.

    A place is a scenario, tick, entry, step and position. Drawing logged rows draws rooms in
    proportion to their exposure there, and only rooms on air. The place is this fine because a
    session is not shown the same room again and low positions are looked at less: contrasted with
    rows of any step, positives also tell which rooms come late in a session. A user's vector that
    read the step learnt that in place of taste (rank correlation with the true P(engage) in the
    swipe of the default world 0.33, with matched places 0.55). The same loss on the global
    outputs is the auxiliary loss.

    A row of the task is a block of up to BLOCK positives of one place, which share negatives.

    Attributes:
        n_train: blocks that are trained on, the first ones.
    """

    network: SASSNetwork
    examples: Examples
    n_negatives: int
    """Drawn per block."""
    margin: float
    auxiliary: float
    """Weight of the loss on the global outputs."""
    id_dropout: float
    n_rows: int
    """Rows of the examples that are trained on, the first ones; no other is a negative to them."""

    def __post_init__(self) -> None:
        """Cut the positives into blocks."""
        examples = self.examples
        held_out = torch.arange(len(examples)) >= self.n_rows
        place = place_of(examples)
        place = place + held_out * (int(place.max()) + 1)
        positive = torch.nonzero(examples.labels[:, ENGAGE] > 0.5).flatten()
        self._blocks = Blocks(positive, place[positive], BLOCK)
        self._exposed = Groups(place)
        n_positives = int((positive < self.n_rows).sum())
        self.n_train = int((self._blocks.starts < n_positives).sum())

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    def loss(self, rows: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        """Return the triplet loss over the blocks `rows`; see `policies.training.task.Task`."""
        drop = self.id_dropout if training else 0.0
        examples = self.examples
        positive, filled = self._blocks.take(rows)
        negative = self._exposed.draw(positive[:, 0], self.n_negatives, generator)
        request = examples.request[positive.flatten()]
        users = self.network.users(
            examples.requests.user.take(request).without_ids(drop, generator)
        )
        shown = torch.cat([positive, negative], dim=1)
        items = self.network.items(
            examples.streamer.take(shown.flatten()).without_ids(drop, generator)
        )
        streamer = examples.streamer.ids[:, 0]
        other = streamer[negative][:, None, :] != streamer[positive][:, :, None]
        valid = (other & filled[:, :, None]).flatten(0, 1)
        own, shared = (
            self._contrast(u.view(*positive.shape, -1), i.view(*shown.shape, -1), valid)
            for u, i in zip(users, items, strict=True)
        )
        return own + self.auxiliary * shared

    def _contrast(self, user: Tensor, item: Tensor, valid: Tensor) -> Tensor:
        """Return the loss of users [n, P, D] and rooms [n, P + M, D], positives first."""
        n = user.shape[1]
        positive = (user * item[:, :n]).sum(2)
        negative = user @ item[:, n:].transpose(1, 2)
        return triplet(positive.flatten(), negative.flatten(0, 1), valid, self.margin)


def place_of(examples: Examples) -> Tensor:
    """Return where each row was shown, int64 [N]: tick, scenario, entry, step and position."""
    place = examples.tick
    moment = examples.requests.moment.context.long().index_select(0, examples.request)
    scenario, entry, _, step = moment.unbind(1)
    for part in (scenario, entry, step, examples.position.long()):
        place = place * (int(part.max()) + 1) + part
    return place


class SASS(NeuralPolicy):
    """Retrieves and ranks by inner products of scenario-adaptive vectors.

    Args:
        layers: widths of both towers' layers; the talk found three best.
        bias: widths of the hidden layers of the bias nets.
        temperature: of InfoNCE.
        n_anchors: anchors of stage 1 per side; 0 leaves stage 1 out (SASS-Base).
        n_negatives: negatives of a block of positives in stage 2.
        margin: of the triplet loss.
        auxiliary: weight of the loss on the global outputs.
        features: numbers of the feature store.
        encoder: how columns become vectors.
        pretrainer: training loop of stage 1.
        trainer: training loop of stage 2; its rows are blocks of up to BLOCK positives.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        layers: Sequence[int],
        bias: Sequence[int],
        temperature: float,
        n_anchors: int,
        n_negatives: int,
        margin: float,
        auxiliary: float,
        features: FeatureConfig,
        encoder: EncoderConfig,
        pretrainer: Trainer,
        trainer: Trainer,
    ) -> None:
        """Store and check the arguments."""
        super().__init__(features, encoder, trainer)
        self.layers = layers
        self.bias = bias
        self.temperature = temperature
        self.n_anchors = n_anchors
        self.n_negatives = n_negatives
        self.margin = margin
        self.auxiliary = auxiliary
        self.pretrainer = pretrainer
        require_widths(self, "layers")
        require_widths(self, "bias")
        require_section(self, "pretrainer", Trainer)
        require_same_end(self, pretrainer, trainer)
        require(self, "temperature", 1e-3, 100.0)
        require_int(self, "n_anchors", 0, 10**9)
        require_int(self, "n_negatives", 1, 1000)
        require(self, "margin", 0.0, 100.0)
        require(self, "auxiliary", 0.0, 100.0)

    def build(self, statistics: Statistics) -> nn.Module:
        """Return an untrained `SASSNetwork`."""
        return SASSNetwork(statistics, self.encoder, self.layers, self.bias)

    def phases(self, network: nn.Module, examples: Examples) -> tuple[Phase, ...]:
        """Pretrain on views, where there are any, then fine-tune all parameters on engagements.

        Both hold out the same end of the log.
        """
        assert isinstance(network, SASSNetwork)
        drop = self.encoder.id_dropout
        n_rows = self.trainer.n_train(len(examples))
        views = Views(network, examples, self.temperature, drop, self.n_anchors, n_rows)
        triplets = Triplets(
            network, examples, self.n_negatives, self.margin, self.auxiliary, drop, n_rows
        )
        last = Phase("finetune", triplets, self.trainer, n_train=triplets.n_train)
        if not views.n_train:
            return (last,)
        return (Phase("pretrain", views, self.pretrainer, n_train=views.n_train), last)

    def user_vectors(self, requests: Requests) -> NDArray[np.float32]:
        """Return request-side vectors, float32 [B, D]."""
        return np.asarray(self._fitted().requests(requests).numpy(), np.float32)

    def streamer_vectors(self, requests: Requests) -> NDArray[np.float32]:
        """Return candidate-side vectors, float32 [B, C, D]."""
        return np.asarray(self._fitted().rooms(requests).numpy(), np.float32)

    def score(self, requests: Requests) -> NDArray[np.float32]:
        """Return inner products float32 [B, C], 0 where masked; see `NeuralPolicy.score`."""
        if requests.mask.size == 0:
            return np.zeros(requests.mask.shape, np.float32)
        user, rooms = self.user_vectors(requests), self.streamer_vectors(requests)
        near = np.matmul(rooms, user[:, :, None])[:, :, 0]
        return np.where(requests.mask, near, np.float32(0.0))
