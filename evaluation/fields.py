"""Readers of a composed config: one field each, checked, or one line that says what is allowed.

What they have in common: `config` is a composition of `conf`, `key` a dotted place in it, and a bad
value raises ConfigError with the key, the value and what is allowed.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from evaluation.study_folder import NOT_RESULTS
from policies import registry
from sim.config import ConfigError, build

MAX_SEED = 2**31 - 1
MAX_DAYS = 365
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""Names that are also folder names."""


def integer(config: DictConfig, key: str, low: int, high: int) -> int:
    """Return the integer at `key`, in [low, high].

    Raises:
        ConfigError: it is no integer, or outside.
    """
    value = OmegaConf.select(config, key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{key} = {value!r}; allowed: an integer in [{low}, {high}]")
    return value


def integers(config: DictConfig, key: str, low: int, high: int) -> tuple[int, ...]:
    """Return the integers at `key`, each in [low, high], ascending and each once.

    Raises:
        ConfigError: there is no list, it is empty, or one of it is no such integer.
    """
    values = OmegaConf.select(config, key)
    good = isinstance(values, ListConfig) and len(values) > 0
    for value in values if good else ():
        good = good and isinstance(value, int) and not isinstance(value, bool)
        good = good and low <= value <= high
    if not good:
        shown = list(values) if isinstance(values, ListConfig) else values
        raise ConfigError(f"{key} = {shown!r}; allowed: a list of integers in [{low}, {high}]")
    return tuple(sorted(set(values)))


def truth_value(config: DictConfig, key: str) -> bool:
    """Return the boolean at `key`.

    Raises:
        ConfigError: it is something else.
    """
    value = OmegaConf.select(config, key)
    if not isinstance(value, bool):
        raise ConfigError(f"{key} = {value!r}; allowed: true, false")
    return value


def name(config: DictConfig, key: str) -> str:
    """Return the name at `key`, which may also name a folder.

    Raises:
        ConfigError: it is none.
    """
    value = OmegaConf.select(config, key)
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ConfigError(f"{key} = {value!r}; allowed: a name of letters, digits, '_', '-' or '.'")
    return value


def built(config: DictConfig, key: str, kind: type) -> Any:
    """Return what the section at `key` builds, a `kind`.

    Raises:
        ConfigError: there is no section, it cannot be built, or it builds something else.
    """
    node = OmegaConf.select(config, key)
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{key} = {node!r}; allowed: a section such as `{key}: {{...}}`")
    made = build(node)
    if not isinstance(made, kind):
        raise ConfigError(f"{key} builds a {type(made).__name__}; allowed: {kind.__name__}")
    return made


def detached(config: DictConfig, key: str) -> DictConfig:
    """Return the node at `key` with its interpolations resolved, so that it can be sent away."""
    node = OmegaConf.select(config, key)
    copy = OmegaConf.create(OmegaConf.to_container(node, resolve=True))
    assert isinstance(copy, DictConfig)
    return copy


def registered(key: str, policy: str) -> DictConfig:
    """Return the config of a registered policy, which `key` asks for.

    Raises:
        ConfigError: there is none of that name.
    """
    if policy not in registry.names():
        raise ConfigError(f"{key} = {policy!r}; allowed: {', '.join(registry.names())}")
    return registry.node(policy)


def control(config: DictConfig) -> str:
    """Return the control; `config.policies` is completed by it where it is not there.

    Raises:
        ConfigError: there is no policy, or no policy of the control's name.
    """
    found = name(config, "control")
    if not isinstance(config.get("policies"), DictConfig) or not config.policies:
        raise ConfigError(f"policy = []; allowed: at least one of {', '.join(registry.names())}")
    with open_dict(config):
        if found not in config.policies:
            config.policies[found] = registered("control", found)
    return found


def policies(config: DictConfig) -> dict[str, DictConfig]:
    """Return the node of each policy of `config.policies`, in its order, checked and detached.

    Raises:
        ConfigError: a name is no folder's name, or a policy does not import.
    """
    for key in map(str, config.policies):
        if not NAME.fullmatch(key):
            raise ConfigError(f"policies.{key}: odd name; allowed: letters, digits, _ - .")
        registry.check_node(f"policies.{key}", config.policies[key])
    return {key: detached(config, f"policies.{key}") for key in map(str, config.policies)}


def path(config: DictConfig, key: str) -> Path:
    """Return the path at `key`, a leading ~ resolved.

    Raises:
        ConfigError: it is none.
    """
    value = OmegaConf.select(config, key)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ConfigError(f"{key} = {value!r}; allowed: a path to a folder")
    return Path(value).expanduser()


def out(config: DictConfig, default: Path, label: str, swept: bool) -> Path:
    """Return the output folder: `config.out` as given, or one of its own for each config.

    Args:
        config: the composition; what changes no result does not count.
        default: where folders are made if `config.out` is null.
        label: begins the name of a folder of its own.
        swept: whether it is one job of a sweep, each of which gets a folder inside `config.out`.

    Raises:
        ConfigError: `config.out` is no path.
    """
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    kept = {str(key): value for key, value in resolved.items() if key not in NOT_RESULTS}
    text = json.dumps(kept, sort_keys=True)
    own = f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    if config.out is None:
        return default / own
    return path(config, "out") / own if swept else path(config, "out")


def overwrite(config: DictConfig) -> bool:
    """Return whether `out` may be replaced: always, never, or where it is the folder named.

    Raises:
        ConfigError: it is neither a boolean nor a path.
    """
    value = config.get("overwrite")
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(
            f"overwrite = {value!r}; allowed: true, false, or the one folder that may be replaced"
        )
    return bool(config.out == value)
