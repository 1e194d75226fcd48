"""Scored pairs per second: each side of a network once, beside the whole network on every pair."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig

from evaluation.bench.clock import timed
from evaluation.bench.race_page import Pairs
from evaluation.cost import busiest_requests
from evaluation.overrides import composed
from evaluation.trial import limit_threads
from policies import registry
from policies.columns import RequestTensors, tensors
from policies.contract import FitContext, Policy, Updatable
from policies.heuristics import Random
from policies.listings import Listings
from policies.memory import plus_one
from policies.neural import NeuralPolicy
from policies.rank import Exploration, Server
from policies.serving import BLOCK_PAIRS, TwoSided
from sim.config import build
from sim.schema import Impressions, Purchases, Requests
from sim.simulate import simulate

if TYPE_CHECKING:
    from evaluation.bench.race import RacePlan

_TRAINER = "policies.training.trainer.Trainer"


def learned() -> tuple[str, ...]:
    """Return the names of all built-in policies that train a network, sorted."""
    return tuple(name for name in registry.built_in() if _trainers(registry.node(name)))


def measure(plan: RacePlan, folder: Path) -> tuple[Pairs, ...]:
    """Fit every learned policy for one epoch on a small log, and time how it scores."""
    limit_threads()
    names = learned()
    (config,) = composed(
        "study",
        [
            f"world={plan.world}",
            f"world.population.n_users={plan.n_users}",
            f"policy=[{','.join(names)}]",
        ],
        swept=False,
    )
    log = simulate(
        build(config.world), 0, Server(Random(), Exploration(kind="greedy")), 1, folder / "log",
        ranker_name="random",
    )  # fmt: skip
    requests = narrowed(busiest_requests(log, plan.n_requests), plan)
    found = []
    for name in names:
        node = config.policies[name]
        for trainer in _trainers(node):  # weights do not change how fast a network is
            trainer.epochs = trainer.steps_per_epoch = 1
        policy: Policy = build(node).fit(log, FitContext())
        found.append(_pairs(name, policy, requests, plan.repeats))
    return tuple(found)


def narrowed(requests: Requests, plan: RacePlan) -> Requests:
    """Return `n_requests` requests, repeated where there are fewer, with the first candidates."""
    of = np.resize(np.arange(len(requests)), plan.n_requests)
    requests = requests.take(of)
    place = np.cumsum(requests.mask, axis=1)
    return replace(requests, mask=requests.mask & (place <= plan.n_candidates))


def repeated(policy: NeuralPolicy, requests: Requests) -> NDArray[np.float32]:
    """Return the logits [N, T] of all N unmasked cells by the whole network on each.

    What is shared is shared nowhere: rows of requests are repeated for each candidate, rooms are
    encoded for each request.
    """
    store, network = policy.store_, cast("TwoSided", policy.network_)
    catalogue, width = requests.catalogue, requests.mask.shape[1]
    store.refresh(catalogue)
    cells = np.flatnonzero(requests.mask)
    of = cells // width
    ids = requests.candidate_id.reshape(-1)[cells]
    streamer = tensors(
        store.streamer(
            catalogue,
            ids,
            requests.product_id.reshape(-1)[cells],
            requests.room_start_s.reshape(-1)[cells],
            requests.scenario[of],
        )
    )
    listings = Listings(requests.supply)
    listings.index(requests)
    category = plus_one(catalogue.streamer_category, ids)
    pair = torch.from_numpy(store.pair(requests, cells, category, listings))
    columns = RequestTensors.of(store, requests)
    rows, parts = torch.from_numpy(of), []
    with torch.inference_mode():
        for block in torch.split(torch.arange(len(cells)), BLOCK_PAIRS):
            request = network.request_side(columns.take(rows[block]))
            room = network.streamer_side(streamer.take(block))
            parts.append(network.join(request, room, pair[block], None))
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def _pairs(name: str, policy: Policy, requests: Requests, repeats: int) -> Pairs:
    n, every = int(requests.mask.sum()), np.arange(len(requests))

    def forget() -> None:
        """Make vectors of rooms stale, as a new tick does."""
        if isinstance(policy, Updatable):
            policy.observe(Impressions.empty(), Purchases.empty(), float(requests.time_s.max()))

    forget()
    policy.score(requests)
    once = timed(lambda: policy.score(requests.take(every)), n, repeats, forget)
    naive = float("nan")
    if isinstance(policy, NeuralPolicy):
        shell = policy
        naive = timed(lambda: repeated(shell, requests.take(every)), n, repeats).per_cpu_s
    n_candidates = round(n / max(len(requests), 1))
    return Pairs(name, len(requests), n_candidates, once.per_cpu_s, naive)


def _trainers(node: object) -> list[DictConfig]:
    """Return all sections of a policy's config that build a trainer."""
    if not isinstance(node, DictConfig):
        return []
    found = [node] if node.get("_target_") == _TRAINER else []
    return [*found, *(t for key in node for t in _trainers(node._get_node(key)))]
