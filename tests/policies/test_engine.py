"""Row-wise Adagrad, parts of batches, devices, processes that train together, training health."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from policies import registry
from policies.blocks.embedding import FieldEmbedding
from policies.blocks.mlp import MLP
from policies.columns import Batch
from policies.contract import FitContext
from policies.examples import Examples, replay
from policies.factorisation import Conditional, Factorisation, Marginal
from policies.features import FeatureStore
from policies.training import device
from policies.training.health import Health
from policies.training.likelihood import Likelihood
from policies.training.optimisers import Optimisers
from policies.training.parallel import Ranks
from policies.training.rowwise_adagrad import RowWiseAdagrad, touched
from policies.training.task import Divisible
from policies.training.trainer import Trainer, generator
from sim.config import ConfigError
from sim.schema import TARGETS
from tests.policies.planted_learning import (
    FEATURES,
    as_log,
    auc,
    learning_log,
    preset,
    serving_requests,
)

ROOT = Path(__file__).resolve().parents[2]
TRAINER = Trainer(
    epochs=2,
    batch_rows=64,
    steps_per_epoch=1,
    learning_rate=0.05,
    weight_decay=0.1,
    valid_share=0.2,
    evals_per_epoch=2,
    patience=100,
)
BOTH = pytest.mark.parametrize("tables", ["adam", "rowwise_adagrad"])


class Killed(Exception):
    """Stands for a process that dies."""


class Taste(nn.Module):
    """A table of two columns under a small MLP."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(1)
        self.table = FieldEmbedding([torch.arange(40), torch.arange(300)], 4, 0.0)
        self.mlp = MLP(self.table.width, [8])
        self.head = nn.Linear(8, 1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.3)

    def forward(self, ids: Tensor) -> Tensor:
        z: Tensor = self.head(self.mlp(self.table(ids)))[:, 0]
        return z


class Clicks:
    """Learns which pairs of ids click; nothing is drawn, so parts sum to the whole."""

    def __init__(self, network: Taste, kill_at: int | None = None) -> None:
        draw = torch.Generator().manual_seed(0)
        self.network = network
        first = torch.randint(0, 40, (700,), generator=draw)
        second = torch.randint(0, 300, (700,), generator=draw)
        self.ids = torch.stack([first, second], dim=1).int()
        self.y = ((first + second) % 3 == 0).float()
        self.kill_at, self.calls = kill_at, 0
        self.largest = 0

    def __len__(self) -> int:
        return len(self.y)

    def loss(self, rows: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        return self.part(rows, rows, generator, training)

    def part(
        self, rows: Tensor, whole: Tensor, generator: torch.Generator, training: bool
    ) -> Tensor:
        if training:
            self.calls += 1
            self.largest = max(self.largest, len(rows))
            if self.calls == self.kill_at:
                raise Killed
        z = self.network(self.ids[rows])
        total = functional.binary_cross_entropy_with_logits(z, self.y[rows], reduction="sum")
        return total / len(whole)


def weights(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def trained(trainer: Trainer, context: FitContext | None = None) -> Tensor:
    network = Taste()
    trainer.run(network, Clicks(network), context or FitContext(seed=2), "train")
    return weights(network)


def by_hand(
    table: Tensor, batches: list[tuple[Tensor, Tensor]], lr: float, decay: float
) -> tuple[Tensor, Tensor]:
    """Row-wise Adagrad in plain Python: one row at a time, in float64."""
    weight, total = table.double().clone(), torch.zeros(len(table), dtype=torch.float64)
    for rows, values in batches:
        for row in sorted({int(r) for r in rows}):
            g = sum(values[i].double() for i in range(len(rows)) if int(rows[i]) == row)
            assert isinstance(g, Tensor)
            total[row] += float((g * g).sum()) / len(g)
            weight[row] *= 1.0 - lr * decay
            weight[row] -= lr * g / (math.sqrt(float(total[row])) + 1e-10)
    return weight, total


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["sparse", "coalesced", "dense"]),
    lr=st.floats(1e-3, 0.5),
    decay=st.floats(0.0, 1.5),
)
def test_rowwise_adagrad_is_the_loop_over_rows(
    seed: int, kind: str, lr: float, decay: float
) -> None:
    draw = torch.Generator().manual_seed(seed)
    start = torch.randn(11, 3, generator=draw)
    table = nn.Parameter(start.clone())
    optimiser = RowWiseAdagrad([table], lr, decay)
    batches = []
    for _ in range(4):
        rows = torch.randint(0, 9, (13,), generator=draw)
        values = torch.randn(13, 3, generator=draw)
        batches.append((rows, values))
        gradient = torch.sparse_coo_tensor(rows[None], values, (11, 3), check_invariants=True)
        table.grad = {
            "sparse": gradient,
            "coalesced": gradient.coalesce(),
            "dense": gradient.to_dense(),
        }[kind]
        optimiser.step()
    weight, total = by_hand(start, batches, lr, decay)
    torch.testing.assert_close(table.detach().double(), weight, rtol=2e-4, atol=2e-5)
    torch.testing.assert_close(optimiser.state[table]["sum"].double(), total, rtol=1e-4, atol=1e-5)
    assert torch.equal(table.detach()[9:], start[9:]), "rows that no batch touched stay as they are"


