"""DMR 2.0 against its definition: softmaxes per kind, shared attention, both stages, end to end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.columns import RequestTensors, SequenceTensors, SideTensors
from policies.contract import FitContext
from policies.examples import Examples
from policies.histories import KINDS
from policies.models.dmr2 import DMR2Network, Joint
from policies.models.retrieval import VIEWS, RetrievalNetwork
from policies.training.likelihood import logits
from policies.training.next_watched import NextWatched, hour_of, log_softmaxes
from policies.training.trainer import generator
from sim.config import ConfigError
from sim.schema import PAD, TARGETS
from tests.policies.planted_learning import as_log, preset, rooms, serving_requests
from tests.policies.test_models import LOG, examples, new_network, some_batch

SHORT = {"valid_share": 0.0, "steps_per_epoch": 4, "epochs": 1}
HOURLY = {"features__histories__join_every_h": 1.0, "features__histories__length": 5}
"""Neighbours within the few hours of the planted log."""


@cache
def network() -> DMR2Network:
    """Return an untrained network; tests must not alter it."""
    built = new_network(preset("dmr2"))
    assert isinstance(built, DMR2Network)
    with torch.no_grad():
        built.fc.weight.normal_(generator=generator(1))
        built.retrieval.bias.normal_(generator=generator(2))
    return built


@cache
def trained(name: str) -> Any:
    changes = {"pretrainer__steps_per_epoch": 10} if name == "dmr2" else {}
    policy = preset(name, trainer__steps_per_epoch=10, **changes, **HOURLY)
    return policy.fit(as_log(LOG), FitContext(seed=5))


def task(n_negatives: int = 6) -> NextWatched:
    weight = torch.arange(1.0, 7.0)
    return NextWatched(network().retrieval, examples(), weight, n_negatives, 0.5, True, 0.0)


def sequences_of(place: list[list[int]]) -> SequenceTensors:
    """Return one request per list, its sequence under every kind the same rows of the table."""
    known = examples().requests.sequences
    assert known is not None
    length = known.place.shape[2]
    rows = [row + [PAD] * (length - len(row)) for row in place]
    wide = torch.tensor(rows, dtype=torch.int32)[:, None].expand(-1, len(KINDS), -1)
    return SequenceTensors(wide, known.streamers)


def test_the_block_by_hand() -> None:
    block = network().retrieval.attention
    assert block is not None
    sequences = sequences_of([[7, 3, 11]])
    with torch.no_grad():
        x = block.embed(block.element(sequences.streamers.take(torch.tensor([7, 3, 11]))))
        x = x + block.position[:3]
        q, k, v = (part.view(3, block.heads, -1) for part in block.qkv(x).chunk(3, dim=1))
        rows = []
        for i in range(3):
            heads = []
            for h in range(block.heads):
                near = torch.stack([q[i, h] @ k[j, h] for j in range(3)]) / q.shape[2] ** 0.5
                heads.append(torch.softmax(near, 0) @ v[:, h])
            rows.append(torch.cat(heads))
        width = (block.width,)
        one = functional.layer_norm(
            x + block.out(torch.stack(rows)), width, block.norms[0].weight, block.norms[0].bias
        )
        two = one + block.narrow(torch.relu(block.wide(one)))
        two = functional.layer_norm(two, width, block.norms[1].weight, block.norms[1].bias)
        got = block(sequences, range(len(KINDS)))
    for kind in range(len(KINDS)):  # one block for all kinds
        assert torch.allclose(got[0, kind], two.mean(0), atol=1e-5)


def test_padding_and_foreign_rows_have_no_influence() -> None:
    block = network().retrieval.attention
    assert block is not None
    sequences = sequences_of([[7, 3], [], [5, 9, 2], [1]])
    used = torch.tensor([7, 3, 5, 9, 2, 1])
    strange = {"ids": 0, "context": 0, "dense": 1e3}
    side = SideTensors(
        *(
            torch.full_like(part, strange[name]).index_copy(0, used, part[used])
            for name, part in vars(sequences.streamers).items()
        )
    )
    with torch.no_grad():
        whole = block(sequences, range(5))
        assert torch.equal(block(replace(sequences, streamers=side), range(5)), whole)
        assert not whole[1].any()
        assert whole[[0, 2, 3]].any(2).all()
        for b in range(4):
            alone = block(sequences.take(torch.tensor([b])), range(5))
            assert torch.allclose(alone[0], whole[b], atol=1e-6)
        turned = block(sequences.take(torch.tensor([3, 2, 1, 0])), range(5))
        assert torch.allclose(turned.flip(0), whole, atol=1e-6)


def test_no_history_at_all_is_a_defined_vector() -> None:
    retrieval = network().retrieval
    request = examples().requests.take(torch.arange(3))
    empty = replace(request, sequences=sequences_of([[], [], []]))
    with torch.no_grad():
        users = retrieval.users(empty)
    assert users.shape == (3, 6, retrieval.dim)
    for b in range(3):
        assert torch.equal(users[b, 1:], retrieval.bias[:, 0])


def test_the_order_of_a_history_counts() -> None:
    block = network().retrieval.attention
    assert block is not None
    with torch.no_grad():
        a, b = block(sequences_of([[7, 3], [3, 7]]), range(5))
    assert not torch.allclose(a, b, atol=1e-4)


def test_rivals_were_on_air_in_the_same_hour_and_scenario() -> None:
    data, own = examples(), task()
    assert (data.labels[own.positive, TARGETS.index("engage")] == 1).all()
    rival = own._shown.draw(own.positive, 6, generator(0))
    hour = data.requests.moment.context[:, 2][data.request]
    for column in (data.scenario, data.tick, hour):
        assert (column[rival] == column[own.positive][:, None]).all()


def place_of(data: Examples) -> list[tuple[int, int, int]]:
    """Return tick, hour and scenario of each row."""
    hour = data.requests.moment.context[:, 2][data.request]
    columns = (data.tick.tolist(), hour.tolist(), data.scenario.tolist())
    return list(zip(*columns, strict=True))


def test_log_q_is_the_share_of_exposures() -> None:
    data, own = examples(), task()
    place = place_of(data)
    streamer = data.streamer.ids[:, 0].tolist()
    for row in range(0, len(data), 131):
        there = [s for s, p in zip(streamer, place, strict=True) if p == place[row]]
        share = there.count(streamer[row]) / len(there)
        assert float(own.log_q[row].exp()) == pytest.approx(share, rel=1e-5)
    plain = NextWatched(network().retrieval, data, torch.ones(6), 6, 0.5, False, 0.0)
    assert not plain.log_q.any()


def test_one_softmax_per_kind() -> None:
    draw = generator(4)
    user, item = torch.randn(5, 6, 3, generator=draw), torch.randn(5, 9, 3, generator=draw)
    log_q, valid = torch.randn(5, 9, generator=draw), torch.rand(5, 9, generator=draw) < 0.7
    valid[:, 0] = True
    p = log_softmaxes(user, item, log_q, valid, 0.5).exp()
    assert torch.allclose(p.sum(2), torch.ones(5, 6))
    assert not p[~valid[:, None].expand(-1, 6, -1)].any()
    s = torch.exp((user[2, 4] @ item[2].T) / 0.5 - log_q[2]) * valid[2]
    assert torch.allclose(p[2, 4], s / s.sum(), atol=1e-6)


def test_the_loss_of_stage_1_by_hand() -> None:
    own, data, rows = task(), examples(), torch.arange(0, 40, 5)
    with torch.no_grad():
        got = float(own.loss(rows, generator(3), True))
        rival = own._shown.draw(own.positive[rows], 6, generator(3))
        streamer, expected = data.streamer.ids[:, 0], 0.0
        for i, watched in enumerate(own.positive[rows]):
            users = network().retrieval.users(data.requests.take(data.request[watched][None]))[0]
            shown = [int(watched)]
            shown += [int(j) for j in rival[i] if streamer[j] != streamer[watched]]
            items = network().retrieval.items(data.streamer.take(torch.tensor(shown)))
            for m in range(6):
                z = items @ users[m] / 0.5 - own.log_q[shown]
                expected += (m + 1) * float(torch.logsumexp(z, 0) - z[0]) / len(rows)
    assert got == pytest.approx(expected, rel=1e-4)


class OneHot(nn.Module):
    """Vectors under which every streamer is liked by how large its id is."""

    def users(self, request: RequestTensors) -> Tensor:
        return torch.tensor([1.0, -1.0, 0.0]).repeat(len(request), 1)[:, :, None]

    def items(self, streamer: SideTensors) -> Tensor:
        return streamer.ids[:, :1].float()


def test_areas_are_shares_of_pairs_in_the_right_order() -> None:
    own = NextWatched(OneHot(), examples(), torch.ones(3), 4, 1.0, True, 0.0)
    up, down, level = own.areas(torch.arange(len(own)), 0).tolist()
    right, pairs, code = np.zeros(3), 0, hour_of(examples())
    for row in own.positive.tolist():
        rivals = (code == code[row]) & (own.streamer != own.streamer[row])
        gap = (own.streamer[row] - own.streamer[rivals]).double().numpy()
        q = (own.log_q[row] - own.log_q[rivals]).double().numpy()
        for kind, likes in enumerate((1.0, -1.0, 0.0)):
            z = likes * gap - q
            right[kind] += (z > 1e-6).sum() + 0.5 * (abs(z) <= 1e-6).sum()
        pairs += len(gap)
    assert [up, down, level] == pytest.approx((right / pairs).tolist(), abs=0.02)


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_the_logits_of_stage_2_by_hand(pooling: str) -> None:
    built = new_network(preset("dmr2", model__pooling=pooling))
    assert isinstance(built, DMR2Network)
    batch, rank = some_batch(), built.rank
    with torch.no_grad():
        built.fc.weight.normal_(generator=generator(1))
        users = built.retrieval.users(batch.request)
        item = built.retrieval.items(batch.streamer)
        u, i = rank.request.parts(batch.request)[0], rank.streamer(batch.streamer)
        match = built.match
        dots = [(users[:, m] * item).sum(1) for m in range(6)]
        dots.append((match.e(u) * match.f(i)).sum(1))  # type: ignore[operator]
        s = sum(dots) if pooling == "sum" else sum(dots) / 7
        first = rank.first(
            rank.request_side(batch.request),
            rank.streamer_side(batch.streamer),
            batch.pair,
            batch.position,
        )
        extra = torch.cat([users.flatten(1), item], dim=1)
        weight = torch.cat([built.from_users.weight, built.from_item.weight], dim=1)
        z = rank.upper(first + extra @ weight.T)
        expected = z + s[:, None] * built.fc.weight[:, 0] + built.fc.bias  # type: ignore[index]
        assert torch.allclose(logits(built, batch), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frozen", [True, False])
def test_stage_2_leaves_frozen_vectors_alone(frozen: bool) -> None:
    policy = preset("dmr2", model__frozen=frozen, trainer__steps_per_epoch=5, trainer__epochs=1)
    built, context = new_network(policy), FitContext(seed=1)
    assert isinstance(built, DMR2Network)
    retrieve, train = policy.phases(built, examples())
    short = replace(retrieve.trainer, steps_per_epoch=5, epochs=1)
    before = copied(built)
    short.run(built, retrieve.task, context, retrieve.name)
    between = copied(built)
    assert {n for n in before if moved(before[n], between[n])} == set(names(built, "retrieval."))
    train.trainer.run(built, train.task, context, train.name)
    after = copied(built)
    of_stage_1 = [moved(between[n], after[n]) for n in names(built, "retrieval.")]
    assert not any(of_stage_1) if frozen else all(of_stage_1)
    assert moved(between["from_users.weight"], after["from_users.weight"])


def copied(built: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in built.named_parameters()}


def moved(a: Tensor, b: Tensor) -> bool:
    return not torch.equal(a, b)


def names(built: nn.Module, start: str) -> Iterator[str]:
    return (n for n, _ in built.named_parameters() if n.startswith(start))


def test_both_stages_hold_out_the_same_rows() -> None:
    policy, data = preset("dmr2"), examples()
    retrieve, rank = policy.phases(policy.build(data.statistics(1)), data)
    cut = len(data) - int(len(data) * policy.trainer.valid_share)
    assert rank.n_train is None
    assert retrieve.n_train == int((data.labels[:cut, TARGETS.index("engage")] > 0.5).sum())
    assert 0 < retrieve.n_train < len(retrieve.task)
    with pytest.raises(ConfigError, match=r"pretrainer.valid_share = 0.2; allowed: the trainer's"):
        preset("dmr2", pretrainer__valid_share=0.2)


def test_end_to_end_adds_both_losses() -> None:
    policy = preset("dmr_e2e", retrieval_weight=3.0)
    (phase,) = policy.phases(new_network(policy), examples())
    assert isinstance(phase.task, Joint)
    rows = torch.arange(100, 160)
    draw = generator(7)
    with torch.no_grad():
        got = float(phase.task.loss(rows, generator(7), False))
        first = float(phase.task.likelihood.loss(rows, draw, False))
        watched = rows[examples().labels[rows, TARGETS.index("engage")] > 0.5]
        second = float(phase.task.retrieval.loss_of(watched, draw, False))
    assert got == pytest.approx(first + 3.0 * second, rel=1e-5)
    assert len(phase.task) == len(examples())


@pytest.mark.parametrize("name", ["dmr2", "dmr_e2e"])
def test_each_kind_has_an_offline_area(name: str, tmp_path: Path) -> None:
    policy = trained(name)
    assert tuple(area.kind for area in policy.areas_) == VIEWS
    assert all(0.0 < area.auc < 1.0 for area in policy.areas_)
    changes = {"pretrainer__steps_per_epoch": 10} if name == "dmr2" else {}
    again = preset(name, trainer__steps_per_epoch=10, **changes, **HOURLY)
    again.fit(as_log(LOG), FitContext(seed=5, folder=tmp_path))
    assert again.areas_ == policy.areas_
    (path,) = tmp_path.glob("*.kinds.metrics.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["kind"], line["valid_auc"]) for line in lines] == [
        (area.kind, area.auc) for area in policy.areas_
    ]


@pytest.mark.parametrize("name", ["dmr2", "dmr_e2e"])
def test_without_held_out_rows_no_area_is_claimed(name: str, tmp_path: Path) -> None:
    """What was learnt from says nothing of how well it is found."""
    both = ("trainer", "pretrainer") if name == "dmr2" else ("trainer",)
    changes = {f"{part}__{key}": n for part in both for key, n in SHORT.items()}
    policy = preset(name, **changes, **HOURLY)
    policy.fit(as_log(LOG), FitContext(seed=5, folder=tmp_path))
    assert policy.areas_ == ()
    assert not [*tmp_path.glob("*.kinds.metrics.jsonl")]


def test_the_held_out_loss_of_both_stages_is_a_mean_over_watched_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = preset("dmr_e2e", retrieval_weight=3.0)
    (phase,) = policy.phases(new_network(policy), examples())
    task = cast("Joint", phase.task)
    monkeypatch.setattr(
        task.retrieval, "loss_of", lambda rows, draw, training: rows.double().mean()
    )
    whole = torch.arange(600)
    with torch.no_grad():
        parts = [task.held_out(rows, whole, generator(0)) for rows in torch.split(whole, 70)]
        likelihood = task.likelihood.loss(whole, generator(0), False)
    watched = whole[examples().labels[whole, TARGETS.index("engage")] > 0.5]
    expected = float(likelihood) + 3.0 * float(watched.double().mean())
    assert float(torch.stack(parts).sum()) == pytest.approx(expected, rel=1e-5)


def test_a_kind_can_be_left_out() -> None:
    policy = preset("dmr2", trainer__steps_per_epoch=4, pretrainer__steps_per_epoch=4)
    fewer = replace(policy.model.retrieval, kind_weights={"U2A2A": 1.0, "U2F": 2.0})
    assert fewer.kinds == ("U2F", "U2A2A")
    assert fewer.weight.tolist() == [2.0, 1.0]
    policy.model = replace(policy.model, retrieval=fewer)
    built = policy.build(examples().statistics(1))
    assert built.retrieval.user is None
    users = built.retrieval.users(examples().requests.take(torch.arange(4)))
    assert users.shape == (4, 2, fewer.dim)
    only = replace(fewer, kind_weights={"profile": 1.0})
    built = replace(policy.model, retrieval=only)
    assert isinstance(
        built.build(examples().statistics(1), policy.encoder, policy.targets), nn.Module
    )


def test_serving_reads_each_side_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, requests = trained("dmr2"), serving_requests(30, LOG)
    seen: dict[str, list[int]] = {"users": [], "items": []}
    users, items = RetrievalNetwork.users, RetrievalNetwork.items

    def counted_users(self: RetrievalNetwork, request: RequestTensors) -> Tensor:
        seen["users"].append(len(request))
        return users(self, request)

    def counted_items(self: RetrievalNetwork, streamer: SideTensors) -> Tensor:
        seen["items"].append(len(streamer.ids))
        return items(self, streamer)

    monkeypatch.setattr(RetrievalNetwork, "users", counted_users)
    monkeypatch.setattr(RetrievalNetwork, "items", counted_items)
    policy.store_.version += 1
    policy.score(requests)
    policy.score(requests)
    assert seen["users"] == [30, 30]
    lists = len(np.unique(requests.row.astype(np.int64) * 10 + requests.scenario))
    assert seen["items"] == [lists * requests.mask.shape[1]]


@pytest.mark.parametrize("name", ["dmr2", "dmr_e2e"])
def test_strangers_single_candidates_and_empty_lists_have_scores(name: str) -> None:
    policy, requests = trained(name), serving_requests(6, LOG)
    one = np.ones((6, 1), np.bool_)
    single = replace(
        requests, supply=rooms(np.full((6, 1), 3)), row=np.arange(6, dtype=np.int32), mask=one
    )
    for user, room, refer in ((PAD, 3, PAD), (10**6, 10**6, 10**6), (3, 3, PAD)):
        strange = replace(
            single,
            user_id=np.full(6, user, np.int32),
            refer_id=np.full(6, refer, np.int32),
            supply=rooms(np.full((6, 1), room)),
        )
        assert np.isfinite(policy.score(strange)).all()
    assert not policy.score(replace(single, mask=~one)).any()


def test_histories_change_what_is_recommended() -> None:
    policy, requests = trained("dmr2"), serving_requests(40, LOG)
    before = policy.score(requests)
    store, histories = policy.store_, policy.store_.histories
    kept = histories.followed.items.copy()
    try:
        histories.followed.items[:] = np.where(kept == PAD, PAD, (kept + 1) % 24)
        assert not np.array_equal(policy.score(requests), before)
    finally:
        histories.followed.items = kept
    assert store.histories is histories
    assert np.array_equal(policy.score(requests), before)


def test_a_killed_fit_goes_on_in_either_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    from policies.training import checkpoint

    real = checkpoint.write
    for deadly in (2, 7):
        calls: list[int] = []

        def dying(*args: Any, calls: list[int] = calls, deadly: int = deadly) -> Any:
            calls.append(1)
            if len(calls) == deadly:
                raise Killed
            return real(*args)

        folder = tmp_path / str(deadly)
        quick = {"pretrainer__steps_per_epoch": 10, "trainer__steps_per_epoch": 10}
        with monkeypatch.context() as patch:
            patch.setattr("policies.training.checkpoint.write", dying)
            with pytest.raises(Killed):
                preset("dmr2", **quick, **HOURLY).fit(as_log(LOG), FitContext(5, folder))
        resumed = preset("dmr2", **quick, **HOURLY).fit(as_log(LOG), FitContext(5, folder))
        whole = trained("dmr2").network_.state_dict()
        assert all(torch.equal(v, whole[n]) for n, v in resumed.network_.state_dict().items())


def test_bad_configs_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"frozen = True; allowed: False"):
        preset("dmr_e2e", model__frozen=True)
    with pytest.raises(ConfigError, match=r"heads = 3; allowed: a divisor of width 16"):
        preset("dmr2", model__retrieval__heads=3)
    with pytest.raises(ConfigError, match=r"pooling = 'max'; allowed: one of sum, mean"):
        preset("dmr2", model__pooling="max")
    with pytest.raises(ConfigError, match=r"kind_weights.U2A = 0"):
        preset("dmr2", model__retrieval__kind_weights__U2A=0.0)
    plain = preset("dmr1").features
    with pytest.raises(ConfigError, match=r"features = .*; allowed: a section that builds a Seq"):
        type(preset("dmr2"))(**(arguments(preset("dmr2")) | {"features": plain}))


def arguments(policy: Any) -> dict[str, Any]:
    wanted = ("model", "target_weights", "fusion", "features", "encoder", "pretrainer", "trainer")
    return {name: getattr(policy, name) for name in wanted}
