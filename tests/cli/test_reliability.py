"""`swipelab study` over many worlds: its files, its cache, its errors."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from evaluation.overrides import composed, with_policies
from evaluation.reliability.settings import FILES, reliability_settings
from policies import registry

SMALL = (
    *("study", "experiment=metric_reliability", "policy=random,popularity,recency", "workers=1"),
    *("days=2", "world.population.n_users=200", "world.population.n_streamers=60"),
    *("reliability.worlds=[tiny,bait]", "reliability.negatives=[5]"),
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folder of a finished study, and its work folder."""
    from evaluation.cli import main

    home = tmp_path_factory.mktemp("reliability")
    out, work = home / "out", home / "work"
    assert main([*SMALL, f"out={out}", f"work={work}"]) == 0
    return out, work


def test_one_command_leaves_tables_and_a_page(done: tuple[Path, Path]) -> None:
    out, _ = done
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    pairs, scores = (pd.read_parquet(out / f"{name}.parquet") for name in ("pairs", "scores"))
    assert pairs.groupby("world")[["first", "second"]].nunique().to_numpy().tolist() == [[2, 2]] * 2
    assert set(pairs["world"]) == {"tiny", "bait"}
    assert {"logged", "randomised", "off_policy", "truth"} == set(scores["source"])
    page = (out / "index.html").read_text()
    assert "Which offline number picks the better policy?" in page
    assert "What mistakes are made of" in page
    assert (out / "README.md").read_text().startswith("# Which offline number")


def test_the_same_command_goes_on_and_ends_alike(done: tuple[Path, Path], run) -> None:
    out, work = done
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    kept = sorted(work.glob("reliability/*"))
    assert len(kept) == 2
    for path in kept[0].iterdir():  # as if the disk had been full in this world
        path.write_bytes(b"")
    code, _, told = run(*SMALL, f"out={out}", f"work={work}")
    assert code == 0, told
    assert told.count("kept from before") >= 1 + 2 + 3  # one world; the other's logs and trials
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    same = [name for name in FILES if name != "environment.json"]
    assert {name for name in same if before[name] != after[name]} <= {"index.html", "README.md"}
    assert before["pairs.parquet"] == after["pairs.parquet"]


def test_the_page_is_drawn_again_by_report(done: tuple[Path, Path], run) -> None:
    out, _ = done
    before = (out / "index.html").read_bytes()
    (out / "index.html").unlink()
    code, printed, _ = run("report", f"out={out}")
    assert code == 0
    assert printed.strip() == str(out / "index.html")
    assert (out / "index.html").read_bytes() == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("reliability.worlds=[]", "reliability.worlds = []; allowed: a list of presets, each once"),
        ("reliability.worlds=[tiny,tiny]", "reliability.worlds"),
        ("reliability.worlds=[tinny]", "world = 'tinny' (did you mean tiny?)"),
        ("reliability.seeds=[-1]", "reliability.seeds = [-1]; allowed: a list of integers"),
        ("reliability.negatives=[0]", "reliability.negatives = [0]; allowed"),
        ("world=tiny", "world=tiny with reliability; allowed: reliability.worlds=[...]"),
        ("seed=3", "seed=3 with reliability; allowed: reliability.seeds=[...]"),
        ("sampled_m=50", "sampled_m=50 with reliability; allowed: reliability.negatives=[...]"),
        ("-m", "-m with reliability; allowed: reliability.worlds and .seeds, without -m"),
        ("world.session.refer_pul=1", "world.session.refer_pul is unknown"),
        ("days=1", "days = 1; allowed: an integer in [2, 365]"),
    ],
)
def test_a_bad_value_is_told_before_work_starts(given: str, said: str, run, tmp_path: Path) -> None:
    code, _, told = run(*SMALL, "out=o", given)
    assert code == 2
    assert said in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_two_policies_have_no_order(run) -> None:
    code, _, told = run(
        *(t for t in SMALL if not t.startswith("policy=")), "policy=popularity,random"
    )
    assert code == 2
    assert "allowed: at least 3, to have an order" in told


def test_whoever_sees_the_truth_is_no_candidate(run) -> None:
    given = (t for t in SMALL if not t.startswith("policy="))
    code, _, told = run(*given, "policy=popularity,random,oracle")
    assert code == 2
    assert "policy = oracle, which sees the truth; allowed: policies that could be deployed" in told


def test_a_study_that_is_not_finished_has_no_page(done: tuple[Path, Path], run, tmp_path) -> None:
    half = tmp_path / "half"
    shutil.copytree(done[0], half)
    (half / "reliability.parquet").unlink()
    code, _, told = run("report", f"out={half}")
    assert code == 2
    assert "has no reliability.parquet; the study has not finished" in told


def test_other_results_are_not_overwritten(done: tuple[Path, Path], run, tmp_path: Path) -> None:
    out, work = done
    code, _, told = run(*SMALL, f"out={out}", f"work={work}", "deploy_days=2")
    assert (code, "holds a study of other settings" in told) == (2, True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    code, _, told = run(*SMALL, "out=mine")
    assert code == 2
    assert "'thesis.tex', which no study of reliability writes" in told


@pytest.mark.parametrize(
    ("preset", "cells"), [("metric_reliability", 5), ("metric_reliability_full", 16)]
)
def test_presets_hold_in_every_world(preset: str, cells: int, run) -> None:
    overrides = with_policies([f"experiment={preset}", "world.session.refer_pull=0.5"], swept=False)
    registry.register(load=True)
    (config,) = composed("study", overrides, swept=False)
    found = reliability_settings(config, overrides)
    assert len(found.cells) == cells
    assert len(found.cells[0].policies) >= 8
    assert len({(cell.world.name, cell.seed) for cell in found.cells}) == cells
    assert {cell.world.session.refer_pull for cell in found.cells} == {0.5}
    assert len({cell.world.population.n_users for cell in found.cells}) == 1
    bait = next(cell for cell in found.cells if cell.world.name == "bait")
    stored = OmegaConf.create(found.config_yaml)
    assert set(stored.worlds) == {cell.world.name for cell in found.cells}
    assert stored.worlds.bait.session.refer_pull == 0.5
    assert bait.world != found.cells[0].world
