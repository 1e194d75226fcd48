"""A dial of the world: the settings that turn it, what they must move and what they must leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from evaluation.dials.measures import MEASURES
from evaluation.dials.parts import PARTS
from sim.config import ConfigError, build, require_text

Direction = Literal["up", "down"]

SETTINGS = ("off", "low", "default", "high")
"""Names of settings, in the order in which the dial turns; at least two are given."""

POLICIES = ("random", "popularity", "oracle")
"""Who may serve a world that is measured; none of them needs training."""


@dataclass(frozen=True)
class Dial:
    """One dial."""

    what: str
    """What it turns, in a line."""
    settings: Mapping[str, list[str]]
    """Name of SETTINGS -> overrides of the world's config, such as `session.refer_pull=0`; the
    first and the last are compared."""
    given: list[str]
    """Overrides that hold at every setting, so that what the dial moves is there to be seen."""
    policy: str
    """One of POLICIES."""
    moves: Mapping[str, Direction]
    """Measure -> where it goes when the dial is turned from the first setting to the last."""
    still: list[str]
    """Measures that stay where they are."""
    same: list[str]
    """Parts of the world that stay the same to the byte."""

    def __post_init__(self) -> None:
        """Check the names."""
        require_text(self, "what")
        _require_among("settings", list(self.settings), SETTINGS)
        _require_among("policy", [self.policy], POLICIES)
        _require_among("moves", list(self.moves), tuple(MEASURES))
        _require_among("moves", list(self.moves.values()), ("up", "down"))
        _require_among("still", self.still, tuple(MEASURES))
        _require_among("same", self.same, tuple(PARTS))
        if list(self.settings) != [name for name in SETTINGS if name in self.settings]:
            raise ConfigError(
                f"Dial.settings = {', '.join(self.settings)}; allowed: in the order "
                f"{', '.join(SETTINGS)}"
            )
        if len(self.settings) < 2 or not self.moves:
            raise ConfigError(
                f"Dial.settings = {', '.join(self.settings)}, moves = {', '.join(self.moves)}; "
                "allowed: at least two settings and one measure that moves"
            )

    def overrides(self, setting: str) -> tuple[str, ...]:
        """Return the overrides of the world's config at one setting."""
        return (*self.given, *self.settings[setting])


@dataclass(frozen=True)
class DialScale:
    """How large the worlds are in which dials are turned."""

    overrides: list[str]
    """Of the world's config."""
    days: int
    ends_only: bool
    """Whether only the first and the last setting are measured."""


@dataclass(frozen=True)
class DialBoard:
    """All dials and what they are turned in."""

    world: str
    """Preset."""
    seed: int
    scales: Mapping[str, DialScale]
    dials: Mapping[str, Dial]


def dial_board() -> DialBoard:
    """Return what `conf/dials.yaml` lists.

    Raises:
        ConfigError: a name in it is not known; one line that says where.
    """
    from omegaconf import OmegaConf

    text = files("conf").joinpath("dials.yaml").read_text(encoding="utf-8")
    board: DialBoard = build(OmegaConf.create(text), "dials")
    return board


def _require_among(field: str, given: list[str], allowed: tuple[str, ...]) -> None:
    for name in given:
        if name not in allowed:
            raise ConfigError(f"Dial.{field} = {name!r}; allowed: {', '.join(allowed)}")
