"""Blocks against their definitions, written out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from policies.blocks.embedding import FieldEmbedding
from policies.blocks.mlp import RawLinear
from policies.blocks.relation import BayesianRelation
from policies.blocks.split import SplitLinear
from policies.blocks.three_towers import ThreeTowerMatch
from policies.blocks.towers import Heads, TowerBank
from policies.blocks.transfer import ScenarioTransfer, TransferGate
from policies.columns import SideStatistics, Statistics
from policies.features import PAIR_FIELDS, REFER_CROSSES
from policies.target_graph import TargetGraph
from policies.training.contrast import Groups, Partners, info_nce, triplet
from policies.training.trainer import generator

GRAPH = TargetGraph.build({"engage": [], "watch": ["engage"], "like": ["engage", "watch"]})


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(0, *shape))


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-5, atol=1e-6)


def test_embedding_columns_have_rows_of_their_own_and_one_for_unknown() -> None:
    rows = torch.tensor([0, 1, 0, 2], dtype=torch.int32)  # value 2 was met too rarely
    embedding = FieldEmbedding([rows, rows], dim=4, scale=0.1)
    values = torch.tensor([[0, 3], [2, 3], [9, 3], [-1, 1]], dtype=torch.int32)
    out = embedding(values).view(4, 2, 4)
    assert embedding.table.shape == (6, 4)
    assert torch.equal(out[0, 0], embedding.table[0])
    assert torch.equal(out[1, 0], out[0, 0])  # rare
    assert torch.equal(out[2, 0], out[0, 0])  # beyond the vocabulary
    assert torch.equal(out[3, 0], out[0, 0])  # negative
    assert torch.equal(out[0, 1], embedding.table[3 + 2])
    assert not torch.equal(out[3, 1], embedding(torch.tensor([[1, 1]], dtype=torch.int32))[0, :4])


def test_raw_linear_standardises_its_input() -> None:
    mean, scale = draw(5), draw(5).abs() + 0.5
    layer, x, base = RawLinear(mean, scale, 3), 10.0 * draw(7, 5), draw(7, 3)
    assert torch.allclose(
        layer.add_to(base + layer.constant(), x),
        base + ((x - mean) / scale) @ layer.weight,
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("refer", [True, False])
def test_split_linear_is_one_layer_on_everything(refer: bool) -> None:
    n = len(PAIR_FIELDS)
    side = SideStatistics((), (), torch.zeros(0), torch.ones(0))
    statistics = Statistics(
        side, side, side, side, torch.zeros(n), torch.ones(n), torch.full((8,), 0.5), 4
    )
    layer = SplitLinear(6, 5, statistics, 8, refer)
    r, s, p = draw(10, 6), draw(10, 5), draw(10, n)
    got = layer(layer.request_part(r), layer.streamer_part(s), p, None)
    used = p if refer else p[:, : n - len(REFER_CROSSES)]
    weight = torch.cat([layer.request.weight.t(), layer.streamer.weight.t(), layer.pair.weight])
    assert close(got, torch.cat([r, s, used], 1) @ weight + layer.request.bias)
    position = torch.tensor([0, 1] * 5, dtype=torch.int32)
    torch.nn.init.ones_(layer.position.weight[1])
    moved = layer(layer.request_part(r), layer.streamer_part(s), p, position)
    assert close(moved[::2], got[::2])
    assert not close(moved[1::2], got[1::2])


def test_towers_are_separate_mlps() -> None:
    towers = TowerBank(6, [5, 4], 3)
    h = draw(9, 6)
    got = towers(h)
    assert got.shape == (3, 4, 9)
    for k in range(3):
        first = slice(5 * k, 5 * k + 5)
        u = torch.relu(towers.first[first] @ h.t() + towers.bias[first])
        u = torch.relu(towers.weights[0][k] @ u + towers.biases[0][k])
        assert close(got[k], u)


def test_heads_begin_at_the_base_rates() -> None:
    heads = Heads(4, torch.tensor([0.1, 0.9]))
    z = heads([torch.zeros(4, 3), torch.zeros(4, 3)])
    assert z.shape == (3, 2)
    assert close(torch.sigmoid(z), torch.tensor([[0.1, 0.9]] * 3))


def test_relation_layer_reads_its_parents() -> None:
    layer = BayesianRelation(GRAPH, 5, 4)
    u = draw(3, 5, 8)
    with torch.no_grad():
        layer.bias.normal_(generator=generator(1))
    engage, watch, like = layer(u)
    by_hand = torch.relu(layer.own[0] @ u[0] + layer.bias[0])
    assert close(engage, by_hand)
    both = torch.cat([layer.own[1], layer.edges[0]], 1) @ torch.cat([u[1], by_hand]) + layer.bias[1]
    assert close(watch, torch.relu(both))
    three = torch.cat([layer.own[2], layer.edges[1]], 1) @ torch.cat([u[2], engage, watch])
    assert close(like, torch.relu(three + layer.bias[2]))


def test_siblings_share_a_product_and_nothing_else() -> None:
    graph = TargetGraph.build({"watch": ["engage"], "like": ["engage"], "cart": ["engage"]})
    layer, u = BayesianRelation(graph, 5, 4), draw(4, 5, 8)
    root, *siblings = layer(u)
    assert [edge.shape for edge in layer.edges] == [(12, 4)]
    for k, r in enumerate(siblings):
        own = layer.own[k + 1] @ u[k + 1]
        assert close(r, torch.relu(own + layer.edges[0][4 * k : 4 * k + 4] @ root))


def test_relation_layer_of_roots_only() -> None:
    graph = TargetGraph.build({"engage": [], "like": []})
    layer = BayesianRelation(graph, 3, 2)
    assert len(layer.edges) == 0
    assert [r.shape for r in layer(draw(2, 3, 6))] == [(2, 6), (2, 6)]


def test_no_gradient_flows_from_parent_to_child() -> None:
    layer = BayesianRelation(GRAPH, 5, 4)
    u = draw(3, 5, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(u)[0].sum(), u)
    assert gradient[0].any()
    assert not gradient[1:].any()
    (gradient,) = torch.autograd.grad(layer(u)[2].sum(), u)
    assert all(gradient[k].any() for k in range(3))


def test_joint_likelihood_is_the_product_of_the_conditionals() -> None:
    """Brute force over a toy graph: the joint sums to 1 and the loss is its logarithm."""
    layer = BayesianRelation(GRAPH, 5, 4)
    z = Heads(4, torch.tensor([0.3, 0.2, 0.1]))(layer(draw(3, 5, 6))).detach()
    p = torch.sigmoid(z).double()
    total = torch.zeros(6, dtype=torch.float64)
    for outcome in itertools.product([0.0, 1.0], repeat=3):
        t = torch.tensor(outcome, dtype=torch.float64)
        joint = torch.prod(p**t * (1.0 - p) ** (1.0 - t), dim=1)
        loss = functional.binary_cross_entropy_with_logits(
            z.double(), t.expand(6, 3), reduction="none"
        ).sum(1)
        assert torch.allclose(loss, -torch.log(joint), atol=1e-6)
        total += joint
    assert torch.allclose(total, torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("bound", [False, True])
def test_refer_match_by_hand(bound: bool) -> None:
    match = ThreeTowerMatch(4, 3, 5, dim=2, bound=bound)
    u, r, i = draw(6, 4), draw(6, 3), draw(6, 5)
    match.requires_grad_(False)
    present = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 1.0])
    got = (match.request(u, r, present) * match.streamer(i)).sum(1)
    for n in range(6):
        u2r = torch.dot(match.a(u[n]), match.b(r[n]))
        u2r = torch.sigmoid(u2r) if bound else u2r
        r2i, u2i = torch.dot(match.c(r[n]), match.d(i[n])), torch.dot(match.e(u[n]), match.f(i[n]))
        expected = u2r * r2i + u2i if present[n] else u2i
        assert float(got[n]) == pytest.approx(float(expected), rel=1e-4, abs=1e-5)


def test_transfer_gate_by_hand() -> None:
    gate = TransferGate(3, 2)
    g, n, c = draw(5, 3), draw(5, 3), draw(5, 2) + 1.0
    x = torch.cat([g, n, c], 1)
    r, z = torch.sigmoid(gate.adaptive(x)), torch.sigmoid(gate.update(x))
    m = torch.tanh(gate.candidate(torch.cat([r * g, n], 1)))
    assert close(gate(g, n, c), (1.0 - z) * n + z * m)


def test_scenario_transfer_by_hand_one_row_at_a_time() -> None:
    tower = ScenarioTransfer(6, [5, 4], 2)
    x, scenario = draw(7, 6), torch.tensor([2, 0, 2, 2, 0, 2, 0])
    own, shared = tower(x, scenario)
    for row, s in enumerate(scenario.tolist()):
        g = n = x[row : row + 1]
        for level in range(2):
            net = tower.own[s]
            n = torch.relu(net[level](n))  # type: ignore[index]
            g = torch.relu(tower.shared[level](g))
            n = tower.gates[level](g, n, tower.scenario.weight[s][None])
        assert close(own[row], n[0])
        assert close(shared[row], g[0])


def test_a_foreign_scenario_net_gets_no_gradient() -> None:
    # Rows and units enough that some unit of each layer is alive whatever the weights are.
    tower = ScenarioTransfer(6, [24, 16], 2)
    own, shared = tower(draw(64, 6), torch.tensor([2, 0] * 32))
    torch.autograd.backward(own.sum() + shared.sum())
    assert all(p.grad is None for p in tower.own[1].parameters())
    for s in (0, 2):
        assert all(p.grad is not None and p.grad.any() for p in tower.own[s].parameters())


def test_groups_draw_uniformly_from_the_own_group() -> None:
    key = torch.tensor([5, 1, 5, 2, 5, 1])
    drawn = Groups(key).draw(torch.arange(6), 600, generator(0))
    assert torch.equal(key[drawn], key[:, None].expand(6, 600))
    share = torch.bincount(drawn[0], minlength=6) / 600
    assert share[[0, 2, 4]].tolist() == pytest.approx([1 / 3] * 3, abs=0.08)


def test_partners_have_the_same_owner_and_another_scenario() -> None:
    rng = np.random.default_rng(0)
    owner, scenario = (torch.from_numpy(rng.integers(0, n, 200)) for n in (30, 3))
    partners = Partners(owner, scenario)
    rows = partners.anchors
    several = [len(set(scenario[owner == o].tolist())) > 1 for o in owner.tolist()]
    assert rows.tolist() == np.flatnonzero(several).tolist()
    seen = set()
    for seed in range(20):
        other = partners.draw(rows, generator(seed))
        assert torch.equal(owner[other], owner[rows])
        assert (scenario[other] != scenario[rows]).all()
        seen |= set(other.tolist())
    assert seen == set(rows.tolist())


def test_info_nce_by_hand() -> None:
    a, b = (functional.normalize(draw(3, 4) + shift, dim=1) for shift in (0.0, 0.3))
    owner = torch.tensor([7, 8, 7])
    vectors, owners = [*a, *b], [7, 8, 7, 7, 8, 7]
    losses = []
    for i in range(6):
        partner = (i + 3) % 6
        near = {j: float(torch.exp(vectors[i] @ vectors[j] / 0.2)) for j in range(6)}
        rest = [near[j] for j in range(6) if owners[j] != owners[i]]
        losses.append(-np.log(near[partner] / (near[partner] + sum(rest))))
    assert float(info_nce(a, b, owner, 0.2)) == pytest.approx(np.mean(losses), rel=1e-4)


def test_triplet_by_hand() -> None:
    positive, negative = torch.tensor([0.5, 0.1]), torch.tensor([[0.1, 0.4], [0.3, -0.9]])
    valid = torch.tensor([[True, True], [True, False]])
    expected = (max(0, 0.3 - 0.5 + 0.1) + max(0, 0.3 - 0.5 + 0.4) + max(0, 0.3 - 0.1 + 0.3)) / 3
    assert float(triplet(positive, negative, valid, 0.3)) == pytest.approx(expected)
