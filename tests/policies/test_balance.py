"""Balanced losses: a target whose loss is a hundred times as large does not drown the other."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from policies.contract import FitContext
from policies.factorisation import Marginal
from policies.multitask import MultiTaskPolicy
from policies.training.balance import (
    Balance,
    Fixed,
    GradNorm,
    UncertainLikelihood,
    Uncertainty,
    Weighed,
)
from policies.training.likelihood import Likelihood
from policies.training.task import Divisible
from policies.training.trainer import Trainer, generator
from sim.config import ConfigError
from tests.policies.planted_learning import as_log, preset
from tests.policies.test_models import LOG

SCALE = 100.0
WEIGHTS = {"engage": 1.0, "watch": 1.0}
BALANCES: list[Balance] = [Uncertainty(WEIGHTS, 0.0), GradNorm(WEIGHTS, "shared", 0.0)]
TRAINER = Trainer(
    epochs=30,
    batch_rows=64,
    steps_per_epoch=1,
    learning_rate=0.02,
    weight_decay=0.0,
    valid_share=0.2,
    evals_per_epoch=2,
    patience=1000,
)


class Toy(nn.Module):
    """Two outputs over one shared layer of two units."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(4, 2, bias=False)
        self.heads = nn.Linear(2, 2, bias=False)
        draw = generator(1)
        for p in self.parameters():
            p.data = 0.5 * torch.randn(p.shape, generator=draw)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.heads(self.shared(x))
        return out


class Killed(Exception):
    """Stands for a process that dies."""


