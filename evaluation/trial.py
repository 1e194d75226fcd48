"""A trial: one policy is trained on the log, judged and valued on its last day, then deployed.

Trials of a study are independent; each runs in a process of its own and leaves one file, so that an
interrupted study repeats none that is finished.
"""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from threadpoolctl import threadpool_limits

from evaluation.blame import TrialError, blaming
from evaluation.cost import Cost, cost_of
from evaluation.deployment import Deployment, deploy
from evaluation.hindsight import Hindsight
from evaluation.off_policy.replay import ServedPolicy
from evaluation.off_policy.valuation import GREEDY, Valuation, logger_of, valuation
from evaluation.offline import Judgement, OfflineProtocol, TruthSource, judge
from evaluation.settings import LoggingSettings
from policies.contract import FitContext, Policy, Privileged, Updatable, is_privileged
from policies.trespass import watched
from sim.config import WorldConfig, build
from sim.log import Log
from sim.schema import DAY_S
from sim.state import State, state_path
from sim.truth_log import logged_truth
from sim.world import World

TRAINING, JUDGING, DEPLOYING, DONE = "training", "judging", "deploying", "done"
RESULT = "trial.pickle"
STAGES = "stages"
"""File to which a trial appends what it does, one line `stage share` at a time."""


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
    logging: LoggingSettings
    """Who wrote the log."""
    randomised: Path | None = None
    """Log of the same days of which the last one is uniform; the policy is judged on it too."""


@dataclass(frozen=True)
class Trial:
    """Result of a trial."""

    policy: str
    judgement: Judgement | None
    randomised: Judgement | None
    """On the last day of the randomised log; None where the plan has none."""
    valuation: Valuation | None
    deployment: Deployment
    cost: Cost | None
    """None of a policy that sees the truth."""
    fit_s: float
    judge_s: float
    deploy_s: float


def run_trial(plan: TrialPlan) -> Trial:
    """Run a trial, or read it where it is finished.

    Raises:
        ConfigError: the policy cannot be built.
        LogError: the log is broken.
        TrialError: the policy breaks its contract or raises.
    """
    done = finished(plan.folder)
    if done is not None:
        return done
    plan.folder.mkdir(parents=True, exist_ok=True)
    limit_threads()
    log = Log.open(plan.log)
    held_out_s = (plan.days - 1) * DAY_S
    world = World(plan.world, plan.seed)
    policy = build(plan.node, f"policies.{plan.policy}")
    clock = [time.perf_counter()]
    (plan.folder / STAGES).unlink(missing_ok=True)

    note_stage(plan.folder, TRAINING)
    checkpoints = plan.folder / "fit"
    checkpoints.mkdir(exist_ok=True)
    trespasses: list[str] = []
    with blaming(plan.policy, "fitting", policy), watched(trespasses):
        policy.fit(log.as_of(held_out_s), FitContext(seed=plan.seed, folder=checkpoints))
    if trespasses and not is_privileged(policy):
        raise TrialError(
            f"policy {plan.policy}: while fitting: {trespasses[0]}; allowed: the log it is given"
        )
    clock.append(time.perf_counter())

    note_stage(plan.folder, JUDGING)
    randomised = None
    if plan.randomised is not None:  # by a copy: the policy itself is to follow its own log
        other = Log.open(plan.randomised)
        source = _truth_source(plan.randomised, other, policy, world)
        randomised = _judge(plan, copy.deepcopy(policy), other, source)
    truth_for = _truth_source(plan.log, log, policy, world)
    # judging leads a policy that learns through the day, at whose start it is valued
    early: Any = copy.deepcopy(policy) if isinstance(policy, Updatable) else policy
    judgement = _judge(plan, policy, log, truth_for)
    target, logger = ServedPolicy(early, GREEDY, held_out_s), _logger(plan, log)
    with blaming(plan.policy, "scoring", policy):
        found = valuation(
            log.between(held_out_s, log.end_s),
            target,
            plan.world.objective,
            logger=logger,
            truth_for=truth_for,
        )
    cost = None if is_privileged(policy) else cost_of(cast("Policy", policy), log)
    clock.append(time.perf_counter())

    note_stage(plan.folder, DEPLOYING)
    state = State.load(plan.log / state_path(plan.days))
    with blaming(plan.policy, "ranking", policy):
        deployment = deploy(
            policy,
            world,
            state,
            plan.deploy_days,
            on_day=lambda day: note_stage(plan.folder, DEPLOYING, day / plan.deploy_days),
        )
    clock.append(time.perf_counter())

    spans = [b - a for a, b in itertools.pairwise(clock)]
    trial = Trial(plan.policy, judgement, randomised, found, deployment, cost, *spans)
    draft = plan.folder / f"{RESULT}.draft"
    with draft.open("wb") as file:
        pickle.dump(trial, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(plan.folder / RESULT)
    note_stage(plan.folder, DONE)
    return trial


def _truth_source(
    folder: Path, log: Log, policy: Policy | Privileged, world: World
) -> TruthSource | None:
    """Return the truth about the last day of a log, for a policy that sees it."""
    if not is_privileged(policy):
        return None
    day = log.days[-1]
    return Hindsight(world, State.load(folder / state_path(day)), log).open().truth_for


def _judge(
    plan: TrialPlan, policy: Policy | Privileged, log: Log, truth_for: TruthSource | None
) -> Judgement | None:
    """Judge a fitted policy on the last day of a log; the policy follows it."""
    held_out_s = (plan.days - 1) * DAY_S
    held_out = log.between(held_out_s, log.end_s)
    with blaming(plan.policy, "predicting", policy):
        return judge(
            policy,
            held_out,
            plan.protocol,
            fitted_until_s=held_out_s,
            truth_for=truth_for,
            truth=logged_truth(held_out),
        )


def _logger(plan: TrialPlan, log: Log) -> ServedPolicy | None:
    """Return the logging policy as it was before the last day; None where it sees the truth."""
    policy = build(plan.logging.policy, "logging.arguments")
    if is_privileged(policy):
        return None
    past = log.between(0.0, (plan.days - 1) * DAY_S)
    with blaming(plan.logging.name, "following the log", policy):
        return logger_of(policy, plan.logging.exploration, past)


def finished(folder: Path) -> Trial | None:
    """Return the finished trial in `folder`, None where there is none."""
    path = folder / RESULT
    if not path.exists():
        return None
    with path.open("rb") as file:
        trial = pickle.load(file)
    return trial if isinstance(trial, Trial) else None


def finished_file(plan: TrialPlan) -> bool:
    """Return whether the trial has left its result, without reading it."""
    return (plan.folder / RESULT).exists()


def note_stage(folder: Path, stage: str, share: float = 0.0) -> None:
    """Tell whoever watches the folder what the trial is doing, and which share of it is done."""
    with (folder / STAGES).open("a") as file:
        file.write(f"{stage} {share:.3f}\n")


def limit_threads() -> None:
    """Give torch and BLAS one thread: trials run side by side, and nothing may depend on how many.

    Beside other work the threads of BLAS also wait for each other: its small problems take a
    hundred times as long then.
    """
    import torch

    torch.set_num_threads(1)
    threadpool_limits(1)
