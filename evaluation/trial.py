"""A trial: one policy is trained on the log, judged offline on its last day, then deployed.

Trials of a study are independent; each runs in a process of its own and leaves one file, so that an
interrupted study repeats none that is finished.
"""

from __future__ import annotations

import itertools
import os
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.deployment import Deployment, deploy
from evaluation.hindsight import Hindsight
from evaluation.offline import Judgement, OfflineProtocol, judge
from policies.contract import FitContext, is_privileged
from sim.config import WorldConfig, build
from sim.log import Log
from sim.log_writer import state_path
from sim.schema import DAY_S
from sim.state import State
from sim.world import World

RESULT = "trial.pickle"
STAGE = "stage"


@dataclass(frozen=True)
class TrialPlan:
    """Everything that one trial needs; pickles."""

    policy: str
    node: Any
    """Config node of the policy, for `sim.config.build`."""
    world: WorldConfig
    seed: int
    days: int
    """Days of the log; the policy is trained on all but the last."""
    deploy_days: int
    log: Path
    folder: Path
    """Where the trial keeps checkpoints and its result."""
    protocol: OfflineProtocol


@dataclass(frozen=True)
class Trial:
    """Result of a trial."""

    policy: str
    judgement: Judgement | None
    deployment: Deployment
    fit_s: float
    judge_s: float
    deploy_s: float


def run_trial(plan: TrialPlan) -> Trial:
    """Run a trial, or read it where it is finished.

    Raises:
        ConfigError: the policy cannot be built.
        PolicyError: the policy breaks its contract.
    """
    done = finished(plan.folder)
    if done is not None:
        return done
    plan.folder.mkdir(parents=True, exist_ok=True)
    limit_threads()
    log = Log.open(plan.log)
    held_out_s = (plan.days - 1) * DAY_S
    world = World(plan.world, plan.seed)
    policy = build(plan.node)
    clock = [time.perf_counter()]

    note_stage(plan.folder, "training")
    checkpoints = plan.folder / "fit"
    checkpoints.mkdir(exist_ok=True)
    policy.fit(log.as_of(held_out_s), FitContext(seed=plan.seed, folder=checkpoints))
    clock.append(time.perf_counter())

    note_stage(plan.folder, "judging")
    truth_for = None
    if is_privileged(policy):
        last_day = State.load(plan.log / state_path(plan.days - 1))
        truth_for = Hindsight(world, last_day, log).open().truth_for
    judgement = judge(
        policy,
        log.between(held_out_s, log.end_s),
        plan.protocol,
        fitted_until_s=held_out_s,
        truth_for=truth_for,
    )
    clock.append(time.perf_counter())

    note_stage(plan.folder, "deployed")
    state = State.load(plan.log / state_path(plan.days))
    deployment = deploy(policy, world, state, plan.deploy_days)
    clock.append(time.perf_counter())

    spans = [b - a for a, b in itertools.pairwise(clock)]
    trial = Trial(plan.policy, judgement, deployment, *spans)
    draft = plan.folder / f"{RESULT}.draft"
    with draft.open("wb") as file:
        pickle.dump(trial, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(plan.folder / RESULT)
    note_stage(plan.folder, "done")
    return trial


def finished(folder: Path) -> Trial | None:
    """Return the finished trial in `folder`, None where there is none."""
    path = folder / RESULT
    if not path.exists():
        return None
    with path.open("rb") as file:
        trial = pickle.load(file)
    return trial if isinstance(trial, Trial) else None


def note_stage(folder: Path, stage: str) -> None:
    """Tell whoever watches the folder what the trial is doing."""
    (folder / STAGE).write_text(stage)


def limit_threads() -> None:
    """Give torch one thread: trials run side by side, and results must not depend on how many."""
    import torch

    torch.set_num_threads(1)
