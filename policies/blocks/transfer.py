"""Scenario-adaptive transfer of SASS: a global net, scenario nets, and gates between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim.schema import SCENARIOS


class TransferGate(nn.Module):
    """How much of the global signal enters a scenario's vector after one layer.

    r = sigmoid(W_r [g; n; c])         adaptive gate: what of the global vector passes
    m = tanh(W_m [r * g; n])           candidate
    z = sigmoid(W_z [g; n; c])         update gate: how it is mixed
    n <- (1 - z) * n + z * m

    with g the global vector, n the scenario's, c the scenario's embedding. Source: SASS (arXiv
    2208.11457, multi-layer scenario adaptive transfer), in the gated-recurrent reading.

    Args:
        width: width of g and n.
        n_context: width of c.
    """

    def __init__(self, width: int, n_context: int) -> None:
        """Create the three maps."""
        super().__init__()
        self.adaptive = nn.Linear(2 * width + n_context, width)
        self.candidate = nn.Linear(2 * width, width)
        self.update = nn.Linear(2 * width + n_context, width)

    def forward(self, g: Tensor, n: Tensor, c: Tensor) -> Tensor:
        """Return the mixed vector [N, width] for g, n [N, width] and c [N, n_context]."""
        everything = torch.cat([g, n, c], dim=1)
        r = torch.sigmoid(self.adaptive(everything))
        m = torch.tanh(self.candidate(torch.cat([r * g, n], dim=1)))
        z = torch.sigmoid(self.update(everything))
        return torch.lerp(n, m, z)


class ScenarioTransfer(nn.Module):
    """L layers of a global net and one net per scenario, with a transfer gate after every layer.

    Rows run through the net of their own scenario only, so that a row moves no foreign scenario's
    weights.

    Args:
        n_in: input width.
        widths: widths of the layers.
        n_context: width of the scenario embedding.
    """

    def __init__(self, n_in: int, widths: Sequence[int], n_context: int) -> None:
        """Create the nets."""
        super().__init__()
        sizes = list(pairwise([n_in, *widths]))
        self.scenario = nn.Embedding(len(SCENARIOS), n_context)
        self.shared = nn.ModuleList(nn.Linear(a, b) for a, b in sizes)
        self.own = nn.ModuleList(
            nn.ModuleList(nn.Linear(a, b) for a, b in sizes) for _ in SCENARIOS
        )
        self.gates = nn.ModuleList(TransferGate(b, n_context) for _, b in sizes)
        self.width = widths[-1]

    def forward(self, x: Tensor, scenario: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scenario's and the global vector, [N, width] each.

        Args:
            x: [N, n_in].
            scenario: int64 [N], index into SCENARIOS.
        """
        order = torch.argsort(scenario, stable=True)
        counts = torch.bincount(scenario, minlength=len(SCENARIOS)).tolist()
        c = self.scenario(scenario.index_select(0, order))
        g = n = x.index_select(0, order)
        for level, (shared, gate) in enumerate(zip(self.shared, self.gates, strict=True)):
            parts = torch.split(n, counts)
            moved = [
                layers[level](part)  # type: ignore[index]
                for layers, part in zip(self.own, parts, strict=True)
                if len(part)
            ]
            n = functional.relu(torch.cat(moved) if moved else n.new_zeros(0, self.width))
            g = functional.relu(shared(g))
            n = gate(g, n, c)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        return n.index_select(0, back), g.index_select(0, back)
