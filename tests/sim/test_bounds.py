"""Checks of parameters: what passes, and what the message says of the rest."""

from dataclasses import dataclass

import numpy as np
import pytest

from sim import bounds
from sim.bounds import ConfigError


@dataclass(frozen=True)
class Owner:
    """Has one parameter."""

    x: object


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (lambda o: bounds.require(o, "x", 0, 2), [0, 2, 1.5, np.float32(1)], [3, "1", True, [1]]),
        (lambda o: bounds.require_int(o, "x", 0, 2), [0, 2, np.int64(1)], [1.0, -1, True, None]),
        (lambda o: bounds.require_widths(o, "x"), [[8], (64, 32)], [[], [0], 8, "88", [8.0]]),
        (lambda o: bounds.require_each(o, "x", 0, 1, 2), [[0, 1.0], (0, 0)], [[0], [0, 2], 1]),
        (lambda o: bounds.require_bool(o, "x"), [True, False], [0, 1, None, "true"]),
        (lambda o: bounds.require_text(o, "x"), ["tiny"], ["", " ", 3, None]),
        (lambda o: bounds.require_section(o, "x", Owner), [Owner(1)], [{}, 3, None]),
    ],
)
def test_checks(check, good, bad) -> None:
    for value in good:
        check(Owner(value))
    for value in bad:
        with pytest.raises(ConfigError) as caught:
            check(Owner(value))
        assert str(caught.value).startswith(f"Owner.x = {value!r}; allowed: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400])
def test_numbers_are_finite(value) -> None:
    with pytest.raises(ConfigError):
        bounds.require(Owner(value), "x", -1e308, 1e308)


def test_ranges_are_told_in_full() -> None:
    with pytest.raises(ConfigError, match=r"an integer in \[1, 2147483647\]$"):
        bounds.require_int(Owner(-1), "x", 1, 2**31 - 1)
