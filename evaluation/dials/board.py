"""The verb `dials`: every dial moves what it should, and nothing that it should not.

A dial is turned through its settings in worlds with one seed, so that changes are paired by user.
Between the first and the last setting, a measure that should move must do so by more than
STANDARD_ERRORS of the paired difference, and at no setting turn back by more; one that should stay
must not, or by less than STILL of its size; and parts that should be the same must have the same
bytes at every setting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from evaluation.arguments import named_values
from evaluation.dials.dial import Dial, DialBoard, dial_board
from evaluation.dials.measures import MEASURES
from evaluation.dials.parts import Observed, digest
from evaluation.folders import require_writable
from evaluation.intervals import Estimate, difference
from policies.contract import FitContext, Policy, Privileged
from policies.heuristics import Popularity, Random
from policies.oracle import Oracle
from policies.rank import Exploration, Server
from sim.arrivals import Sessions
from sim.config import ConfigError, WorldConfig
from sim.day_record import DayRecord
from sim.log import Log
from sim.presets import preset
from sim.schema import DAY_S
from sim.world import World

STANDARD_ERRORS = 3.0
"""Of a paired difference, beyond which something has moved."""

STILL = 0.05
"""Change as a share of the value below which something has stayed where it was."""


@dataclass(frozen=True)
class DialSettings:
    """What `swipelab dials` does."""

    board: DialBoard
    out: Path
    """Where the page, the rows and the plots go."""
    scale: str
    """Key of `board.scales`."""
    chosen: tuple[str, ...]
    """Keys of `board.dials`."""

    @classmethod
    def parse(cls, arguments: list[str]) -> DialSettings:
        """Return the settings that `name=value` arguments give.

        Raises:
            ConfigError: a name or value is not usable, or `out` cannot be written.
        """
        names = {"out": "DIR", "scale": "NAME", "dial": "NAME[,NAME...]"}
        given = named_values("dials", arguments, names)
        board = dial_board()
        scale = given.get("scale", "full")
        if scale not in board.scales:
            raise ConfigError(f"scale = {scale!r}; allowed: {', '.join(board.scales)}")
        chosen = tuple(given["dial"].split(",")) if "dial" in given else tuple(board.dials)
        for name in chosen:
            if name not in board.dials:
                raise ConfigError(f"dial = {name!r}; allowed: {', '.join(board.dials)}")
        out = Path(given.get("out", "reports/world")).expanduser()
        require_writable(out, "out")
        return cls(board, out, scale, chosen)


@dataclass(frozen=True)
class Moved:
    """One measure at every setting of a dial."""

    measure: str
    expected: str
    """"up", "down" or "still"."""
    levels: tuple[Estimate, ...]
    """By setting."""

    @property
    def change(self) -> Estimate:
        """Last less first setting, paired."""
        return _paired(self.levels[-1], self.levels[0])

    @property
    def holds(self) -> bool:
        """Whether it went where it should."""
        change = self.change
        error = change.standard_error
        if not np.isfinite(change.value) or np.isnan(error):
            return False
        if self.expected == "still":
            small = STILL * max(abs(level.value) for level in (self.levels[0], self.levels[-1]))
            return abs(change.value) <= max(STANDARD_ERRORS * error, small)
        sign = 1.0 if self.expected == "up" else -1.0
        steps = [_paired(b, a) for a, b in zip(self.levels, self.levels[1:], strict=False)]
        back = [sign * s.value < -STANDARD_ERRORS * s.standard_error for s in steps]
        return bool(sign * change.value > STANDARD_ERRORS * error and not any(back))


@dataclass(frozen=True)
class Turned:
    """A dial that was turned through its settings."""

    name: str
    dial: Dial
    settings: tuple[str, ...]
    moved: tuple[Moved, ...]
    """Those that should move, then those that should stay."""
    digests: dict[str, tuple[str, ...]]
    """Part -> digest by setting."""

    @property
    def differing(self) -> tuple[str, ...]:
        """Parts that should be the same and are not."""
        return tuple(part for part, found in self.digests.items() if len(set(found)) > 1)

    @property
    def holds(self) -> bool:
        """Whether everything that should move did, and nothing else."""
        return not self.differing and all(measure.holds for measure in self.moved)


def run_dials(settings: DialSettings) -> tuple[Turned, ...]:
    """Turn the chosen dials and write the page, the rows and the plots.

    Raises:
        OSError: the disk refuses.
    """
    from evaluation.dials.page import write
    from evaluation.luck import shared_luck

    console = Console(stderr=True)
    turned = []
    for number, name in enumerate(settings.chosen):
        with console.status(f"{name} ({number + 1} of {len(settings.chosen)})"):
            turned.append(turn(settings.board, name, settings.scale))
    with console.status("common random numbers"):
        scale = settings.board.scales[settings.scale]
        config = preset(settings.board.world, [f"world.{text}" for text in scale.overrides])
        luck = shared_luck(config, settings.board.seed)
    write(tuple(turned), luck, settings)
    return tuple(turned)


def turn(board: DialBoard, name: str, scale: str) -> Turned:
    """Run the world at each setting of a dial and look at it.

    Args:
        board: all dials.
        name: key of `board.dials`.
        scale: key of `board.scales`.
    """
    dial, size = board.dials[name], board.scales[scale]
    settings = tuple(dial.settings)
    if size.ends_only:
        settings = (settings[0], settings[-1])
    expected = {**dial.moves, **dict.fromkeys(dial.still, "still")}
    levels: dict[str, list[Estimate]] = {measure: [] for measure in expected}
    digests: dict[str, list[str]] = {part: [] for part in dial.same}
    for setting in settings:
        overrides = [f"world.{text}" for text in (*size.overrides, *dial.overrides(setting))]
        seen = observe(preset(board.world, overrides), board.seed, dial.policy, size.days)
        for measure, values in levels.items():
            values.append(MEASURES[measure](seen))
        for part, found in digests.items():
            found.append(digest(seen, part))
    return Turned(
        name, dial, settings,
        tuple(Moved(m, where, tuple(levels[m])) for m, where in expected.items()),
        {part: tuple(found) for part, found in digests.items()},
    )  # fmt: skip


def observe(config: WorldConfig, seed: int, policy: str, days: int) -> Observed:
    """Run a world from its beginning under a policy that needs no training.

    Args:
        config: the world.
        seed: of the world.
        policy: one of `evaluation.dials.dial.POLICIES`.
        days: to run.
    """
    kinds: dict[str, Policy | Privileged] = {
        "random": Random(), "popularity": Popularity(), "oracle": Oracle()
    }  # fmt: skip
    serving = kinds[policy]
    serving.fit(Log.nothing(config.tick_s, DAY_S), FitContext())  # type: ignore[union-attr]
    world, server = World(config, seed), Server(serving, Exploration())
    sessions: list[Sessions] = []
    records: list[DayRecord] = []
    for day in range(days):
        sessions.append(world.sessions(day))  # who comes tomorrow depends on who came today
        records.extend(world.run(server, 1))
    return Observed(world, tuple(records), Sessions.concat(sessions))


def _paired(treated: Estimate, control: Estimate) -> Estimate:
    """Return the difference; who exists on one side only has no influence on the other."""
    n = max(len(treated.influence), len(control.influence))
    return difference(_widened(treated, n), _widened(control, n))


def _widened(estimate: Estimate, n: int) -> Estimate:
    more = (0, n - len(estimate.influence))
    return replace(
        estimate,
        influence=np.pad(estimate.influence, more),
        active=np.pad(estimate.active, more),
    )
