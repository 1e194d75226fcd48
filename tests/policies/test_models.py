"""Learned policies: definitions, learning, invariances, gradients, determinism, restarts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from policies import registry
from policies.columns import Batch, moments
from policies.contract import FitContext
from policies.examples import Examples, replay
from policies.features import FeatureStore
from policies.fusion import AdditiveFusion
from policies.models.sass import SASS
from policies.neural import NeuralPolicy, NotFittedError
from policies.training.likelihood import logits
from policies.training.trainer import Trainer, generator
from sim.schema import TARGETS, Requests
from tests.policies.planted_learning import (
    FEATURES,
    P_LIKED,
    P_OTHER,
    as_log,
    auc,
    learning_log,
    preset,
    rooms,
    serving_requests,
)

LEARNED = tuple(name for name in registry.built_in() if "trainer" in registry.node(name))
"""Every preset that is trained; a new file in conf/policy is tested without a line here."""

QUICK = ("shared_bottom", "dbmtl", "rui3", "sass")
"""Tested in the default suite; the others are marked slow."""

MODELS = [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in LEARNED]
MULTI_TASK = [
    pytest.param(n, marks=() if n in QUICK else pytest.mark.slow)
    for n in LEARNED
    if "target_weights" in registry.node(n)
]
LOG = learning_log()


@cache
def fitted(name: str) -> Any:
    """Return the preset policy fitted on the planted log; tests must not alter it."""
    return preset(name, trainer__steps_per_epoch=10).fit(as_log(LOG), FitContext(seed=5))


@cache
def examples() -> Examples:
    return replay(as_log(LOG), FeatureStore(FEATURES, n_categories=4), auxiliary=True)


def new_network(policy: NeuralPolicy) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(generator(0).get_state())
        return policy.build(examples().statistics(1))


def some_batch(rows: slice = slice(0, 200)) -> Batch:
    return examples().batch(torch.arange(len(examples()))[rows])


def first_hop(requests: Requests) -> tuple[np.ndarray, np.ndarray]:
    """Return the unmasked cells and the planted probability of engagement in each."""
    cells = np.flatnonzero(requests.mask)
    of = cells // requests.mask.shape[1]
    category = requests.catalogue.streamer_category[requests.candidate_id.reshape(-1)[cells]]
    return cells, np.where(category == requests.user_id[of] % 4, P_LIKED, P_OTHER)


def expected_auc(p: np.ndarray, scores: np.ndarray) -> float:
    """Return the AUC that the scores have on average over labels drawn with probabilities p."""
    pairs = p[:, None] * (1.0 - p[None, :])
    np.fill_diagonal(pairs, 0.0)
    right = np.sign(scores[:, None] - scores[None, :]) * 0.5 + 0.5
    return float((pairs * right).sum() / pairs.sum())


def test_what_is_held_out_is_new_to_the_network() -> None:
    """Vocabularies, moments and base rates are those of the rows trained on."""
    policy, data = preset("dbmtl", trainer__valid_share=0.3, encoder__min_count=1), examples()
    known = policy.known(data)
    n_train = policy.trainer.n_train(len(data))
    assert torch.allclose(known.labels.mean, data.labels[:n_train].mean(0))
    assert torch.allclose(known.pair_mean, data.pair[:n_train].mean(0), atol=1e-5)
    for side, ids in (
        (known.streamer, data.streamer.ids[:n_train, 0]),
        (known.user, data.requests.user.ids[: int(data.request[n_train - 1]) + 1, 0]),
    ):
        kept = torch.nonzero(side.ids[0]).flatten()
        assert set(kept.tolist()) == set(ids.tolist()) - {0}
    assert [part.tolist() for part in moments(torch.zeros(0, 2))] == [[0.0, 0.0], [1.0, 1.0]]
    late = examples().first(len(data) // 2)
    assert len(late.requests) == int(late.request[-1]) + 1
    assert len(late) == len(data) // 2


@pytest.mark.parametrize("name", MODELS)
def test_it_ranks_nearly_as_well_as_the_truth(name: str) -> None:
    """Where taste decides and the columns hold it, a model comes within 2 % of the oracle's AUC."""
    staged = {"pretrainer__valid_share": 0.2} if "pretrainer" in registry.node(name) else {}
    policy = preset(
        name,
        trainer__epochs=20,
        trainer__patience=20,
        trainer__steps_per_epoch=20,
        trainer__valid_share=0.2,  # a small log: a twelfth of it is too few to stop by
        **staged,
    )
    policy.fit(as_log(learning_log(hours=8, per_hour=600)), FitContext(seed=0))
    requests = serving_requests(150, LOG)
    cells, p = first_hop(requests)
    scores, of = policy.score(requests).reshape(-1)[cells], cells // requests.mask.shape[1]
    # within each request: a triplet loss says nothing about the level of a user's scores
    kept = [of == b for b in np.unique(of)]
    own = np.mean([expected_auc(p[b], scores[b]) for b in kept])
    oracle = np.mean([expected_auc(p[b], p[b]) for b in kept])
    assert own > 0.98 * oracle


