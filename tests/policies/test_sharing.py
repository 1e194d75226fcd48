"""What models share between targets, at equal budgets: separate, ESMM, MMoE, PLE, GMSL, DBMTL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from policies.checks_stage import planted_stage
from policies.examples import Examples, replay
from policies.features import FeatureStore
from policies.models.dbmtl2 import DBMTL2Network
from policies.models.dbmtl_conditional import READS, ConditionalDBMTLNetwork
from policies.models.esmm import ESMMNetwork
from policies.models.gmsl import GMSLNetwork
from policies.models.mmoe import MMoENetwork
from policies.models.ple import PLENetwork
from policies.models.separate import SeparateNetwork
from policies.models.shared_bottom import SharedBottomNetwork
from policies.multitask import MultiTaskPolicy
from policies.target_graph import TargetGraphError
from policies.training.health import Health
from policies.training.likelihood import logits
from policies.training.trainer import generator
from sim.config import ConfigError
from sim.schema import TARGETS
from tests.policies.planted_learning import FEATURES, preset, serving_requests
from tests.policies.test_models import LOG, examples, fitted, new_network, some_batch

SHARING = ("separate", "esmm", "mmoe", "ple", "gmsl", "dbmtl2", "dbmtl_conditional")


def as_any(network: nn.Module) -> Any:
    """Return the network under a type that every function takes."""
    return network


def gradients(network: nn.Module, loss: Tensor) -> dict[str, Tensor | None]:
    """Return {parameter: gradient, None where there is none}."""
    named = dict(network.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return dict(zip(named, found, strict=True))


def task_of(policy: Any, network: nn.Module) -> Any:
    (phase,) = policy.phases(network, examples())
    return phase.task


def test_separate_networks_share_nothing() -> None:
    policy = preset("separate")
    network = new_network(policy)
    assert isinstance(network, SeparateNetwork)
    z = logits(as_any(network), some_batch())
    for k, name in enumerate(policy.targets):
        reached = gradients(network, z[:, k].sum())
        moved = {n for n, gradient in reached.items() if gradient is not None and gradient.any()}
        assert moved
        assert all(n.startswith(f"networks.{name}.") for n in moved)
        alone = network.networks[name]
        assert isinstance(alone, SharedBottomNetwork)
        reached = gradients(network, logits(alone, some_batch()).sum())
        for parameter, gradient in reached.items():
            assert (gradient is None) or parameter.startswith(f"networks.{name}."), parameter


def test_separate_is_its_networks_side_by_side() -> None:
    network = new_network(preset("separate"))
    assert isinstance(network, SeparateNetwork)
    z = logits(as_any(network), some_batch())
    alone = [logits(as_any(net), some_batch()) for net in network.networks.values()]
    assert torch.allclose(z, torch.cat(alone, dim=1), rtol=1e-5, atol=1e-6)


def test_esmm_towers_share_embeddings_only() -> None:
    policy = preset("esmm")
    network = new_network(policy)
    assert isinstance(network, ESMMNetwork)
    z = logits(as_any(network), some_batch())
    width = policy.model.towers[0]
    for k in range(len(policy.targets)):
        reached = gradients(network, z[:, k].sum())
        first = reached["first.request.weight"]
        assert first is not None
        rows = first.view(len(policy.targets), width, -1).flatten(1).any(1)
        assert rows.tolist() == [j == k for j in range(len(policy.targets))]
        above = reached["towers.weights.0"]
        assert above is not None
        assert above.flatten(1).any(1).tolist() == rows.tolist()
        assert reached["request.user.ids.table"] is not None


def test_esmm_learns_conversions_from_impressions_without_clicks() -> None:
    """The purchase tower has a gradient from rows on which nothing happened."""
    policy = preset("esmm", encoder__id_dropout=0.0)
    network = new_network(policy)
    assert isinstance(network, ESMMNetwork)
    task = task_of(policy, network)
    nothing = torch.nonzero((examples().labels == 0.0).all(1)).flatten()
    assert len(nothing) > 50
    loss = task.loss(nothing, generator(0), True)
    tower = gradients(network, loss)["towers.weights.0"]
    assert tower is not None
    assert tower[policy.targets.index("purchase")].any()


def test_the_loss_of_esmm_is_that_of_its_products() -> None:
    """By hand, over all impressions; nothing falls on a conditional probability by itself."""
    policy = preset("esmm")
    network = new_network(policy)
    task = task_of(policy, network)
    rows = torch.arange(300)
    z = logits(as_any(network), examples().batch(rows)).detach().double()
    share = dict(zip(policy.targets, torch.sigmoid(z).unbind(1), strict=True))
    p = dict(share)
    for child in policy.targets:
        parents = policy.model.needs.get(child, [])
        if parents:
            p[child] = share[child] * p[parents[0]]
    total = 0.0
    for name in policy.targets:
        y = examples().labels[rows][:, TARGETS.index(name)].double()
        total += float(-(y * torch.log(p[name]) + (1 - y) * torch.log1p(-p[name])).mean())
    assert float(task.loss(rows, generator(0), False).detach()) == pytest.approx(total, rel=1e-5)


def test_predictions_of_esmm_are_products() -> None:
    policy, requests = fitted("esmm"), serving_requests(20, LOG)
    p = policy.predict(requests)
    for child, (parent,) in policy.model.needs.items():
        assert (p[child] <= p[parent]).all()


def test_a_gate_of_mmoe_belongs_to_one_target_and_experts_to_all() -> None:
    policy = preset("mmoe")
    network = new_network(policy)
    assert isinstance(network, MMoENetwork)
    z = logits(as_any(network), some_batch())
    n_experts, n_targets = policy.model.n_experts, len(policy.targets)
    for k in range(n_targets):
        first = gradients(network, z[:, k].sum())["first.request.weight"]
        assert first is not None
        experts, gates = torch.split(first, [network.experts.n_first, network.gates.n_first])
        assert experts.view(n_experts, -1).any(1).all()
        own = gates.view(n_targets, -1).any(1)
        assert own.tolist() == [j == k for j in range(n_targets)]


def test_a_collapse_of_experts_shows_in_the_training_metrics() -> None:
    policy = preset("mmoe")
    network = new_network(policy)
    assert isinstance(network, MMoENetwork)
    health = Health(network)

    def readings() -> dict[str, float]:
        health.watch(True)
        torch.autograd.backward(task_of(policy, network).loss(torch.arange(99), generator(0), True))
        return health.readings()

    sound = readings()
    assert sound["gates.gate_entropy.purchase"] > 0.5
    assert sound["gates.dead_experts"] == 0.0
    with torch.no_grad():  # every gate wants expert 2
        gates = network.first.request.bias[network.experts.n_first :]
        gates.view(len(policy.targets), policy.model.n_experts)[:, 2] += 100.0
    collapsed = readings()
    assert collapsed["gates.gate_entropy.purchase"] < 1e-6
    assert collapsed["gates.largest_gate.engage"] == pytest.approx(1.0)
    assert collapsed["gates.dead_experts"] == pytest.approx(0.8)
    assert {"levels.0.own_weight.engage", "levels.1.dead_experts"} <= set(ple_readings())


def ple_readings() -> dict[str, float]:
    policy = preset("ple")
    network = new_network(policy)
    health = Health(network)
    health.watch(True)
    torch.autograd.backward(task_of(policy, network).loss(torch.arange(99), generator(0), True))
    return health.readings()


def test_own_experts_of_ple_are_the_targets_own() -> None:
    """In CGC, one level: target a does not reach the own experts of b, but the shared ones."""
    policy = preset("ple", model__n_levels=1, model__n_own=2)
    network = new_network(policy)
    assert isinstance(network, PLENetwork)
    assert len(network.products) == 0
    z = logits(as_any(network), some_batch())
    n_targets = len(policy.targets)
    for k in range(n_targets):
        reached = gradients(network, z[:, k].sum())
        own, shared = reached["levels.0.own.weights.0"], reached["levels.0.shared.weights.0"]
        assert own is not None
        assert shared is not None
        mine = own.view(n_targets, -1).any(1)
        assert mine.tolist() == [j == k for j in range(n_targets)]
        assert shared.any()


def test_gmsl_reads_the_stages_before_and_none_after() -> None:
    policy = preset("gmsl")
    network = new_network(policy)
    assert isinstance(network, GMSLNetwork)
    chain = list(policy.model.chain)
    assert list(policy.targets[: len(chain)]) == chain
    with torch.no_grad():  # all units of all towers alive
        network.towers.bias.fill_(5.0)
        for bias in network.towers.biases:
            bias.fill_(5.0)
    z = logits(as_any(network), some_batch())
    width = policy.model.towers[0]
    for k in range(len(policy.targets)):
        first = gradients(network, z[:, k].sum())["towers.first"]
        assert first is not None
        reached = first.view(len(policy.targets), width, -1).flatten(1).any(1).tolist()
        before = range(k + 1) if k < len(chain) else [k]
        assert reached == [j in before for j in range(len(policy.targets))]


def test_gmsl_is_a_recurrence_by_hand() -> None:
    network = new_network(preset("gmsl"))
    assert isinstance(network, GMSLNetwork)
    e = torch.randn(4, 6, network.towers.width, generator=generator(3))
    cell = network.recurrence.cell
    h = torch.zeros(6, network.recurrence.width)
    for k, mine in enumerate(network.recurrence(e)):
        at, bt = (e[k] @ cell.weight_ih.t() + cell.bias_ih).chunk(3, 1), h @ cell.weight_hh.t()
        r_h, z_h, n_h = (bt + cell.bias_hh).chunk(3, 1)
        r, z = torch.sigmoid(at[0] + r_h), torch.sigmoid(at[1] + z_h)
        h = (1.0 - z) * torch.tanh(at[2] + r * n_h) + z * h
        assert torch.allclose(mine, h, atol=1e-5)


def test_gmsl_takes_chains_only() -> None:
    model = preset("gmsl").model
    for chain in ([], ["engage"], ["engage", "engage"], "engage"):
        with pytest.raises(ConfigError, match="two or more targets, each once"):
            replace(model, chain=chain)
    with pytest.raises(TargetGraphError, match="watch is a quantity"):
        replace(model, chain=["watch", "like"]).order(("watch", "like"))
    with pytest.raises(TargetGraphError, match="needs names engage"):
        model.order(("bag_click", "cart", "purchase"))


def test_the_second_dbmtl_joins_gates_and_relations() -> None:
    """Own gates as in MMoE, and a child's logit reaches its ancestors' gates, not others'."""
    policy = preset("dbmtl2")
    network = new_network(policy)
    assert isinstance(network, DBMTL2Network)
    graph = network.relation.graph
    z = logits(as_any(network), some_batch())
    for k, above in enumerate(graph.ancestors()):
        first = gradients(network, z[:, k].sum())["first.request.weight"]
        assert first is not None
        gates = first[network.experts.n_first :].view(len(policy.targets), -1).any(1)
        assert set(torch.nonzero(gates).flatten().tolist()) <= set(above)
        assert bool(gates[k])