@cache
def columns() -> tuple[Tensor, Tensor]:
    """Return x [N, 4] and noisy labels [N, 2]."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 4, generator=draw)
    clean = x @ torch.tensor([[1.0, 0.5], [-1.0, 0.5], [0.5, 1.0], [0.5, -1.0]])
    return x, clean + 0.5 * torch.randn(1000, 2, generator=draw)


class ToyLikelihood(Likelihood):
    """Squared errors of two regressions with the same noise, the second one times SCALE."""

    kill_at = 10**9
    calls = 0

    def __len__(self) -> int:
        return 1000

    def means(
        self, rows: Tensor, whole: Tensor, generator: torch.Generator, training: bool
    ) -> Tensor:
        self.calls += training
        if self.calls == self.kill_at:
            raise Killed
        x, y = columns()
        error = 0.5 * (self.network(x[rows]) - y[rows]).square()
        return error.sum(0) / len(whole) * torch.tensor([1.0, SCALE])

    def present(self, rows: Tensor) -> Tensor:
        return torch.ones(2)


def toy(network: Toy) -> ToyLikelihood:
    nothing: Any = None
    return ToyLikelihood(network, nothing, ("engage", "watch"), Marginal(), torch.ones(2), 0.0)


def trained(balance: Balance, **context: Any) -> tuple[Weighed, Toy]:
    network = Toy()
    module, task = balance.task(toy(network))
    TRAINER.run(module, task, FitContext(seed=2, **context), "train")
    assert isinstance(module, Weighed)
    return module, network


def final_errors(network: Toy) -> Tensor:
    """Return the mean losses of both targets before any scale."""
    task = toy(network)
    rows = torch.arange(len(task))
    means = task.means(rows, rows, generator(0), False).detach()
    return means / torch.tensor([1.0, SCALE])


def test_uncertainty_gives_a_loss_scaled_by_100_a_hundredth_of_the_weight() -> None:
    module, network = trained(BALANCES[0])
    weight = torch.exp(-module.log_weight.detach())
    losses = final_errors(network) * torch.tensor([1.0, SCALE])
    assert torch.allclose(weight, 0.5 / losses, rtol=0.25)
    ratio = float(weight[0] / weight[1])
    assert SCALE / 2 < ratio < SCALE * 2


def test_the_floor_bounds_what_a_target_known_by_heart_weighs() -> None:
    """At the minimum weights are 1 / (2 (L_k + f)); without a floor log-variances fall on."""
    mean, floor = torch.tensor([0.3, 0.0]), 0.05

    class Known(ToyLikelihood):
        def means(self, *args: Any) -> Tensor:
            return mean

    nothing: Any = None
    known = Known(Toy(), nothing, ("engage", "watch"), Marginal(), torch.ones(2), 0.0)
    for f in (0.0, floor):
        module, task = Uncertainty(WEIGHTS, f).task(known)
        assert isinstance(module, Weighed)
        descent = torch.optim.SGD([module.raw], lr=0.01)
        for _ in range(60):
            descent.zero_grad()
            torch.autograd.backward(task.loss(torch.arange(50), generator(0), True))
            descent.step()
        weight = torch.exp(-module.log_weight.detach())
        assert torch.allclose(weight[0], 0.5 / (mean[0] + f), rtol=1e-3)
        assert torch.allclose(weight[1], torch.tensor(0.5 / floor), rtol=1e-3) == (f > 0.0)
        assert (float(weight[1]) > 1e9) == (f == 0.0)


def test_gradnorm_makes_the_targets_pull_alike() -> None:
    module, _ = trained(BALANCES[1])
    v = torch.softmax(module.log_weight.detach(), dim=0) * 2
    assert float(v.sum()) == pytest.approx(2.0, rel=1e-5)
    assert SCALE / 4 < float(v[0] / v[1]) < SCALE * 4
    start = Toy()
    task = toy(start)
    rows = torch.arange(800)
    means = task.means(rows, rows, generator(0), True)
    assert torch.allclose(module.start / means.detach(), torch.ones(2), rtol=0.3)


@pytest.mark.parametrize("balance", BALANCES, ids=lambda b: type(b).__name__)
def test_the_small_loss_is_learnt_as_well_as_alone(balance: Balance) -> None:
    """With equal weights by hand the shared layer goes to the loud target."""
    loud = Toy()
    TRAINER.run(*Fixed(WEIGHTS).task(toy(loud)), FitContext(seed=2), "train")
    _, network = trained(balance)
    balanced, drowned = final_errors(network), final_errors(loud)
    assert balanced[0] < 0.5 * drowned[0]
    assert balanced.max() < 0.2  # half the variance of the noise is 0.125


@pytest.mark.parametrize("balance", BALANCES, ids=lambda b: type(b).__name__)
@pytest.mark.parametrize("kill_at", [1, 30])
def test_a_killed_run_ends_with_the_same_weights(
    balance: Balance, kill_at: int, tmp_path: Path
) -> None:
    whole, _ = trained(balance)
    network = Toy()
    likelihood = toy(network)
    likelihood.kill_at = kill_at
    module, task = balance.task(likelihood)
    with pytest.raises(Killed):
        TRAINER.run(module, task, FitContext(seed=2, folder=tmp_path), "train")
    resumed, _ = trained(balance, folder=tmp_path)
    for (name, a), (_, b) in zip(
        whole.state_dict().items(), resumed.state_dict().items(), strict=True
    ):
        assert torch.equal(a, b), name


def test_parts_of_the_uncertain_likelihood_sum_to_the_whole() -> None:
    module, task = Uncertainty(WEIGHTS, 0.02).task(toy(Toy()))
    assert isinstance(task, UncertainLikelihood)
    assert isinstance(task, Divisible)
    assert isinstance(module, Weighed)
    module.raw.data = torch.tensor([0.03, -0.2])
    rows = torch.arange(90)
    whole = task.loss(rows, generator(0), True).detach()
    parts = [task.part(p, rows, generator(0), True).detach() for p in torch.split(rows, 40)]
    assert torch.allclose(torch.stack(parts).sum(), whole, rtol=1e-5)
    assert not isinstance(GradNorm(WEIGHTS, "shared", 0.0).task(toy(Toy()))[1], Divisible)


def test_gradnorm_by_hand() -> None:
    """Value and gradient of one step, alpha 1.5, against the paper's formulas."""
    network = Toy()
    module, task = GradNorm(WEIGHTS, "shared", 1.5).task(toy(network))
    assert isinstance(module, Weighed)
    module.raw.data = torch.tensor([0.05, -0.05])
    module.start.copy_(torch.tensor([2.0, 50.0]))
    rows = torch.arange(100)
    loss = task.loss(rows, generator(0), True)
    means = toy(network).means(rows, rows, generator(0), True)
    v = torch.softmax(torch.tensor([0.5, -0.5]), 0) * 2
    g = torch.stack(
        [
            torch.autograd.grad(means[k], network.shared.weight, retain_graph=True)[0].norm()
            for k in range(2)
        ]
    )
    relative = means.detach() / torch.tensor([2.0, 50.0])
    rate = relative / relative.mean()
    average = (v * g).mean()
    off = (v * g - average * rate**1.5).abs().sum() / average
    expected = (v * means).sum() + off
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    torch.autograd.backward(loss)
    (own,) = torch.autograd.grad((v * means).sum(), network.shared.weight)
    assert network.shared.weight.grad is not None
    assert torch.allclose(network.shared.weight.grad, own, rtol=1e-5)
    sign = torch.sign(v * g - average * rate**1.5)
    slope = torch.diag(v) - torch.outer(v, v) / 2  # of 2 softmax
    expected_raw = 10.0 * slope @ (sign * g.detach() / average.detach())
    assert module.raw.grad is not None
    assert torch.allclose(module.raw.grad, expected_raw, rtol=1e-4)


