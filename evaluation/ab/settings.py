"""Settings of `swipelab ab`, checked field by field before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from evaluation import fields
from evaluation.folders import require_writable
from evaluation.publishing import require_only
from evaluation.settings import SimulationSettings, simulation_part
from evaluation.study_folder import CONFIG
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
    control = fields.control(config)
    names = [str(key) for key in config.policies]
    if len(names) < 2:
        raise ConfigError(f"policy = {names}; allowed: at least one beside the control {control}")
    ab_days = fields.integer(config, "ab_days", 2, fields.MAX_DAYS)
    if ab_days % 2:
        raise ConfigError(f"ab_days = {ab_days}; allowed: an even number in [2, {fields.MAX_DAYS}]")
    own_data = fields.truth_value(config, "own_data")
    simulation = simulation_part(config, swept, Path("outputs/ab"), fewest_days=1)
    simulation.world.require_days(simulation.days + ab_days)
    settings = AbSettings(
        simulation=simulation,
        ab_days=ab_days,
        policies=fields.policies(config),
        control=control,
        salt=fields.integer(config, "salt", 0, fields.MAX_SEED),
        own_data=own_data,
        out=simulation.out,
        work=fields.path(config, "work"),
    )
    require_writable(settings.out, "out")
    require_writable(settings.work, "work")
    require_only(settings.out, FILES, "comparison of designs")
    return settings
