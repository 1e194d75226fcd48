"""The verb `fidelity`: exit codes, what it leaves, what it refuses, what it keeps."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from evaluation import comparison
from evaluation.fidelity_page import PAGE, README, TABLE

SMALL = ("fidelity", "world=tiny", "days=2", "world.population.n_users=60")


def test_figures_that_are_off_give_exit_code_1(run, tmp_path, cache) -> None:
    code, printed, _ = run(*SMALL, cache, "out=found")
    assert code == 1
    assert printed.endswith(f"found/{PAGE}\n")
    assert "comparable figures hold" in printed
    left = sorted(path.name for path in (tmp_path / "found").iterdir())
    assert left == sorted([PAGE, README, TABLE, "config.yaml"])
    frame = pd.read_parquet(tmp_path / "found" / TABLE)
    assert (frame["verdict"] == "off").any()
    assert set(frame.loc[frame["key"] == "few_interactions", "verdict"]) == {"needs 21 days"}


def test_figures_that_all_hold_give_exit_code_0(run, tmp_path, cache, monkeypatch) -> None:
    rows = [row for row in comparison.PUBLISHED if row.key in ("entry_rate", "stay_p50", "gap_1")]
    easy = tuple(replace(row, within=1e9) for row in rows)
    monkeypatch.setattr(comparison, "PUBLISHED", easy)
    code, printed, said = run(*SMALL, cache, "out=found")
    assert code == 0, said
    assert "hold; " in printed


def test_the_same_command_keeps_the_log_and_writes_the_same_bytes(run, tmp_path, cache) -> None:
    run(*SMALL, cache, "out=found")
    before = {path.name: path.read_bytes() for path in Path("found").iterdir()}
    _, _, said = run(*SMALL, cache, "out=found")
    assert "kept from before" in said
    after = {path.name: path.read_bytes() for path in Path("found").iterdir()}
    assert {name for name in before if before[name] != after[name]} == set()


def test_a_sweep_fails_where_one_world_does(run, tmp_path, cache) -> None:
    code, _, _ = run("fidelity", "-m", *SMALL[1:], cache, "out=found", "seed=0,1")
    assert code == 1
    assert len(list((tmp_path / "found").glob(f"*/{PAGE}"))) == 2


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        (["days=1"], "days = 1; allowed: an integer in [2, 365]"),
        (["policy=random"], "policy is unknown; allowed: "),
        (["world=huge"], "world = 'huge'; allowed: "),
        (["out=/proc/nope"], "out = '/proc/nope': cannot write"),
        (["work=3"], "work = 3; allowed: a path"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, typed, complaint) -> None:
    code, _, said = run("fidelity", *typed)
    assert code == 2
    assert len(said.splitlines()) == 1
    assert complaint in said
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_refused(run, tmp_path) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "thesis.tex").write_text("years of work")
    code, _, said = run(*SMALL, "out=found")
    assert code == 2
    assert "holds 'thesis.tex', which no comparison writes" in said
    assert [path.name for path in (tmp_path / "found").iterdir()] == ["thesis.tex"]