def test_an_empty_gradient_touches_nothing() -> None:
    table = nn.Parameter(torch.ones(5, 2))
    optimiser = RowWiseAdagrad([table], 0.1, 1.0)
    table.grad = torch.zeros(5, 2)
    optimiser.step()
    table.grad = None
    optimiser.step()
    assert torch.equal(table.detach(), torch.ones(5, 2))


def test_adam_on_tables_is_torch_adam_on_everything() -> None:
    ours, theirs = Taste(), Taste()
    mine = Optimisers(ours, "adam", 0.05, 1.0, 0.3)
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.05, weight_decay=0.3, fused=True)
    tasks = Clicks(ours), Clicks(theirs)
    for step in range(6):
        rows = torch.arange(step * 50, step * 50 + 50)
        mine.zero_grad()
        reference.zero_grad()
        for task in tasks:
            torch.autograd.backward(task.loss(rows, generator(0), True))
        mine.set_rate(0.05 - 0.005 * step)
        reference.param_groups[0]["lr"] = 0.05 - 0.005 * step
        mine.step()
        reference.step()
    assert torch.equal(weights(ours), weights(theirs))


@BOTH
def test_tables_have_their_own_rate(tables: str) -> None:
    still, moving = Taste(), Taste()
    for network, rate in ((still, 1e-6), (moving, 1.0)):
        replace(TRAINER, tables=tables, table_rate=rate, weight_decay=0.0).run(
            network, Clicks(network), FitContext(), "train"
        )
    fresh = Taste()
    assert (still.table.table - fresh.table.table).abs().max() < 1e-3
    assert (moving.table.table - fresh.table.table).abs().max() > 1e-2
    assert (still.head.weight - fresh.head.weight).abs().max() > 1e-2


def test_a_row_wise_table_never_has_a_dense_gradient() -> None:
    network = Taste()
    Optimisers(network, "rowwise_adagrad", 0.1, 1.0, 0.0)
    task = Clicks(network)
    for part in torch.split(torch.arange(30), 10):
        torch.autograd.backward(task.part(part, torch.arange(30), generator(0), True))
    gradient = network.table.table.grad
    assert gradient is not None
    assert gradient.layout == torch.sparse_coo
    assert gradient._nnz() <= 2 * 30
    rows, summed = touched(gradient)
    Optimisers(network, "adam", 0.1, 1.0, 0.0).zero_grad()
    torch.autograd.backward(task.loss(torch.arange(30), generator(0), True))
    dense = network.table.table.grad
    assert dense is not None
    assert dense.layout == torch.strided
    torch.testing.assert_close(dense[rows], summed)
    assert set(torch.nonzero(dense.any(1)).flatten().tolist()) <= set(rows.tolist())


@BOTH
def test_parts_of_a_batch_learn_what_the_whole_batch_does(tables: str) -> None:
    trainer = replace(TRAINER, tables=tables)
    whole = trained(trainer)
    network = Taste()
    task = Clicks(network)
    replace(trainer, micro_rows=17).run(network, task, FitContext(seed=2), "train")
    assert task.largest == 17
    torch.testing.assert_close(weights(network), whole, rtol=1e-3, atol=1e-4)


@BOTH
@pytest.mark.parametrize("kill_at", [1, 12, 30])
def test_a_killed_run_goes_on_to_the_same_weights(
    tmp_path: Path, kill_at: int, tables: str
) -> None:
    trainer = replace(TRAINER, tables=tables, table_rate=0.5, micro_rows=32)
    whole = trained(trainer)
    context = FitContext(seed=2, folder=tmp_path)
    network = Taste()
    with pytest.raises(Killed):
        trainer.run(network, Clicks(network, kill_at), context, "train")
    network = Taste()
    task = Clicks(network)
    trainer.run(network, task, context, "train")
    assert torch.equal(weights(network), whole)
    if kill_at == 30:
        assert task.calls < 36  # it did go on, and did not begin again


def test_a_checkpoint_of_another_optimiser_is_not_used(tmp_path: Path) -> None:
    context = FitContext(seed=2, folder=tmp_path)
    trained(TRAINER, context)
    network = Taste()
    task = Clicks(network)
    replace(TRAINER, tables="rowwise_adagrad").run(network, task, context, "train")
    assert task.calls == 18


