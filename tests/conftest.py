"""Shared by all tests: one thread a process, since two share two cores, and seeded weights."""

import os
import sys
import zlib

import pytest

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start torch's global generator from the test's own name.

    An untrained layer takes its weights from there: unseeded, they would differ from run to run
    and, with several workers, with what ran before.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(zlib.crc32(item.nodeid.encode()))