@pytest.mark.parametrize("reads", READS)
def test_a_child_reads_what_it_is_told_to(reads: str) -> None:
    """By hand: hidden vectors, logits or probabilities of the parents."""
    policy = preset("dbmtl_conditional", model__reads=reads)
    network = new_network(policy)
    assert isinstance(network, ConditionalDBMTLNetwork)
    relation, heads, graph = network.relation, network.heads, network.relation.graph
    u = torch.randn(len(graph.targets), 16, 7, generator=generator(4)).abs()
    with torch.no_grad():
        z = relation(u, heads) if reads != "hidden" else heads(relation(u))
        hidden: list[Tensor] = []
        for k, parents in enumerate(graph.parents):
            total = relation.own[k] @ u[k] + relation.bias[k]
            for place, parent in enumerate(parents):
                if reads == "hidden":
                    group, row = hidden_edge(relation, k)
                    edge = relation.edges[group][row : row + 16, 16 * place : 16 * place + 16]
                    total = total + edge @ hidden[parent]
                else:
                    number = sum(bool(of) for of in graph.parents[:k])
                    edge = relation.edges[number][:, place : place + 1]
                    out = z[:, parent][None]
                    total = total + edge @ (out.sigmoid() if reads == "probability" else out)
            hidden.append(torch.relu(total))
            by_hand = heads.weight[k] @ hidden[k] + heads.bias[k]
            assert torch.allclose(z[:, k], by_hand, atol=1e-5)


