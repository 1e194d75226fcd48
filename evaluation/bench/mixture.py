"""The network of the training benchmark: a mixture of experts over sparse fields, by our engine.

Tables, heads, data path, likelihood and trainer are those of policies: nothing here is a loop of
its own. `BankMixture` also takes its experts and gates from the blocks of policies, which read the
row-major output of a first layer that serving splits; `Mixture` has no such layer, and keeps all
activations feature-major, which saves transpositions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from policies.blocks.embedding import FieldEmbedding
from policies.blocks.experts import ExpertBank, Gates
from policies.blocks.towers import Heads, OwnTowers, uniform
from policies.columns import RequestTensors, SideTensors
from policies.contract import FitContext
from policies.examples import Examples
from policies.factorisation import Marginal
from policies.training.likelihood import Likelihood
from policies.training.trainer import Trainer, TrainingRecord, generator
from sim.schema import TARGETS

LEARNING_RATE = 1e-3
"""Of all contestants: the default of Adam."""


@dataclass(frozen=True)
class Sizes:
    """The network, the same for all contestants."""

    fields: int = 20
    ids: int = 10_000
    """Of each field."""
    dim: int = 16
    """Of an embedding."""
    experts: int = 8
    expert: tuple[int, int] = (128, 64)
    """Widths of every expert's layers."""
    tower: int = 32
    """Width of every tower's hidden layer."""
    targets: int = 3


@dataclass(frozen=True)
class Columns:
    """A made-up log: uniform ids, binary labels that depend on them a little."""

    ids: NDArray[np.int64]
    """[N, F]."""
    labels: NDArray[np.float32]
    """[N, T]."""

    def take(self, n: int) -> Columns:
        """Return the first n rows."""
        return Columns(self.ids[:n], self.labels[:n])


def made_up(sizes: Sizes, n_rows: int, seed: int = 0) -> Columns:
    """Return `n_rows` rows; the same seed gives the same rows."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, sizes.ids, (n_rows, sizes.fields))
    p = 0.1 + 0.2 * (ids[:, : sizes.targets] % 7 < 3)
    return Columns(ids, (rng.random(p.shape) < p).astype(np.float32))


class Mixture(nn.Module):
    """Embeddings, experts, one linear gate and one tower a target; a `TwoSided` without requests.

    All fields count as columns of the streamer, so that a batch comes by the data path of policies.

    Args:
        sizes: of the network.
    """

    def __init__(self, sizes: Sizes) -> None:
        """Draw the weights."""
        super().__init__()
        self.sizes = sizes
        first, second = sizes.expert
        self.table = FieldEmbedding([torch.arange(sizes.ids)] * sizes.fields, sizes.dim, 0.1)
        width, n_experts, n_targets = self.table.width, sizes.experts, sizes.targets
        self.first = uniform(n_experts * first, width, fan_in=width)
        self.first_bias = nn.Parameter(torch.zeros(n_experts * first, 1))
        self.second = uniform(n_experts, second, first, fan_in=first)
        self.second_bias = nn.Parameter(torch.zeros(n_experts, second, 1))
        self.gates = uniform(n_targets * n_experts, width, fan_in=width)
        self.tower = uniform(n_targets, sizes.tower, second, fan_in=second)
        self.tower_bias = nn.Parameter(torch.zeros(n_targets, sizes.tower, 1))
        self.heads = Heads(sizes.tower, torch.full((n_targets,), 0.2))

    def request_side(self, request: RequestTensors) -> Tensor:
        """Return [B, 0]: nothing is known of requests."""
        return request.user.dense

    def streamer_side(self, streamer: SideTensors) -> Tensor:
        """Return the embedded fields [N, F dim]."""
        embedded: Tensor = self.table(streamer.ids)
        return embedded

    def join(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return logits [N, T]."""
        out: Tensor = self.heads(self.hidden(streamer))
        return out

    def hidden(self, x: Tensor) -> Tensor:
        """Return what each target's tower makes of its mixture, [T, tower, N], for x [N, F dim]."""
        x, n_experts = x.t(), self.sizes.experts
        h = functional.relu(torch.addmm(self.first_bias, self.first, x), inplace=True)
        h = torch.baddbmm(self.second_bias, self.second, h.view(n_experts, -1, x.shape[1]))
        h = functional.relu(h, inplace=True)
        gate = (self.gates @ x).view(self.sizes.targets, n_experts, 1, -1).softmax(1)
        mixed = (gate * h).sum(1)
        return functional.relu(torch.baddbmm(self.tower_bias, self.tower, mixed), inplace=True)


