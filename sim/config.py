"""The config of a world, and `build`, the one place that instantiates config.

Every number of a preset stands in `conf/world/*.yaml` with its source; `sim.parameters` holds the
sections.
"""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import dataclass, is_dataclass
from typing import Any, cast, get_type_hints

from sim.bounds import MAX_WIDTH as MAX_WIDTH
from sim.bounds import ConfigError as ConfigError
from sim.bounds import refusal as refusal
from sim.bounds import require as require
from sim.bounds import require_bool as require_bool
from sim.bounds import require_int as require_int
from sim.bounds import require_one_of as require_one_of
from sim.bounds import require_section as require_section
from sim.bounds import require_text as require_text
from sim.bounds import require_widths as require_widths
from sim.change import CalendarConfig, DriftConfig, TurnoverConfig, VisitConfig
from sim.delay_parameters import DelayConfig
from sim.parameters import (
    FeedbackConfig,
    PopulationConfig,
    ResponseConfig,
    ScenarioConfig,
    ScheduleConfig,
    SessionConfig,
    WatchConfig,
)
from sim.schema import DAY_S, SCENARIOS, TARGETS

DIVISORS = tuple(n for n in range(1, 145) if 144 % n == 0)
"""Allowed ticks a day: whole numbers of ten-minute slots."""

RESERVED = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")
"""Keys of a config node that are no arguments."""


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
    visits: VisitConfig
    turnover: TurnoverConfig
    calendar: CalendarConfig
    drift: DriftConfig
    schedule: ScheduleConfig
    channel: ScenarioConfig
    feed: ScenarioConfig
    tab: ScenarioConfig
    detail: ScenarioConfig
    swipe: ScenarioConfig
    session: SessionConfig
    response: ResponseConfig
    watch: WatchConfig
    feedback: FeedbackConfig
    delay: DelayConfig
    objective: Objective

    def __post_init__(self) -> None:
        """Check what spans several parts."""
        require_text(self, "name")
        for part, kind in get_type_hints(type(self)).items():
            if is_dataclass(kind):
                require_section(self, part, cast("type", kind))
        require_int(self, "ticks_per_day", 1, max(DIVISORS))
        if self.ticks_per_day not in DIVISORS:
            raise refusal(self, "ticks_per_day", f"one of {', '.join(map(str, DIVISORS))}")
        for name in SCENARIOS:
            listed = getattr(self, name).base_click is not None
            if listed == (name == "swipe"):
                raise ConfigError(
                    f"WorldConfig.{name}.base_click = {getattr(self, name).base_click!r}; "
                    f"allowed: {'null, the swipe has no click' if listed else 'a number'}"
                )
        everyone = {"users_share": 1.0, "opens_day": 0}
        for name, value in everyone.items():  # whoever has no other place to go comes here
            if getattr(self.swipe, name) != value:
                raise ConfigError(
                    f"WorldConfig.swipe.{name} = {getattr(self.swipe, name)!r}; allowed: {value:g}"
                )
        shares = {name: getattr(self, name).traffic_share for name in SCENARIOS}
        if abs(sum(shares.values()) - 1.0) > 1e-6:
            shown = ", ".join(f"{name} {share:g}" for name, share in shares.items())
            raise ConfigError(
                f"traffic_share of the scenarios = {shown}; allowed: shares with sum 1"
            )

    def require_days(self, days: int) -> None:
        """Raise `ConfigError` unless ids are reserved for `days` days from the beginning."""
        if days > self.population.id_days:
            raise refusal(self.population, "id_days", f"at least {days}, the days to be simulated")

    @property
    def tick_s(self) -> float:
        """Length of a tick, seconds."""
        return DAY_S / self.ticks_per_day

    @property
    def scenarios(self) -> tuple[ScenarioConfig, ...]:
        """Scenario sections in the order of SCENARIOS."""
        return tuple(getattr(self, name) for name in SCENARIOS)


def build(node: Any, key: str | None = None) -> Any:
    """Build the object that a config node with `_target_` describes.

    This is the only place that instantiates config, so that later Hydra releases' execution
    whitelist is set here alone.

    Args:
        node: mapping with `_target_` and arguments, which may be such mappings again.
        key: where the node stands in the config, for messages; None asks the node.

    Raises:
        ConfigError: a parameter is missing, unknown or out of range, or the target cannot be
            imported; one line that names the key as one would type it.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    own = str(node._get_full_key(None)) if isinstance(node, DictConfig) else ""
    stands = own if key is None else key
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        found = re.search(r"\nfull_key: (.+)$", str(error))
        below = found[1].removeprefix(own).removeprefix(".") if found else ""
        part = OmegaConf.select(node, below) if below else node
        where = ".".join(name for name in (stands, below) if name)
        raise ConfigError(_explained(error, part, where)) from error
    except OmegaConfBaseException as error:
        line = _one_line(error).removesuffix("full_key:")
        raise ConfigError(f"{stands}: {line}" if stands else line) from error


def _explained(error: Exception, node: Any, where: str) -> str:
    """Say in one line why the object of `node`, which stands at `where`, was not built."""
    cause = error.__cause__
    while cause is not None and cause.__cause__ is not None and not isinstance(cause, ConfigError):
        cause = cause.__cause__
    target = str(node.get("_target_"))
    module, _, name = target.rpartition(".")
    try:
        allowed = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    except Exception:  # importing is what failed, or it is no class
        return f"{where or target}: {target!r} cannot be used ({_one_line(cause or error)})"
    if isinstance(cause, ConfigError):  # Class.field ... or field ...: the key stands for Class
        text = _one_line(cause).removeprefix(f"{name}.")
        begins = re.match(r"\w+", text)
        joint = "." if begins is not None and begins[0] in allowed else ": "
        return f"{where}{joint}{text}" if where else _one_line(cause)
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    given = [str(key) for key in node if key not in RESERVED]
    unknown = [key for key in given if key not in allowed]
    field = f"{where}." if where else f"{name}."
    if unknown and not any(p.kind in kinds for p in allowed.values()):
        shown = ", ".join(allowed) or "none"
        return f"{field}{unknown[0]} is not an argument of {name}; allowed: {shown}"
    for key, parameter in allowed.items():
        needed = parameter.default is inspect.Parameter.empty and parameter.kind not in kinds
        if needed and key not in given:
            return f"{field}{key} has no value, and {name} needs one"
    cause = cause or error
    return f"{where or target}: {name} raises {type(cause).__name__}: {_one_line(cause)}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
