"""Losses of watch time and amounts: what their minimisers are, by hand, and what is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from policies.auxiliary import LABELS
from policies.columns import LabelStatistics
from policies.contract import FitContext
from policies.factorisation import Conditional, Marginal
from policies.models.dbmtl import DBMTL
from policies.models.quantified import Smeared, WithQuantities
from policies.quantities import GammaHurdle, LogSeconds, Quantified, Quantity, WeightedLogistic
from policies.training.likelihood import Likelihood, logits
from policies.training.trainer import generator
from sim.config import ConfigError
from sim.schema import TARGETS, WATCH_CAP_S
from tests.policies.planted_learning import as_log, preset, serving_requests
from tests.policies.test_models import LOG, examples, new_network

WATCH_S = torch.tensor([0.0, 0.0, 3.0, 0.0, 120.0, 600.0, 0.0, 30.0])
Y = WATCH_S / WATCH_CAP_S
ALL = (
    LogSeconds(),
    WeightedLogistic(60.0, "all"),
    WeightedLogistic(60.0, "others"),
    GammaHurdle(),
)


def best_logit(quantity: Quantity, y: Tensor) -> Tensor:
    """Return the one logit that is best for all rows, by Newton's method."""
    space = quantity.space(y)
    rows = y if space is None else y[space]
    z = torch.zeros((), dtype=torch.float64, requires_grad=True)
    for _ in range(200):
        loss = quantity.loss(z.expand(len(rows)), rows.double()).sum()
        (slope,) = torch.autograd.grad(loss, z, create_graph=True)
        (bend,) = torch.autograd.grad(slope, z)
        z = (z - (slope / bend).clamp(-1.0, 1.0)).detach().requires_grad_()
    return z.detach()


def test_odds_of_the_papers_weighted_logistic() -> None:
    """Sum of the positives' watch time over the number of negatives, in units of 60 s."""
    z = best_logit(WeightedLogistic(60.0, "others"), Y)
    assert float(z.exp()) == pytest.approx((120 + 600 + 30) / 60 / 5, rel=1e-6)


def test_odds_are_expected_watch_time_where_every_row_is_a_negative() -> None:
    quantity = WeightedLogistic(60.0, "all")
    z = best_logit(quantity, Y)
    assert float(z.exp()) * 60.0 == pytest.approx(float(WATCH_S.mean()), rel=1e-6)
    assert float(quantity.log_share(z).exp()) == pytest.approx(float(Y.mean()), rel=1e-6)


def test_the_best_log_seconds_are_their_mean() -> None:
    z = best_logit(LogSeconds(), Y)
    assert float(z) == pytest.approx(float(torch.log1p(WATCH_S).mean()), rel=1e-6)
    assert float(LogSeconds().log_share(z).exp()) < float(Y.mean())  # a geometric mean says less


def test_the_best_amount_is_the_mean_of_who_buys() -> None:
    y = torch.tensor([0.0, 0.2, 0.0, 0.05, 0.35])
    quantity = GammaHurdle()
    assert quantity.space(y).tolist() == [False, True, False, True, True]
    z = best_logit(quantity, y)
    assert float(z.exp()) == pytest.approx(0.2, rel=1e-6)
    assert (quantity.loss(torch.linspace(-9.0, 3.0, 50), torch.full((50,), 0.1)) >= 0.0).all()


@pytest.mark.parametrize("quantity", ALL, ids=repr)
def test_heads_begin_at_the_best_constant(quantity: Quantity) -> None:
    """Loss of the start over all rows, beside that of the constant that Newton's method finds."""
    data = examples()
    y = data.labels[:, LABELS.index(quantity.target)]
    space = quantity.space(y)
    rows = y if space is None else y[space]
    start = quantity.start(LabelStatistics.of(data.labels))
    at_start = quantity.loss(torch.full_like(rows, start), rows).mean()
    at_best = quantity.loss(best_logit(quantity, y).float().expand(len(rows)), rows).mean()
    assert float(at_start) <= float(at_best) * 1.001 + 1e-4


@pytest.mark.parametrize(
    ("name", "target"), [("weighted_loss", "watch"), ("dbmtl_promotion", "amount")]
)
def test_networks_begin_near_the_best_constant(name: str, target: str) -> None:
    policy, data = preset(name), examples()
    start = policy.model.quantities[target].start(LabelStatistics.of(data.labels))
    with torch.no_grad():
        z = logits(new_network(policy), data.batch(torch.arange(len(data))))
    assert float(z[:, policy.targets.index(target)].mean()) == pytest.approx(start, abs=0.3)
    others = [name for name in policy.targets if name != target]
    rates = data.labels[:, [LABELS.index(name) for name in others]].mean(0).clamp(1e-6)
    odds = z[:, [policy.targets.index(name) for name in others]].mean(0)
    assert torch.allclose(odds, rates.logit(), atol=0.3)


