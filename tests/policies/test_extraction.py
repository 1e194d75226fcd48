"""Extraction levels of PLE against a naive reference, what reaches what, and what they report."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from policies.blocks.extraction import Extraction, Products
from policies.training.trainer import generator

NAMES = ("a", "b", "c")
T, OWN, SHARED, WIDTHS = 3, 2, 3, [6, 5]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(0, *shape), dtype=torch.float64)


class Level(nn.Module):
    """An extraction level and the product below it, on T + 1 inputs."""

    def __init__(self, n_in: int, is_last: bool) -> None:
        super().__init__()
        self.level = Extraction(NAMES, OWN, SHARED, WIDTHS, is_last)
        self.products = Products(self.level, n_in)
        self.double()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(generator=generator(1, parameter.numel()))

    def forward(self, q: Tensor, q_0: Tensor) -> tuple[Tensor, Tensor | None]:
        own, shared = self.products(q, q_0)
        out: tuple[Tensor, Tensor | None] = self.level(own, shared)
        return out


def naive(module: Level, q: Tensor, q_0: Tensor) -> tuple[Tensor, Tensor]:
    """Run every expert and every gate on its own, reading weights out of their blocks."""
    level, below = module.level, module.products

    def expert(x: Tensor, weight: Tensor, bias: Tensor, bank: nn.Module, number: int) -> Tensor:
        f = torch.relu(x @ weight + bias)
        for w, b in zip(bank.weights, bank.biases, strict=True):  # type: ignore[arg-type]
            f = torch.relu(f @ w[number] + b[number, 0])
        return f

    own: list[list[Tensor]] = []
    for k in range(T):
        mine = []
        for i in range(OWN):
            cut = slice(i * WIDTHS[0], (i + 1) * WIDTHS[0])
            first = below.own[k][:, cut], below.own_bias[k, 0, cut]
            mine.append(expert(q[k], *first, level.own, k * OWN + i))
        own.append(mine)
    shared = []
    for j in range(SHARED):
        cut = slice(j * WIDTHS[0], (j + 1) * WIDTHS[0])
        shared.append(expert(q_0, below.shared[:, cut], below.shared_bias[cut], level.shared, j))
    mixed = []
    n_experts = OWN * WIDTHS[0]
    for k in range(T):
        logits = q[k] @ below.own[k][:, n_experts:] + below.own_bias[k, 0, n_experts:]
        mixed.append(mixture(logits, [*own[k], *shared]))
    if level.is_last:
        return torch.stack(mixed), q_0
    logits = q_0 @ below.shared[:, SHARED * WIDTHS[0] :] + below.shared_bias[SHARED * WIDTHS[0] :]
    return torch.stack(mixed), mixture(logits, [*(f for mine in own for f in mine), *shared])


def mixture(logits: Tensor, experts: list[Tensor]) -> Tensor:
    g = torch.softmax(logits, dim=1)
    total = torch.zeros_like(experts[0])
    for e, f in enumerate(experts):
        total = total + g[:, e : e + 1] * f
    return total


@pytest.mark.parametrize("is_last", [False, True])
def test_a_level_is_that_of_separate_experts_and_gates(is_last: bool) -> None:
    """Values and all gradients."""
    module = Level(7, is_last)
    q, q_0 = draw(T, 20, 7).requires_grad_(), draw(20, 7).requires_grad_()
    mixed, all_mixed = module(q, q_0)
    expected, expected_0 = naive(module, q, q_0)
    assert torch.allclose(mixed, expected, rtol=0.0, atol=1e-9)
    y = draw(T, 20, WIDTHS[-1])
    loss, by_hand = (mixed * y).sum(), (expected * y).sum()
    if is_last:
        assert all_mixed is None
    else:
        assert all_mixed is not None
        assert torch.allclose(all_mixed, expected_0, rtol=0.0, atol=1e-9)
        loss, by_hand = loss + (all_mixed * y[0]).sum(), by_hand + (expected_0 * y[0]).sum()
    wanted = [q, q_0, *module.parameters()]
    for mine, theirs in zip(
        torch.autograd.grad(loss, wanted), torch.autograd.grad(by_hand, wanted), strict=True
    ):
        assert torch.allclose(mine, theirs, rtol=0.0, atol=1e-8)


def test_the_first_level_is_cut_out_of_one_product() -> None:
    module = Level(7, is_last=False)
    x = draw(20, 7)
    own, shared = module.products(x.expand(T, 20, 7), x)
    joint = torch.cat([*own, shared], dim=1)
    cut_own, cut_shared = module.level.first_level(joint)
    assert torch.equal(cut_own, own)
    assert torch.equal(cut_shared, shared)


def test_a_target_does_not_reach_the_own_experts_of_another() -> None:
    """At the last level; shared experts are reached by all."""
    module = Level(7, is_last=True)
    mixed, _ = module(draw(T, 20, 7), draw(20, 7))
    level = module.level
    for k in range(T):
        wanted = [module.products.own, level.own.weights[0], level.shared.weights[0]]
        first, own, shared = torch.autograd.grad(mixed[k].sum(), wanted, retain_graph=True)
        others = [j for j in range(T) if j != k]
        assert not first[others].any()
        assert first[k].any()
        reached = own.view(T, OWN, *own.shape[1:]).abs().sum((1, 2, 3)) > 0.0
        assert reached.tolist() == [j == k for j in range(T)]
        assert shared.flatten(1).any(1).all()


def test_below_the_last_level_all_experts_are_reached_through_the_shared_gate() -> None:
    lower, upper = Level(7, is_last=False), Level(WIDTHS[-1], is_last=True)
    q, q_0 = lower(draw(T, 20, 7), draw(20, 7))
    mixed, _ = upper(q, q_0)
    (own,) = torch.autograd.grad(mixed[0].sum(), lower.level.own.weights[0])
    assert own.flatten(1).any(1).all()


def test_health_reports_ignored_experts() -> None:
    level = Extraction(NAMES, OWN, SHARED, WIDTHS, is_last=True)
    own, shared = torch.zeros(T, 9, level.n_own_first), torch.zeros(9, level.n_shared_first)
    level(own, shared)
    assert level.health() == []
    level.watched = True
    level(own, shared)
    even = dict(level.health())
    assert even["dead_experts"] == 0.0
    assert even["own_weight.a"] == pytest.approx(OWN / (OWN + SHARED))
    own[0, :, -1] = 50.0  # a: all weight on the last shared expert, two own ones dead
    own[1:, :, -SHARED] = 50.0  # b and c: on the first shared one; the middle one is dead to all
    level(own, shared)
    report = dict(level.health())
    assert report["own_weight.a"] == pytest.approx(0.0, abs=1e-6)
    assert report["largest_gate.b"] == pytest.approx(1.0)
    assert report["gate_entropy.c"] == pytest.approx(0.0, abs=1e-6)
    assert report["dead_experts"] == pytest.approx((T * OWN + 1) / (T * OWN + SHARED))
