"""The Bayesian relation layer of DBMTL over an acyclic target graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.blocks.towers import uniform
from policies.target_graph import TargetGraph


class BayesianRelation(nn.Module):
    """r_k = ReLU(W_k [u_k ; r_p for p in parents of k] + b_k), in the order of the graph.

    Children read their parents' hidden vectors and not their labels, so one pass gives all
    targets, and the factorisation P(t | x) = prod_k P(t_k | parents, x) is soft: nothing enforces
    p_child <= p_parent. W_k is kept as one block for u_k and one for each parent. Source: DBMTL
    (arXiv 1902.09154).

    Args:
        graph: the target graph; tower k belongs to graph.targets[k].
        n_in: width of every u_k.
        width: width of every r_k.
    """

    def __init__(self, graph: TargetGraph, n_in: int, width: int) -> None:
        """Draw the weights; each target's fan-in counts its parents."""
        super().__init__()
        self.graph = graph
        fan_in = [n_in + width * len(parents) for parents in graph.parents]
        edges = [k for k, parents in enumerate(graph.parents) for _ in parents]
        own: list[Tensor] = [uniform(width, n_in, fan_in=f) for f in fan_in]
        self.own = nn.Parameter(torch.stack(own))
        self.bias = nn.Parameter(torch.zeros(len(graph.targets), width, 1))
        blocks: list[Tensor] = [uniform(width, width, fan_in=fan_in[k]) for k in edges]
        self.edge = nn.Parameter(torch.stack(blocks)) if blocks else None

    def forward(self, u: Tensor) -> list[Tensor]:
        """Return r_k [width, N] for u [T, n_in, N], in the order of graph.targets."""
        own = torch.baddbmm(self.bias, self.own, u).unbind(0)
        edges = iter(self.edge.unbind(0) if self.edge is not None else ())
        r: list[Tensor] = []
        for total, parents in zip(own, self.graph.parents, strict=True):
            for p in parents:
                total = torch.addmm(total, next(edges), r[p])
            r.append(functional.relu(total))
        return r
