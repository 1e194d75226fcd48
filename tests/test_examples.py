"""The examples do what they say."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.slow
def test_an_agent_of_another_library_learns_to_beat_random_choice() -> None:
    pytest.importorskip("stable_baselines3", reason="needs the extra rl: pip install -e '.[rl]'")
    spec = importlib.util.spec_from_file_location("train_ppo", EXAMPLES / "train_ppo.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    random, trained = example.main(100_000)
    spread = (random.var() / len(random) + trained.var() / len(trained)) ** 0.5
    assert trained.mean() - random.mean() > 5 * spread


def test_the_example_is_short() -> None:
    assert len((EXAMPLES / "train_ppo.py").read_text(encoding="utf-8").splitlines()) <= 120