def test_an_expected_amount_is_the_chance_to_buy_times_what_buyers_pay() -> None:
    meaning = Quantified(Marginal(), ((1, GammaHurdle(), 0),))
    z = torch.tensor([[0.3, -2.1], [-4.0, -2.5]])
    p = meaning.log_odds(z).sigmoid()
    assert torch.allclose(p[:, 0], z[:, 0].sigmoid())
    assert torch.allclose(p[:, 1], z[:, 0].sigmoid() * z[:, 1].exp(), rtol=1e-5)
    labels = torch.tensor([[1.0, 0.3], [0.0, 0.0]])
    terms, space = meaning.terms(z, labels)
    assert space is not None
    assert space.tolist() == [[1.0, 1.0], [1.0, 0.0]]
    assert torch.equal(space, meaning.space(labels))
    ratio = 0.3 * float(torch.exp(-z[0, 1]))
    assert float(terms[0, 1]) == pytest.approx(ratio - 1.0 - np.log(ratio), abs=1e-7)
    assert terms.isfinite().all()


@given(st.floats(-90.0, 90.0, width=32), st.floats(-90.0, 90.0, width=32))
def test_predictions_are_finite_in_0_1_and_rise_with_the_logit(a: float, b: float) -> None:
    z = torch.tensor(sorted((a, b)))
    for quantity in ALL:
        meaning = Quantified(Marginal(), ((1, quantity, None),))
        odds = meaning.log_odds(torch.stack([torch.zeros(2), z], dim=1))[:, 1]
        p = odds.sigmoid()
        assert odds.isfinite().all()
        assert ((p >= 0.0) & (p <= 1.0)).all()
        assert p[1] >= p[0]


def test_other_targets_are_untouched() -> None:
    z, labels = torch.randn(50, 3, generator=generator(0)), torch.rand(50, 3)
    changed = Quantified(Marginal(), ((1, LogSeconds(), None),))
    for a, b in (
        (changed.log_odds(z), Marginal().log_odds(z)),
        (changed.terms(z, labels)[0], Marginal().terms(z, labels)[0]),
    ):
        assert torch.equal(a[:, [0, 2]], b[:, [0, 2]])
        assert not torch.equal(a[:, 1], b[:, 1])
    assert changed.space(labels) is None


class Clicked(DBMTL):
    """A DBMTL whose follows are learnt where there was an engagement."""

    def factorisation(self, targets: Sequence[str]) -> Conditional:
        return Conditional(((0,), (0, 1)), ((), (0,)))


def clicked() -> Clicked:
    return Clicked(graph={"follow": ["engage"]}, refer=False, bottom=[8], towers=[4], relation=4)


def test_a_spaces_weight_does_not_depend_on_how_rare_it_is() -> None:
    """The mean over engaged rows stays the same when rows without engagement are added."""
    model, targets = clicked(), ("engage", "follow")
    data = examples()
    network = model.build(data.statistics(1), preset("dbmtl").encoder, targets)
    meaning = model.factorisation(targets)
    task = Likelihood(network, data, targets, meaning, torch.tensor([1.0, 3.0]), 0.0)
    engaged = torch.nonzero(data.labels[:, LABELS.index("engage")] > 0.0).flatten()[:50]
    others = torch.nonzero(data.labels[:, LABELS.index("engage")] == 0.0).flatten()
    found = []
    for n in (50, 400):
        rows = torch.cat([engaged, others[:n]])
        found.append(task.means(rows, rows, generator(0), False).detach())
        whole = float(task.loss(rows, generator(0), False).detach())
        assert whole == pytest.approx(float(found[-1][0] + 3.0 * found[-1][1]), rel=1e-5)
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-5)
    assert abs(float(found[0][0] - found[1][0])) > 1e-3