def policy_with(balance: Balance) -> MultiTaskPolicy:
    """Return the small preset with another balance."""
    base = preset("dbmtl", trainer__steps_per_epoch=4)
    return MultiTaskPolicy(
        base.model, balance, base.fusion, base.features, base.encoder, base.trainer
    )


@pytest.mark.parametrize("kind", ["uncertainty", "gradnorm"])
def test_policies_learn_their_weights(kind: str, tmp_path: Path) -> None:
    weights = dict(preset("dbmtl").target_weights) | {"purchase": 0.0}
    learnt = {
        "uncertainty": Uncertainty(weights, 0.01),
        "gradnorm": GradNorm(weights, "first", 1.0),
    }
    balance: Balance = learnt[kind]
    policy = policy_with(balance)
    folder = tmp_path / "fit"
    policy.fit(as_log(LOG), FitContext(seed=1, folder=folder))
    stored = torch.load(folder / "train.checkpoint.pt", weights_only=True)
    raw = stored["network"]["raw"]
    assert raw.shape == (8,)
    assert len(raw.unique()) > 5
    assert not any(name.startswith("raw") for name in policy.network_.state_dict())
    policy.save(tmp_path)
    policy_with(balance).load(tmp_path)


def test_equal_weights_by_mapping_and_by_section_are_the_same() -> None:
    found = []
    for weights in (dict(preset("dbmtl").target_weights), Fixed(preset("dbmtl").target_weights)):
        policy = policy_with(weights)  # type: ignore[arg-type]
        policy.fit(as_log(LOG), FitContext(seed=1))
        found.append(torch.cat([p.detach().flatten() for p in policy.network_.parameters()]))
    assert torch.equal(*found)


def test_a_target_without_rows_leaves_its_variance_alone() -> None:
    class Absent(ToyLikelihood):
        def means(self, *args: Any) -> Tensor:
            return super().means(*args) * torch.tensor([1.0, 0.0])

        def present(self, rows: Tensor) -> Tensor:
            return torch.tensor([1.0, 0.0])

    nothing: Any = None
    for balance in (*BALANCES, Uncertainty(WEIGHTS, 0.02)):
        absent = Absent(Toy(), nothing, ("engage", "watch"), Marginal(), torch.ones(2), 0.0)
        module, task = balance.task(absent)
        loss = task.loss(torch.arange(50), generator(0), True)
        assert torch.isfinite(loss)
        torch.autograd.backward(loss)
        assert isinstance(module, Weighed)
        assert module.raw.grad is None or float(module.raw.grad[1]) == 0.0


def test_layers_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match=r"GradNorm.layer = 'last'; allowed: one of shared, he"):
        GradNorm(WEIGHTS, "last", 1.0).task(toy(Toy()))
    policy = policy_with(GradNorm(dict(preset("dbmtl").target_weights), "towers.nowhere", 1.0))
    with pytest.raises(ConfigError, match=r"GradNorm.layer = 'towers.nowhere'; allowed: one of "):
        policy.fit(as_log(LOG), FitContext())
    with pytest.raises(ConfigError, match=r"weights = \{\}; allowed"):
        Uncertainty({}, 0.0)
    with pytest.raises(ConfigError, match=r"Uncertainty.floor = -0.1; allowed: a number in \[0"):
        Uncertainty(WEIGHTS, -0.1)
    with pytest.raises(ConfigError, match=r"weights.like = -1; allowed: a number in \[0, 1000\]"):
        replace(BALANCES[0], weights={"like": -1})  # type: ignore[type-var]
