"""Worlds by name, for Python users: the presets of `conf/world` as configs."""

from __future__ import annotations

from collections.abc import Sequence

from sim.config import ConfigError, WorldConfig, build


def preset(name: str, overrides: Sequence[str] = ()) -> WorldConfig:
    """Return the config of a named world.

    Args:
        name: a file of `conf/world`, such as `default`.
        overrides: settings as on the command line, such as `world.session.refer_pull=0`.

    Raises:
        ConfigError: the name, a key or a value is not allowed.
    """
    from hydra import compose, initialize_config_module
    from hydra.errors import HydraException

    try:
        with initialize_config_module("conf", version_base="1.3"):
            node = compose("simulate", overrides=[f"world='{name}'", *overrides])
    except HydraException as error:
        raise ConfigError(" ".join(str(error).split())) from error
    config: WorldConfig = build(node.world)
    return config
