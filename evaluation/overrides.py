"""What stands on the command line after the verb: policy lists, sweeps, and their errors in a line.

Hydra composes and sweeps. Added here: `policy=a,b` without `-m` is one study of both,
`policy=module:Class` brings a class in, every job of a sweep is composed before the first starts,
and each of Hydra's errors becomes one line that says what is allowed.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from policies import registry
from sim.config import ConfigError

PREFIX = "policy="
WORLD = "world="
NAMING = ("control=", "logging.policy=")
"""Other arguments whose value is the name of one policy."""

GROUPS = {
    "study": ("policy", "experiment", "delay"),
    "simulate": ("delay",),
    "fidelity": ("delay",),
    "ab": ("policy", "delay"),
}
"""What can be chosen for a verb beside the keys of its config."""

HYDRA_ERRORS = (HydraException, OmegaConfBaseException)


def with_policies(arguments: Sequence[str], swept: bool) -> list[str]:
    """Rewrite arguments that name policies for Hydra.

    Args:
        arguments: overrides and flags as typed.
        swept: whether a comma separates the jobs of a sweep (`-m`) or the policies of one study.

    Returns:
        The arguments with `module:Class` replaced by the name under which it was added, and names
        that Hydra would take for a number or for nothing, such as the world `null`, in quotes.

    Raises:
        ConfigError: a class does not import, or a policy stands twice in one study.
    """
    return [_with_policies(text, swept) for text in arguments]


def _with_policies(text: str, swept: bool) -> str:
    key, equals, value = text.partition("=")
    key += equals
    if key not in (PREFIX, WORLD, *NAMING):
        return text
    chosen = re.sub(r"[^\s,\[\]()]+:[^\s,\[\]()]+", lambda found: registry.add(found[0]), value)
    if not re.search(r"[('\"$]", chosen):
        chosen = re.sub(r"[^\s,\[\]]+", lambda found: _quoted(found[0]), chosen)
    bare = chosen.removeprefix("[").removesuffix("]")
    if key != PREFIX or swept or "[" in bare or "(" in bare:
        return key + chosen
    names = [name.strip() for name in bare.split(",")]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"policy = {value}: {name} stands there twice; allowed: once each")
    return f"{key}[{','.join(names)}]"


def _quoted(name: str) -> str:
    """Quote a name that Hydra would read as a number, a truth value or nothing, such as nan."""
    try:
        read = OverridesParser.create().parse_override(f"name={name}").value()
    except HydraException:
        return name
    return name if isinstance(read, str) else f"'{name}'"


def jobs(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Yield the overrides of each job of a sweep, as Hydra's basic sweeper would.

    Runs inside the initialised Hydra, which knows what `glob(...)` may choose from.
    """
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    choices = []
    for override in parser.parse_overrides(list(overrides)):
        key = override.get_key_element()
        if override.is_sweep_override() and override.is_discrete_sweep():
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([f"{key}={override.get_value_element_as_str()}"])
    for chosen in itertools.product(*choices):
        yield list(chosen)


def composed(
    name: str, overrides: Sequence[str], swept: bool, folder: str | None = None
) -> list[DictConfig]:
    """Compose the config of every job.

    Args:
        name: config of the verb, such as `study`.
        overrides: `key=value`, already through `with_policies`.
        swept: whether they make a sweep.
        folder: further folder of configs (`--config-dir`).

    Raises:
        ConfigError: one line on the first override that is not usable.
    """
    extra = [f"hydra.searchpath=[file://{Path(folder).absolute()}]"] if folder else []
    with initialize_config_module("conf", version_base="1.3"):
        try:
            lists = list(jobs(overrides)) if swept else [list(overrides)]
            return [compose(name, [*extra, *job]) for job in lists]
        except (*HYDRA_ERRORS, ValueError) as error:
            raise ConfigError(_explained(error, name, overrides)) from error


def _explained(error: Exception, name: str, overrides: Sequence[str]) -> str:
    """Say in one line what is wrong; runs inside the initialised Hydra."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return f"{group} = {choice!r}{_allowed(choice, error.options)}"
    if isinstance(error, ConfigCompositionException | ValueError):  # in a list, or a number
        loader = GlobalHydra.instance().config_loader()
        lacking = re.findall(r"Could not load '([^']+)/([^'/]+)'", str(error))  # or in a preset
        for group, choice in [*lacking, *_choices(overrides)]:
            options = loader.get_group_options(group)
            if options and choice not in options:
                return f"{group} = {choice!r}{_allowed(choice, options)}"
    if isinstance(error, OverrideParseException):
        return (
            f"override {error.override!r} cannot be read "
            f"({one_line(error).rsplit('See ', 1)[0].strip()}); allowed: name=value"
        )
    unknown = re.search(r"Could not override '([^']+)'", str(error))
    if isinstance(error, ConfigCompositionException) and unknown:
        key = unknown[1]
        good = [text for text in overrides if re.split("[=@]", text.lstrip("+~"))[0] != key]
        parent, _, last = key.rpartition(".")
        try:
            base = compose(name, [text for text in good if not re.search(r"[,(]", text)])
            while parent and not isinstance(OmegaConf.select(base, parent), DictConfig):
                parent, _, last = parent.rpartition(".")
            section = OmegaConf.select(base, parent) if parent else base
        except HYDRA_ERRORS:
            return f"{key} is unknown"
        where = f"{parent}.{last}" if parent else last
        options = [*(() if parent else GROUPS.get(name, ())), *map(str, section)]
        return f"{where} is unknown{_allowed(last, [o for o in options if o != '_target_'])}"
    return one_line(error)


def _choices(overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (key, value) of every override, one for each value of a list."""
    for text in overrides:
        key, _, value = text.lstrip("+").partition("=")
        for choice in value.strip("[]").split(","):
            yield key, choice.strip("[]'\" ")


def _allowed(given: str, options: Iterable[str]) -> str:
    choices = list(options)
    close = difflib.get_close_matches(given, choices, n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    return f"{meant}; allowed: {', '.join(choices)}"


def one_line(error: BaseException) -> str:
    """Return the message of an error on one line, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
