"""Settings of a study or of a simulation, checked field by field before any work starts.

The composed config enters here and goes no further: below, everything is typed. A bad value raises
one line that names the field, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from evaluation import fields
from evaluation.folders import require_writable
from evaluation.overrides import one_line
from evaluation.publishing import COMPARISON, require_only, require_own, require_own_log
from policies import registry
from policies.contract import FitContext
from policies.rank import Exploration
from sim.config import ConfigError, Objective, WorldConfig, build
from sim.executor import MOST_SHARDS, MOST_WORKERS, Executor, SerialExecutor
from sim.log import Log
from sim.pool import PoolExecutor
from sim.processes import cores
from sim.ray_cluster import RayExecutor
from sim.schema import DAY_S

EXECUTORS = ("serial", "pool", "ray")


@dataclass(frozen=True)
class LoggingSettings:
    """Who ranks while the log is written."""

    name: str
    """Name of the logging policy."""
    policy: Any
    """Its config node, for `sim.config.build`."""
    exploration: Exploration
    """How its ranking is randomised, so that every propensity is positive."""
    randomised_days: int = 0
    """Last days of the log on which every slate is uniform."""


@dataclass(frozen=True)
class SimulationSettings:
    """What `swipelab simulate` does."""

    world: WorldConfig
    seed: int
    days: int
    logging: LoggingSettings
    executor: Executor
    """Who does the work; the log does not depend on it."""
    out: Path
    """Folder of the log; its place can be written."""
    config_yaml: str
    """The whole resolved config, to be stored beside the log."""


@dataclass(frozen=True)
class FidelitySettings:
    """What `swipelab fidelity` does."""

    simulation: SimulationSettings
    """The log that is measured; `out` is the comparison's own."""
    out: Path
    """Folder of the comparison; its place can be written."""
    work: Path
    """Cache of logs; its place can be written."""


@dataclass(frozen=True)
class StudySettings:
    """What `swipelab study` does."""

    name: str
    world: WorldConfig
    seed: int
    """World seed, which also seeds training."""
    days: int
    """Logged days."""
    deploy_days: int
    """Days for which each policy runs in a twin of the world."""
    policies: Mapping[str, Any]
    """Config node of each policy by name, in the order asked for, for `sim.config.build`; the
    control is among them."""
    control: str
    logging: LoggingSettings
    objective: Objective
    sampled_m: int
    """Negatives of the sampled metrics."""
    ks: tuple[int, ...]
    """Cut-offs of the ranking metrics, ascending."""
    executor: Executor
    """Who writes the log."""
    workers: int
    """Processes that try policies; no result depends on it or on the executor."""
    out: Path
    """Folder of the results; its place can be written."""
    work: Path
    """Cache from which an interrupted study goes on; its place can be written."""
    overwrite: bool
    """Whether a study of other settings in `out` may be replaced."""
    config_yaml: str
    """The whole resolved config, to be stored beside the results."""

    @property
    def simulation(self) -> SimulationSettings:
        """The log that the study needs; `out` is the study's own."""
        return SimulationSettings(
            world=self.world,
            seed=self.seed,
            days=self.days,
            logging=self.logging,
            executor=self.executor,
            out=self.out,
            config_yaml=self.config_yaml,
        )


def study_settings(config: DictConfig, swept: bool = False) -> StudySettings:
    """Check the composed config of a study.

    Args:
        config: composition of `conf/study.yaml`; not altered.
        swept: the study is one of a sweep, whose jobs each get their own folder inside `out`.

    Raises:
        ConfigError: a value is not usable, a policy does not import, a folder cannot be written.
    """
    config = config.copy()
    name = fields.name(config, "name")
    control = fields.control(config)
    _question(config)
    # before what refers to them, so that an error names the place where one would set it
    objective = fields.built(config, "objective", Objective)
    world = fields.built(config, "world", WorldConfig)
    logging = _logging(config, world)
    policies = fields.policies(config)
    workers = fields.integer(config, "workers", 1, MOST_WORKERS)
    label = "+".join(policies) if len(policies) <= 4 else f"{len(policies)}policies"
    settings = StudySettings(
        name=name,
        world=world,
        seed=fields.integer(config, "seed", 0, fields.MAX_SEED),
        days=fields.integer(config, "days", 2, fields.MAX_DAYS),
        deploy_days=fields.integer(config, "deploy_days", 1, fields.MAX_DAYS),
        policies=policies,
        control=control,
        logging=logging,
        objective=objective,
        sampled_m=fields.integer(config, "sampled_m", 1, 100_000),
        ks=fields.integers(config, "ks", 1, 1000),
        executor=_executor(config, workers),
        workers=workers,
        out=fields.out(config, Path("outputs") / name, f"{label}-seed{config.seed}", swept),
        work=fields.path(config, "work"),
        overwrite=fields.overwrite(config),
        config_yaml=OmegaConf.to_yaml(config, resolve=True),
    )
    world.require_days(settings.days + settings.deploy_days)
    require_writable(settings.out, "out")
    require_writable(settings.work, "work")
    require_own(settings.out, settings.config_yaml, settings.overwrite)
    return settings


