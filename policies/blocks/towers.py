"""One tower per target, all first layers in one product.

From here on activations are feature-major, [.., width, N]: each target's rows are contiguous, and
small products over many rows run at the speed of large ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.blocks.vitality import Vital


def uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """Return a parameter drawn uniformly within 1 / sqrt(fan_in) of 0."""
    return nn.Parameter((torch.rand(*shape) * 2.0 - 1.0) * fan_in**-0.5)


class TowerBank(Vital, nn.Module):
    """u_k = MLP_k(h) for T targets.

    Args:
        n_in: width of h.
        widths: widths of every tower's layers, at least one.
        n_towers: T.
    """

    def __init__(self, n_in: int, widths: Sequence[int], n_towers: int) -> None:
        """Draw the weights."""
        super().__init__()
        self.first = uniform(n_towers * widths[0], n_in, fan_in=n_in)
        self.bias = nn.Parameter(torch.zeros(n_towers * widths[0], 1))
        shapes = list(pairwise(widths))
        self.weights = nn.ParameterList(uniform(n_towers, b, a, fan_in=a) for a, b in shapes)
        self.biases = nn.ParameterList(torch.zeros(n_towers, b, 1) for _, b in shapes)
        self.n_towers = n_towers
        self.width = widths[-1]

    def forward(self, h: Tensor) -> Tensor:
        """Return [T, width, N] for h [N, n_in]."""
        u = functional.relu(torch.addmm(self.bias, self.first, h.t()), inplace=True)
        u = u.view(self.n_towers, -1, len(h))
        self.note(0, u, -1)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), 1):
            u = functional.relu(torch.baddbmm(bias, weight, u), inplace=True)
            self.note(number, u, -1)
        return u


class OwnTowers(Vital, nn.Module):
    """u_k = MLP_k(h_k) for T targets, each with an input of its own.

    Inputs have rows before width, as mixtures of experts come: the gradient that goes back to a
    mixture must be laid out like it, or its batched product falls apart into one call a row.

    Args:
        n_in: width of every h_k.
        widths: widths of every tower's layers, at least one.
        n_towers: T.
    """

    def __init__(self, n_in: int, widths: Sequence[int], n_towers: int) -> None:
        """Draw the weights."""
        super().__init__()
        shapes = list(pairwise([n_in, *widths]))
        self.weights = nn.ParameterList(uniform(n_towers, a, b, fan_in=a) for a, b in shapes)
        self.biases = nn.ParameterList(torch.zeros(n_towers, 1, b) for _, b in shapes)
        self.width = widths[-1]

    def forward(self, h: Tensor) -> Tensor:
        """Return [T, width, N] for h [T, N, n_in]."""
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = functional.relu(torch.baddbmm(bias, h, weight), inplace=True)
            self.note(number, h, 1)
        return h.transpose(1, 2)


class Heads(nn.Module):
    """Logits z_k = w_k . r_k + b_k of T targets.

    Args:
        n_in: width of every r_k.
        base_rates: mean of each label [T]; the heads begin there.
    """

    def __init__(self, n_in: int, base_rates: Tensor) -> None:
        """Draw the weights."""
        super().__init__()
        self.weight = uniform(len(base_rates), n_in, fan_in=n_in)
        self.bias = nn.Parameter(torch.logit(base_rates.clamp(1e-6, 1.0 - 1e-6)))

    def forward(self, r: Sequence[Tensor] | Tensor) -> Tensor:
        """Return logits [N, T] for T tensors [n_in, N]."""
        z = [w_k @ r_k for w_k, r_k in zip(self.weight.unbind(0), r, strict=True)]
        return (torch.stack(z) + self.bias[:, None]).t()
