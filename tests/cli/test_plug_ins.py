"""Plug-ins inside a study: their edits count, and their errors are theirs."""

import importlib
import json
import pickle
import sys
from pathlib import Path

import pandas as pd
import pytest

from evaluation.blame import TrialError, blaming
from evaluation.environment import plug_in_digest, source_digest
from evaluation.overrides import with_policies
from policies.heuristics import Random
from policies.rank import PolicyError
from sim.log import LogError
from tests.cli.conftest import SMALL

MINE = """\
import numpy as np

class Mine:
    def fit(self, log, context):
        return self

    def score(self, requests):
        return SIGN * requests.room_start_s
"""


@pytest.fixture
def write(run, tmp_path, monkeypatch):
    """Write a module that is imported anew in each command, as by a process of its own."""

    def edit(path: str, text: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        importlib.invalidate_caches()
        for name in [name for name in sys.modules if name.startswith("plugged")]:
            monkeypatch.delitem(sys.modules, name)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return edit


def values(folder: Path, policy: str) -> dict[str, float]:
    """Return {metric: estimate} of a policy on the whole platform."""
    rows = pd.read_parquet(folder / "results.parquet")
    rows = rows[(rows["policy"] == policy) & (rows["control"] == "") & (rows["kind"] == "online")]
    # where a small world has nobody, there is no number
    return dict(zip(rows["metric"] + rows["scenario"], rows["estimate"].fillna(-1), strict=True))


def test_edited_plug_in_gives_new_numbers(run, write, cache, tmp_path) -> None:
    found = []
    for sign in ("1.0", "-1.0", "1.0"):
        write("plugged.py", MINE.replace("SIGN", sign))
        code, _, complaint = run(*SMALL, cache, "policy=plugged:Mine", f"out=study{len(found)}")
        assert code == 0, complaint
        found.append(values(tmp_path / f"study{len(found)}", "mine"))
    assert found[0] != found[1]
    assert found[0] == found[2]
    assert "mine: kept from before" in complaint  # the first source again
    facts = json.loads((tmp_path / "study0/policies.json").read_text())
    assert facts["mine"] == {"privileged": False, "target": "plugged.Mine"}


@pytest.mark.parametrize("edited", ["plugged/core.py", "plugged/deep.py", "plugged_help.py"])
def test_digest_follows_what_a_class_is_made_of(write, tmp_path, monkeypatch, edited) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write("plugged/__init__.py", "")
    write("plugged/deep.py", "")
    write("plugged_help.py", "SIGN = 1.0\n")
    write("unrelated.py", "")
    write("plugged/core.py", "from plugged_help import SIGN\n" + MINE)
    node = {"_target_": "policies.heuristics.Random", "inner": [{"_target_": "plugged.core.Mine"}]}
    before = plug_in_digest(node)
    write("unrelated.py", "SIGN = 2.0\n")
    assert plug_in_digest(node) == before
    write(edited, (tmp_path / edited).read_text() + "# edited\n")
    assert plug_in_digest(node) not in (before, None)


def test_digest_of_our_own_classes_is_that_of_our_source() -> None:
    nothing = plug_in_digest({})
    assert plug_in_digest({"_target_": "policies.heuristics.Random"}) == nothing
    assert nothing != source_digest()


def test_work_of_unreadable_source_is_not_kept(run, write, tmp_path, monkeypatch) -> None:
    write("plugged.py", MINE.replace("SIGN", "1.0"))
    monkeypatch.setattr("evaluation.environment._files", lambda module: [])
    for _ in range(2):
        code, _, complaint = run(*SMALL, "work=own", "policy=plugged:Mine", "out=here")
        assert code == 0, complaint
        assert "mine: deployed in" in complaint
    assert "random: kept from before" in complaint
    (trial,) = (tmp_path / "own/trials").iterdir()
    assert trial.name.startswith("random-")


def test_edited_logging_policy_writes_another_log(run, write, tmp_path) -> None:
    simulate = ("simulate", "world=tiny", "days=1", "logging.policy=plugged:Mine", "out=log")
    write("plugged.py", MINE.replace("SIGN", "1.0"))
    assert run(*simulate)[0] == 0
    assert run(*simulate)[0] == 0
    write("plugged.py", MINE.replace("SIGN", "-1.0"))
    code, _, complaint = run(*simulate)
    assert code == 2
    assert complaint.endswith("choose another folder\n")


BROKEN = {
    "fit": (
        "raise KeyError('boom')",
        "policy mine: while fitting: KeyError: 'boom' (plugged.py:5)",
    ),
    "nan": ("return self", "policy mine: while predicting: "),
    "rank": ("return self", "policy mine: while predicting: ZeroDivisionError: division by zero ("),
}


@pytest.mark.parametrize(("way", "workers"), [("fit", 1), ("fit", 2), ("nan", 1), ("rank", 1)])
def test_error_names_policy_stage_and_line(run, write, cache, tmp_path, way, workers) -> None:
    body, message = BROKEN[way]
    sign = {"fit": "1.0", "nan": "np.nan", "rank": "(1 / 0)"}[way]
    text = MINE.replace("SIGN", sign).replace("return self", body)
    write("plugged.py", text)
    choice = ("policy=random,plugged:Mine", f"workers={workers}", "out=here")
    code, printed, complaint = run(*SMALL, cache, *choice)
    last = complaint.splitlines()[-1]
    assert (code, printed) == (2, "")
    assert last.startswith(f"error: {message}")
    assert "not expected" not in last
    assert not (tmp_path / "here").exists()
    if workers == 1:
        code, _, complaint = run(*SMALL, cache, "policy=random", "out=here")
        assert code == 0
        assert "random: kept from before" in complaint


def test_class_whose_name_hydra_reads_as_something_else(run, write, cache, tmp_path) -> None:
    write("plugged.py", MINE.replace("SIGN", "1.0").replace("Mine", "Nan"))
    command = (*SMALL, cache, "policy=plugged:Nan,random", "out=here", "control=nan")
    code, _, complaint = run(*command)
    assert code == 0, complaint
    rows = pd.read_parquet(tmp_path / "here/results.parquet")
    assert set(rows["policy"]) == {"", "nan", "random"}
    assert run(*command)[0] == 0, "the stored config is read as the same one"


@pytest.mark.parametrize("name", ["nan", "inf", "null", "true", "1e3", "7"])
def test_names_are_quoted_for_hydra(name) -> None:
    for swept in (False, True):
        (chosen,) = with_policies([f"policy={name},random"], swept)
        bare = f"'{name}',random"
        assert chosen == (f"policy={bare}" if swept else f"policy=[{bare}]")
    assert with_policies([f"control={name}", f"logging.policy={name}"], False) == [
        f"control='{name}'", f"logging.policy='{name}'"
    ]  # fmt: skip
    assert with_policies(["policy=a,'b'", f"seed={name}"], True) == ["policy=a,'b'", f"seed={name}"]


def failing(policy: object, error: Exception) -> None:
    """Let a policy of that class fail while it ranks."""
    with blaming("p", "ranking", policy):
        raise error


def test_blame_says_whose_error_it_is() -> None:
    begins = "^policy p: while ranking: "
    with pytest.raises(TrialError, match=rf"{begins}KeyError: 1 \(test_plug_ins.py") as caught:
        failing(Random(), KeyError(1))
    assert caught.value.ours
    with pytest.raises(TrialError, match=rf"{begins}odd scores$") as caught:
        failing(Random(), PolicyError("odd\nscores"))
    assert not caught.value.ours
    with pytest.raises(TrialError, match=rf"{begins}ValueError: x \(test_plug_ins.py") as caught:
        failing(Path(), ValueError("x"))
    assert not caught.value.ours
    with pytest.raises(LogError, match=r"^log: broken$"):
        failing(Random(), LogError("log: broken"))
    again = pickle.loads(pickle.dumps(caught.value))  # as between processes
    assert (str(again), again.ours) == (str(caught.value), False)


def test_our_own_unforeseen_error_is_code_1(run, cache, monkeypatch) -> None:
    def broken(self, log, context):
        raise RuntimeError("not foreseen")

    monkeypatch.setattr("policies.heuristics.Recency.fit", broken)
    code, _, complaint = run(*SMALL, cache, "policy=recency")
    assert code == 1
    assert "error: policy recency: while fitting: RuntimeError: not foreseen (test_plug_ins" in (
        complaint
    )
    assert complaint.endswith("(not expected; SWIPELAB_DEBUG=1 shows where)\n")
