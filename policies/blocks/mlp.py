"""Plain feed-forward layers, and the linear layer that standardises its raw input itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.blocks.vitality import Vital


class MLP(Vital, nn.Module):
    """Linear and ReLU, for each of the `widths`; with none of them the identity.

    Args:
        n_in: input width.
        widths: output widths of the layers.
    """

    def __init__(self, n_in: int, widths: Sequence[int]) -> None:
        """Create the layers."""
        super().__init__()
        sizes = [n_in, *widths]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.width = sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, widths[-1]] for [N, n_in]."""
        for number, layer in enumerate(self.layers):
            x = functional.relu(layer(x), inplace=True)
            self.note(number, x, 0)
        return x


class RawLinear(nn.Module):
    """W (x - mean) / scale, with the standardisation folded into the product.

    Args:
        mean: float32 [D].
        scale: float32 [D], positive.
        n_out: output width.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, n_out: int) -> None:
        """Draw the weights."""
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("scale", scale.clone())
        bound = max(len(mean), 1) ** -0.5
        self.weight = nn.Parameter((torch.rand(len(mean), n_out) * 2.0 - 1.0) * bound)

    def constant(self) -> Tensor:
        """Return -W mean / scale, [n_out], the part that does not depend on x."""
        return -(self.mean / self.scale) @ self.weight

    def add_to(self, base: Tensor, x: Tensor) -> Tensor:
        """Return base + W x / scale, [N, n_out], for base [N, n_out] and x [N, D].

        Without gradients the sum is made in `base`.
        """
        return plus_product(base, x, self.weight / self.scale[:, None])


def plus_product(base: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return base + a b; without gradients the sum is made in `base`, which saves a copy."""
    return torch.addmm(base, a, b) if torch.is_grad_enabled() else base.addmm_(a, b)
