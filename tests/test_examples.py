"""The examples do what they say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_an_agent_of_another_library_learns_to_beat_random_choice() -> None:
    pytest.importorskip("stable_baselines3", reason="needs the extra rl: pip install -e '.[rl]'")
    random, trained = example("train_ppo").main(100_000)
    spread = (random.var() / len(random) + trained.var() / len(trained)) ** 0.5
    assert trained.mean() - random.mean() > 5 * spread


def test_off_policy_estimates_stand_beside_the_truth(tmp_path: Path) -> None:
    panel, found = example("off_policy").main(tmp_path)
    assert 0.5 < panel.overlap.effective_n / panel.overlap.n < 1.0
    assert panel.overlap.unsupported == 0.0
    assert {"ips", "snips", "dm", "dr", "mips"} <= set(found) == set(panel.findings)
    assert found["dr"].covers
    assert found["dr"].interval.estimate > panel.logged.value


def test_a_map_repairs_counted_rates(tmp_path: Path) -> None:
    curves = example("calibration").main(tmp_path)
    error = {name: curve.ece.value for name, curve in curves.items()}
    assert error["IsotonicMap"] < error["TemperatureMap"] < error["counted"]
    assert error["counted"] > 3 * curves["counted"].noise


def test_a_correction_brings_sampled_metrics_nearer_to_full_ones(tmp_path: Path) -> None:
    found, nearest = example("sampled_metrics").main(tmp_path)
    assert found["raw"].error > 5 * found[nearest].error
    assert all(way.order[0] == "Popularity" for way in found.values())
    assert not np.isnan([way.error for way in found.values()]).any()


def test_an_experiment_of_ones_own_is_judged_from_arrays(capsys) -> None:
    gate, found, (low, high) = example("ab_inference").main()
    assert gate.passes
    plain, cuped = found["ctr"], found["ctr, CUPED"]
    assert plain.covers(0.03)
    assert cuped.covers(0.03)
    assert cuped.standard_error < 0.95 * plain.standard_error
    assert found["views"].covers(0.0)
    assert (high - low)[-1] < 0.5 * (high - low)[0]
    said = capsys.readouterr().out
    assert all(word in said for word in ("sample ratio", "Holm", "max-t", "power with CUPED"))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.slow
def test_curves_of_the_small_tab_are_written(tmp_path: Path) -> None:
    found = example("tab_starvation").main(tmp_path, ("tiny",), 150, 2, (0, 1), 16, 128)
    assert {len(curve) for runs in found["tiny"].values() for curve in runs} == {9}
    areas = [curve[-1] for runs in found["tiny"].values() for curve in runs]
    assert all(0.0 < area < 1.0 for area in areas)
    told = (tmp_path / "starvation.md").read_text()
    assert all(f"| {name} |" in told for name in ("alternating", "joint", "mixed", "single"))
    assert (tmp_path / "starvation.svg").stat().st_size > 1000
