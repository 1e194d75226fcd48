"""The verb `ab`: what it leaves, what it refuses, what it keeps, and that faults turn it red."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluation.ab import parts
from evaluation.ab.assignment import Split
from evaluation.ab.settings import DETECTABLE, EFFECTS, FILES, GATES, POWER, README

SMALL = (
    *("ab", "world=tiny", "days=2", "ab_days=2", "policy=recency", "control=random"),
    "world.population.n_users=120",
)


def test_every_design_stands_beside_the_truth(run, tmp_path, cache) -> None:
    code, printed, said = run(*SMALL, cache, "out=found")
    assert code == 0, said
    assert printed.endswith(f"found/{README}\n")
    assert "gates are green" in printed
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == sorted(FILES)
    effects = pd.read_parquet(tmp_path / "found" / EFFECTS)
    assert set(effects["design"]) == {
        "twins", "split", "split, cuped", "switchback", "bias of split", "interleaving"
    }  # fmt: skip
    truth = effects[effects["design"] == "twins"].set_index("metric")["estimate"]
    split = effects[effects["design"] == "split"].set_index("metric")
    np.testing.assert_array_equal(split["truth"], truth)
    assert np.isfinite(effects.loc[effects["metric"] == "page_ctr", "low"]).all()
    known = effects["p_holm"].notna()
    assert (effects.loc[known, "p_holm"] >= effects.loc[known, "p_value"]).all()
    switched = effects[effects["design"] == "switchback"].set_index("metric")["truth"]
    assert np.isnan(switched["value_per_user"])  # per user and block: another question
    assert np.isfinite(switched["page_ctr"])
    detectable = effects[effects["metric"] == "page_ctr"].set_index("design")["detectable"]
    assert (detectable > 0.0).all()
    assert detectable["twins"] < detectable["split"]  # pairing
    checks = pd.read_parquet(tmp_path / "found" / GATES)
    assert checks["passes"].all()
    assert len(checks) == 9
    assert {"sample ratio", "stickiness", "before"} <= set(checks["name"])
    page = (tmp_path / "found" / README).read_text()
    assert "| recency | page_ctr | split |" in page
    assert "| page_ctr | 2 | " in page.partition("What the next split could find")[2]
    detectable = pd.read_parquet(tmp_path / "found" / DETECTABLE)
    by_day = detectable[detectable["metric"] == "page_ctr"].groupby("days")
    assert by_day["users"].max().is_monotonic_increasing
    assert by_day["lift"].min()[2] < by_day["lift"].min()[1]
    assert "finds lifts of value_per_user from" in printed
    power = pd.read_parquet(tmp_path / "found" / POWER)
    assert set(power["analysis"]) == {"delta", "cuped", "anytime"}


def test_the_same_command_keeps_the_parts_and_writes_the_same_bytes(run, cache) -> None:
    run(*SMALL, cache, "out=found")
    before = {path.name: path.read_bytes() for path in Path("found").iterdir()}
    _, _, said = run(*SMALL, cache, "out=found")
    for part in ("random, twin", "recency, split", "recency, switchback", "recency, interleaving"):
        assert f"{part}: kept from before" in said
    after = {path.name: path.read_bytes() for path in Path("found").iterdir()}
    assert {name for name in before if before[name] != after[name]} == set()


def test_an_interrupted_comparison_goes_on(run, tmp_path, monkeypatch) -> None:
    whole = parts.paired_blocks
    monkeypatch.setattr(parts, "paired_blocks", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    code, _, said = run(*SMALL, "work=here", "out=found")
    assert code == 130
    assert "the same command goes on from here" in said
    monkeypatch.setattr(parts, "paired_blocks", whole)
    code, _, said = run(*SMALL, "work=here", "out=found")
    assert code == 0
    assert "recency, split: kept from before" in said
    assert "recency, switchback: kept" not in said


def test_a_broken_split_gives_exit_code_1(run, monkeypatch) -> None:
    class Broken(Split):
        def of_users(self, user_id):
            return (np.asarray(user_id) % 4 == 0).astype(np.int8)  # a quarter, and not by a hash

    monkeypatch.setattr(parts, "Split", Broken)
    code, printed, _ = run(*SMALL, "work=here", "out=found")
    assert code == 1
    assert "gates are red: sample ratio" in printed


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        (["ab_days=3"], "ab_days = 3; allowed: an even number in [2, 365]"),
        (["ab_days=0"], "ab_days = 0; allowed: an integer in [2, 365]"),
        (["days=0"], "days = 0; allowed: an integer in [1, 365]"),
        (["salt=-1"], "salt = -1; allowed"),
        (["own_data=maybe"], "own_data = 'maybe'; allowed: true, false"),
        (["policy=random"], "policy = ['random']; allowed: at least one beside the control"),
        (["policy=nobody"], "policy = 'nobody'"),
        (["world=huge"], "world = 'huge'; allowed: "),
        (["out=/proc/nope"], "out = '/proc/nope': cannot write"),
        (["design=all"], "design is unknown; allowed: "),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, typed, complaint) -> None:
    code, _, said = run("ab", *typed)
    assert code == 2
    assert len(said.splitlines()) == 1
    assert complaint in said
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_refused(run, tmp_path) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "thesis.tex").write_text("years of work")
    code, _, said = run(*SMALL, "out=found")
    assert code == 2
    assert "holds 'thesis.tex', which no comparison of designs writes" in said
