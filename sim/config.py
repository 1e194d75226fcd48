"""The config of a world, and `build`, the one place that instantiates config.

Every number of a preset stands in `conf/world/*.yaml` with its source; `sim.parameters` holds the
sections.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from sim.bounds import ConfigError as ConfigError
from sim.bounds import require as require
from sim.parameters import (
    DelayConfig,
    FeedbackConfig,
    PopulationConfig,
    ResponseConfig,
    ScenarioConfig,
    ScheduleConfig,
    SessionConfig,
    TurnoverConfig,
    WatchConfig,
)
from sim.schema import DAY_S, SCENARIOS, TARGETS

DIVISORS = tuple(n for n in range(1, 145) if 144 % n == 0)
"""Allowed ticks a day: whole numbers of ten-minute slots."""


@dataclass(frozen=True)
class Objective:
    """Worth of each target in one number: value = sum of weight x probability of the target.

    Used by the oracle (true probabilities), by additive fusion (predicted ones) and by the
    online metric `value_per_user` (observed outcomes). Weights are in [0, 1000].
    """

    engage: float
    watch: float
    like: float
    comment: float
    follow: float
    bag_click: float
    cart: float
    purchase: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in TARGETS:
            require(self, name, 0.0, 1000.0)

    def weights(self) -> dict[str, float]:
        """Return {target: weight} in the order of TARGETS."""
        return {name: float(getattr(self, name)) for name in TARGETS}


@dataclass(frozen=True)
class WorldConfig:
    """Everything that makes a world, except its seed."""

    name: str
    ticks_per_day: int
    """How often a day the platform's counters are refreshed; a divisor of 144. Within a tick users
    meet only what was known at its start."""
    population: PopulationConfig
    turnover: TurnoverConfig
    schedule: ScheduleConfig
    channel: ScenarioConfig
    tab: ScenarioConfig
    swipe: ScenarioConfig
    session: SessionConfig
    response: ResponseConfig
    watch: WatchConfig
    feedback: FeedbackConfig
    delay: DelayConfig
    objective: Objective

    def __post_init__(self) -> None:
        """Check what spans several parts."""
        for f in fields(self):
            if f.name not in ("name", "ticks_per_day") and isinstance(
                getattr(self, f.name), str | int | float
            ):
                raise ConfigError(f"WorldConfig.{f.name} must be a section, not a plain value")
        if self.ticks_per_day not in DIVISORS:
            raise ConfigError(
                f"WorldConfig.ticks_per_day = {self.ticks_per_day!r}; allowed: one of {DIVISORS}"
            )
        for name in SCENARIOS:
            listed = getattr(self, name).base_click is not None
            if listed == (name == "swipe"):
                raise ConfigError(
                    f"WorldConfig.{name}.base_click = {getattr(self, name).base_click!r}; "
                    f"allowed: {'null, the swipe has no click' if listed else 'a number'}"
                )
        total = sum(s.traffic_share for s in self.scenarios)
        if abs(total - 1.0) > 1e-6:
            raise ConfigError(
                f"WorldConfig scenarios' traffic_share sum to {total:g}; allowed: shares with sum 1"
            )

    @property
    def tick_s(self) -> float:
        """Length of a tick, seconds."""
        return DAY_S / self.ticks_per_day

    @property
    def scenarios(self) -> tuple[ScenarioConfig, ...]:
        """Scenario sections in the order of SCENARIOS."""
        return tuple(getattr(self, name) for name in SCENARIOS)


def build(node: Any) -> Any:
    """Build the object that a config node with `_target_` describes.

    This is the only place that instantiates config, so that later Hydra releases' execution
    whitelist is set here alone.

    Raises:
        ConfigError: a parameter is missing, unknown or out of range, or the target cannot be
            imported; one line.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        while cause is not None and cause.__cause__ is not None:
            cause = cause.__cause__
        raise ConfigError(" ".join(str(cause or error).split())) from error
