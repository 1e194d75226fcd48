"""DBMTL 3.0: groups, routing of rows, foreign heads, alternating batches."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from policies.columns import RequestTensors
from policies.contract import FitContext
from policies.features import USER_DAYS
from policies.grouping import ByCalendar, ByScenario, ByTenure
from policies.models.dbmtl3 import DBMTL3Network, back, routes
from policies.training.batches import Alternating, Shuffled
from policies.training.likelihood import logits
from policies.training.trainer import generator
from sim.config import ConfigError
from sim.schema import DAY_S, SCENARIOS
from tests.policies.planted_learning import as_log, preset, serving_requests, told_store
from tests.policies.test_models import LOG, examples, new_network

TAB = SCENARIOS.index("tab")


def network(**changes: object) -> DBMTL3Network:
    return cast("DBMTL3Network", new_network(preset("dbmtl3", **changes)))


def rows_of(scenario: int, n: int = 60) -> Tensor:
    return torch.nonzero(examples().scenario == scenario).flatten()[:n]


@pytest.mark.parametrize("selective", [False, True])
@pytest.mark.parametrize("n_experts", [1, 3])
def test_routing_equals_masking(selective: bool, n_experts: int) -> None:
    """Every head on all rows, each row taking the logits of its own, gives the same."""
    net = network(model__selective=selective, model__n_experts=n_experts)
    with torch.no_grad():
        for chosen in net.choice:
            chosen.normal_(generator=generator(3))
    batch = examples().batch(torch.arange(0, len(examples()), 7))
    with torch.no_grad():
        own = logits(net, batch)
        masked = torch.zeros_like(own)
        for s in range(len(SCENARIOS)):
            context = batch.request.moment.context.clone()
            mine = batch.scenario == s
            x = net.request(batch.request)
            if selective:
                x = x * 2.0 * torch.sigmoid(net.choice[s])
            request = net.first.request_part(x)
            first = net.first(
                request, net.streamer_side(batch.streamer), batch.pair, batch.position
            )
            f, g = torch.split(first, [net.experts.n_first, net.n_gate], dim=1)
            z = net.groups[s](net.experts(f), torch.relu(g))
            masked = torch.where(mine[:, None], z, masked)
            assert context.shape[0] == len(z)
    torch.testing.assert_close(own, masked, rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=40))
def test_routes_and_the_way_back(groups: list[int]) -> None:
    group = torch.tensor(groups, dtype=torch.int64)
    parts = routes(group)
    assert all((group[rows] == s).all() for s, rows in parts)
    if groups:
        assert torch.equal(
            torch.cat([rows for _, rows in parts])[back(group)], torch.arange(len(group))
        )


@pytest.mark.parametrize("selective", [False, True])
def test_no_requests_have_no_vectors(selective: bool) -> None:
    net = network(model__selective=selective)
    batch = examples().batch(torch.zeros(0, dtype=torch.int64))
    width = net.request_side(examples().batch(torch.arange(3)).request).shape[1]
    assert net.request_side(batch.request).shape == (0, width)


def test_a_row_moves_no_foreign_head() -> None:
    net = network()
    rows = rows_of(TAB)
    policy = preset("dbmtl3")
    (phase,) = policy.phases(net, examples())
    torch.autograd.backward(phase.task.loss(rows, generator(0), True))
    for s, name in enumerate(SCENARIOS):
        grads = [p.grad for p in net.groups[s].parameters()]
        if s == TAB:
            assert all(g is not None and bool(g.any()) for g in grads), name
        else:
            assert all(g is None for g in grads), name


def test_a_foreign_step_leaves_idle_heads_and_their_moments_as_they_are() -> None:
    """With weight decay and momentum at work from earlier steps of their own."""
    net, policy = network(), preset("dbmtl3")
    (phase,) = policy.phases(net, examples())
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=1.0)

    def step(rows: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(phase.task.loss(rows, generator(0), True))
        optimiser.step()

    for s in range(len(SCENARIOS)):
        step(rows_of(s))
    idle = [p for s, head in enumerate(net.groups) if s != TAB for p in head.parameters()]
    before = [(p.detach().clone(), *(v.clone() for v in optimiser.state[p].values())) for p in idle]
    step(rows_of(TAB))
    for p, (value, *state) in zip(idle, before, strict=True):
        assert torch.equal(p, value)
        assert all(
            torch.equal(a, b) for a, b in zip(optimiser.state[p].values(), state, strict=True)
        )


@cache
def fitted_without_the_tab() -> Any:
    kept = replace(LOG, rows=LOG.rows.take(np.flatnonzero(LOG.rows.scenario != TAB)))
    return preset("dbmtl3", trainer__steps_per_epoch=20).fit(as_log(kept), FitContext(seed=1))


def test_an_unseen_scenario_is_served_by_the_head_that_saw_most() -> None:
    policy = fitted_without_the_tab()
    net = policy.network_
    assert int(net.rows_seen[TAB]) == 0
    requests = serving_requests(30, LOG)
    assert np.isfinite(policy.score(requests)).all()
    most = int(net.rows_seen.argmax())
    served = net.served_by(torch.arange(len(SCENARIOS)))
    assert served.tolist() == [most if s == TAB else s for s in range(len(SCENARIOS))]


def test_what_is_held_out_of_an_unseen_scenario_is_judged_as_it_will_be_served() -> None:
    """The network knows before it learns which groups it is trained on."""
    policy = preset("dbmtl3", trainer__valid_share=0.3, trainer__steps_per_epoch=5)
    data = examples()
    n_train = policy.trainer.n_train(len(data))
    kept = torch.nonzero((data.scenario != TAB) | (torch.arange(len(data)) >= n_train)).flatten()
    late = data.only(kept)
    policy.trainer = replace(policy.trainer, valid_share=(len(data) - n_train) / len(late))
    network = policy.untrained(policy.known(late), 0)
    policy.prepare(network, late)
    assert int(network.rows_seen.sum()) == policy.trainer.n_train(len(late))
    assert int(network.rows_seen[TAB]) == 0
    assert int((late.scenario == TAB).sum()) > 0
    tab, most = (network.groups[s] for s in (TAB, int(network.rows_seen.argmax())))
    met: list[object] = []
    for head in (tab, most):
        head.register_forward_hook(lambda module, inputs, output: met.append(module))
    (phase,) = policy.phases(network, late)
    rows = torch.nonzero(late.scenario == TAB).flatten()
    phase.task.loss(rows, torch.Generator(), False)
    assert met == [most]


def test_fitting_prepares_before_it_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = preset("dbmtl3", trainer__steps_per_epoch=5)
    seen, phases = [], policy.phases

    def spied(network: Any, data: Any) -> Any:
        seen.append((int(network.rows_seen.sum()), policy.trainer.n_train(len(data))))
        return phases(network, data)

    monkeypatch.setattr(policy, "phases", spied)
    policy.fit(as_log(LOG), FitContext(seed=0))
    ((prepared, n_train),) = seen
    assert prepared == n_train


def test_groupings_by_hand() -> None:
    requests = serving_requests(40, LOG)
    columns = RequestTensors.of(told_store(LOG), requests)
    assert ByScenario().of(columns).tolist() == requests.scenario.tolist()
    day = int(requests.time_s[0] // DAY_S)
    assert ByCalendar([day]).of(columns).all()
    assert not ByCalendar([day + 1]).of(columns).any()
    joined = requests.catalogue.user_joined_day[requests.user_id]
    days = requests.time_s // DAY_S - joined
    tenure = torch.expm1(columns.user.dense[:, USER_DAYS]).numpy()
    np.testing.assert_allclose(tenure, LOG.as_of_s / DAY_S - joined, rtol=1e-4, atol=1e-4)
    cut = float(np.median(tenure))
    assert ByTenure(cut).of(columns).tolist() == (tenure <= np.float32(cut)).astype(int).tolist()
    assert (days >= 0).all()


@pytest.mark.parametrize("days", [[], "10", [1.5], [-1], None])
def test_bad_calendars_are_refused(days: Any) -> None:
    with pytest.raises(ConfigError, match=r"ByCalendar\.sale_days = .*; allowed: a list of days"):
        ByCalendar(days)


@given(st.integers(1, 500), st.integers(1, 600))
def test_shuffled_is_one_permutation_in_even_parts(n_rows: int, batch_rows: int) -> None:
    steps = Shuffled().epoch(n_rows, batch_rows, generator(0, "order"))
    assert len(steps) == Shuffled().count(n_rows, batch_rows)
    sizes = [len(rows) for rows in steps]
    assert max(sizes) <= batch_rows
    assert max(sizes) - min(sizes) <= 1
    whole = torch.randperm(n_rows, generator=generator(0, "order"))
    assert torch.equal(torch.cat(steps), whole)


SIZES = st.lists(st.integers(0, 300), min_size=1, max_size=6).filter(lambda n: sum(n) > 0)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(1, 64), st.floats(0.0, 1.0), st.integers(0, 5))
def test_alternating_steps(sizes: list[int], batch_rows: int, temper: float, seed: int) -> None:
    group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    group = group[torch.randperm(len(group), generator=generator(seed))]
    batches = Alternating(group, temper)
    steps = batches.epoch(len(group), batch_rows, generator(seed, "order"))
    again = batches.epoch(len(group), batch_rows, generator(seed, "order"))
    assert len(steps) == batches.count(len(group), batch_rows)
    assert all(torch.equal(a, b) for a, b in zip(steps, again, strict=True))
    turns = [int(group[rows[0]]) for rows in steps]
    for rows, g in zip(steps, turns, strict=True):
        assert (group[rows] == g).all()
        assert 1 <= len(rows) <= batch_rows
    assert set(turns) == {g for g, n in enumerate(sizes) if n}
    for g in set(turns):  # each pass over a group meets each row once
        met = torch.cat([rows for rows, of in zip(steps, turns, strict=True) if of == g])
        counts = torch.bincount(met, minlength=len(group))[group == g]
        assert int(counts.max() - counts.min()) <= 1


def test_turns_follow_the_sizes() -> None:
    sizes = torch.tensor([1600, 400, 100])
    group = torch.repeat_interleave(torch.arange(3), sizes)
    for temper, expected in ((1.0, [16, 4, 1]), (0.5, [12, 6, 3]), (0.0, [7, 7, 7])):
        steps = Alternating(group, temper).epoch(2100, 100, generator(0))
        turns = torch.bincount(torch.stack([group[rows[0]] for rows in steps]))
        assert turns.tolist() == expected
    # turns are spread: between two of the smallest group there are others
    order = [int(group[rows[0]]) for rows in Alternating(group, 0.0).epoch(2100, 100, generator(0))]
    assert order == [0, 1, 2] * 7


def test_rows_beyond_the_training_part_are_left_out() -> None:
    group = torch.tensor([0, 1] * 50)
    steps = Alternating(group, 1.0).epoch(40, 8, generator(0))
    assert int(torch.cat(steps).max()) < 40


def test_targets_weigh_as_much_as_their_group_says() -> None:
    """A factor on one target of one scenario scales its terms there, and nothing else."""
    policy = preset("dbmtl3")
    heavy = replace(policy.model, group_weights={"tab": {"watch": 3.0}})
    net, k = network(), policy.targets.index("watch")
    (plain,) = policy.phases(net, examples())
    weighed = replace(plain.task, emphasis=heavy.emphasis(examples(), policy.targets))
    for scenario in range(len(SCENARIOS)):
        rows = rows_of(scenario)
        with torch.no_grad():
            before, after = (
                task.means(rows, rows, generator(0), False) for task in (plain.task, weighed)
            )
        factor = torch.ones_like(before)
        factor[k] = 3.0 if scenario == TAB else 1.0
        torch.testing.assert_close(after, before * factor)


@pytest.mark.parametrize("weights", [{"ab": {}}, {"tab": {"ctr": 1.0}}, {"tab": 3.0}, None])
def test_bad_group_weights_are_refused(weights: Any) -> None:
    with pytest.raises(ConfigError, match=r"DBMTL3\.group_weights = .*; allowed: {group: {target"):
        replace(preset("dbmtl3").model, group_weights=weights)


def test_batches_that_are_cut_otherwise_do_not_resume(tmp_path: Path) -> None:
    def fit(temper: float) -> Any:
        policy = preset("dbmtl3", model__temper=temper, trainer__steps_per_epoch=8)
        return policy.fit(as_log(LOG), FitContext(seed=2, folder=tmp_path))

    first, other, again = fit(0.0), fit(1.0), fit(1.0)
    weights = [
        torch.cat([p.flatten() for p in p.network_.parameters()]) for p in (first, other, again)
    ]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])
    assert again.records_[-1].examples_per_s == 0.0  # it had nothing left to do
