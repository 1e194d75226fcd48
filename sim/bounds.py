"""Ranges of parameters: a value out of range is refused in one line that says what is allowed."""

from __future__ import annotations

import math


class ConfigError(ValueError):
    """A configuration value is not usable; the message names the field, the value, the allowed."""


def require(owner: object, field: str, low: float, high: float) -> None:
    """Raise `ConfigError` unless `owner.field` (a number or tuple of numbers) is in [low, high]."""
    value = getattr(owner, field)
    for number in value if isinstance(value, list | tuple) else (value,):
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not math.isfinite(number) or not low <= number <= high:
            raise ConfigError(
                f"{type(owner).__name__}.{field} = {value!r}; "
                f"allowed: {'each a number' if value is not number else 'a number'} "
                f"in [{low:g}, {high:g}]"
            )


def require_length(owner: object, field: str, length: int) -> None:
    """Raise `ConfigError` unless the sequence `owner.field` has `length` entries."""
    value = getattr(owner, field)
    if not isinstance(value, list | tuple) or len(value) != length:
        raise ConfigError(f"{type(owner).__name__}.{field} = {value!r}; allowed: {length} values")
