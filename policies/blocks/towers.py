"""One tower per target, all first layers in one product."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class TowerBank(nn.Module):
    """u_k = MLP_k(h) for T targets.

    Args:
        n_in: width of h.
        widths: widths of every tower's layers, at least one.
        n_towers: T.
    """

    def __init__(self, n_in: int, widths: Sequence[int], n_towers: int) -> None:
        """Create the layers."""
        super().__init__()
        self.n_towers = n_towers
        self.first = nn.Linear(n_in, n_towers * widths[0])
        shapes = list(pairwise(widths))
        self.weights = nn.ParameterList(
            (torch.rand(n_towers, a, b) * 2.0 - 1.0) * a**-0.5 for a, b in shapes
        )
        self.biases = nn.ParameterList(torch.zeros(n_towers, 1, b) for _, b in shapes)
        self.width = widths[-1]

    def forward(self, h: Tensor) -> list[Tensor]:
        """Return [N, width] for each of the T towers."""
        u = functional.relu(self.first(h), inplace=True)
        if len(self.weights) == 0:
            return list(torch.split(u, self.width, dim=1))
        deep = u.view(len(h), self.n_towers, -1).transpose(0, 1)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            deep = functional.relu(torch.baddbmm(bias, deep, weight), inplace=True)
        return list(deep.unbind(0))


class Heads(nn.Module):
    """Logits z_k = w_k . r_k + b_k of T targets.

    Args:
        n_in: width of every r_k.
        base_rates: mean of each label [T]; the heads begin there.
    """

    def __init__(self, n_in: int, base_rates: Tensor) -> None:
        """Draw the weights."""
        super().__init__()
        self.weight = nn.Parameter((torch.rand(len(base_rates), n_in) * 2.0 - 1.0) * n_in**-0.5)
        self.bias = nn.Parameter(torch.logit(base_rates.clamp(1e-6, 1.0 - 1e-6)))

    def forward(self, r: Sequence[Tensor]) -> Tensor:
        """Return logits [N, T] for T tensors [N, n_in]."""
        z = [r_k.mv(w_k) for r_k, w_k in zip(r, self.weight, strict=True)]
        return torch.stack(z, dim=1) + self.bias