def hidden_edge(relation: Any, k: int) -> tuple[int, int]:
    """Return which edge block holds the weights of target k, and at which row they begin."""
    start, group = 0, 0
    for parents, n in relation.groups:
        if start <= k < start + n:
            return group, (k - start) * relation.width
        start, group = start + n, group + bool(parents)
    raise AssertionError


def test_what_is_read_is_checked() -> None:
    model = preset("dbmtl_conditional").model
    with pytest.raises(ConfigError, match="reads = 'label'; allowed: hidden, logit, probability"):
        replace(model, reads="label")
    with pytest.raises(TargetGraphError, match="watch is a quantity"):
        replace(model, needs={"like": ["watch"]})


def test_without_needs_the_conditional_dbmtl_is_dbmtl() -> None:
    """The same weights, the same logits, the same loss."""
    soft, strict = preset("dbmtl"), preset("dbmtl_conditional")
    model = replace(strict.model, needs={"engage": []})
    shared = {key: getattr(strict, key) for key in ("fusion", "features", "encoder", "trainer")}
    strict = MultiTaskPolicy(model, dict(strict.target_weights), **shared)
    a, b = new_network(soft), new_network(strict)
    rows = torch.arange(200)
    losses = [
        float(task_of(p, net).loss(rows, generator(0), False).detach())
        for p, net in ((soft, a), (strict, b))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert torch.equal(logits(as_any(a), some_batch()), logits(as_any(b), some_batch()))


@pytest.mark.parametrize("name", ["dbmtl2", "dbmtl_conditional", "esmm"])
def test_the_order_of_declaration_does_not_matter(name: str) -> None:
    """The same graph and weights, named in another order: the same network, bit by bit."""
    policy = preset(name)
    turned_fields = {
        field: {k: getattr(policy.model, field)[k] for k in reversed(getattr(policy.model, field))}
        for field in ("graph", "needs")
        if hasattr(policy.model, field)
    }
    weights = dict(reversed(list(policy.target_weights.items())))
    shared = {key: getattr(policy, key) for key in ("fusion", "features", "encoder", "trainer")}
    turned = MultiTaskPolicy(replace(policy.model, **turned_fields), weights, **shared)
    assert turned.targets == policy.targets
    a, b = (logits(as_any(new_network(p)), some_batch()) for p in (policy, turned))
    assert torch.equal(a, b)


def work_of(name: str) -> tuple[float, int]:
    """Return multiply-adds per row of a training forward, and weights beside the tables."""
    network, rows = new_network(preset(name)), some_batch()
    with FlopCounterMode(display=False) as counter:
        logits(as_any(network), rows)
    weights = sum(p.numel() for n, p in network.named_parameters() if not n.endswith("table"))
    return counter.get_total_flops() / 2 / len(rows.labels), weights


@pytest.mark.parametrize("name", SHARING)
def test_budgets_are_equal_to_a_quarter(name: str) -> None:
    """Multiply-adds a row and weights, beside those of conf/policy/dbmtl.yaml."""
    (work, weights), (same_work, same_weights) = work_of(name), work_of("dbmtl")
    assert 0.8 < work / same_work < 1.25
    assert 0.8 < weights / same_weights < 1.25
    assert policy_numbers(name) == policy_numbers("dbmtl")


def test_experts_of_mmoe_and_ple_have_equal_budgets() -> None:
    (mmoe, mmoe_weights), (ple, ple_weights) = work_of("mmoe"), work_of("ple")
    assert 0.9 < mmoe / ple < 1.1
    assert 0.9 < mmoe_weights / ple_weights < 1.1
    first = [new_network(preset(name)) for name in ("mmoe", "ple")]
    assert isinstance(first[0], MMoENetwork)
    assert isinstance(first[1], PLENetwork)
    lowest = first[1].levels[0]
    assert first[0].experts.n_first == lowest.own.n_first + lowest.shared.n_first == 80  # type: ignore[union-attr, operator]


def policy_numbers(name: str) -> tuple[object, ...]:
    """Return what is not the model's: all but the network is the same."""
    policy = preset(name)
    parts = (policy.fusion, policy.features, policy.encoder, policy.trainer)
    return (*parts, dict(policy.target_weights))


@pytest.mark.slow
def test_what_configs_call_impossible_does_not_happen() -> None:
    """In a simulated log nothing that is learnt by conditionals happened without what it needs."""
    log = planted_stage().log
    store = FeatureStore(FEATURES, int(log.catalogue().streamer_category.max()) + 1)
    data: Examples = replay(log, store)
    policy = preset("dbmtl_conditional")
    happened = {name: (data.labels[:, TARGETS.index(name)] > 0).numpy() for name in TARGETS}
    assert policy.model.needs
    for child, parents in policy.model.needs.items():
        assert happened[child].any()
        for parent in parents:
            assert not (happened[child] & ~happened[parent]).any()
    # Under the first hop things do happen without it, in the swipe: rates are what ESMM relies on.
    for child, parents in preset("esmm").model.needs.items():
        for parent in parents:
            rate = [np.mean(data.labels[:, TARGETS.index(n)].numpy()) for n in (child, parent)]
            assert rate[0] < rate[1]