@pytest.mark.parametrize("name", MODELS)
def test_it_can_overfit_a_small_log(name: str) -> None:
    """2,000 rows are learnt by heart: the AUC of the first hop, or of triplets, on its own rows."""
    held_out = {"pretrainer__valid_share": 0.0} if "pretrainer" in registry.node(name) else {}
    if name == "dbmtl_searched":  # the network is dbmtl's; a search needs rows held out
        held_out = {"fusion": registry.node("dbmtl").fusion}
    policy = preset(
        name,
        trainer__epochs=100,
        trainer__steps_per_epoch=5,
        trainer__learning_rate=0.01,
        trainer__weight_decay=0.0,
        trainer__valid_share=0.0,
        encoder__id_dropout=0.0,
        encoder__min_count=1,
        **held_out,
    )
    log = as_log(learning_log(hours=5, per_hour=200))
    policy.fit(log, FitContext(seed=0))
    data = replay(log, FeatureStore(policy.features, n_categories=4), auxiliary=True)
    assert 1900 < len(data) < 2100
    if isinstance(policy, SASS):
        task = policy.phases(policy.network_, data)[-1].task
        fresh = policy.phases(policy.build(data.statistics(1)), data)[-1].task
        rows = torch.arange(len(task))
        own, start = (float(t.loss(rows, generator(0), False).detach()) for t in (task, fresh))
        assert own < 0.35 * start
        return
    with torch.no_grad():
        z = logits(policy.network_, data.batch(torch.arange(len(data))))
        odds = policy.model.factorisation(policy.targets).log_odds(z).numpy()
    engage = data.labels[:, TARGETS.index("engage")].numpy()
    if "engage" in policy.targets:
        assert auc(engage, odds[:, policy.targets.index("engage")]) > 0.99
    else:  # of one target, watch time: how long says more to it than whether at all
        assert auc(engage, odds[:, 0]) > 0.98


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
    assert set(predicted) == set(policy.targets) & set(TARGETS)
    if isinstance(policy.fusion, AdditiveFusion):
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
    for target in p:
        assert 0.4 < p[target][mask].mean() / float(labels[TARGETS.index(target)]) < 2.5


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
        meaning = policy.model.factorisation(policy.targets)
        last = max(k for k, target in enumerate(policy.targets) if target in TARGETS)
        expected = torch.sigmoid(meaning.log_odds(plain.logits)[:, last])
        got = policy.predict(requests)[policy.targets[last]].reshape(-1)[cells]
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
        from policies.columns import RequestTensors, tensors
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
                network.request_side(RequestTensors.of(store, requests)),
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
        patch.setattr("policies.training.checkpoint.write", dying)
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
        preset("dbmtl", model__relation=7).load(tmp_path)


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


@pytest.mark.parametrize("name", MODELS)
def test_fit_leaves_the_global_random_state_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    preset(name, trainer__steps_per_epoch=2).fit(as_log(LOG), FitContext())
    assert torch.equal(before, torch.random.get_rng_state())
