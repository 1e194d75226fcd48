"""Arguments `name=value` of the verbs that are no Hydra applications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sim.config import ConfigError


def named_values(verb: str, arguments: Sequence[str], allowed: Mapping[str, str]) -> dict[str, str]:
    """Return {name: value}; of a name that stands there twice, the last value.

    Args:
        verb: for the message.
        arguments: what stands after the verb.
        allowed: name -> what its value is called in the message, such as DIR.

    Raises:
        ConfigError: an argument has another name or no value.
    """
    given: dict[str, str] = {}
    for text in arguments:
        name, _, value = text.partition("=")
        if name not in allowed or not value:
            names = ", ".join(f"{known}={kind}" for known, kind in allowed.items())
            raise ConfigError(f"{verb} argument {text!r}; allowed: {names}")
        given[name] = value
    return given
