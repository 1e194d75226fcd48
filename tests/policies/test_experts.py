"""Experts, gates and extraction levels against naive references, and what they report."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from policies.blocks.experts import ExpertBank, Gates
from policies.training.trainer import generator

TARGETS = ("a", "b", "c")


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(0, *shape))


class NaiveMixture(nn.Module):
    """One module an expert, one a gate, and a loop over both."""

    def __init__(self, n_in: int, n_experts: int, widths: list[int], n_gates: int) -> None:
        super().__init__()
        sizes = [n_in, *widths]
        self.experts = nn.ModuleList(
            nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes)) for _ in range(n_experts)
        )
        self.gates = nn.ModuleList(nn.Linear(n_in, n_experts) for _ in range(n_gates))

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for expert in self.experts:
            f = x
            for layer in expert:  # type: ignore[attr-defined]
                f = torch.relu(layer(f))
            outputs.append(f)
        mixed = []
        for gate in self.gates:
            g = torch.softmax(gate(x), dim=1)
            mixed.append(sum(g[:, e : e + 1] * f for e, f in enumerate(outputs)))
        return torch.stack(mixed, dim=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("widths", [[6], [6, 5], [6, 5, 4]])
def test_a_mixture_is_that_of_separate_experts_and_gates(widths: list[int]) -> None:
    """Values and all gradients, with copied weights."""
    n, n_in, n_experts, n_gates = 50, 7, 4, 3
    naive = NaiveMixture(n_in, n_experts, widths, n_gates).double()
    bank, gates = ExpertBank(n_experts, widths).double(), Gates(TARGETS, n_experts)
    first = nn.Linear(n_in, bank.n_first + gates.n_first).double()
    layers = [list(expert) for expert in naive.experts]  # type: ignore[call-overload]
    with torch.no_grad():
        below = [expert[0] for expert in layers] + list(naive.gates)
        first.weight.copy_(torch.cat([layer.weight for layer in below]))
        first.bias.copy_(torch.cat([layer.bias for layer in below]))
        for level, (weight, bias) in enumerate(zip(bank.weights, bank.biases, strict=True)):
            weight.copy_(torch.stack([expert[level + 1].weight.t() for expert in layers]))
            bias.copy_(torch.stack([expert[level + 1].bias for expert in layers])[:, None])
    x, y = draw(n, n_in).double().requires_grad_(), draw(n, n_gates, widths[-1]).double()
    f, g = first(x).split([bank.n_first, gates.n_first], dim=1)
    fused, expected = gates(g, bank(f)), naive(x)
    assert torch.allclose(fused, expected, rtol=0.0, atol=1e-12)
    own = torch.autograd.grad((fused * y).sum(), [x, first.weight, *bank.weights, *bank.biases])
    upper = [layer for level in range(1, len(widths)) for layer in (e[level] for e in layers)]
    wanted = [x, *(m.weight for m in below), *(m.weight for m in upper), *(m.bias for m in upper)]
    by_hand = list(torch.autograd.grad((expected * y).sum(), wanted))
    dx, by_hand = by_hand[0], by_hand[1:]
    joint, by_hand = torch.cat(by_hand[: len(below)]), by_hand[len(below) :]
    stacks = [torch.stack(by_hand[i : i + n_experts]) for i in range(0, len(by_hand), n_experts)]
    n_upper = len(stacks) // 2
    expected_gradients = [dx, joint]
    expected_gradients += [stack.transpose(1, 2) for stack in stacks[:n_upper]]
    expected_gradients += [stack[:, None] for stack in stacks[n_upper:]]
    for mine, theirs in zip(own, expected_gradients, strict=True):
        assert torch.allclose(mine, theirs, rtol=0.0, atol=1e-10)


def test_single_precision_agrees_to_a_millionth() -> None:
    bank, gates = ExpertBank(4, [6, 5]), Gates(TARGETS, 4)
    first, logits = draw(30, bank.n_first), draw(30, gates.n_first)
    single = gates(logits, bank(first.clone()))
    double = gates(logits.double(), bank.double()(first.double()))
    assert torch.allclose(single.double(), double, rtol=0.0, atol=1e-6)


def test_without_gradients_the_mixture_is_the_same() -> None:
    bank, gates = ExpertBank(4, [6, 5]), Gates(TARGETS, 4)
    first, logits = draw(30, bank.n_first), draw(30, gates.n_first)
    with torch.no_grad():
        quick = gates(logits, bank(first.clone()))
    assert torch.equal(quick, gates(logits, bank(first)).detach())


def test_gates_sum_to_one_whatever_the_logits() -> None:
    gates = Gates(TARGETS, 5)
    for scale in (0.0, 1.0, 1e4):
        g = gates.weights(scale * draw(40, gates.n_first))
        assert g.shape == (40, 3, 5)
        assert (g >= 0.0).all()
        np.testing.assert_allclose(g.sum(2).numpy(), 1.0, rtol=1e-6)


def test_equal_gates_give_the_mean_of_the_experts() -> None:
    gates, f = Gates(TARGETS, 4), draw(4, 9, 3)
    mixed = gates(torch.zeros(9, gates.n_first), f)
    assert torch.allclose(mixed, f.mean(0)[:, None].expand(9, 3, 3), atol=1e-6)


def test_health_reports_a_collapse() -> None:
    """All gates on one expert: no entropy, a weight of one, three of four experts dead."""
    gates, f = Gates(TARGETS, 4), draw(4, 20, 3)
    gates(torch.zeros(20, gates.n_first), f)
    assert gates.health() == []  # nobody asked
    gates.watched = True
    gates(torch.zeros(20, gates.n_first), f)
    even = dict(gates.health())
    assert even["gate_entropy.b"] == pytest.approx(1.0)
    assert even["largest_gate.b"] == pytest.approx(0.25)
    assert even["dead_experts"] == 0.0
    collapsed = torch.zeros(20, 3, 4)
    collapsed[:, :, 2] = 50.0
    gates(collapsed.flatten(1), f)
    report = dict(gates.health())
    assert set(report) == {
        *(f"{what}.{k}" for what in ("gate_entropy", "largest_gate") for k in TARGETS),
        "dead_experts",
    }
    assert report["gate_entropy.a"] == pytest.approx(0.0, abs=1e-6)
    assert report["largest_gate.c"] == pytest.approx(1.0)
    assert report["dead_experts"] == 0.75
    gates.watched = False
    gates(torch.zeros(20, gates.n_first), f)
    assert dict(gates.health()) == report


def test_an_expert_used_by_one_gate_is_alive() -> None:
    gates = Gates(TARGETS, 4)
    gates.watched = True
    logits = torch.zeros(20, 3, 4)
    logits[:, 0, 0], logits[:, 1:, 1] = 50.0, 50.0
    gates(logits.flatten(1), draw(4, 20, 3))
    assert dict(gates.health())["dead_experts"] == 0.5


def test_health_reports_dead_units() -> None:
    bank = ExpertBank(2, [4])
    assert bank.health() == []
    first = draw(50, 8).abs()
    first[:, 1] = -1.0
    first[0, 2] = -1.0  # once is not dead
    bank.watched = True
    bank(first)
    assert dict(bank.health())["dead_units"] == pytest.approx(1.0 / 8.0)
