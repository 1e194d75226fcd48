"""Worlds and logs that the tests of the world share."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from policies import Exploration, Server
from policies.contract import FitContext
from policies.heuristics import Popularity, Random, Recency
from policies.oracle import Oracle
from sim.config import WorldConfig
from sim.day_record import DayRecord
from sim.log import Log
from sim.presets import preset
from sim.schema import DAY_S
from sim.state import State
from sim.world import World

TICK_S = 4 * 3600.0
"""Length of a tick of the tiny world."""


@cache
def config(name: str = "tiny", **dials: float) -> WorldConfig:
    """Return a preset; dials are dotted paths with `__` for the dot."""
    return preset(name, [f"world.{k.replace('__', '.')}={v}" for k, v in dials.items()])


def server(name: str, eps: float | None = None) -> Server:
    """Return a fresh ranker of a policy that needs no training."""
    kinds = {"random": Random, "popularity": Popularity, "recency": Recency, "oracle": Oracle}
    policy = kinds[name]().fit(Log.nothing(TICK_S, DAY_S), FitContext())
    if eps is None:
        return Server(policy, Exploration())
    return Server(policy, Exploration(kind="epsilon", eps=eps))


def run(world: World, name: str, days: int, **options: Any) -> list[DayRecord]:
    """Run a world under a policy."""
    return list(world.run(server(name), days, **options))


def save(state: State, folder: Path) -> None:
    """Write a state as a log would."""
    folder.mkdir()
    for name, content in state.files():
        (folder / name).write_bytes(content)


def same(a: object, b: object) -> bool:
    """Return whether two records hold the same bytes in every column."""
    return all(
        np.array_equal(getattr(a, f), getattr(b, f), equal_nan=getattr(a, f).dtype.kind == "f")
        for f in a.__dataclass_fields__  # type: ignore[attr-defined]
    )
