"""The long log at tiny size: what is kept of it. It asserts no time."""

import json

import pytest

from evaluation.bench.command import BenchSettings
from evaluation.bench.scale import LONG_LOGS, LongLog, run_scale
from sim.config import ConfigError


def test_a_long_log_leaves_its_figures_and_nothing_else(tmp_path):
    """Days until the log is as long as asked; the memory of parent and workers after each."""
    path = run_scale(LongLog("short", "tiny", 14_000, 2, 1, 1), tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    found = json.loads(path.read_text())
    assert found["impressions"] >= 14_000
    assert found["days"] == len(found["memory"]) >= 2
    assert [day["day"] for day in found["memory"]] == list(range(found["days"]))
    first = found["memory"][0]
    assert 0 < first["impressions"] == found["pair_impressions"]
    assert 0 < first["parent_gb"] <= first["parent_peak_gb"]
    assert 0 < first["worker_gb"] <= first["worker_peak_gb"]
    assert 0 < found["state_bytes"] < found["log_bytes"]
    assert found["bonds"] > 0
    alone_s, together_s = found["pairs_s"][0]
    assert found["speedup"] == alone_s / together_s


def test_long_logs_are_scales_of_the_command(tmp_path):
    """They are named beside the others, and have a folder of their own."""
    assert BenchSettings.parse(["scale=10k", f"out={tmp_path}"]).scale in LONG_LOGS
    with pytest.raises(
        ConfigError, match="allowed: full, small, training, training_small, 10k, 10m"
    ):
        BenchSettings.parse(["scale=1k", f"out={tmp_path}"])
