"""Weights of targets, in a loss or in a fusion: what they may be."""

from __future__ import annotations

from collections.abc import Mapping

from policies.auxiliary import LABELS
from sim.config import ConfigError

MAX_WEIGHT = 1000.0


def check_weights(field: str, weights: Mapping[str, float]) -> None:
    """Raise `ConfigError` unless weights are non-negative numbers by label, one positive."""
    if not isinstance(weights, Mapping) or not weights or set(weights) - set(LABELS):
        raise ConfigError(
            f"{field} = {weights!r}; allowed: {{target: weight}} for some of {', '.join(LABELS)}"
        )
    for name, value in weights.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0.0 <= value <= MAX_WEIGHT:
            raise ConfigError(
                f"{field}.{name} = {value!r}; allowed: a number in [0, {MAX_WEIGHT:g}]"
            )
    if not any(weights.values()):
        raise ConfigError(f"{field} = {dict(weights)}; allowed: at least one above 0")
