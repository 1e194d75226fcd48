"""Experts and the gates that mix them (MMoE), from their first layers' joint product on.

The first layers of all experts and all gates are rows of one product, which the owner makes: the
split first layer of a `PairNetwork`, so that serving computes each side once, or any linear map of
a plain input. What stands here are the layers above it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.blocks.towers import uniform
from policies.blocks.vitality import Vital

IDLE = 0.01
"""An expert whose mean weight is below this in every gate counts as dead: it hardly learns."""


class ExpertBank(Vital, nn.Module):
    """f_e = MLP_e(x) for E experts; all layers are rectified, and above the first one batched.

    Source: MMoE (KDD 2018, section 4.2).

    Args:
        n_experts: E.
        widths: widths of every expert's layers, at least one.

    Attributes:
        n_first: width of the first layers side by side, expert by expert, E x widths[0].
        width: width of every f_e.
    """

    def __init__(self, n_experts: int, widths: Sequence[int]) -> None:
        """Draw the weights above the first layers."""
        super().__init__()
        shapes = list(pairwise(widths))
        self.weights = nn.ParameterList(uniform(n_experts, a, b, fan_in=a) for a, b in shapes)
        self.biases = nn.ParameterList(torch.zeros(n_experts, 1, b) for _, b in shapes)
        self.n_experts = n_experts
        self.n_first = n_experts * widths[0]
        self.width = widths[-1]

    def forward(self, first: Tensor) -> Tensor:
        """Return f, float32 [E, N, width].

        Args:
            first: [N, n_first], the experts' first layers before their activation; without
                gradients it may be overwritten.
        """
        return self.above(first.view(len(first), self.n_experts, -1).transpose(0, 1))

    def above(self, first: Tensor) -> Tensor:
        """Return f, float32 [E, N, width], for `first` as [E, N, widths[0]]."""
        f = functional.relu(first, inplace=not torch.is_grad_enabled())
        self.note(0, f, 1)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), 1):
            f = functional.relu(torch.baddbmm(bias, f, weight), inplace=True)
            self.note(number, f, 1)
        return f


class Gates(nn.Module):
    """h_k = sum_e g_ke f_e, g_k = softmax of linear logits, for G gates over the same E experts.

    Source: MMoE (KDD 2018, section 4.2), whose gates are linear in x and sum to one; the gates of
    all targets (or scenarios, or groups) are mixed in one batched product.

    Args:
        names: what each of the G gates belongs to, for `health`.
        n_experts: E.

    Attributes:
        n_first: width of all gates' logits side by side, gate by gate, G x E.
        watched: whether the next forward is noted for `health`.
    """

    watched: bool = False

    def __init__(self, names: Sequence[str], n_experts: int) -> None:
        """Store the sizes; the linear maps are rows of the owner's first product."""
        super().__init__()
        self.names = tuple(names)
        self.n_experts = n_experts
        self.n_first = len(self.names) * n_experts
        self._noted: tuple[Tensor, Tensor] | None = None

    def weights(self, logits: Tensor) -> Tensor:
        """Return g, float32 [N, G, E], summing to one over experts, for logits [N, n_first]."""
        g = torch.softmax(logits.view(len(logits), len(self.names), self.n_experts), dim=2)
        if self.watched:
            self._noted = entropy(g.detach()), g.detach().mean(0)
        return g

    def forward(self, logits: Tensor, experts: Tensor) -> Tensor:
        """Return h, float32 [N, G, width].

        Args:
            logits: [N, n_first].
            experts: [E, N, width], the output of `ExpertBank`.
        """
        return torch.bmm(self.weights(logits), experts.transpose(0, 1))

    def health(self) -> list[tuple[str, float]]:
        """Return (name, value) for the last watched forward, nothing before it.

        Per gate the mean entropy, in units of log E (1: even, 0: one expert takes all), and the
        largest mean weight of an expert; over all gates the share of dead experts, whose mean
        weight is below IDLE in every gate.
        """
        if self._noted is None:
            return []
        spread, mean = self._noted
        dead = float((mean < IDLE).all(0).float().mean())
        return [*gate_health(self.names, spread, mean), ("dead_experts", dead)]


def entropy(g: Tensor) -> Tensor:
    """Return the mean entropy of gates [N, G, E] over rows, in units of log E, [G]."""
    nats: Tensor = torch.special.entr(g).sum(2).mean(0)
    return nats / max(math.log(g.shape[2]), 1e-12)


def gate_health(names: Sequence[str], spread: Tensor, mean: Tensor) -> list[tuple[str, float]]:
    """Return (name, value): entropies [G] and largest mean weights of gates, means [G, E]."""
    found = [(f"gate_entropy.{k}", float(v)) for k, v in zip(names, spread, strict=True)]
    largest = zip(names, mean.amax(1), strict=True)
    return [*found, *((f"largest_gate.{k}", float(v)) for k, v in largest)]