def test_a_batch_without_rows_of_a_space_adds_zero() -> None:
    policy = preset("dbmtl_promotion")
    network = new_network(policy)
    (phase,) = policy.phases(network, examples())
    task = phase.task
    bought = examples().labels[:, LABELS.index("amount")] > 0.0
    rows = torch.nonzero(~bought).flatten()[:64]
    means = task.means(rows, rows, generator(0), False).detach()
    k = policy.targets.index("amount")
    assert means.isfinite().all()
    assert float(means[k]) == 0.0
    assert (means > 0.0).sum() == len(policy.targets) - 1
    torch.autograd.backward(task.loss(rows, generator(0), False))
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients)
    assert task.present(rows).tolist() == [float(name != "amount") for name in policy.targets]


def test_smeared_seconds_have_the_mean_of_the_labels() -> None:
    policy = preset("shared_bottom", trainer__steps_per_epoch=20)
    model = WithQuantities(policy.model, {"watch": LogSeconds()})
    changed = type(policy)(
        model,
        policy.target_weights,
        policy.fusion,
        policy.features,
        policy.encoder,
        policy.trainer,
    )
    changed.fit(as_log(LOG), FitContext(seed=0))
    network = changed.network_
    assert isinstance(network, Smeared)
    k = changed.targets.index("watch")
    assert float(network.shift[k]) > 0.0
    assert int((network.shift != 0.0).sum()) == 1
    data = examples()
    with torch.no_grad():
        z = logits(network, data.batch(torch.arange(len(data))))
        share = model.factorisation(changed.targets).log_odds(z).sigmoid()[:, k]
    label = data.labels[:, TARGETS.index("watch")]
    # shares at the cap and below 0 are cut after the scaling
    assert float(share.mean()) == pytest.approx(float(label.mean()), rel=0.1)
    found = changed.predict(serving_requests(20, LOG))["watch"]
    assert (found.max(), found.min()) < (1.0, 1.0)


def test_quantities_that_do_not_fit_are_refused() -> None:
    model = preset("dbmtl").model
    with pytest.raises(ConfigError, match=r"quantities.amount needs the target amount; allowed"):
        WithQuantities(model, {"amount": GammaHurdle()}).order(tuple(TARGETS))
    with pytest.raises(ConfigError, match=r"quantities.like is a LogSeconds; allowed: under watch"):
        WithQuantities(model, {"like": LogSeconds()})
    with pytest.raises(ConfigError, match=r"WithQuantities.quantities = \{\}; allowed"):
        WithQuantities(model, {})
    with pytest.raises(ConfigError, match=r"negatives = 'some'; allowed: one of others, all"):
        WeightedLogistic(60.0, "some")
    esmm = preset("esmm").model
    with pytest.raises(ConfigError, match="child of purchase in a product"):
        WithQuantities(
            replace(esmm, needs={"amount": ["purchase"]}), {"amount": GammaHurdle()}
        ).order(("purchase", "amount"))


def test_a_factor_of_another_targets_probability_is_refused() -> None:
    chain = replace(clicked(), graph={"like": ["watch"]})
    with pytest.raises(ConfigError, match="multiplies its probability into like's"):
        WithQuantities(chain, {"watch": LogSeconds()}).order(("watch", "like"))


def test_all_else_is_the_wrapped_models() -> None:
    class Peculiar(DBMTL):
        def batches(self, examples: object) -> str:  # type: ignore[override]
            return "batches"

        def emphasis(self, examples: object, targets: object) -> str:  # type: ignore[override]
            return "emphasis"

        def settle(self, network: object, examples: object, targets: object) -> None:
            settled.append(network)

    settled: list[object] = []
    base = clicked()
    inner = Peculiar(base.graph, base.refer, base.bottom, base.towers, base.relation)
    model = WithQuantities(replace(inner, graph={"watch": []}), {"watch": LogSeconds()})
    assert (model.batches(examples()), model.emphasis(examples(), ())) == ("batches", "emphasis")
    network = model.build(examples().statistics(1), preset("dbmtl").encoder, ("watch",))
    assert isinstance(network, Smeared)
    model.settle(network, examples(), ("watch",))
    assert settled == [network.network]


def test_the_single_model_predicts_watch_time_on_average() -> None:
    policy = preset("weighted_loss", trainer__steps_per_epoch=30)
    policy.fit(as_log(LOG), FitContext(seed=0))
    requests = serving_requests(200, LOG)
    p = policy.predict(requests)
    assert set(p) == {"watch"}
    label = float(examples().labels[:, TARGETS.index("watch")].mean())
    assert p["watch"][requests.mask].mean() == pytest.approx(label, rel=0.3)
    order = np.argsort(policy.score(requests)[requests.mask], kind="stable")
    assert (np.diff(p["watch"][requests.mask][order]) >= 0.0).all()
