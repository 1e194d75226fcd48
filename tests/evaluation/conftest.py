"""Fixtures of the tests of judging."""

from pathlib import Path

import pytest

from sim.log import Log
from sim.simulate import simulate
from tests.sim.worlds import config, server


@pytest.fixture(scope="session")
def fidelity_log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """Three days of the tiny world, logged as `swipelab simulate` does by default."""
    folder: Path = tmp_path_factory.mktemp("fidelity") / "log"
    return simulate(config(), 3, server("popularity", 0.3), 3, folder, ranker_name="popularity")