def examples() -> Examples:
    return replay(as_log(learning_log(hours=2, per_hour=60)), FeatureStore(FEATURES, 4))


@pytest.mark.parametrize(
    "factorisation",
    [Marginal(), Conditional(((0,), (0, 1)), ((), (0,)))],
    ids=["all rows", "sample spaces"],
)
def test_parts_of_a_likelihood_sum_to_it(factorisation: Factorisation) -> None:
    data = examples()
    network = preset("dbmtl").build(data.statistics(1))

    class Two(nn.Module):
        """The first two logits of DBMTL, so that the graph is the test's own."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def request_side(self, request: object) -> Tensor:
            return network.request_side(request)  # type: ignore[no-any-return, operator]

        def streamer_side(self, streamer: object) -> Tensor:
            return network.streamer_side(streamer)  # type: ignore[no-any-return, operator]

        def join(self, *sides: object) -> Tensor:
            return network.join(*sides)[:, :2]  # type: ignore[no-any-return, operator]

    weight = torch.tensor([1.0, 2.5])
    task = Likelihood(Two(), data, TARGETS[:2], factorisation, weight, 0.0)
    assert isinstance(task, Divisible)
    assert isinstance(task, device.Movable)
    rows = torch.arange(len(data))[:90]
    network.zero_grad()
    whole = task.loss(rows, generator(0), False)
    torch.autograd.backward(whole)
    expected = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    parts = [task.part(part, rows, generator(0), False) for part in torch.split(rows, 25)]
    for part in parts:
        torch.autograd.backward(part)
    torch.testing.assert_close(torch.stack(parts).sum(), whole)
    found = [p.grad for p in network.parameters() if p.grad is not None]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weights", ["dbmtl_conditional", "dbmtl_uncertainty", "dbmtl_gradnorm"])
def test_a_held_out_loss_is_a_mean_over_spaces_not_over_blocks(weights: str) -> None:
    """Held-out rows run in blocks; a target's mean is over all rows of its space at once."""
    changes = {"target_weights": registry.node(weights)["target_weights"]}
    policy = preset("dbmtl_conditional", trainer__epochs=1, **changes)
    log = as_log(learning_log())
    data = replay(log, FeatureStore(FEATURES, n_categories=4))
    network = policy.build(data.statistics(1))
    (phase,) = policy.phases(network, data)
    trainer = replace(phase.trainer, batch_rows=20, valid_share=0.5)
    record = trainer.run(phase.module or network, phase.task, FitContext(seed=0), "train")
    held_out = torch.arange(len(data))[trainer.n_train(len(data)) :]
    with torch.no_grad():
        whole = float(phase.task.loss(held_out, generator(0), False))
    assert record.valid_loss == pytest.approx(whole, rel=1e-5)


