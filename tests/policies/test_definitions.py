"""Learned policies against the definitions of their papers."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch

from policies.contract import FitContext
from policies.models.dbmtl import DBMTLNetwork
from policies.models.sass import SASSNetwork, Triplets, Views
from policies.multitask import MultiTaskPolicy
from policies.target_graph import TargetGraphError
from policies.training.contrast import Blocks
from policies.training.likelihood import logits
from policies.training.trainer import generator
from sim.config import ConfigError
from sim.schema import PAD, SCENARIOS, SWIPE, TARGETS
from tests.policies.planted_learning import N_STREAMERS, as_log, preset, serving_requests
from tests.policies.test_models import (
    LOG,
    examples,
    fitted,
    new_network,
)


def test_a_blind_model_does_not_see_the_refer() -> None:
    requests = serving_requests(40, LOG)
    swipe = requests.scenario == SWIPE
    other = np.where(swipe, (requests.refer_id + 1) % N_STREAMERS, PAD).astype(np.int32)
    turned = replace(requests, refer_id=other)
    for name in ("shared_bottom", "dbmtl", "dmr1", "sass"):
        assert np.array_equal(fitted(name).score(requests), fitted(name).score(turned))
    assert not np.array_equal(fitted("rui3").score(requests), fitted("rui3").score(turned))
    seeing = new_network(preset("dbmtl", model__refer=True))
    assert isinstance(seeing, DBMTLNetwork)
    assert seeing.request.refer is not None


def test_dbmtl_takes_any_graph_and_refuses_cycles() -> None:
    base = preset("dbmtl")
    shared = {key: getattr(base, key) for key in ("fusion", "features", "encoder", "trainer")}

    def over(graph: dict[str, list[str]], *targets: str) -> MultiTaskPolicy:
        model = replace(base.model, graph=graph)
        return MultiTaskPolicy(model, dict.fromkeys(targets, 1.0), **shared)

    weights = ("purchase", "like", "follow", "watch")
    policy = over({"purchase": ["like", "follow"], "like": ["watch"]}, *weights)
    assert policy.targets == ("watch", "follow", "like", "purchase")
    policy.fit(as_log(LOG), FitContext())
    assert set(policy.predict(serving_requests(3, LOG))) == set(weights)
    with pytest.raises(TargetGraphError, match="cycle"):
        over({"like": ["watch"], "watch": ["like"]}, "like", "watch")
    with pytest.raises(ConfigError, match="target_weights has like; allowed"):
        over({"like": ["watch"]}, "like")


def test_target_columns_follow_the_names() -> None:
    """Logit k belongs to targets[k], whatever the order of the graph."""
    policy = preset("dbmtl")
    network = new_network(policy)
    (phase,) = policy.phases(network, examples())
    task = phase.task
    rows = torch.arange(50)
    z = logits(network, examples().batch(rows)).detach()
    labels = examples().labels[rows]
    by_hand = 0.0
    for k, name in enumerate(policy.targets):
        y = labels[:, TARGETS.index(name)]
        p = torch.sigmoid(z[:, k])
        by_hand += float(-(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean())
    assert float(task.loss(rows, generator(0), False).detach()) == pytest.approx(by_hand, rel=1e-4)


def test_sass_negatives_were_exposed_in_the_same_scenario_tick_and_step() -> None:
    network = cast("SASSNetwork", new_network(preset("sass")))
    data = examples()
    task = Triplets(network, data, 8, 0.3, 0.5, 0.0, len(data))
    positive, filled = task._blocks.take(torch.arange(len(task)))
    assert (data.labels[positive[filled], TARGETS.index("engage")] == 1).all()
    negative = task._exposed.draw(positive[:, 0], 8, generator(0))
    step = data.requests.moment.context[:, 3][data.request]
    for column in (data.scenario, data.tick, step, data.position):
        assert (column[negative] == column[positive[:, :1]]).all()
        assert (column[positive] == column[positive[:, :1]]).all()


def test_sass_triplets_by_hand() -> None:
    network, data = cast("SASSNetwork", new_network(preset("sass"))), examples()
    task, rows = Triplets(network, data, 3, 0.3, 0.5, 0.0, len(data)), torch.arange(5)
    with torch.no_grad():
        loss = float(task.loss(rows, generator(1), False))
        users = network.users(data.requests.user.take(data.request))
        rooms = network.items(data.streamer)
    positive, filled = task._blocks.take(rows)
    negative = task._exposed.draw(positive[:, 0], 3, generator(1))
    streamer, expected = data.streamer.ids[:, 0], 0.0
    for weight, user, room in zip((1.0, 0.5), users, rooms, strict=True):
        hinges = [
            max(0.0, 0.3 - float(user[i] @ room[i]) + float(user[i] @ room[j]))
            for block, rivals, real in zip(positive, negative, filled, strict=True)
            for i in block[real].tolist()
            for j in rivals.tolist()
            if streamer[i] != streamer[j]
        ]
        expected += weight * float(np.mean(hinges))
    assert loss == pytest.approx(expected, rel=1e-4)


def test_both_stages_of_sass_hold_out_the_same_end_of_the_log() -> None:
    """What is held out is no positive, negative, anchor or partner of what is trained on."""
    policy = preset("sass", trainer__valid_share=0.3, pretrainer__valid_share=0.3)
    data = examples()
    n_rows = policy.trainer.n_train(len(data))
    pretrain, finetune = policy.phases(new_network(policy), data)
    views, triplets = cast("Views", pretrain.task), cast("Triplets", finetune.task)
    for phase in (pretrain, finetune):
        assert phase.n_train is not None
        assert 0 < phase.n_train < len(phase.task)
    n_train = triplets.n_train
    for blocks, is_trained in ((range(n_train), True), (range(n_train, len(triplets)), False)):
        positive, filled = triplets._blocks.take(torch.tensor([*blocks]))
        negative = triplets._exposed.draw(positive[:, 0], 8, generator(0))
        for rows in (positive[filled], negative):
            assert ((rows < n_rows) == is_trained).all()
    n_requests = int(data.request[n_rows - 1]) + 1
    for side, end in ((views._users, n_requests), (views._items, n_rows)):
        n_train, n = views.n_train, len(views)
        for tasks, is_trained in ((range(n_train), True), (range(n_train, n), False)):
            anchors, partners = side.pair(
                views._anchors(side, torch.tensor([*tasks])), generator(0)
            )
            assert len(anchors) == len(tasks)
            for rows in (anchors, partners):
                assert ((rows < end) == is_trained).all()
    mixed = torch.arange(len(views))
    assert len(views._anchors(views._items, mixed)) == len(mixed)


def test_stages_of_sass_that_hold_out_different_ends_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"pretrainer.valid_share = 0.3; allowed: the trainer's 0.04"
    ):
        preset("sass", pretrainer__valid_share=0.3)


def test_blocks_hold_every_row_once_and_one_key_each() -> None:
    key = torch.tensor([4, 1, 4, 4, 1, 9, 4])
    rows = torch.arange(10, 17)
    blocks = Blocks(rows, key, 3)
    taken, filled = blocks.take(torch.arange(len(blocks)))
    assert taken[filled].tolist() == [11, 14, 10, 12, 13, 16, 15]
    assert filled.sum(1).tolist() == [2, 3, 1, 1]
    assert (key[taken - 10] == key[taken[:, :1] - 10]).all()


def test_a_foreign_scenario_of_sass_is_not_moved() -> None:
    network = cast("SASSNetwork", new_network(preset("sass")))
    data = examples()
    rows = torch.nonzero(data.scenario == 0).flatten()
    batch = data.batch(rows)
    own, shared = network.users(batch.request.user)
    item, item_shared = network.items(batch.streamer)
    torch.autograd.backward((own * item).sum() + (shared * item_shared).sum())
    for tower in (network.user_tower, network.item_tower):
        for s in range(len(SCENARIOS)):
            grads = [p.grad for p in tower.own[s].parameters()]
            assert all(g is None for g in grads) == (s != 0)


def test_sass_scores_are_inner_products_and_items_differ_by_scenario() -> None:
    policy, requests = fitted("sass"), serving_requests(20, LOG)
    user, streamer = policy.user_vectors(requests), policy.streamer_vectors(requests)
    assert user.shape == (20, 32)
    assert streamer.shape == (*requests.mask.shape, 32)
    near = np.einsum("bd,bcd->bc", user, streamer)
    np.testing.assert_allclose(
        policy.score(requests)[requests.mask], near[requests.mask], atol=1e-6
    )
    moved = replace(requests, scenario=((requests.scenario + 1) % 3).astype(np.int8))
    assert not np.allclose(policy.streamer_vectors(moved), streamer)


def test_sass_base_leaves_pretraining_out() -> None:
    policy = preset("sass", n_anchors=0, trainer__steps_per_epoch=10)
    policy.fit(as_log(LOG), FitContext())
    assert len(policy.records_) == 1
    assert len(fitted("sass").records_) == 2
