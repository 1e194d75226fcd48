"""Twins that several designs are compared with."""

from __future__ import annotations

import pytest
from twins import twin

from evaluation.ab.twin_run import TwinRun


@pytest.fixture(scope="session")
def random_twin() -> TwinRun:
    return twin("random")


@pytest.fixture(scope="session")
def recency_twin() -> TwinRun:
    return twin("recency")
