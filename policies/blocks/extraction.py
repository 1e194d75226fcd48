"""Extraction levels of PLE: experts of one's own beside shared ones, mixed by gates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from policies.blocks.experts import IDLE, ExpertBank, entropy, gate_health
from policies.blocks.towers import uniform


class Extraction(nn.Module):
    """One level: q_k = g_k . [own experts of k ; shared experts], for T targets.

    Unless it is the last, the level also has q_0 = g_0 . [all experts], which the shared experts of
    the next level read. Every gate is a softmax over the experts it reads. Source: PLE (RecSys
    2020, section 4; one level alone is CGC).

    Own first layers and gates are rows of a product with q_k, shared ones of a product with q_0:
    `first_level` cuts them out of one joint product, `Products` makes them for later levels.

    Args:
        names: of the T targets, for `health`.
        n_own: experts of each target.
        n_shared: experts of all.
        widths: widths of every expert's layers, at least one.
        is_last: whether this is the last level.

    Attributes:
        n_own_first: width of a target's part of the first product: its experts, then its gate.
        n_shared_first: width of the shared part: shared experts, then, unless last, their gate.
        n_first: width of all parts side by side, target by target, shared last.
        width: width of every q.
        watched: whether the next forward is noted for `health`.
    """

    watched: bool = False

    def __init__(
        self, names: Sequence[str], n_own: int, n_shared: int, widths: Sequence[int], is_last: bool
    ) -> None:
        """Draw the weights above the first layers."""
        super().__init__()
        self.names = tuple(names)
        self.n_own, self.n_shared, self.is_last = n_own, n_shared, is_last
        n_targets = len(self.names)
        self.own = ExpertBank(n_targets * n_own, widths)
        self.shared = ExpertBank(n_shared, widths)
        self.n_own_first = n_own * widths[0] + n_own + n_shared
        self.n_shared_first = self.shared.n_first
        if not is_last:
            self.n_shared_first += n_targets * n_own + n_shared
        self.n_first = n_targets * self.n_own_first + self.n_shared_first
        self.width = widths[-1]
        self._noted: tuple[Tensor, Tensor] | None = None

    def first_level(self, first: Tensor) -> tuple[Tensor, Tensor]:
        """Return the targets' parts [T, N, n_own_first] and the shared part of [N, n_first]."""
        widths = [self.n_first - self.n_shared_first, self.n_shared_first]
        own, shared = torch.split(first, widths, dim=1)
        return own.view(len(first), len(self.names), -1).transpose(0, 1), shared

    def forward(self, own: Tensor, shared: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return q_1 .. q_T, float32 [T, N, width], and q_0 [N, width], None after the last level.

        Args:
            own: [T, N, n_own_first], first layers before their activation, and gate logits.
            shared: [N, n_shared_first], likewise.
        """
        n_targets, n_rows, _ = own.shape
        n_gate = self.n_own + self.n_shared
        first, logits = torch.split(own, [self.n_own_first - n_gate, n_gate], dim=2)
        first = first.view(n_targets, n_rows, self.n_own, -1).transpose(1, 2).flatten(0, 1)
        f_own = self.own.above(first)
        f_shared = self.shared(shared[:, : self.shared.n_first]).transpose(0, 1)
        g = torch.softmax(logits, dim=2)
        if self.watched:
            seen = g.detach().transpose(0, 1)
            self._noted = entropy(seen), seen.mean(0)
        g_own, g_shared = torch.split(g, [self.n_own, self.n_shared], dim=2)
        mine = f_own.view(n_targets, self.n_own, n_rows, -1)
        q = (g_own.transpose(1, 2).unsqueeze(3) * mine).sum(1)
        q = q + torch.bmm(g_shared.transpose(0, 1), f_shared).transpose(0, 1)
        if self.is_last:
            return q, None
        g_0 = torch.softmax(shared[:, self.shared.n_first :], dim=1).unsqueeze(1)
        g_0_own, g_0_shared = torch.split(g_0, [len(f_own), self.n_shared], dim=2)
        q_0 = torch.bmm(g_0_own, f_own.transpose(0, 1)) + torch.bmm(g_0_shared, f_shared)
        return q, q_0.view(n_rows, self.width)

    def health(self) -> list[tuple[str, float]]:
        """Return (name, value) for the last watched forward, nothing before it.

        As `policies.blocks.experts.Gates.health`, for the targets' gates; an own expert is dead
        where its target hardly weighs it, a shared one where no target does. And `own_weight.k`,
        the mean weight that target k gives to its own experts: sparse targets tend to ignore them.
        """
        if self._noted is None:
            return []
        spread, mean = self._noted
        idle = mean < IDLE
        dead = idle[:, : self.n_own].sum() + idle[:, self.n_own :].all(0).sum()
        share = float(dead) / (len(self.names) * self.n_own + self.n_shared)
        weight = mean[:, : self.n_own].sum(1)
        own = [(f"own_weight.{k}", float(v)) for k, v in zip(self.names, weight, strict=True)]
        return [*gate_health(self.names, spread, mean), *own, ("dead_experts", share)]


class Products(nn.Module):
    """The first layers of a later level: each target's part reads q_k, the shared part q_0.

    Args:
        level: the level that reads the products.
        n_in: width of every q.
    """

    def __init__(self, level: Extraction, n_in: int) -> None:
        """Draw the weights."""
        super().__init__()
        n_targets = len(level.names)
        self.own = uniform(n_targets, n_in, level.n_own_first, fan_in=n_in)
        self.own_bias = nn.Parameter(torch.zeros(n_targets, 1, level.n_own_first))
        self.shared = uniform(n_in, level.n_shared_first, fan_in=n_in)
        self.shared_bias = nn.Parameter(torch.zeros(level.n_shared_first))

    def forward(self, q: Tensor, q_0: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `Extraction.forward` reads, for q [T, N, n_in] and q_0 [N, n_in]."""
        own = torch.baddbmm(self.own_bias, q, self.own)
        return own, torch.addmm(self.shared_bias, q_0, self.shared)
