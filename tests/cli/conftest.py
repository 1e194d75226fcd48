"""What the tests of the command share."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from evaluation.cli import main

SMALL = (
    *("study", "world=tiny", "days=2", "workers=1", "sampled_m=5", "control=random"),
    *("world.population.n_users=60", "world.population.n_streamers=60"),
)
"""A study in a second or two; a policy and `out` are to be added."""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def clean_hydra() -> Iterator[None]:
    """Leave neither added policies nor an initialised Hydra to the next test."""
    yield
    ConfigStore.instance().repo.pop("policy", None)
    GlobalHydra.instance().clear()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `swipelab` inside an empty folder; returns exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Work folder that tests share, so that few of them simulate and deploy anew."""
    return f"work={tmp_path_factory.mktemp('work')}"
