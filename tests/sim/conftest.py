"""Fixtures of the tests of the world."""

from pathlib import Path

import pytest

from sim.log import Log
from sim.simulate import simulate
from tests.sim.worlds import config, server


@pytest.fixture(scope="session")
def tiny_log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """Three days of the tiny world, logged by exploring popularity."""
    folder: Path = tmp_path_factory.mktemp("log") / "tiny"
    return simulate(config(), 7, server("popularity", 0.2), 3, folder, ranker_name="popularity")
