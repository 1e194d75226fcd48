"""Where policies come from: `conf/policy/*.yaml`, entry points of other packages, `module:Class`.

A third party's class needs nothing of ours: named as `module:Class`, or offered under the entry
point group `swipelab.policies`, it appears as an option of `policy=` with its constructor's
arguments as values. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from sim.config import RESERVED, ConfigError, build

GROUP = "swipelab.policies"
"""Entry point group under which other packages offer policies."""

COMMAND_LINE = "the command line"
"""Origin of a class that was named as `module:Class`."""


@dataclass(frozen=True)
class PlugIn:
    """A policy class of another package."""

    name: str
    target: str
    """`module:Class`."""
    origin: str
    """Distribution that offers it, or the command line."""


def built_in() -> tuple[str, ...]:
    """Return the names of `conf/policy/*.yaml`, sorted."""
    folder = files("conf").joinpath("policy")
    if not folder.is_dir():
        return ()
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def plug_ins() -> tuple[PlugIn, ...]:
    """Return what other packages offer and what `add` brought, by name; imports nothing."""
    offered = [
        PlugIn(point.name, point.value, point.dist.name if point.dist else "an unknown package")
        for point in metadata.entry_points(group=GROUP)
    ]
    return tuple(sorted([*offered, *_added()], key=lambda plug_in: plug_in.name))


def conflicts() -> tuple[str, ...]:
    """Return one line for each plug-in whose name is taken."""
    owners = dict.fromkeys(built_in(), "swipelab")
    lines = []
    for plug_in in plug_ins():
        taken = owners.setdefault(plug_in.name, plug_in.origin)
        if taken is not plug_in.origin:
            lines.append(
                f"policy {plug_in.name!r} of {plug_in.origin} ({plug_in.target}) is also a policy "
                f"of {taken}; allowed: a name of its own"
            )
    return tuple(lines)


def names() -> tuple[str, ...]:
    """Return every policy name, built-in first."""
    return built_in() + tuple(plug_in.name for plug_in in plug_ins())


def load_class(target: str) -> type:
    """Import `module:Class` (or `module.Class`).

    Raises:
        ConfigError: the module or the class is missing, or the import fails; one line.
    """
    module_name, _, class_name = target.rpartition(":" if ":" in target else ".")
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", module_name) or not class_name.isidentifier():
        raise ConfigError(f"policy class {target!r}; allowed: module:Class")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        if absent and f"{module_name}.".startswith(f"{absent}."):
            reason = f"there is no module {absent!r} in this folder or on the Python path"
        else:
            reason = f"importing {module_name} raises {type(error).__name__}: {error}"
        raise ConfigError(f"policy class {target!r}: {reason}") from error
    found = getattr(module, class_name, None)
    if not inspect.isclass(found):
        own = [
            name
            for name, value in vars(module).items()
            if inspect.isclass(value) and value.__module__ == module.__name__
        ]
        raise ConfigError(
            f"policy class {target!r}: {module_name} has no class {class_name!r}; "
            f"allowed: {', '.join(own) or 'a module with a class'}"
        )
    return found


def arguments(cls: type) -> dict[str, Any]:
    """Return {argument: default} of a constructor, '???' where there is no default."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: "???" if parameter.default is inspect.Parameter.empty else parameter.default
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind not in kinds
    }


def default_node(cls: type) -> dict[str, Any]:
    """Return a config node that builds `cls`, with the defaults that a config can hold."""
    node: dict[str, Any] = {"_target_": f"{cls.__module__}.{cls.__qualname__}"}
    for name, default in arguments(cls).items():
        value = list(default) if isinstance(default, tuple) else default
        if value is None or isinstance(value, bool | int | float | str | list | dict):
            node[name] = value
    return node


def add(target: str) -> str:
    """Make `module:Class` an option of `policy=` and return its name, the class's in snake case.

    Raises:
        ConfigError: the class does not import, or the name is taken.
    """
    cls = load_class(target)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
    plug_in = PlugIn(name, target, COMMAND_LINE)
    if name in names() and plug_in not in plug_ins():
        raise ConfigError(f"policy {target!r} would be named {name!r}, which is taken; rename it")
    _store(plug_in, default_node(cls))
    return name


