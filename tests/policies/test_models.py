"""Learned policies: definitions, learning, invariances, gradients, determinism, restarts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from policies.columns import Batch
from policies.contract import FitContext
from policies.dbmtl import DBMTL, DBMTLNetwork
from policies.examples import Examples, replay
from policies.features import FeatureStore
from policies.multitask import Likelihood, MultiTaskPolicy, logits
from policies.neural import NeuralPolicy, NotFittedError
from policies.rui import RUINetwork
from policies.sass import SASS, SASSNetwork, Triplets, Views
from policies.target_graph import TargetGraphError
from policies.trainer import Trainer, generator
from sim.config import ConfigError
from sim.schema import PAD, SCENARIOS, SWIPE, TARGETS, Requests
from tests.policies.planted_learning import (
    FEATURES,
    N_STREAMERS,
    as_log,
    auc,
    learning_log,
    preset,
    rooms,
    serving_requests,
)

MODELS = ("shared_bottom", "dbmtl", "rui3", "sass")
MULTI_TASK = MODELS[:3]
LOG = learning_log()


@cache
def fitted(name: str) -> Any:
    """Return the preset policy fitted on the planted log; tests must not alter it."""
    return preset(name, trainer__steps_per_epoch=10).fit(as_log(LOG), FitContext(seed=5))


@cache
def examples() -> Examples:
    return replay(as_log(LOG), FeatureStore(FEATURES, n_categories=4))


def new_network(policy: NeuralPolicy) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(generator(0).get_state())
        return policy.build(examples().statistics(1))


def some_batch(rows: slice = slice(0, 200)) -> Batch:
    return examples().batch(torch.arange(len(examples()))[rows])


def taste_labels(requests: Requests) -> tuple[np.ndarray, np.ndarray]:
    """Return the unmasked cells and whether each is of the user's planted category."""
    cells = np.flatnonzero(requests.mask)
    of = cells // requests.mask.shape[1]
    category = requests.catalogue.streamer_category[requests.candidate_id.reshape(-1)[cells]]
    return cells, (category == requests.user_id[of] % 4).astype(float)


@pytest.mark.parametrize("name", MODELS)
def test_it_finds_the_planted_taste(name: str) -> None:
    policy = preset(name, trainer__epochs=20, trainer__patience=20, trainer__steps_per_epoch=20)
    policy.fit(as_log(learning_log(hours=8, per_hour=400)), FitContext(seed=0))
    requests = serving_requests(150, LOG)
    cells, label = taste_labels(requests)
    scores, of = policy.score(requests).reshape(-1)[cells], cells // requests.mask.shape[1]
    # within each request: a triplet loss says nothing about the level of a user's scores
    each = [auc(label[of == b], scores[of == b]) for b in np.unique(of)]
    assert np.mean(each) > 0.9


@pytest.mark.parametrize("name", MODELS)
def test_it_can_overfit_a_small_log(name: str) -> None:
    policy = preset(
        name,
        trainer__epochs=150 if name == "sass" else 80,
        trainer__steps_per_epoch=10,
        trainer__learning_rate=0.02,
        trainer__weight_decay=0.0,
        trainer__valid_share=0.0,
        trainer__patience=1000,
        encoder__id_dropout=0.0,
        encoder__min_count=1,
    )
    policy.fit(as_log(learning_log(hours=2, per_hour=60)), FitContext(seed=0))
    task = task_of(policy, policy.network_, replayed_small())
    with torch.no_grad():
        own = float(task.loss(torch.arange(len(task)), generator(0), False))
    fresh = task_of(policy, new_network_for(policy, replayed_small()), replayed_small())
    with torch.no_grad():
        start = float(fresh.loss(torch.arange(len(fresh)), generator(0), False))
    assert own < 0.35 * start


@cache
def replayed_small() -> Examples:
    log = as_log(learning_log(hours=2, per_hour=60))
    return replay(log, FeatureStore(preset("dbmtl").features, n_categories=4))


def new_network_for(policy: NeuralPolicy, data: Examples) -> nn.Module:
    return policy.build(data.statistics(1))


