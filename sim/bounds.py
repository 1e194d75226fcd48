"""What a parameter may be: anything else is refused in one line that says what is allowed.

Each check reads `owner.field`, so that the message can name the class and the field; where the
value came from a config, `sim.config.build` puts the key that the user typed in their place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_WIDTH = 4096
"""Widest layer that is believed to be meant."""


class ConfigError(ValueError):
    """A configuration value is not usable; the message names the field, the value, the allowed."""


def require(owner: object, field: str, low: float, high: float) -> None:
    """Raise `ConfigError` unless `owner.field` is a finite number in [low, high]."""
    if not _is_number(getattr(owner, field), low, high):
        raise refusal(owner, field, f"a number in [{low:g}, {high:g}]")


def require_int(owner: object, field: str, low: int, high: int) -> None:
    """Raise `ConfigError` unless `owner.field` is an integer in [low, high]; 3.0 is none."""
    if not _is_integer(getattr(owner, field), low, high):
        raise refusal(owner, field, f"an integer in [{low}, {high}]")


def require_each(owner: object, field: str, low: float, high: float, length: int) -> None:
    """Raise `ConfigError` unless `owner.field` lists `length` finite numbers in [low, high]."""
    value = getattr(owner, field)
    good = isinstance(value, list | tuple) and len(value) == length
    if not good or not all(_is_number(number, low, high) for number in value):
        raise refusal(owner, field, f"{length} values, each a number in [{low:g}, {high:g}]")


def require_widths(owner: object, field: str) -> None:
    """Raise `ConfigError` unless `owner.field` lists the widths of at least one layer."""
    value = getattr(owner, field)
    good = isinstance(value, list | tuple) and len(value) > 0
    if not good or not all(_is_integer(width, 1, MAX_WIDTH) for width in value):
        raise refusal(owner, field, f"a list of one or more integers, each in [1, {MAX_WIDTH}]")


def require_bool(owner: object, field: str) -> None:
    """Raise `ConfigError` unless `owner.field` is true or false."""
    if not isinstance(getattr(owner, field), bool):
        raise refusal(owner, field, "true or false")


def require_text(owner: object, field: str) -> None:
    """Raise `ConfigError` unless `owner.field` is a text that is not empty."""
    value = getattr(owner, field)
    if not isinstance(value, str) or not value.strip():
        raise refusal(owner, field, "a name")


def require_one_of(owner: object, field: str, allowed: Sequence[str]) -> None:
    """Raise `ConfigError` unless `owner.field` is one of the words `allowed`."""
    value = getattr(owner, field)
    if not isinstance(value, str) or value not in allowed:
        raise refusal(owner, field, f"one of {', '.join(allowed)}")


def require_section(owner: object, field: str, kind: type) -> None:
    """Raise `ConfigError` unless `owner.field` is a `kind`, built from a section of a config."""
    if not isinstance(getattr(owner, field), kind):
        raise refusal(owner, field, f"a section that builds a {kind.__name__}")


def refusal(owner: object, field: str, allowed: str) -> ConfigError:
    """Return the error that says what `owner.field` is and what is allowed."""
    value = " ".join(repr(getattr(owner, field)).split())
    return ConfigError(f"{type(owner).__name__}.{field} = {value}; allowed: {allowed}")


def _is_number(value: object, low: float, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return bool(low <= value <= high)  # also false of nan and of infinity


def _is_integer(value: object, low: int, high: int) -> bool:
    good = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return good and low <= value <= high  # type: ignore[operator]