def register(load: bool) -> None:
    """Make every plug-in an option of Hydra's group `policy`.

    Args:
        load: import the classes, so that their arguments can be set; without it only names show.

    Raises:
        ConfigError: a plug-in has the name of another policy. A plug-in that does not import
            raises only when it is used.
    """
    for line in conflicts():
        raise ConfigError(line)
    for plug_in in plug_ins():
        plain: dict[str, Any] = {"_target_": plug_in.target.replace(":", ".")}
        if load:
            with contextlib.suppress(ConfigError):
                plain = default_node(load_class(plug_in.target))
        _store(plug_in, plain)


def node(name: str) -> DictConfig:
    """Return the config node of a policy by name.

    Raises:
        ConfigError: there is no such policy, or its class does not import.
    """
    if name in built_in():
        text = files("conf").joinpath("policy", f"{name}.yaml").read_text(encoding="utf-8")
        loaded = OmegaConf.create(text)
        assert isinstance(loaded, DictConfig)
        return loaded
    for plug_in in plug_ins():
        if plug_in.name == name:
            return OmegaConf.create(default_node(load_class(plug_in.target)))
    raise ConfigError(f"policy = {name!r}; allowed: {', '.join(names())}")


def check_node(field: str, node: Any) -> None:
    """Check that a config node builds a policy, by building it once.

    Args:
        field: where the node stands in the config, for the message.
        node: mapping with `_target_` and the constructor's arguments.

    Raises:
        ConfigError: the class does not import, an argument is unknown, missing or refused, or
            the result lacks `fit` or `score`.
    """
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    if not isinstance(target, str):
        raise ConfigError(f"{field} = {node!r}; allowed: a section with _target_: module.Class")
    try:
        cls = load_class(target)
    except ConfigError as error:
        raise ConfigError(f"{field}: {error}") from error
    allowed = arguments(cls)
    for key in node:
        if key not in allowed and key not in RESERVED:
            raise ConfigError(
                f"{field}.{key} is not an argument of {cls.__name__}; "
                f"allowed: {', '.join(allowed) or 'none'}"
            )
    for key, default in allowed.items():
        if OmegaConf.is_missing(node, key) or (key not in node and default == "???"):
            raise ConfigError(
                f"{field}.{key} has no value, and {cls.__name__} needs one{_presets_of(cls)}"
            )
    policy = build(node, field)
    lacking = [verb for verb in ("fit", "score") if not callable(getattr(policy, verb, None))]
    if lacking:
        raise ConfigError(
            f"{field}: {cls.__name__} has no {' and no '.join(lacking)}; "
            "allowed: a class with fit(log, context) and score(requests)"
        )


def _presets_of(cls: type) -> str:
    """Name the presets that give every argument of the class, in words; "" where there is none."""
    target = f"{cls.__module__}.{cls.__qualname__}"
    found = [name for name in built_in() if node(name).get("_target_") == target]
    return f"; the preset policy={' or policy='.join(found)} gives all of them" if found else ""


def _store(plug_in: PlugIn, content: dict[str, Any]) -> None:
    ConfigStore.instance().store(
        group="policy",
        name=plug_in.name,
        node=content,
        package=f"policies.{plug_in.name}",
        provider=plug_in.origin,
    )


def _added() -> list[PlugIn]:
    """Return the classes that `add` put into Hydra's store on this command line."""
    nodes = ConfigStore.instance().repo.get("policy", {}).values()
    return [
        PlugIn(stored.name.removesuffix(".yaml"), _colon(stored.node["_target_"]), COMMAND_LINE)
        for stored in nodes
        if stored.provider == COMMAND_LINE
    ]


def _colon(target: str) -> str:
    module_name, _, class_name = target.rpartition(".")
    return f"{module_name}:{class_name}"
