"""How fast policies train and score, beside the bare products and gathers of their networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np

from evaluation.bench.clock import Timing, peak_gb, timed
from evaluation.bench.figure import Figure, memory, rate
from evaluation.bench.ledger import Ledger, Product
from evaluation.bench.plan import JUDGED, LARGEST, LEARNED, BenchPlan
from evaluation.cost import busiest_requests
from evaluation.trial import limit_threads
from policies.contract import FitContext, Persistent, Policy, Retriever, Updatable
from policies.heuristics import Random
from policies.rank import Exploration, Server
from sim.config import build
from sim.log import Log
from sim.schema import DAY_S, Impressions, Purchases, Requests
from sim.simulate import simulate

TRAINING_FLOOR = (
    "bare torch, the same matrix products (forward and backward) and embedding gathers on operands "
    "that lie ready, {:,.0f} multiply-adds an example"
)
SCORING_FLOOR = (
    "bare torch, the same float32 matrix products and embedding gathers on operands that lie "
    "ready, {:,.0f} multiply-adds a pair"
)
GATHER_FLOOR = "one number gathered from a table for each pair"


def measure(plan: BenchPlan) -> tuple[Figure, ...]:
    """Time whole fits on a small log, and calls of `score`; keeps the fitted JUDGED policy."""
    limit_threads()
    scale = plan.scale
    # batches as large as on a long log, which a small one would otherwise shrink
    steps = [f"policies.{name}.trainer.steps_per_epoch=1" for name in LEARNED]
    config = plan.config(
        f"world.population.n_users={scale.fit_users}",
        "policies.sass.pretrainer.steps_per_epoch=1",
        f"policies.sass.n_anchors={scale.fit_anchors}",
        *steps,
    )
    log = simulate(
        build(config.world), 0, Server(Random(), Exploration(kind="greedy")), scale.fit_days,
        plan.folder / "few", ranker_name="random",
    )  # fmt: skip
    n = len(log.impressions())
    requests = busiest_requests(log, scale.n_requests)
    figures = []
    for name in LEARNED:
        node = config.policies[name]
        ledger = Ledger()
        with ledger.recording():
            policy: Policy = build(node).fit(log, FitContext())
        taken = timed(_fit(node, log), n, scale.repeats)
        figures.append(
            rate(
                f"train/{name}",
                "examples",
                f"whole fit of {name} on {n:,} impressions of the random policy: replay, features, "
                "training, early stopping",
                taken,
                ledger.replay(n, scale.repeats),
                TRAINING_FLOOR.format(ledger.multiply_adds / n),
            )
        )
        figures.append(_scoring(name, policy, requests, scale.repeats))
        if name == JUDGED:
            plan.judged.mkdir()
            cast("Persistent", policy).save(plan.judged)
    popularity: Policy = build(config.policies.popularity).fit(log, FitContext())
    figures.append(_scoring("popularity", popularity, requests, scale.repeats))
    return tuple(sorted(figures, key=lambda figure: figure.name.startswith("score")))


def measure_fit(plan: BenchPlan) -> tuple[Figure, ...]:
    """Fit the policy that holds the most on the whole log but its last day, once over the rows."""
    limit_threads()
    began_gb = peak_gb()
    name = LARGEST
    config = plan.config(  # none of these changes what is held
        f"policies.{name}.trainer.epochs=1",
        f"policies.{name}.trainer.valid_share=0.5",
        f"policies.{name}.pretrainer.valid_share=0.5",
        f"policies.{name}.trainer.steps_per_epoch=1",
        f"policies.{name}.pretrainer.steps_per_epoch=1",
        f"policies.{name}.n_anchors={plan.scale.fit_anchors}",
    )
    log = Log.open(plan.log).as_of((plan.scale.log_days - 1) * DAY_S)
    checkpoints = plan.folder / "fit"
    checkpoints.mkdir()
    _fit(config.policies[name], log, checkpoints)()
    peak = peak_gb()
    work = f"fitting {name} on {len(log.impressions()):,} impressions"
    return (memory("memory/fit", work, peak, began_gb),)


def _fit(node: object, log: Log, folder: Path | None = None) -> Callable[[], object]:
    return lambda: build(node).fit(log, FitContext(folder=folder))


def _scoring(name: str, policy: Policy, requests: Requests, repeats: int) -> Figure:
    pairs = int(requests.mask.sum())
    every = np.arange(len(requests))

    def forget() -> None:
        """Make vectors of rooms stale, as a new tick does."""
        if isinstance(policy, Updatable):
            policy.observe(Impressions.empty(), Purchases.empty(), float(requests.time_s.max()))

    def score() -> None:
        policy.score(requests.take(every))

    forget()
    ledger = Ledger()
    with ledger.recording():
        score()
    if isinstance(policy, Retriever):  # its inner products may be numpy's, which torch cannot see
        width = policy.user_vectors(requests).shape[1]
        ledger.products[Product(len(requests), requests.mask.shape[1], width, 1)] += 1
    taken = timed(score, pairs, repeats, forget)
    if ledger.products:
        floor = ledger.replay(pairs, repeats)
        floor_work = SCORING_FLOOR.format(ledger.multiply_adds / pairs)
    else:
        floor, floor_work = _gathers(requests, repeats), GATHER_FLOOR
    work = (
        f"{len(requests):,} requests × all candidates, {pairs:,} pairs, from cold caches: "
        "vectors of rooms are computed anew"
    )
    return rate(f"score/{name}", "pairs", work, taken, floor, floor_work)


def _gathers(requests: Requests, repeats: int) -> Timing:
    ids = requests.candidate_id[requests.mask]
    table = np.arange(requests.catalogue.n_streamers, dtype=np.float32)
    out = np.empty(len(ids), np.float32)
    return timed(lambda: np.take(table, ids, out=out, mode="clip"), len(ids), repeats)
