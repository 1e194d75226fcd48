"""Matching inside ranking (DMR 1.0, RUI 1.0 to 3.0) against the definitions of the source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from policies.blocks.match import JointMatch, ReferMatch, UserMatch
from policies.blocks.three_towers import ThreeTowerMatch
from policies.columns import Batch, SideTensors
from policies.features import PAIR_FIELDS, REFER_CROSSES
from policies.models.matched import MatchedNetwork
from policies.training.likelihood import logits
from policies.training.trainer import generator
from sim.config import ConfigError
from sim.schema import EFFECTIVE_VIEW_S, SWIPE, TARGETS
from tests.policies.planted_learning import preset, serving_requests
from tests.policies.test_models import LOG, examples, fitted, new_network, some_batch

RUI = ("rui1", "rui1_crosses", "rui2", "rui3")
MATCHED = ("dmr1", *RUI)


def network_of(name: str, **changes: object) -> MatchedNetwork:
    """Return an untrained network whose last layer differs by target."""
    network = new_network(preset(name, **changes))
    assert isinstance(network, MatchedNetwork)
    with torch.no_grad():
        network.fc.weight.normal_(generator=generator(1))
        network.fc.bias.normal_(generator=generator(2))
    return network


def score_by_hand(network: MatchedNetwork, batch: Batch) -> Tensor:
    """Return the match score [n] written out as the talk defines it."""
    parts = network.rank.request.parts(batch.request)
    u, i, m = parts[0], network.rank.streamer(batch.streamer), network.match
    present = batch.scenario == SWIPE
    if isinstance(m, JointMatch):
        return (m.e(torch.cat([u, parts[2]], 1)) * m.f(i)).sum(1)
    if isinstance(m, UserMatch):
        return (m.e(u) * m.f(i)).sum(1)
    if isinstance(m, ReferMatch):
        return present * (m.c(parts[2]) * m.d(i)).sum(1)
    assert isinstance(m, ThreeTowerMatch)
    r = parts[2]
    u2r = present * (m.a(u) * m.b(r)).sum(1)
    return u2r * (m.c(r) * m.d(i)).sum(1) + (m.e(u) * m.f(i)).sum(1)


@pytest.mark.parametrize("name", MATCHED)
def test_the_match_is_added_to_every_logit_of_the_rank_tower(name: str) -> None:
    network, batch = network_of(name), some_batch()
    with torch.no_grad():
        s, rank = score_by_hand(network, batch), logits(network.rank, batch)
        expected = rank + s[:, None] * network.fc.weight[:, 0] + network.fc.bias
        assert torch.allclose(logits(network, batch), expected, rtol=1e-4, atol=1e-5)
    assert network.fc.weight.shape == (len(preset(name).targets), 1)


def test_each_version_has_its_own_match() -> None:
    kinds = [type(network_of(name).match) for name in MATCHED]
    assert kinds == [UserMatch, JointMatch, JointMatch, ReferMatch, ThreeTowerMatch]


@pytest.mark.parametrize("name", RUI)
def test_a_refer_and_the_same_streamer_have_different_vectors(name: str) -> None:
    rank = fitted(name).network_.rank
    refer, streamer = rank.request.refer.ids, rank.streamer.ids
    value = torch.tensor([[4]], dtype=torch.int32)
    as_refer, as_streamer = refer(value), streamer(value)
    assert as_refer.shape == as_streamer.shape
    assert not torch.equal(as_refer, as_streamer)
    assert refer.table.data_ptr() != streamer.table.data_ptr()


def with_other_ids(side: SideTensors) -> SideTensors:
    return replace(side, ids=side.ids % 20 + 1, dense=side.dense.flip(0))


@pytest.mark.parametrize(
    ("name", "reads_user", "reads_refer"),
    [("dmr1", True, False), ("rui1", True, True), ("rui2", False, True), ("rui3", True, True)],
)
def test_what_the_match_reads(name: str, reads_user: bool, reads_refer: bool) -> None:
    network = network_of(name)
    rows = torch.nonzero(examples().scenario == SWIPE).flatten()
    request = examples().batch(rows).request
    other_user = replace(request, user=with_other_ids(request.user))
    refer = replace(request.refer, ids=request.refer.ids % 20 + 1)
    other_refer = replace(request, refer=refer)
    n = network.match.width
    with torch.no_grad():
        own, user, refer_ = (
            network.request_side(each)[:, :n] for each in (request, other_user, other_refer)
        )
    assert torch.equal(own, user) is not reads_user
    assert torch.equal(own, refer_) is not reads_refer


def test_rui2_has_no_match_without_a_refer() -> None:
    network = network_of("rui2")
    rows = torch.nonzero(examples().scenario != SWIPE).flatten()
    vectors = network.request_side(examples().batch(rows).request)[:, : network.match.width]
    assert not vectors.any()


def test_crosses_are_a_switch_of_their_own() -> None:
    """RUI 1.0's two steps differ in the rank tower's pair columns and in nothing else."""
    plain, crossed = network_of("rui1"), network_of("rui1_crosses")
    assert plain.rank.first.n_pair == len(PAIR_FIELDS) - len(REFER_CROSSES)
    assert crossed.rank.first.n_pair == len(PAIR_FIELDS)
    shapes = [{n: p.shape for n, p in each.named_parameters()} for each in (plain, crossed)]
    assert {n for n in shapes[0] if shapes[0][n] != shapes[1][n]} == {"rank.first.pair.weight"}
    batch = some_batch()
    turned = replace(batch, pair=batch.pair.clone())
    turned.pair[:, -len(REFER_CROSSES) :] += 1.0
    assert torch.equal(logits(plain, batch), logits(plain, turned))
    assert not torch.equal(logits(crossed, batch), logits(crossed, turned))


@pytest.mark.parametrize("bound", [False, True])
def test_when_a_score_rises_with_the_likeness_of_refer_and_room(bound: bool) -> None:
    """With u2r bounded always; plain, only where the user likes the refer."""
    match = ThreeTowerMatch(4, 3, 5, dim=2, bound=bound).requires_grad_(False)
    draw = generator(3)
    u, r, i = (torch.randn(200, n, generator=draw) for n in (4, 3, 5))
    ones = torch.ones(200)
    with torch.no_grad():
        request, room = match.request(u, r, ones), match.streamer(i)
        nearer = room.clone()
        c = match.c(r)
        nearer[:, :2] += 0.5 * c / c.square().sum(1, keepdim=True)  # r2i grows by a half
        gain = (request * nearer).sum(1) - (request * room).sum(1)
        likes = (match.a(u) * match.b(r)).sum(1) > 0
    assert likes.any()
    assert (~likes).any()
    rises = gain > 0
    assert torch.equal(rises, torch.ones_like(likes) if bound else likes)


def test_the_match_of_a_refer_needs_a_rank_tower_that_reads_it() -> None:
    for name in RUI:
        with pytest.raises(ConfigError, match=r"rank.refer = False; allowed: True, the match"):
            preset(name, model__rank__refer=False)


def test_the_first_hop_of_the_swipe_is_ten_seconds_of_view() -> None:
    data, rows = examples(), LOG.rows
    engaged = data.labels[data.scenario == SWIPE, TARGETS.index("engage")]
    assert EFFECTIVE_VIEW_S == 10.0
    assert not rows.click[rows.scenario == SWIPE].any()
    own = rows.take(rows.scenario == SWIPE)
    assert int(engaged.sum()) == int((own.watch_s >= 10.0).sum())
    assert np.array_equal(own.engage, own.watch_s >= 10.0)
    for name in MATCHED:
        policy = preset(name)
        assert policy.targets[0] == "engage"
        assert policy.model.rank.graph["engage"] == []


@pytest.mark.parametrize("name", MATCHED)
def test_matched_scores_are_two_sided(name: str) -> None:
    """A request's score for a room does not depend on the other rooms of its list."""
    policy, requests = fitted(name), serving_requests(12, LOG)
    whole = policy.score(requests)
    alone = requests.mask & (np.cumsum(requests.mask, axis=1) == 1)
    single = policy.score(replace(requests, mask=alone))
    np.testing.assert_allclose(single[alone], whole[alone], rtol=1e-5, atol=1e-6)
