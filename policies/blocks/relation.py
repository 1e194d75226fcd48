"""The Bayesian relation layer of DBMTL over an acyclic target graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.target_graph import TargetGraph


class BayesianRelation(nn.Module):
    """r_k = ReLU(W_k [u_k ; r_p for p in parents of k] + b_k), in the order of the graph.

    Children read their parents' hidden vectors and not their labels, so one pass gives all
    targets, and the factorisation P(t | x) = prod_k P(t_k | parents, x) is soft: nothing enforces
    p_child <= p_parent. Source: DBMTL (arXiv 1902.09154); relation layer as in reference
    implementations, roots included.

    Args:
        graph: the target graph; tower k belongs to graph.targets[k].
        n_in: width of every u_k.
        width: width of every r_k.
    """

    def __init__(self, graph: TargetGraph, n_in: int, width: int) -> None:
        """Draw the weights; each target's fan-in counts its parents."""
        super().__init__()
        self.graph = graph
        self.width = width
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for parents in graph.parents:
            fan_in = n_in + width * len(parents)
            self.weights.append((torch.rand(fan_in, width) * 2.0 - 1.0) * fan_in**-0.5)
            self.biases.append(torch.zeros(width))

    def forward(self, u: Sequence[Tensor]) -> list[Tensor]:
        """Return r_k [N, width] for u_k [N, n_in], both in the order of graph.targets."""
        r: list[Tensor] = []
        for u_k, parents, weight, bias in zip(
            u, self.graph.parents, self.weights, self.biases, strict=True
        ):
            parts = [u_k.shape[1]] + [self.width] * len(parents)
            own, *rest = torch.split(weight, parts)
            total = torch.addmm(bias, u_k, own)
            for p, part in zip(parents, rest, strict=True):
                total = torch.addmm(total, r[p], part)
            r.append(functional.relu(total, inplace=True))
        return r
