"""The Bayesian relation layer of DBMTL over an acyclic target graph."""

from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.blocks.mlp import plus_product
from policies.blocks.towers import Heads, uniform
from policies.target_graph import TargetGraph


class BayesianRelation(nn.Module):
    """r_k = ReLU(W_k [u_k ; r_p for p in parents of k] + b_k), in the order of the graph.

    Children read their parents' hidden vectors and not their labels, so one pass gives all
    targets, and the factorisation P(t | x) = prod_k P(t_k | parents, x) is soft: nothing enforces
    p_child <= p_parent. W_k is kept as `own[k]`, which reads u_k, and rows of `edges[g]`, which
    reads the parents; neighbours in the order with the same parents are one group g and share one
    product. Source: DBMTL (arXiv 1902.09154).

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
        self.groups = [(of, len(list(same))) for of, same in groupby(graph.parents)]
        own: list[Tensor] = [
            uniform(width, n_in, fan_in=n_in + width * len(of)) for of in graph.parents
        ]
        self.own = nn.Parameter(torch.stack(own))
        self.bias = nn.Parameter(torch.zeros(len(graph.targets), width, 1))
        self.edges = nn.ParameterList(
            uniform(n * width, width * len(of), fan_in=n_in + width * len(of))
            for of, n in self.groups
            if of
        )

    def forward(self, u: Tensor) -> list[Tensor]:
        """Return r_k [width, N] for u [T, n_in, N], in the order of graph.targets."""
        own = torch.baddbmm(self.bias, self.own, u)
        edges = iter(self.edges)
        r: list[Tensor] = []
        for parents, n in self.groups:
            total = own[len(r) : len(r) + n].flatten(0, 1)
            if parents:
                above = r[parents[0]] if len(parents) == 1 else torch.cat([r[p] for p in parents])
                total = plus_product(total, next(edges), above)
            rectified = functional.relu(total, inplace=not torch.is_grad_enabled())
            r += rectified.view(n, self.width, -1).unbind(0)
        return r


class OutputRelation(nn.Module):
    """z_k = w_k . ReLU(W_k [u_k ; o_p for p in parents of k] + b_k) + c_k.

    With o_p = z_p or sigmoid(z_p), children read what their parents predict and not how they come
    to it: the talk's wording (2021) leaves open which "output" of the parents it is, and public
    implementations pass hidden vectors (`BayesianRelation`). W_k is kept as `own[k]`, which reads
    u_k, and `edges`, which read the parents.

    Args:
        graph: the target graph; tower k belongs to graph.targets[k].
        n_in: width of every u_k.
        width: width of every relation layer.
        probability: whether sigmoid(z_p) is read, not z_p.
    """

    def __init__(self, graph: TargetGraph, n_in: int, width: int, probability: bool) -> None:
        """Draw the weights; each target's fan-in counts its parents."""
        super().__init__()
        self.graph = graph
        self.probability = probability
        own: list[Tensor] = [uniform(width, n_in, fan_in=n_in + len(of)) for of in graph.parents]
        self.own = nn.Parameter(torch.stack(own))
        self.bias = nn.Parameter(torch.zeros(len(graph.targets), width, 1))
        self.edges = nn.ParameterList(
            uniform(width, len(of), fan_in=n_in + len(of)) for of in graph.parents if of
        )

    def forward(self, u: Tensor, heads: Heads) -> Tensor:
        """Return logits [N, T] for u [T, n_in, N], in the order of graph.targets."""
        own = torch.baddbmm(self.bias, self.own, u)
        edges = iter(self.edges)
        z: list[Tensor] = []
        for k, parents in enumerate(self.graph.parents):
            total = own[k]
            if parents:
                above = torch.stack([z[p] for p in parents])
                total = total + next(edges) @ (above.sigmoid() if self.probability else above)
            z.append(heads.weight[k] @ functional.relu(total) + heads.bias[k])
        return torch.stack(z, dim=1)