def task_of(policy: Any, network: nn.Module, data: Examples) -> Any:
    """Return the task that the policy trains on."""
    if isinstance(policy, SASS):
        assert isinstance(network, SASSNetwork)
        return Triplets(network, data, policy.n_negatives, policy.margin, policy.auxiliary, 0.0)
    assert isinstance(policy, MultiTaskPolicy)
    return Likelihood(network, data, policy.targets, torch.ones(len(policy.targets)), 0.0)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    policy = preset(name)
    network = new_network(policy)
    rows = torch.arange(400)
    total = task_of(policy, network, examples()).loss(rows, generator(0), True)
    if name == "sass":
        assert isinstance(network, SASSNetwork)
        views = Views(network, examples(), 0.1, 0.0, 400)
        total = total + views.loss(torch.arange(300), generator(0), True)
    torch.autograd.backward(total)
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize("name", MODELS)
def test_a_score_does_not_depend_on_its_batch(name: str) -> None:
    policy, requests = fitted(name), serving_requests(40, LOG)
    whole = policy.score(requests)
    alone = np.concatenate([policy.score(requests.take(slice(i, i + 1))) for i in range(40)])
    halves = [policy.score(requests.take(slice(lo, lo + 20))) for lo in (0, 20)]
    np.testing.assert_allclose(whole, alone, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(whole, np.concatenate(halves), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", MULTI_TASK)
def test_predictions_are_probabilities_and_scores_their_fusion(name: str) -> None:
    policy, requests = fitted(name), serving_requests(30, LOG)
    predicted = policy.predict(requests)
    assert set(predicted) == set(TARGETS)
    weight = policy.fusion.objective.weights()
    total = sum(weight[k] * p for k, p in predicted.items())
    np.testing.assert_allclose(policy.score(requests), total, rtol=1e-5)
    for p in predicted.values():
        assert (p[requests.mask] > 0).all()
        assert (p < 1).all()
        assert not p[~requests.mask].any()


@pytest.mark.parametrize("name", MULTI_TASK)
def test_predictions_are_calibrated_on_average(name: str) -> None:
    policy = fitted(name)
    labels = examples().labels.mean(0)
    p = policy.predict(serving_requests(200, LOG))
    mask = serving_requests(200, LOG).mask
    for k, target in enumerate(TARGETS):
        assert 0.4 < p[target][mask].mean() / float(labels[k]) < 2.5


@pytest.mark.parametrize("name", MODELS)
def test_serving_computes_what_training_computed(name: str) -> None:
    """The split, cached, blockwise path equals the plain forward pass at position 0."""
    policy, requests = fitted(name), serving_requests(25, LOG)
    store, network = policy.store_, policy.network_
    cells = np.flatnonzero(requests.mask)
    data = one_request_per_cell(requests, cells)
    store.refresh(data.catalogue)
    plain = Scorerless(store, network, data)
    if name == "sass":
        expected = plain.logits[:, 0]
        got = policy.score(requests).reshape(-1)[cells]
    else:
        expected = torch.sigmoid(plain.logits[:, 1])
        got = policy.predict(requests)[policy.targets[1]].reshape(-1)[cells]
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4, atol=1e-5)


def one_request_per_cell(requests: Requests, cells: np.ndarray) -> Requests:
    """Return one request with one candidate for each cell."""
    of = cells // requests.mask.shape[1]
    ids = requests.candidate_id.reshape(-1)[cells][:, None]
    return replace(
        requests.take(of),
        supply=rooms(ids),
        row=np.arange(len(cells), dtype=np.int32),
        mask=np.ones((len(cells), 1), np.bool_),
    )


class Scorerless:
    """A forward pass without caches, one row per pair."""

    def __init__(self, store: FeatureStore, network: Any, requests: Requests) -> None:
        from policies.columns import tensors
        from policies.listings import Listings
        from policies.memory import plus_one

        listings = Listings(requests.supply)
        listings.index(requests)
        ids = requests.candidate_id[:, 0]
        supply = requests.supply
        category = plus_one(requests.catalogue.streamer_category, ids)
        streamer = store.streamer(
            requests.catalogue,
            ids,
            supply.product_id[:, 0],
            supply.room_start_s[:, 0],
            requests.scenario,
        )
        pair = store.pair(requests, np.arange(len(ids)), category, listings)
        with torch.no_grad():
            self.logits: Tensor = network.join(
                network.request_side(
                    tensors(store.user(requests)),
                    tensors(store.refer(requests)),
                    tensors(store.moment(requests)),
                ),
                network.streamer_side(tensors(streamer)),
                torch.from_numpy(pair),
                None,
            )


@pytest.mark.parametrize("name", MODELS)
def test_same_seed_same_weights(name: str) -> None:
    again = preset(name, trainer__steps_per_epoch=10).fit(as_log(LOG), FitContext(seed=5))
    for a, b in parameters(fitted(name), again):
        assert torch.equal(a, b)
    other = preset(name, trainer__steps_per_epoch=10).fit(as_log(LOG), FitContext(seed=6))
    assert any(not torch.equal(a, b) for a, b in parameters(again, other))


def parameters(a: NeuralPolicy, b: NeuralPolicy) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(a.network_.parameters(), b.network_.parameters(), strict=True)


@pytest.mark.parametrize("name", ["dbmtl", "sass"])
def test_a_killed_fit_goes_on(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(Exception):
        pass

    def dying(*args: Any) -> Any:
        dying_calls.append(1)
        if len(dying_calls) == 2:
            raise Killed
        return real(*args)

    dying_calls: list[int] = []
    real = Trainer.__dict__["run"].__globals__["checkpoint"].write
    folder = tmp_path / "fit"
    with monkeypatch.context() as patch:
        patch.setattr("policies.checkpoint.write", dying)
        with pytest.raises(Killed):
            preset(name, trainer__steps_per_epoch=10).fit(
                as_log(LOG), FitContext(seed=5, folder=folder)
            )
    assert list(folder.glob("*.checkpoint.pt"))
    resumed = preset(name, trainer__steps_per_epoch=10).fit(
        as_log(LOG), FitContext(seed=5, folder=folder)
    )
    for a, b in parameters(fitted(name), resumed):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", MODELS)
def test_save_and_load_give_the_same_policy(name: str, tmp_path: Path) -> None:
    policy, requests = fitted(name), serving_requests(20, LOG)
    policy.save(tmp_path)
    loaded = preset(name).load(tmp_path)
    assert np.array_equal(loaded.score(requests), policy.score(requests))
    later = LOG.rows.take([0, 1, 2])  # type: ignore[arg-type]
    later = replace(later, known_s=later.known_s + 1e5)
    fresh = preset(name).load(tmp_path)
    for each in (loaded, fresh):
        each.observe(later, LOG.bought.take([]), LOG.as_of_s + 2e5)
    assert np.array_equal(loaded.score(requests), fresh.score(requests))


def test_loading_something_else_is_refused(tmp_path: Path) -> None:
    fitted("dbmtl").save(tmp_path)
    with pytest.raises(ValueError, match="holds a policy of kind DBMTL; allowed: RUI3"):
        preset("rui3").load(tmp_path)
    with pytest.raises(ValueError, match="does not fit this DBMTL"):
        preset("dbmtl", relation=7).load(tmp_path)


@pytest.mark.parametrize("name", MODELS)
def test_scores_before_fit_are_refused(name: str) -> None:
    with pytest.raises(NotFittedError, match="is not fitted"):
        preset(name).score(serving_requests(2, LOG))


@pytest.mark.parametrize("name", MODELS)
def test_odd_requests_have_scores(name: str) -> None:
    policy, requests = fitted(name), serving_requests(6, LOG)
    nothing = requests.take(slice(0, 0))
    assert policy.score(nothing).shape == nothing.mask.shape
    masked = replace(requests, mask=np.zeros_like(requests.mask))
    assert not policy.score(masked).any()
    single = replace(
        requests,
        supply=rooms(np.full((6, 1), 3)),
        row=np.arange(6, dtype=np.int32),
        mask=np.ones((6, 1), np.bool_),
    )
    assert np.isfinite(policy.score(single)).all()
    empty = replace(single, supply=rooms(np.zeros((6, 0), np.int32)), mask=np.ones((6, 0), bool))
    assert policy.score(empty).shape == (6, 0)


def test_a_refer_and_the_same_streamer_have_different_vectors() -> None:
    network = fitted("rui3").network_
    assert isinstance(network, RUINetwork)
    refer = network.rank.request.refer
    assert refer is not None
    assert refer.ids is not None
    assert network.rank.streamer.ids is not None
    value = torch.tensor([[4]], dtype=torch.int32)
    as_refer, as_streamer = refer.ids(value), network.rank.streamer.ids(value)
    assert as_refer.shape == as_streamer.shape
    assert not torch.equal(as_refer, as_streamer)
    assert refer.ids.table.data_ptr() != network.rank.streamer.ids.table.data_ptr()


def test_rui_adds_the_match_to_the_rank_logits() -> None:
    network = new_network(preset("rui3"))
    assert isinstance(network, RUINetwork)
    batch = some_batch()
    with torch.no_grad():
        network.fc.weight.normal_(generator=generator(1))
        u, _, r = network.rank.request.parts(batch.user, batch.refer, batch.moment)
        i, m = network.rank.streamer(batch.streamer), network.match
        u2r = (m.a(u) * m.b(r)).sum(1) * (batch.scenario == SWIPE)
        s = u2r * (m.c(r) * m.d(i)).sum(1) + (m.e(u) * m.f(i)).sum(1)
        rank = logits(network.rank, batch)
        expected = rank + s[:, None] * network.fc.weight[:, 0] + network.fc.bias
        assert torch.allclose(logits(network, batch), expected, rtol=1e-4, atol=1e-5)


def test_a_blind_model_does_not_see_the_refer() -> None:
    requests = serving_requests(40, LOG)
    swipe = requests.scenario == SWIPE
    other = np.where(swipe, (requests.refer_id + 1) % N_STREAMERS, PAD).astype(np.int32)
    turned = replace(requests, refer_id=other)
    for name in ("shared_bottom", "dbmtl", "sass"):
        assert np.array_equal(fitted(name).score(requests), fitted(name).score(turned))
    assert not np.array_equal(fitted("rui3").score(requests), fitted("rui3").score(turned))
    seeing = new_network(preset("dbmtl", refer=True))
    assert isinstance(seeing, DBMTLNetwork)
    assert seeing.request.refer is not None


def test_dbmtl_takes_any_graph_and_refuses_cycles() -> None:
    base = preset("dbmtl")
    shared = {
        key: getattr(base, key)
        for key in ("bottom", "towers", "relation", "fusion", "features", "encoder", "trainer")
    }
    graph = {"purchase": ["like", "follow"], "like": ["watch"]}
    weights = dict.fromkeys(("purchase", "like", "follow", "watch"), 1.0)
    policy = DBMTL(graph=graph, target_weights=weights, refer=False, **shared)
    assert policy.targets == ("watch", "follow", "like", "purchase")
    policy.fit(as_log(LOG), FitContext())
    assert set(policy.predict(serving_requests(3, LOG))) == set(weights)
    with pytest.raises(TargetGraphError, match="cycle"):
        DBMTL(
            graph={"like": ["watch"], "watch": ["like"]},
            target_weights={"like": 1.0, "watch": 1.0},
            refer=False,
            **shared,
        )
    with pytest.raises(ConfigError, match="target_weights has like; allowed"):
        DBMTL(graph={"like": ["watch"]}, target_weights={"like": 1.0}, refer=False, **shared)


def test_target_columns_follow_the_names() -> None:
    """Logit k belongs to targets[k], whatever the order of the graph."""
    policy = preset("dbmtl")
    network = new_network(policy)
    task = task_of(policy, network, examples())
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
    policy = preset("sass")
    network = cast("SASSNetwork", new_network(policy))
    task = Triplets(network, examples(), 8, 0.3, 0.5, 0.0)
    data = examples()
    positive = task._positive
    assert (data.labels[positive, TARGETS.index("engage")] == 1).all()
    negative = task._exposed.draw(positive, 8, generator(0))
    step = data.moment.context[:, 3][data.request]
    for column in (data.scenario, data.tick, step):
        assert (column[negative] == column[positive][:, None]).all()


def test_a_foreign_scenario_of_sass_is_not_moved() -> None:
    network = cast("SASSNetwork", new_network(preset("sass")))
    data = examples()
    rows = torch.nonzero(data.scenario == 0).flatten()
    batch = data.batch(rows)
    own, shared = network.users(batch.user, batch.moment)
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
    assert policy.pretraining_ is None
    assert fitted("sass").pretraining_ is not None


@pytest.mark.parametrize("name", MODELS)
def test_fit_leaves_the_global_random_state_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    preset(name, trainer__steps_per_epoch=2).fit(as_log(LOG), FitContext())
    assert torch.equal(before, torch.random.get_rng_state())
