"""DBMTL 3.0: several groups of traffic over common experts, a DBMTL head for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.architecture import Architecture
from policies.blocks.experts import ExpertBank, Gates
from policies.blocks.pairwise import PairEncoder
from policies.blocks.relation import BayesianRelation
from policies.blocks.towers import Heads, OwnTowers
from policies.columns import RequestTensors, Statistics
from policies.examples import Examples
from policies.grouping import Grouping
from policies.models.mmoe import MAX_EXPERTS
from policies.neural import EncoderConfig
from policies.target_graph import TargetGraph
from policies.target_weights import check_weights
from policies.training.batches import Alternating, Batches
from policies.training.likelihood import Emphasis
from sim.config import (
    MAX_WIDTH,
    refusal,
    require,
    require_bool,
    require_int,
    require_section,
    require_widths,
)


@dataclass(frozen=True)
class DBMTL3(Architecture):
    """Config of `DBMTL3Network`."""

    graph: Mapping[str, Sequence[str]]
    """{child: parents}, any acyclic graph over names of LABELS; its names are the targets."""
    grouping: Grouping
    """What is told apart: scenarios, promotion and everyday, new and settled users."""
    refer: bool
    """Whether the network reads the refer."""
    selective: bool
    """Whether each group weighs the features of the request by itself, or all share them."""
    n_experts: int
    """Experts that all groups share; one is a shared network without gates."""
    experts: Sequence[int]
    """Widths of every expert's layers."""
    gate: int
    """Width of the layer that the gates of all groups read."""
    towers: Sequence[int]
    """Widths of each tower's layers."""
    relation: int
    """Width of each target's relation layer."""
    group_weights: Mapping[str, Mapping[str, float]]
    """{group: {target: factor on its weight in the loss}}; what is not named counts 1."""
    alternating: bool
    """Whether each step's batch is drawn from one group, in turns, or from all."""
    temper: float
    """How the turns follow the groups' sizes; see `policies.training.batches.Alternating`."""

    def __post_init__(self) -> None:
        """Check the fields."""
        TargetGraph.build(self.graph)
        require_section(self, "grouping", Grouping)
        require_bool(self, "refer")
        require_bool(self, "selective")
        require_int(self, "n_experts", 1, MAX_EXPERTS)
        require_widths(self, "experts")
        require_int(self, "gate", 1, MAX_WIDTH)
        require_widths(self, "towers")
        require_int(self, "relation", 1, MAX_WIDTH)
        self._check_group_weights()
        require_bool(self, "alternating")
        require(self, "temper", 0.0, 1.0)

    def _check_group_weights(self) -> None:
        allowed = f"{{group: {{target: factor}}}} for some of {', '.join(self.grouping.names)}"
        given = self.group_weights
        if not isinstance(given, Mapping) or not set(given) <= set(self.grouping.names):
            raise refusal(self, "group_weights", allowed)
        graph = TargetGraph.build(self.graph)
        for group, factors in given.items():
            if not isinstance(factors, Mapping) or not set(factors) <= set(graph.targets):
                raise refusal(self, "group_weights", f"{allowed}, targets of the graph")
            check_weights(f"DBMTL3.group_weights.{group}", factors)

    def order(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Return the targets in the order of the graph; see `Architecture`."""
        return TargetGraph.build(self.graph).order(targets)

    def batches(self, examples: Examples) -> Batches | None:
        """Return batches of one group each, if they are to alternate."""
        return Alternating(self._groups(examples), self.temper) if self.alternating else None

    def emphasis(self, examples: Examples, targets: Sequence[str]) -> Emphasis | None:
        """Return the weights of each group's targets, if some differ."""
        if not self.group_weights:
            return None
        rows = [self.group_weights.get(name, {}) for name in self.grouping.names]
        factor = torch.tensor([[float(row.get(name, 1.0)) for name in targets] for row in rows])
        return Emphasis(self._groups(examples), factor)

    def prepare(self, network: nn.Module, examples: Examples, targets: Sequence[str]) -> None:
        """Tell the network which groups it is trained on."""
        assert isinstance(network, DBMTL3Network)
        n_groups = len(self.grouping.names)
        network.rows_seen.copy_(torch.bincount(self._groups(examples), minlength=n_groups))

    def _groups(self, examples: Examples) -> Tensor:
        """Return the group of each row, int64 [N]."""
        return self.grouping.of(examples.requests).index_select(0, examples.request)

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return an untrained `DBMTL3Network`."""
        return DBMTL3Network(statistics, encoder, self)


class DBMTL3Network(PairEncoder):
    """f_e = MLP_e(x), shared; for a row of group s: h_k = sum_e g^s_ke f_e, z = DBMTL_s(h).

    The gates of group s read a hidden layer that all groups share, so that their weights belong to
    s alone. Rows are sorted by group, and gates and head of a group see its rows only: others
    neither move them nor pass through them. There is no normalisation over the batch, whose
    statistics would change with the group. A group without a row in training is served by the head
    of the one with the most. Source: Taobao Live talk (2021), DBMTL 3.0.

    Args:
        statistics: vocabularies and moments.
        encoder: widths of embeddings.
        model: graph, grouping and widths of layers.
    """

    rows_seen: Tensor
    """int64 [G], rows trained on of each group; 0 until `DBMTL3.prepare`."""

    def __init__(self, statistics: Statistics, encoder: EncoderConfig, model: DBMTL3) -> None:
        """Create the layers."""
        bank = ExpertBank(model.n_experts, model.experts)
        n_gate = model.gate if model.n_experts > 1 else 0
        super().__init__(statistics, encoder, model.refer, bank.n_first + n_gate)
        graph, self.grouping = TargetGraph.build(model.graph), model.grouping
        names = self.grouping.names
        self.experts, self.n_gate = bank, n_gate
        self.choice = nn.ParameterList(
            torch.zeros(self.request.width) for _ in (names if model.selective else ())
        )
        rates = statistics.base_rates(graph.targets)
        self.groups = nn.ModuleList(GroupHead(name, graph, model, rates) for name in names)
        self.register_buffer("rows_seen", torch.zeros(len(names), dtype=torch.int64))

    def request_side(self, request: RequestTensors) -> Tensor:
        """Return [request's part of the first layer; group], [B, W + 1]."""
        group, x = self.served_by(self.grouping.of(request)), self.request(request)
        if len(self.choice) and len(group):
            x = torch.cat(
                [2.0 * torch.sigmoid(self.choice[s]) * x[rows] for s, rows in routes(group)]
            )[back(group)]
        return torch.cat([self.first.request_part(x), group[:, None].to(x.dtype)], dim=1)

    def join(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return logits [N, T] in the order of the graph's targets."""
        group = request[:, -1].long()
        first = self.first(request[:, :-1], streamer, pair, position)
        f, g = torch.split(first, [self.experts.n_first, self.n_gate], dim=1)
        experts, hidden = self.experts(f), functional.relu(g)
        parts = [
            self.groups[s](experts.index_select(1, rows), hidden.index_select(0, rows))
            for s, rows in routes(group)
        ]
        z = torch.cat(parts) if parts else first.new_zeros(0, self.groups[0].n_targets)
        return z.index_select(0, back(group))

    def served_by(self, group: Tensor) -> Tensor:
        """Return the group whose head serves each row, int64 [B]."""
        if not self.rows_seen.any():
            return group
        known = torch.arange(len(self.rows_seen), device=group.device)
        known = torch.where(self.rows_seen > 0, known, self.rows_seen.argmax())
        return known[group]


class GroupHead(nn.Module):
    """Gates, towers, relation layer and heads of one group.

    Args:
        name: of the group, for the gates' health.
        graph: the target graph.
        model: widths.
        base_rates: mean of each label [T]; the heads begin there.
    """

    def __init__(self, name: str, graph: TargetGraph, model: DBMTL3, base_rates: Tensor) -> None:
        """Create the layers."""
        super().__init__()
        self.n_targets = len(graph.targets)
        self.gates: Gates | None = None
        if model.n_experts > 1:
            self.gates = Gates([f"{name}.{target}" for target in graph.targets], model.n_experts)
            self.gate = nn.Linear(model.gate, self.gates.n_first)
        self.towers = OwnTowers(model.experts[-1], model.towers, self.n_targets)
        self.relation = BayesianRelation(graph, self.towers.width, model.relation)
        self.heads = Heads(model.relation, base_rates)

    def forward(self, experts: Tensor, hidden: Tensor) -> Tensor:
        """Return logits [n, T] for experts [E, n, width] and the gates' input [n, gate]."""
        if self.gates is None:
            h = experts.transpose(0, 1).expand(-1, self.n_targets, -1)
        else:
            h = self.gates(self.gate(hidden), experts)
        out: Tensor = self.heads(self.relation(self.towers(h.transpose(0, 1))))
        return out


def routes(group: Tensor) -> list[tuple[int, Tensor]]:
    """Return (group, its rows int64 [n]) for each group that has rows, in ascending order."""
    order = torch.argsort(group, stable=True)
    counts = torch.bincount(group).tolist()
    parts = torch.split(order, counts) if counts else ()
    return [(s, rows) for s, rows in enumerate(parts) if len(rows)]


def back(group: Tensor) -> Tensor:
    """Return where each row stands after `routes` put groups behind each other, int64 [N]."""
    order = torch.argsort(group, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    return place