class BankMixture(Mixture):
    """The same function by `ExpertBank`, `Gates` and `OwnTowers`, as policies with experts do it.

    Args:
        sizes: of the network.
    """

    def __init__(self, sizes: Sizes) -> None:
        """Draw the weights."""
        super().__init__(sizes)
        self.bank = ExpertBank(sizes.experts, sizes.expert)
        self.mix = Gates(TARGETS[: sizes.targets], sizes.experts)
        self.joint = nn.Linear(self.table.width, self.bank.n_first + self.mix.n_first)
        self.towers = OwnTowers(self.bank.width, [sizes.tower], sizes.targets)
        for name, _ in list(self.named_parameters(recurse=False)):
            delattr(self, name)

    def hidden(self, x: Tensor) -> Tensor:
        """Return what each target's tower makes of its mixture, [T, tower, N], for x [N, F dim]."""
        widths = [self.bank.n_first, self.mix.n_first]
        first, logits = torch.split(self.joint(x), widths, dim=1)
        mixed = self.mix(logits, self.bank(first))
        hidden: Tensor = self.towers(mixed.transpose(0, 1))
        return hidden


class Ours:
    """Our engine on made-up columns.

    Args:
        sizes: of the network.
        columns: N rows.
        batch_rows: rows of a step.
        tables: optimiser of the tables, and
        micro_rows: rows that run at once; see `Trainer`.
        network: which of the two.
    """

    def __init__(
        self,
        sizes: Sizes,
        columns: Columns,
        batch_rows: int,
        tables: str,
        micro_rows: int,
        network: type[Mixture] = Mixture,
    ) -> None:
        """Build the network and lay the columns out as a log's."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.set_state(generator(0).get_state())
            self.network = network(sizes)
        self.sizes, self.columns = sizes, columns
        self.trainer = Trainer(
            epochs=1,
            batch_rows=batch_rows,
            steps_per_epoch=1,
            learning_rate=LEARNING_RATE,
            weight_decay=0.0,
            valid_share=0.0,
            evals_per_epoch=1,
            patience=1,
            tables=tables,
            table_rate=10.0 if tables == "rowwise_adagrad" else 1.0,
            micro_rows=micro_rows,
            device="cpu",
        )

    def epoch(self, n_rows: int) -> TrainingRecord:
        """Train once over the first rows, from their numpy columns on."""
        task = self.task(self.columns.take(n_rows))
        return self.trainer.run(self.network, task, FitContext(), "bench")

    def task(self, columns: Columns) -> Likelihood:
        """Return the likelihood of the targets, all of the same weight."""
        n_rows, n_targets = columns.labels.shape
        none = SideTensors(torch.zeros(1, 0).int(), torch.zeros(1, 0).int(), torch.zeros(1, 0))
        ids = torch.from_numpy(columns.ids.astype(np.int32))
        empty = torch.zeros(n_rows, 0)
        labels = torch.zeros(n_rows, len(TARGETS))
        labels[:, :n_targets] = torch.from_numpy(columns.labels)
        nothing = torch.zeros(n_rows, dtype=torch.int64)
        examples = Examples(
            requests=RequestTensors(none, none, none, torch.zeros(1).int()),
            streamer=SideTensors(ids, empty.int(), empty),
            pair=empty,
            request=nothing,
            position=nothing.int(),
            labels=labels,
            scenario=nothing,
            tick=nothing,
        )
        weight = torch.ones(n_targets)
        return Likelihood(self.network, examples, TARGETS[:n_targets], Marginal(), weight, 0.0)
