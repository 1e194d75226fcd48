"""The small world in which designs are tested, and twins of it under one policy."""

from __future__ import annotations

from evaluation.ab.twin_run import TwinRun, serve
from sim.world import World
from tests.sim.worlds import config, server

SEED = 5
DAYS = 2


def twin(name: str) -> TwinRun:
    return serve(server(name), World(config(), SEED), DAYS)