def test_names_that_are_not_allowed_are_refused() -> None:
    for change, message in (
        ({"tables": "sgd"}, "Trainer.tables = 'sgd'; allowed: one of adam, rowwise_adagrad"),
        ({"device": "tpu"}, "Trainer.device = 'tpu'; allowed: one of auto, cpu, cuda"),
        ({"precision": "float16"}, "Trainer.precision = 'float16'; allowed: one of"),
        ({"micro_rows": 0}, "Trainer.micro_rows = 0; allowed"),
        ({"device": "cpu", "precision": "bfloat16"}, "allowed: float32 on the processor"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(TRAINER, **change)  # type: ignore[arg-type]


def test_auto_is_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.resolve("auto", 0, True) == torch.device("cpu")
    with pytest.raises(ConfigError, match="torch finds no GPU; allowed here: auto, cpu"):
        device.resolve("cuda", 0, True)
    with pytest.raises(ConfigError, match=r"Trainer.device = 'cuda'; allowed: auto or cpu"):
        replace(TRAINER, device="cuda")
    with pytest.raises(ConfigError, match=r"Trainer.precision = 'bfloat16'; allowed: float32"):
        replace(TRAINER, precision="bfloat16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.resolve("auto", 3, True) == torch.device("cuda", 1)
    assert device.resolve("cuda", 0, True) == torch.device("cuda", 0)
    assert device.resolve("cpu", 0, True) == torch.device("cpu")
    assert device.resolve("auto", 0, False) == torch.device("cpu")
    with pytest.raises(ConfigError, match="this model trains on the processor"):
        device.resolve("cuda", 0, False)
    assert device.casting("float32", torch.device("cpu")) is nullcontext
    with pytest.raises(ConfigError, match="on the processor; allowed: float32"):
        device.casting("bfloat16", torch.device("cpu"))


def test_columns_move_to_a_device() -> None:
    data = examples()
    moved = data.to(torch.device("meta"))
    batch: Batch = moved.batch(torch.zeros(3, dtype=torch.int64, device="meta"))
    for part in (batch.request.user.ids, batch.streamer.dense, batch.pair, batch.labels):
        assert part.device.type == "meta"
    dropped = batch.without_ids(0.5, generator(0))
    assert dropped.streamer.ids.device.type == "meta"
    assert data.labels.device.type == "cpu"


def test_the_environment_says_who_trains_together() -> None:
    given = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "h", "MASTER_PORT": "1"}
    assert Ranks.from_environment(given) == Ranks(1, 3, 0)
    assert Ranks.from_environment({"RANK": "1"}) == Ranks(0, 1, 0)
    with pytest.raises(ConfigError, match="RANK = 3; allowed: below WORLD_SIZE = 3"):
        Ranks.from_environment(given | {"RANK": "3"})
    with pytest.raises(ConfigError, match="WORLD_SIZE = 'two'; allowed: whole numbers"):
        Ranks.from_environment(given | {"WORLD_SIZE": "two"})


def test_shares_of_a_batch_are_the_batch() -> None:
    rows = torch.arange(11)
    shares = [Ranks(rank, 3).share(rows) for rank in range(3)]
    assert torch.equal(torch.cat(shares), rows)
    assert Ranks().share(rows) is rows


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "WORLD_SIZE": "2",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.policies.parallel_training", str(tmp_path)],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    from tests.policies.parallel_training import JOBS

    for name, job in JOBS.items():
        alone = job(tmp_path / "alone" / name)
        both = [torch.load(tmp_path / f"{name}.{rank}.pt", weights_only=True) for rank in range(2)]
        assert torch.equal(both[0], both[1]), name
        torch.testing.assert_close(both[0], alone, rtol=2e-3, atol=3e-4)
        assert not torch.equal(both[0], torch.zeros_like(alone))
    lines = (tmp_path / "adam" / "train.metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(set(steps)), "one process writes"


def test_health_is_in_the_metrics(tmp_path: Path) -> None:
    trained(replace(TRAINER, tables="rowwise_adagrad"), FitContext(seed=2, folder=tmp_path))
    lines = (tmp_path / "train.metrics.jsonl").read_text().splitlines()
    for line in lines:
        row = json.loads(line)
        assert row["gradient_coverage"] == 1.0
        assert row["gradient_norm"] > 0.0
        assert 0.0 <= row["mlp.dead_units"] < 1.0


def test_health_finds_dead_units_and_idle_parameters() -> None:
    network = Taste()
    with torch.no_grad():
        network.mlp.layers[0].bias[:6] = -1e3  # type: ignore[index]
    health = Health(network)
    health.watch(True)
    task = Clicks(network)
    torch.autograd.backward(task.loss(torch.arange(60), generator(0), True))
    network.head.bias.grad = None
    found = health.readings()
    assert found["mlp.dead_units"] == pytest.approx(6 / 8)
    assert found["gradient_coverage"] == pytest.approx(4 / 5)
    dense = [p.grad for p in network.parameters() if p.grad is not None]
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in dense))
    assert found["gradient_norm"] == pytest.approx(norm)
    health.watch(False)
    with torch.no_grad():
        network.mlp.layers[0].bias[:6] = 1e3  # type: ignore[index]
    task.loss(torch.arange(60), generator(0), True)
    assert health.readings()["mlp.dead_units"] == pytest.approx(6 / 8), "only watched passes count"


def test_health_reads_what_modules_report() -> None:
    class Gate(nn.Module):
        """Reports as blocks with gates do."""

        def health(self) -> list[tuple[str, float]]:
            return [("gate_entropy", 1.5)]

    network = nn.ModuleDict({"gate": Gate(), "other": nn.Linear(2, 2)})
    assert Health(network).readings()["gate.gate_entropy"] == 1.5


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"tables": "rowwise_adagrad", "table_rate": 10.0}, {}])
def test_either_optimiser_finds_the_planted_taste(change: dict[str, object]) -> None:
    policy = preset(
        "shared_bottom",
        trainer__epochs=20,
        trainer__patience=20,
        trainer__steps_per_epoch=20,
        trainer__micro_rows=64,
        **{f"trainer__{name}": value for name, value in change.items()},
    )
    log = learning_log(hours=8, per_hour=400)
    policy.fit(as_log(log), FitContext(seed=0))
    requests = serving_requests(150, log)
    cells = np.flatnonzero(requests.mask)
    of = cells // requests.mask.shape[1]
    category = requests.catalogue.streamer_category[requests.candidate_id.reshape(-1)[cells]]
    label = (category == requests.user_id[of] % 4).astype(float)  # what the log was planted with
    scores = policy.score(requests).reshape(-1)[cells]
    each = [auc(label[of == b], scores[of == b]) for b in np.unique(of)]
    assert np.mean(each) > 0.9