def simulate_settings(config: DictConfig, swept: bool = False) -> SimulationSettings:
    """Check the composed config of a simulation; arguments and errors as in `study_settings`."""
    settings = simulation_part(config, swept, Path("outputs/logs"), fewest_days=1)
    require_writable(settings.out, "out")
    require_own_log(settings.out)
    return settings


def fidelity_settings(config: DictConfig, swept: bool = False) -> FidelitySettings:
    """Check the composed config of a comparison; arguments and errors as in `study_settings`."""
    simulation = simulation_part(config, swept, Path("outputs/fidelity"), fewest_days=2)
    settings = FidelitySettings(simulation, simulation.out, fields.path(config, "work"))
    require_writable(settings.out, "out")
    require_writable(settings.work, "work")
    require_only(settings.out, COMPARISON, "comparison")
    return settings


def simulation_part(
    config: DictConfig, swept: bool, outputs: Path, fewest_days: int
) -> SimulationSettings:
    """Check the part of a composed config that whoever writes one log has in common.

    Args:
        config: a composition; not altered.
        swept: it is one of a sweep, whose jobs each get their own folder inside `out`.
        outputs: where the folder is made if `out` is null.
        fewest_days: of the log.

    Raises:
        ConfigError: a value is not usable, or the logging policy does not import.
    """
    config = config.copy()
    fields.built(config, "objective", Objective)
    world: WorldConfig = fields.built(config, "world", WorldConfig)
    days = fields.integer(config, "days", fewest_days, fields.MAX_DAYS)
    world.require_days(days)
    return SimulationSettings(
        world=world,
        seed=fields.integer(config, "seed", 0, fields.MAX_SEED),
        days=days,
        logging=_logging(config, world),
        executor=_executor(config, _workers(config)),
        out=fields.out(config, outputs, f"{world.name}-seed{config.seed}", swept),
        config_yaml=OmegaConf.to_yaml(config, resolve=True),
    )


def _logging(config: DictConfig, world: WorldConfig) -> LoggingSettings:
    """Complete `config.logging` by the node of its policy, and check both parts.

    Whoever writes the first log meets a platform that has not opened, so it must be content with
    the empty log; the cheapest way to know is to fit it on that.
    """
    name = fields.name(config, "logging.policy")
    with open_dict(config):
        config.logging.arguments = fields.registered("logging.policy", name)
    registry.check_node("logging.arguments", config.logging.arguments)
    exploration: Exploration = fields.built(config, "logging.exploration", Exploration)
    policy = build(config.logging.arguments)
    try:
        policy.fit(Log.nothing(world.tick_s, DAY_S), FitContext())
    except Exception as error:  # a plug-in raises what it likes
        reason = f"{type(error).__name__}: {one_line(error).partition('; allowed:')[0]}"
        raise ConfigError(
            f"logging.policy = {name!r}: cannot rank before there is a log ({reason}); allowed: "
            "a policy whose fit accepts an empty log, such as popularity or random"
        ) from error
    return LoggingSettings(name, fields.detached(config, "logging.arguments"), exploration)


def _workers(config: DictConfig) -> int | None:
    """Return how many write one log, None where it is left open; the serial executor is one."""
    if config.workers is None:
        return None
    workers = fields.integer(config, "workers", 1, MOST_WORKERS)
    if workers != 1 and OmegaConf.select(config, "executor") == "serial":
        raise ConfigError(f"workers = {workers} with executor = serial; allowed: 1, or pool")
    return workers


def _executor(config: DictConfig, workers: int | None) -> Executor:
    """Return who writes the log; `workers` and `shards` may be left open."""
    name = OmegaConf.select(config, "executor")
    if name not in EXECUTORS:
        raise ConfigError(f"executor = {name!r}; allowed: {', '.join(EXECUTORS)}")
    shards = None if config.shards is None else fields.integer(config, "shards", 1, MOST_SHARDS)
    if name == "serial":
        return SerialExecutor(shards or 1)
    workers = workers or min(cores(), MOST_WORKERS)
    if shards is not None and shards < workers:
        raise ConfigError(f"shards = {shards} for {workers} workers; allowed: at least as many")
    return (PoolExecutor if name == "pool" else RayExecutor)(workers, shards)


def _question(config: DictConfig) -> None:
    value = config.get("question")
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"question = {value!r}; allowed: a sentence, or null for the usual one")
