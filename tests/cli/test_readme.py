"""What the README tells people to paste works when pasted."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


TRUTH, PLUG_IN, AGENT = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def plug_in() -> str:
    """The code block that the README saves as my_policy.py."""
    return PLUG_IN


def test_the_agents_lines_work_when_pasted() -> None:
    small = AGENT.replace('"default"', '"tiny"').replace("1024", "8")
    names: dict[str, object] = {}
    exec(small, names)
    assert names["rewards"].shape == (8,)


def test_the_truth_is_a_call_away() -> None:
    names: dict[str, object] = {}
    exec(TRUTH, names)
    assert names["truth"].value.shape == (5,)
    assert names["truth"].on_air.any()


def test_plug_in_is_short() -> None:
    assert len(plug_in().strip().splitlines()) < 20


@pytest.mark.parametrize(
    "command", re.findall(r"^swipelab .*my_policy:.*$", README, flags=re.MULTILINE)
)
def test_plug_in_works_when_pasted(run, tmp_path, monkeypatch, command) -> None:
    monkeypatch.delitem(sys.modules, "my_policy", raising=False)
    (tmp_path / "my_policy.py").write_text(plug_in())
    verb, *rest = command.split("#")[0].split()[1:]
    small = ["world=tiny", "days=2", "workers=1", "out=study"] if verb == "study" else []
    code, printed, complaint = run(verb, *rest, *small)
    assert code == 0, complaint
    assert "watch_time" in printed or "WatchTime" in printed


def test_commands_exist() -> None:
    from evaluation.cli import VERBS

    verbs = set(re.findall(r"^swipelab (\w+)", README, flags=re.MULTILINE))
    assert verbs
    assert verbs <= set(VERBS)
    targets = set(re.findall(r"^make (\w[\w-]*)", README, flags=re.MULTILINE))
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    assert {"run", "test"} <= targets
    assert all(f"  {target} " in listed for target in targets)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target
