"""Searched fusion: metrics by hand, better weights found where there are any, none where not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.contract import FitContext
from policies.fusion import AdditiveFusion, MultiplicativeFusion, WeightedFusion
from policies.fusion_search import SearchedFusion, Slates, pairs, value_at_top
from sim.config import ConfigError, Objective
from tests.policies.planted_learning import OBJECTIVE, as_log, preset, serving_requests
from tests.policies.test_models import LOG

NAMES = ("engage", "watch", "purchase")
START = Objective(
    engage=10.0, watch=1.0, like=0.0, comment=0.0, follow=0.0, bag_click=0.0, cart=0.0, purchase=0.1
)
SEARCH = SearchedFusion(
    AdditiveFusion(START), OBJECTIVE, metric="value_at_top", n_trials=80, spread=1.0
)


def by_hand() -> Slates:
    """Three requests: worth 0 1 | 2 0 2 | 1 1; a fourth with a single room is dropped."""
    request = np.array([4, 4, 5, 5, 5, 7, 8, 8])
    p = np.linspace(0.1, 0.8, 24, dtype=np.float32).reshape(8, 3)
    worth = np.array([0, 1, 2, 0, 2, 9, 1, 1], np.float32)
    return Slates.of(request, p, worth)


def test_slates_are_gathered_by_request() -> None:
    slates = by_hand()
    assert slates.mask.tolist() == [[True, True, False], [True] * 3, [True, True, False]]
    assert slates.worth.tolist() == [[0, 1, 0], [2, 0, 2], [1, 1, 0]]
    assert slates.probabilities[2, 1].tolist() == pytest.approx(np.linspace(0.1, 0.8, 24)[21:])
    assert not slates.probabilities[0, 2].any()
    nothing = Slates.of(np.arange(3), np.zeros((3, 2), np.float32), np.zeros(3, np.float32))
    assert len(nothing) == 0


def test_metrics_by_hand() -> None:
    slates = by_hand()
    score = np.array([[3, 1, 99], [5, 1, 1], [0, 0, 99]], np.float32)
    assert value_at_top(score, slates) == pytest.approx((0 + 2 + 1) / 3)
    tied = np.array([[1, 1, 99], [4, 4, 1], [0, 1, 99]], np.float32)
    assert value_at_top(tied, slates) == pytest.approx((0.5 + 1 + 1) / 3)
    # pairs of different worth: one in the first request, two in the second, none in the third
    assert pairs(score, slates) == pytest.approx((0 + (1 + 0.5) / 2) / 2)
    flat = replace(slates, worth=np.zeros_like(slates.worth))
    assert pairs(score, flat) == 0.5


def planted(seed: int, informative: bool) -> Slates:
    """Slates of four in which worth follows the purchase column, or nothing at all."""
    rng = np.random.default_rng(seed)
    p = rng.random((4000, 3)).astype(np.float32)
    chance = p[:, 2] if informative else np.full(4000, 0.5)
    worth = (rng.random(4000) < chance).astype(np.float32)
    return Slates.of(np.repeat(np.arange(1000), 4), p, worth)


@pytest.mark.parametrize("metric", ["value_at_top", "pairs"])
def test_it_finds_the_target_that_matters(metric: str) -> None:
    found = replace(SEARCH, metric=metric).search(planted(0, True), NAMES, seed=3)
    weight = found.fusion.objective.weights()
    assert found.adopted
    assert found.judged_found > found.judged_start + 0.1
    assert found.chosen_found > found.chosen_start + 0.1
    assert weight["purchase"] > 3 * max(weight["engage"], weight["watch"])
    assert sum(weight.values()) == pytest.approx(sum(START.weights().values()))
    assert weight["like"] == 0.0
    assert found.n_requests == 1000


def test_what_does_not_hold_on_the_second_half_is_not_adopted() -> None:
    kept = [SEARCH.search(planted(seed, False), NAMES, seed=0) for seed in range(8)]
    for found in kept:
        assert found.adopted == (found.judged_found > found.judged_start)
        assert found.chosen_found >= found.chosen_start
        if not found.adopted:
            assert found.fusion == SEARCH.fusion
    assert any(not found.adopted for found in kept)


def test_a_search_is_repeatable_and_seeded() -> None:
    slates = planted(1, True)
    once, again = (SEARCH.search(slates, NAMES, seed=5) for _ in range(2))
    assert once == again
    few = replace(SEARCH, n_trials=6)
    assert few.search(slates, NAMES, seed=5) != few.search(slates, NAMES, seed=6)


def test_weights_inside_the_layers_of_a_product_are_searched_too() -> None:
    graph = {"watch": ["engage"], "purchase": ["engage"]}
    search = replace(SEARCH, fusion=MultiplicativeFusion(START, graph))
    found = search.search(planted(2, True), NAMES, seed=0)
    weight = found.fusion.objective.weights()
    assert found.adopted
    assert weight["purchase"] > weight["watch"]


def test_without_slates_nothing_is_searched() -> None:
    nothing = planted(0, True).take(slice(0, 0))
    found = SEARCH.search(nothing, NAMES, seed=0)
    assert (found.adopted, found.n_requests) == (False, 0)
    assert found.fusion == SEARCH.fusion


def test_a_policy_ranks_by_what_was_found_and_keeps_it(tmp_path: Path) -> None:
    policy = preset("dbmtl_searched", trainer__steps_per_epoch=10, trainer__valid_share=0.4)
    policy.fit(as_log(LOG), FitContext(seed=5, folder=tmp_path / "fit"))
    assert (tmp_path / "fit" / "fusion.json").exists()
    found, requests = policy.search_, serving_requests(20, LOG)
    assert found.n_requests > 20
    p = policy.predict(requests)
    by_ranking = sum(found.fusion.objective.weights()[k] * p[k] for k in p)
    np.testing.assert_allclose(policy.score(requests), by_ranking, rtol=1e-5)
    policy.save(tmp_path)
    loaded = preset("dbmtl_searched", trainer__valid_share=0.4).load(tmp_path)
    assert loaded.search_ == found
    assert np.array_equal(loaded.score(requests), policy.score(requests))
    # the network itself is that of the plain preset
    plain = preset("dbmtl", trainer__steps_per_epoch=10, trainer__valid_share=0.4)
    plain.fit(as_log(LOG), FitContext(seed=5))
    assert np.array_equal(p["like"], plain.predict(requests)["like"])


def test_the_held_out_end_is_searched_and_nothing_before() -> None:
    policy = preset("dbmtl_searched", trainer__steps_per_epoch=10, trainer__valid_share=0.25)
    policy.fit(as_log(LOG), FitContext(seed=5))
    rows = LOG.rows
    last = rows.request_id[len(rows) - int(0.25 * len(rows)) - 1]
    _, count = np.unique(rows.request_id[rows.request_id > last], return_counts=True)
    assert policy.search_.n_requests == int((count > 1).sum())


def test_without_rows_held_out_there_is_no_search() -> None:
    with pytest.raises(ConfigError, match=r"trainer.valid_share = 0; allowed: above 0"):
        preset("dbmtl_searched", trainer__valid_share=0.0)


def test_auxiliary_labels_can_be_weighed() -> None:
    fusion = WeightedFusion({"engage": 2.0, "amount": 50.0})
    p = np.array([[0.5, 0.25, 0.01]], np.float32)
    assert fusion.fuse(p, ("engage", "like", "amount")) == pytest.approx([1.0 + 0.5])
    with pytest.raises(ConfigError, match=r"weights = \{'joy': 1.0\}; allowed: "):
        WeightedFusion({"joy": 1.0})


def test_other_fusions_cannot_be_searched() -> None:
    with pytest.raises(ConfigError, match=r"fusion = WeightedFusion.*; allowed: a section that"):
        replace(SEARCH, fusion=WeightedFusion({"engage": 1.0}))
    with pytest.raises(ConfigError, match="metric = 'auc'; allowed: one of value_at_top, pairs"):
        replace(SEARCH, metric="auc")
