"""Settings of `swipelab ab`, checked field by field before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from evaluation.folders import require_writable
from evaluation.publishing import require_only
from evaluation.settings import (
    MAX_DAYS,
    MAX_SEED,
    NAME,
    SimulationSettings,
    _detached,
    _integer,
    _name,
    _node,
    _path,
    _simulation,
)
from evaluation.study_folder import CONFIG
from policies import registry
from sim.config import ConfigError

README, EFFECTS, GATES = "README.md", "effects.parquet", "gates.parquet"
FILES = (README, EFFECTS, GATES, CONFIG)
"""Everything that a comparison of designs writes."""


@dataclass(frozen=True)
class AbSettings:
    """What `swipelab ab` does."""

    simulation: SimulationSettings
    """The log on which policies train; `out` is the comparison's own."""
    ab_days: int
    """Days of every experiment, even."""
    policies: Mapping[str, Any]
    """Config node of each policy by name, for `sim.config.build`; the control is among them."""
    control: str
    salt: int
    """Of all assignments."""
    own_data: bool
    """Whether the policies of a split learn from their own arm alone."""
    out: Path
    """Folder of the result; its place can be written."""
    work: Path
    """Cache of logs and parts; its place can be written."""

    @property
    def treated(self) -> tuple[str, ...]:
        """The policies that are compared with the control."""
        return tuple(name for name in self.policies if name != self.control)


def ab_settings(config: DictConfig, swept: bool = False) -> AbSettings:
    """Check the composed config of a comparison of designs.

    Args:
        config: composition of `conf/ab.yaml`; not altered.
        swept: it is one of a sweep, whose jobs each get their own folder inside `out`.

    Raises:
        ConfigError: a value is not usable, a policy does not import, a folder cannot be written.
    """
    config = config.copy()
    control = _name(config, "control")
    if not isinstance(config.get("policies"), DictConfig) or not config.policies:
        raise ConfigError(f"policy = []; allowed: at least one of {', '.join(registry.names())}")
    with open_dict(config):
        if control not in config.policies:
            config.policies[control] = _node("control", control)
    names = [str(key) for key in config.policies]
    if len(names) < 2:
        raise ConfigError(f"policy = {names}; allowed: at least one beside the control {control}")
    for key in names:
        if not NAME.fullmatch(key):
            raise ConfigError(f"policies.{key}: odd name; allowed: letters, digits, _ - .")
        registry.check_node(f"policies.{key}", config.policies[key])
    ab_days = _integer(config, "ab_days", 2, MAX_DAYS)
    if ab_days % 2:
        raise ConfigError(f"ab_days = {ab_days}; allowed: an even number in [2, {MAX_DAYS}]")
    if not isinstance(config.own_data, bool):
        raise ConfigError(f"own_data = {config.own_data!r}; allowed: true, false")
    simulation = _simulation(config, swept, Path("outputs/ab"), fewest_days=1)
    simulation.world.require_days(simulation.days + ab_days)
    settings = AbSettings(
        simulation=simulation,
        ab_days=ab_days,
        policies={key: _detached(config, f"policies.{key}") for key in names},
        control=control,
        salt=_integer(config, "salt", 0, MAX_SEED),
        own_data=config.own_data,
        out=simulation.out,
        work=_path(config, "work"),
    )
    require_writable(settings.out, "out")
    require_writable(settings.work, "work")
    require_only(settings.out, FILES, "comparison of designs")
    return settings
