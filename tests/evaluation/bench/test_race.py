"""The race of training engines: contestants learn the same task, marks and pages. No time."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from evaluation.bench import repeat as bench_repeat
from evaluation.bench.lap import (
    FLOOR,
    OURS,
    OURS_ADAM,
    OURS_BLOCKS,
    OWN,
    STRIPPED,
    Lap,
    Time,
    run_lap,
)
from evaluation.bench.mixture import BankMixture, Columns, Mixture, Ours, Sizes, made_up
from evaluation.bench.peers import PEERS, Peer
from evaluation.bench.race import CONTESTANTS, RACES, _laps
from evaluation.bench.race_page import (
    FIGURES,
    PAGE,
    Pairs,
    Race,
    json_text,
    markdown,
    write,
)
from evaluation.bench.repeat import learned, measure, repeated
from evaluation.cli import main
from policies import registry
from policies.training.trainer import generator
from sim.schema import Requests

SIZES = Sizes(fields=4, ids=30, dim=3, experts=3, expert=(8, 5), tower=4, targets=2)


def a_time(contestant: str, threads: int, ids: int, batch_rows: int, wall_s: float) -> Time:
    return Time(contestant, "1.0", threads, ids, batch_rows, wall_s, wall_s, wall_s / 2, 100_000)


def race() -> Race:
    """A race in which ours is twice as fast as the peers, and ten times on large tables."""
    plan = RACES["training"]
    speed = {FLOOR: 1.0, OURS: 4.0, OURS_BLOCKS: 5.0, OURS_ADAM: 5.0}
    times = []
    for lap in _laps(plan):
        wall_s = speed.get(lap.contestant, 8.0) / lap.threads
        large = lap.ids == plan.many_ids
        wall_s *= 0.8 if lap.contestant.endswith(STRIPPED) else 1.0
        if large and lap.contestant != OURS:
            wall_s *= 5.0
        times.append(a_time(lap.contestant, lap.threads, lap.ids, lap.batch_rows, wall_s))
    pairs = (Pairs("dbmtl", 1000, 200, 900.0, 300.0), Pairs("two", 1000, 200, 90.0, math.nan))
    return Race("training", True, {"command": "c", "cores": "2"}, 0.1, 1.0, tuple(times), pairs)


def test_marks_are_ratios_of_the_same_run() -> None:
    marks = {mark.name: mark for mark in race().marks()}
    assert marks["one thread, examples per CPU-second"].value == 25_000.0
    assert marks["one thread, times the fastest peer as it comes"].value == 2.0
    assert marks["one thread, times the fastest peer, stripped"].value == 1.6
    assert marks["two threads, examples per second"].value == 50_000.0
    assert marks["step on 2 million rows over that on 200,000"].value == 1.0
    assert marks["step on 2 million rows, times faster than any peer"].value == 8.0
    assert all(mark.holds for mark in marks.values())
    slow = replace(marks["two threads, examples per second"], value=29_999.0)
    assert slow.holds is False


def test_a_missing_peer_says_how_to_get_it_and_wins_nothing() -> None:
    whole = race()
    nan, said = math.nan, "not installed: pip install -e '.[peers]'"
    times = tuple(
        replace(t, version=said, cpu_s=nan, wall_s=nan, step_s=nan)
        if t.contestant not in OWN
        else t
        for t in whole.times
    )
    alone = replace(whole, times=times)
    by_name = {mark.name: mark.holds for mark in alone.marks()}
    assert by_name["one thread, times the fastest peer, stripped"] is None
    assert by_name["one thread, examples per CPU-second"] is True
    page = markdown(alone)
    assert page.count(said) == 5 * len(PEERS)
    assert "nan" not in page
    assert json.loads(json_text(alone))["marks"][2]["value"] is None


def test_page_and_figures(tmp_path: Path) -> None:
    assert write(race(), tmp_path) == tmp_path / PAGE
    page, record = (tmp_path / PAGE).read_text(), json.loads((tmp_path / FIGURES).read_text())
    for name in (FLOOR, *CONTESTANTS):
        assert page.count(f"| {name} |") >= 2, name
    assert "| swipelab | 1.0 | 25,000 | 25,000 | 1.6 | 0.25 |" in page
    assert "| dbmtl | 900 | 300 | 3 |" in page
    assert "| two | 90 | – | – |" in page
    assert "| one thread, stretch | 25,000 | ≥ 20,000 | yes |" in page
    assert "busy" not in page
    assert "busy" in markdown(replace(race(), load_before=2.0))
    assert len(record["times"]) == len(_laps(RACES["training"]))
    small = replace(race(), marks_apply=False, scale="training_small")
    assert "its figures say little" in markdown(small)
    assert "≥" not in markdown(small)


@pytest.mark.parametrize("tables", ["adam", "rowwise_adagrad"])
def test_our_contestant_learns_the_task(tables: str) -> None:
    columns = made_up(SIZES, 600)
    ours = Ours(SIZES, columns, 60, tables, 32)
    task = ours.task(columns)
    rows = torch.arange(600)
    with torch.no_grad():
        before = float(task.loss(rows, generator(0), False))
    for _ in range(8):
        record = ours.epoch(600)
    with torch.no_grad():
        after = float(task.loss(rows, generator(0), False))
    assert record.steps == 10
    assert after < before - 0.001


def test_our_network_is_the_mixture_by_hand() -> None:
    network = Mixture(SIZES)
    columns = made_up(SIZES, 7)
    task = Ours(SIZES, columns, 7, "adam", 7).task(columns)
    streamer = task.examples.streamer
    x = network.streamer_side(streamer)
    z = network.join(torch.zeros(7, 0), x, torch.zeros(7, 0), None)
    first = network.first.view(3, 8, -1)
    for k in range(SIZES.targets):
        logits = torch.stack([network.gates[k * 3 + e] @ x.t() for e in range(3)], dim=1)
        gate = logits.softmax(1)
        assert torch.allclose(gate.sum(1), torch.ones(7))
        mixed = torch.zeros(7, 5)
        for e in range(3):
            h = (x @ first[e].t() + network.first_bias.view(3, 8)[e]).relu()
            h = (h @ network.second[e].t() + network.second_bias[e, :, 0]).relu()
            mixed += gate[:, e : e + 1] * h
        u = (mixed @ network.tower[k].t() + network.tower_bias[k, :, 0]).relu()
        torch.testing.assert_close(
            z[:, k], u @ network.heads.weight[k] + network.heads.bias[k], rtol=1e-5, atol=1e-6
        )


def test_the_blocks_of_policies_compute_the_same_mixture() -> None:
    plain, bank = Mixture(SIZES), BankMixture(SIZES)
    with torch.no_grad():
        bank.joint.weight.copy_(torch.cat([plain.first, plain.gates]))
        bank.joint.bias.zero_()
        bank.bank.weights[0].copy_(plain.second.transpose(1, 2))
        bank.towers.weights[0].copy_(plain.tower.transpose(1, 2))
    x = torch.randn(9, plain.table.width)
    torch.testing.assert_close(bank.hidden(x), plain.hidden(x), rtol=1e-5, atol=1e-6)


def test_columns_are_the_same_for_everybody() -> None:
    a, b = made_up(SIZES, 50), made_up(SIZES, 50)
    assert np.array_equal(a.ids, b.ids)
    assert np.array_equal(a.labels, b.labels)
    assert a.ids.max() < SIZES.ids
    assert set(np.unique(a.labels)) == {0.0, 1.0}
    head: Columns = a.take(20)
    assert head.ids.shape == (20, 4)


def test_every_lap_has_its_contestant() -> None:
    names = {name.removesuffix(STRIPPED) for name in CONTESTANTS}
    assert {peer.name for peer in PEERS} == names - set(OWN)
    found = run_lap(Lap(OURS, torch.get_num_threads(), 20, 16, 48, 1))
    floor = run_lap(Lap(FLOOR, torch.get_num_threads(), 20, 16, 48, 1))
    for time in (found, floor):
        assert time.ran
        assert min(time.cpu_s, time.wall_s, time.step_s) > 0.0


def test_a_peer_that_is_absent_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.bench.lap.importlib.util.find_spec", lambda name: None)
    time = run_lap(Lap(PEERS[0].name, 1, 20, 16, 48, 1))
    assert not time.ran
    assert "pip install -e '.[peers]'" in time.version


def test_every_learned_policy_is_scored() -> None:
    trained = {name for name in registry.built_in() if "trainer" in registry.node(name)}
    assert trained < set(learned()), "and cascades, whose stages are trained"


def test_pairs_are_those_of_the_whole_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(RACES["training_small"], n_requests=9)
    names = ("dbmtl", "sass", "sass_cascade")
    seen: dict[str, tuple[Any, Requests]] = {}
    timed = bench_repeat._pairs

    def spy(name: str, policy: Any, requests: Requests, repeats: int) -> Pairs:
        seen[name] = (policy, requests)
        return timed(name, policy, requests, 1)

    monkeypatch.setattr(bench_repeat, "_pairs", spy)
    monkeypatch.setattr(bench_repeat, "learned", lambda: names)
    found = measure(plan, tmp_path)
    assert tuple(pairs.policy for pairs in found) == names
    for pairs in found:
        assert (pairs.n_requests, pairs.n_candidates) == (9, plan.n_candidates)
        assert pairs.once_per_cpu_s > 0.0
    assert math.isnan(found[2].repeat_per_cpu_s), "two stages are not one network"
    policy, requests = seen["sass"]
    whole = policy.score(requests)[requests.mask]
    np.testing.assert_allclose(repeated(policy, requests)[:, 0], whole, rtol=1e-4, atol=1e-4)
    policy, requests = seen["dbmtl"]
    logits = np.concatenate([z for _, z in policy._fitted().blocks(requests)])
    np.testing.assert_allclose(repeated(policy, requests), logits, rtol=1e-4, atol=1e-4)


def test_trainers_are_found_at_any_depth() -> None:
    trainer = {"_target_": "policies.training.trainer.Trainer", "epochs": 3}
    node = OmegaConf.create({"a": {"trainer": trainer}, "pretrainer": trainer, "b": 1})
    assert len(bench_repeat._trainers(node)) == 2


@pytest.mark.filterwarnings("ignore")  # what other libraries deprecate is not ours
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
@pytest.mark.parametrize("stripped", [False, True])
def test_peers_run_where_they_are_installed(peer: Peer, stripped: bool) -> None:
    pytest.importorskip(peer.module, reason="needs the extra peers: pip install -e '.[peers]'")
    columns = made_up(SIZES, 64)
    contest = peer.build(SIZES, columns, 32, stripped)
    contest.prepare(64)
    contest.epoch(64)


@pytest.mark.slow
def test_command_leaves_page_and_figures_only(tmp_path: Path) -> None:
    out = tmp_path / "perf"
    assert main(["bench", "scale=training_small", f"out={out}"]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted([PAGE, FIGURES])
