"""Labels of a promotion: shop visits and amounts, as known, for models that ask for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from policies.auxiliary import AMOUNT_CAP_CNY, AUXILIARY, LABELS, AuxiliaryLabels
from policies.checks_stage import planted_stage
from policies.contract import FitContext
from policies.examples import replay
from policies.features import FeatureStore
from policies.target_graph import TargetGraph
from sim.config import ConfigError
from sim.schema import TARGETS, Impressions, Purchases
from tests.policies.planted_learning import (
    FEATURES,
    LearningLog,
    as_log,
    learning_log,
    preset,
    serving_requests,
)
from tests.policies.test_models import LOG, fitted

CLOSE_S = 6 * 3600.0


def with_sales(log: LearningLog) -> LearningLog:
    """Return the log with a second purchase an hour after each, of 700 CNY."""
    again = replace(
        log.bought,
        event_s=log.bought.event_s + 3600.0,
        known_s=log.bought.known_s + 3600.0,
        ordinal=np.ones(len(log.bought), np.int8),
        amount_cny=np.full(len(log.bought), 700.0, np.float32),
    )
    return replace(log, bought=Purchases.concat([log.bought, again]))


def by_hand(log: LearningLog, rows: Impressions) -> np.ndarray:
    """Return the labels row by row, from dictionaries."""
    visits = log.revisits()
    seen = set(zip(visits.request_id.tolist(), visits.streamer_id.tolist(), strict=True))
    amount: dict[tuple[int, int], float] = {}
    bought = log.purchases()
    for request, streamer, cny in zip(
        bought.request_id.tolist(), bought.streamer_id.tolist(), bought.amount_cny.tolist(),
        strict=True,
    ):  # fmt: skip
        amount[request, streamer] = amount.get((request, streamer), 0.0) + cny
    found = []
    for pair in zip(rows.request_id.tolist(), rows.streamer_id.tolist(), strict=True):
        share = min(amount.get(pair, 0.0), AMOUNT_CAP_CNY) / AMOUNT_CAP_CNY
        found.append([float(pair in seen), share])
    return np.array(found, np.float32)


@pytest.mark.parametrize("as_of_s", [CLOSE_S, CLOSE_S / 2, 0.0])
def test_labels_are_what_was_known(as_of_s: float) -> None:
    log = replace(with_sales(learning_log()), as_of_s=as_of_s)
    labels = AuxiliaryLabels(as_log(log)).of(log.rows)
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, by_hand(log, log.rows))
    if as_of_s == 0.0:
        assert not labels.any()
    else:
        assert np.unique(labels[:, 1]) == pytest.approx([0.0, 0.01, 0.71])


def test_what_comes_after_the_moment_changes_nothing() -> None:
    early = replace(with_sales(learning_log()), as_of_s=CLOSE_S / 2)
    later = early.bought.known_s > early.as_of_s
    assert later.any()
    other = replace(
        early,
        bought=replace(
            early.bought, amount_cny=np.where(later, 999.0, early.bought.amount_cny).astype("f4")
        ),
    )
    found = [AuxiliaryLabels(as_log(log)).of(early.rows) for log in (early, other)]
    np.testing.assert_array_equal(*found)


def test_the_cap_holds() -> None:
    log = learning_log()
    rich = replace(log.bought, amount_cny=np.full(len(log.bought), 1e6, np.float32))
    labels = AuxiliaryLabels(as_log(replace(log, bought=rich))).of(log.rows)
    assert labels.max() == 1.0


def test_they_come_with_the_examples_only_where_asked_for() -> None:
    plain, asked = (
        replay(as_log(LOG), FeatureStore(FEATURES, n_categories=4), auxiliary)
        for auxiliary in (False, True)
    )
    assert plain.labels.shape[1] == len(TARGETS)
    assert asked.labels.shape[1] == len(LABELS) == len(TARGETS) + len(AUXILIARY)
    assert torch.equal(asked.labels[:, : len(TARGETS)], plain.labels)
    # labels are no features: nothing else differs
    assert torch.equal(asked.pair, plain.pair)
    assert torch.equal(asked.streamer.dense, plain.streamer.dense)
    assert torch.equal(asked.requests.user.dense, plain.requests.user.dense)
    assert not preset("dbmtl").reads_auxiliary
    assert preset("dbmtl_promotion").reads_auxiliary


@pytest.mark.slow
def test_on_a_simulated_log_amounts_add_up() -> None:
    log = planted_stage().log
    bought, shown = log.purchases(), log.impressions()
    labels = AuxiliaryLabels(log).of(shown)
    assert len(bought) > 0
    few = np.bincount(
        np.unique(
            np.stack([bought.request_id, bought.streamer_id.astype(np.int64)]),
            axis=1, return_inverse=True,
        )[1],
        bought.amount_cny,
    )  # fmt: skip
    total = np.minimum(few, AMOUNT_CAP_CNY).sum() / AMOUNT_CAP_CNY
    assert labels[:, 1].sum() == pytest.approx(total, rel=1e-4)
    assert ((labels[:, 1] > 0.0) == (shown.target("purchase") > 0.0)).all()
    assert not labels[:, 0].any()  # shop visits are off in the tiny world


def test_the_graph_takes_them_and_the_policy_predicts_targets_only() -> None:
    graph = TargetGraph.build({"amount": ["purchase"], "shop_visit": ["bag_click"]})
    assert graph.targets == ("bag_click", "purchase", "shop_visit", "amount")
    policy, requests = fitted("dbmtl_promotion"), serving_requests(20, LOG)
    assert set(policy.predict(requests)) == set(TARGETS)
    assert set(policy.targets) == set(LABELS)
    model = preset("dbmtl").model
    with pytest.raises(
        ConfigError, match=r"gmv' is unknown; allowed: engage.*, shop_visit, amount"
    ):
        replace(model, graph={"gmv": []})


@pytest.mark.slow
def test_money_moves_the_promotion_score() -> None:
    """Two logs that differ in prices alone: rooms that sell dear things rise."""
    log = learning_log(hours=8, per_hour=300)
    dear = log.bought.streamer_id % 2 == 0
    price = np.where(dear, 800.0, 20.0).astype(np.float32)
    cny = replace(log, bought=replace(log.bought, amount_cny=price))
    policy = preset("dbmtl_promotion", trainer__epochs=20, trainer__patience=20)
    policy.fit(as_log(cny), FitContext(seed=0))
    requests = serving_requests(60, log)
    out = np.full(requests.mask.size, np.nan)
    for cells, z in policy._fitted().blocks(requests):
        shares = policy._shares(z)
        out[cells] = (
            shares[:, policy.targets.index("amount")] / shares[:, policy.targets.index("purchase")]
        )
    each = out.reshape(requests.mask.shape) * AMOUNT_CAP_CNY
    even = (requests.candidate_id % 2 == 0) & requests.mask
    odd = (requests.candidate_id % 2 == 1) & requests.mask
    assert np.median(each[even]) > 300.0
    assert np.median(each[odd]) < 80.0
