"""The training loop: learns, stops early, resumes after a kill with the same weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from policies.contract import FitContext
from policies.training import checkpoint
from policies.training.trainer import Trainer, TrainingError, generator
from sim.config import ConfigError
from tests.policies.planted_learning import as_log, learning_log, preset

TRAINER = Trainer(
    epochs=3,
    batch_rows=32,
    steps_per_epoch=1,
    learning_rate=0.05,
    weight_decay=0.0,
    valid_share=0.2,
    evals_per_epoch=2,
    patience=100,
)


class Killed(Exception):
    """Stands for a process that dies."""


class Regression:
    """y = x . (1, -2, 3) from noisy inputs; the noise comes from the trainer's generator."""

    def __init__(self, network: nn.Linear, kill_at: int | None = None) -> None:
        draw = torch.Generator().manual_seed(0)
        self.network = network
        self.x = torch.randn(500, 3, generator=draw)
        self.y = self.x @ torch.tensor([1.0, -2.0, 3.0])
        self.kill_at, self.calls = kill_at, 0
        self.seen: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.x)

    def loss(self, rows: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        x = self.x[rows]
        if training:
            self.calls += 1
            if self.calls == self.kill_at:
                raise Killed
            self.seen.append(rows)
            x = x + 0.1 * torch.randn(x.shape, generator=generator)
        loss: Tensor = (self.network(x)[:, 0] - self.y[rows]).square().mean()
        return loss


def linear() -> nn.Linear:
    """Return a layer that begins at zero."""
    layer = nn.Linear(3, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def weights(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_it_learns_and_never_trains_on_the_held_out_end() -> None:
    network = linear()
    task = Regression(network)
    record = replace(TRAINER, learning_rate=0.2).run(network, task, FitContext(), "train")
    assert record.steps == 3 * 13
    assert record.valid_loss < 0.2
    seen = torch.cat(task.seen)
    assert int(seen.max()) == 399
    assert torch.equal(torch.sort(seen[:400]).values, torch.arange(400))
    assert not network.training


def test_same_seed_same_weights_and_other_seed_others() -> None:
    found = []
    for seed in (0, 0, 1):
        network = linear()
        TRAINER.run(network, Regression(network), FitContext(seed=seed), "train")
        found.append(weights(network))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("kill_at", [1, 9, 20, 39])
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path, kill_at: int) -> None:
    context = FitContext(seed=3, folder=tmp_path)
    whole = linear()
    expected = TRAINER.run(whole, Regression(whole), FitContext(seed=3), "train")
    network = linear()
    with pytest.raises(Killed):
        TRAINER.run(network, Regression(network, kill_at), context, "train")
    network = linear()
    task = Regression(network)
    record = TRAINER.run(network, task, context, "train")
    assert torch.equal(weights(network), weights(whole))
    assert (record.steps, record.best_step, record.valid_loss) == (
        expected.steps,
        expected.best_step,
        expected.valid_loss,
    )
    if kill_at > 13:
        assert task.calls < 39  # it did go on, and did not begin again
    lines = (tmp_path / "train.metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(set(steps))


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    context = FitContext(folder=tmp_path)
    first, second = linear(), linear()
    TRAINER.run(first, Regression(first), context, "train")
    again = Regression(second)
    TRAINER.run(second, again, context, "train")
    assert again.calls == 0
    assert torch.equal(weights(first), weights(second))


def test_a_checkpoint_of_another_run_is_not_used(tmp_path: Path) -> None:
    context = FitContext(folder=tmp_path)
    network = linear()
    TRAINER.run(network, Regression(network), context, "train")
    other = linear()
    task = Regression(other)
    replace(TRAINER, learning_rate=0.01).run(other, task, context, "train")
    assert task.calls == 39


def test_a_truncated_checkpoint_is_not_used(tmp_path: Path) -> None:
    context = FitContext(folder=tmp_path)
    network = linear()
    TRAINER.run(network, Regression(network), context, "train")
    path = tmp_path / "train.checkpoint.pt"
    path.write_bytes(path.read_bytes()[:100])
    (tmp_path / "train.metrics.jsonl").write_text('{"step": 7, "st')
    task = Regression(linear())
    TRAINER.run(task.network, task, context, "train")
    assert task.calls == 39
    first = (tmp_path / "train.metrics.jsonl").read_text().splitlines()[0]
    assert json.loads(first)["step"] == 7  # half of 13, rounded up: the broken line is gone


def test_early_stopping_keeps_the_best_weights() -> None:
    network = linear()
    wild = replace(TRAINER, learning_rate=8.0, epochs=30, patience=2)
    record = wild.run(network, Regression(network), FitContext(), "train")
    assert record.steps < 30 * 13
    task = Regression(network)
    valid = float(task.loss(torch.arange(400, 500), generator(0), False).detach())
    assert valid == pytest.approx(record.valid_loss, rel=1e-5)


def test_the_last_weights_are_kept_where_nothing_is_held_out(tmp_path: Path) -> None:
    """A training loss is of other rows at every reading, so it judges nothing and stops nothing."""
    trainer = replace(TRAINER, valid_share=0.0, learning_rate=1.0, patience=1, evals_per_epoch=16)
    network, last, killed, resumed = linear(), linear(), linear(), linear()
    task = Regression(network)
    record = trainer.run(network, task, FitContext(), "train")
    assert record.steps == record.best_step == task.calls == 3 * 16

    class Noting(Regression):
        def loss(self, *args: Any) -> Tensor:
            before.append(weights(self.network))
            return super().loss(*args)

    before: list[Tensor] = []
    trainer.run(last, Noting(last), FitContext(), "train")
    assert torch.equal(weights(network), weights(last))
    assert not any(torch.equal(weights(network), earlier) for earlier in before)
    with pytest.raises(Killed):
        trainer.run(killed, Regression(killed, kill_at=30), FitContext(folder=tmp_path), "train")
    task = Regression(resumed)
    again = trainer.run(resumed, task, FitContext(folder=tmp_path), "train")
    assert task.calls == 3 * 16 - 29  # went on after the last step that ended
    assert (again.best_step, again.valid_loss) == (record.best_step, record.valid_loss)
    assert torch.equal(weights(network), weights(resumed))


def test_short_logs_get_enough_steps() -> None:
    network = linear()
    record = replace(TRAINER, steps_per_epoch=100).run(
        network, Regression(network), FitContext(), "train"
    )
    assert record.steps == 3 * 100


def test_a_loss_that_is_not_finite_is_reported() -> None:
    network = linear()
    task = Regression(network)
    task.y[:] = float("nan")
    with pytest.raises(TrainingError, match="loss = nan at step 0"):
        TRAINER.run(network, task, FitContext(), "train")


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Trainer.epochs = 0"):
        replace(TRAINER, epochs=0)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    checkpoint.write(path, {"a": torch.ones(1)})
    with pytest.raises((TypeError, AttributeError, RuntimeError)):
        checkpoint.write(path, {"a": (i for i in range(3))})
    stored = checkpoint.read(path)
    assert stored is not None
    assert torch.equal(stored["a"], torch.ones(1))
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]


def test_a_policy_told_otherwise_does_not_resume(tmp_path: Path) -> None:
    """The network and the rows are the same; what is learnt from them is not."""

    def fit(weight: float) -> Any:
        policy = preset("shared_bottom", trainer__steps_per_epoch=8, target_weights__watch=weight)
        return policy.fit(as_log(learning_log()), FitContext(seed=2, folder=tmp_path))

    first, other, again = fit(1.0), fit(9.0), fit(9.0)
    assert first.records_[-1].valid_loss != other.records_[-1].valid_loss
    assert again.records_[-1].examples_per_s == 0.0  # it had nothing left to do
