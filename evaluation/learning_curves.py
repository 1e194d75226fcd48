"""Learning curves on one small scenario, for ways to train on it and on the others together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from omegaconf import DictConfig, OmegaConf
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from policies import registry
from policies.columns import Batch
from policies.contract import FitContext
from policies.examples import Examples, replay
from policies.features import FeatureStore
from policies.heuristics import Popularity
from policies.multitask import MultiTaskPolicy
from policies.rank import Exploration, Server
from policies.serving import TwoSided
from policies.training.likelihood import logits
from policies.training.task import Task
from sim.config import build
from sim.log import Log
from sim.presets import preset
from sim.schema import DAY_S, SCENARIOS, TARGETS
from sim.simulate import simulate

TAB, ENGAGE = SCENARIOS.index("tab"), TARGETS.index("engage")

READINGS = 8
"""Points of a curve after its beginning."""

EPS = 0.3
"""Share of uniform choices of the logging policy, as conf/logging/default.yaml."""


@dataclass(frozen=True)
class Way:
    """One way to train."""

    name: str
    policy: str
    """Preset in conf/policy."""
    alternating: bool = False
    """Whether batches take turns; of `dbmtl3` only."""
    only_tab: bool = False


class Watched:
    """A task that reads the AUC of the first hop on held-out rows as training goes on.

    Args:
        task: what is learnt.
        network: what `task` computes its loss with.
        held: rows that are read, with labels.
        every: training steps between two readings.

    Attributes:
        curve: the readings, the first one before training.
    """

    def __init__(self, task: Task, network: nn.Module, held: Batch, every: int) -> None:
        """Take the first reading."""
        self.task, self.network, self.held, self.every = task, network, held, every
        self.step, self.curve = 0, [self.read()]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.task)

    def loss(self, rows: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        """Return the task's own loss; see `policies.training.task.Task`."""
        if training and self.step and self.step % self.every == 0:
            self.curve.append(self.read())
        self.step += training
        return self.task.loss(rows, generator, training)

    def read(self) -> float:
        """Return the AUC at the positions where rooms were shown."""
        was = self.network.training
        self.network.eval()
        with torch.no_grad():
            z = logits(cast("TwoSided", self.network), self.held)[:, 0]
        self.network.train(was)
        return float(roc_auc_score(self.held.labels[:, ENGAGE], z))


def curves(
    ways: Sequence[Way],
    world: str,
    n_users: int,
    days: int,
    seeds: Sequence[int],
    steps: int,
    rows: int,
    on_done: Callable[[str], object],
) -> dict[str, list[list[float]]]:
    """Train every way on every seed's log; return the curves of each way, one a seed.

    A curve is the AUC of the first hop on the tab on the last day, which nothing is trained on.

    Args:
        ways: what is compared; presets of equal widths.
        world: preset.
        n_users: users of the world.
        days: logged days.
        seeds: of world and training.
        steps: optimiser steps of each way.
        rows: rows of a step.
        on_done: is told of every training that ends.
    """
    found: dict[str, list[list[float]]] = {way.name: [] for way in ways}
    for seed in seeds:
        config = preset(world)
        config = replace(config, population=replace(config.population, n_users=n_users))
        with TemporaryDirectory() as folder:
            logger = Popularity().fit(Log.nothing(config.tick_s, DAY_S), FitContext())
            server = Server(logger, Exploration(kind="epsilon", eps=EPS))
            log = simulate(
                config, seed, server, days, Path(folder) / "log", ranker_name="popularity"
            )
            store = FeatureStore(_policy(ways[0], 1).features, 32)
            examples = replay(log.as_of(days * DAY_S), store)
        for way in ways:
            found[way.name].append(_curve(way, examples, steps, rows, seed))
            on_done(f"{world}, seed {seed}, {way.name}: {found[way.name][-1][-1]:.4f}")
    return found


def _curve(way: Way, examples: Examples, steps: int, rows: int, seed: int) -> list[float]:
    """Return the AUC on the tab before training, along it, and at its end."""
    policy = _policy(way, steps)
    past = examples.tick < examples.tick.max() - _ticks_a_day(examples) + 1
    held = examples.batch(torch.nonzero(~past & (examples.scenario == TAB)).flatten())
    mine = past & (examples.scenario == TAB) if way.only_tab else past
    own = torch.nonzero(mine).flatten()
    if len(own) < steps * rows:  # the tab alone: its rows again and again, as often as is needed
        own = own.repeat(-(-steps * rows // len(own)))
    own = own[torch.linspace(0, len(own) - 1, steps * rows).long()]
    part = examples.only(own)
    network = policy.untrained(policy.known(examples.first(int(past.sum()))), seed)
    (phase,) = policy.phases(network, part)
    task = Watched(phase.task, network, held, max(1, steps // READINGS))
    trainer = replace(phase.trainer, batch_rows=rows)
    trainer.run(network, task, FitContext(seed=seed), way.name, phase.batches)
    return [*task.curve[:READINGS], task.read()]


def _policy(way: Way, steps: int) -> MultiTaskPolicy:
    """Return the preset with training cut to one epoch of `steps` steps, nothing held out."""
    objective = {"_target_": "sim.config.Objective"} | preset("default").objective.weights()
    root = OmegaConf.create({"objective": objective, "policy": registry.node(way.policy)})
    assert isinstance(root, DictConfig)
    changes = {"epochs": 1, "valid_share": 0.0, "evals_per_epoch": 1, "steps_per_epoch": steps}
    root.policy.trainer.update(changes)
    if way.policy == "dbmtl3":
        root.policy.model.alternating = way.alternating
    return cast("MultiTaskPolicy", build(root.policy))


def _ticks_a_day(examples: Examples) -> int:
    """Return how many ticks the last day has, from those of the whole log."""
    return int((examples.tick.max() + 1) // (examples.requests.day.max() + 1))
