"""Bad input: one line that names the field, the value and what is allowed; 2; nothing written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation import folders

BAD = [
    (["study", "dayz=3"], "dayz is unknown (did you mean days?); allowed: "),
    (["study", "world.population.n_user=3"], "world.population.n_user is unknown (did you mean n"),
    (["study", "policies.popularity.priorr=1"], "policies.popularity.priorr is unknown (did you"),
    (["study", "days=abc"], "days = 'abc'; allowed: an integer in [2, 365]"),
    (["study", "days=2.5"], "days = 2.5; allowed: an integer"),
    (["study", "days=true"], "days = True; allowed: an integer"),
    (["study", "days=1"], "days = 1; allowed: an integer in [2, 365]"),
    (["study", "~days"], "days = None; allowed: an integer"),
    (["study", "seed=-1"], "seed = -1; allowed: an integer in [0, 2147483647]"),
    (["study", "ks=5"], "ks = 5; allowed: a list of integers"),
    (["study", "ks=[1,0]"], "ks = [1, 0]; allowed: a list of integers in [1, 1000]"),
    (["study", "ks=[]"], "ks = []; allowed: a list of integers"),
    (["study", "workers=0"], "workers = 0; allowed: an integer"),
    (["study", "name=../up"], "name = '../up'; allowed: a name of letters"),
    (["study", "question=3"], "question = 3; allowed: a sentence"),
    (["study", "policy=nope"], "policy = 'nope'; allowed: "),
    (["study", "policy=random,popularty"], "policy = 'popularty' (did you mean popularity?)"),
    (["study", "-m", "policy=random,nope"], "policy = 'nope'; allowed: "),
    (["study", "policy=[]"], "policy = []; allowed: at least one of "),
    (["study", "policy=random,random"], "random stands there twice"),
    (["study", "world=huge"], "world = 'huge'; allowed: "),
    (["study", "world=3"], "world = '3'; allowed: "),
    (["study", "delay=no_dely"], "delay = 'no_dely' (did you mean no_delay?); allowed: criteo_"),
    (["simulate", "dely=no_delay"], "dely is unknown (did you mean delay?); allowed: delay, "),
    (["simulate", "world.delay.tail.law=gamma"], "world.delay.tail.law = 'gamma'; allowed: one"),
    (["study", "experiment=nope"], "experiment = 'nope'; allowed: "),
    (["study", "control=nope"], "control = 'nope'; allowed: "),
    (["study", "logging.policy=nope"], "logging.policy = 'nope'; allowed: "),
    (["study", "logging.exploration.eps=3"], "eps = 3"),
    (["study", "objective.like=-1"], "like = -1; allowed: a number in [0, 1000]"),
    (
        ["study", "world.population.n_users=x"],
        "world.population.n_users = 'x'; allowed: an in",
    ),
    (
        ["study", "policies.popularity.prior=-3"],
        "policies.popularity.prior = -3; allowed: a",
    ),
    (
        ["study", "polcy=random"],
        "polcy is unknown (did you mean policy?); allowed: policy",
    ),
    (["study", "experment=smoke"], "experment is unknown (did you mean experiment?); allowed: "),
    (["study", "world.population.n_users=3.5"], "world.population.n_users = 3.5; allowed: an int"),
    (["study", "world.population.n_users=-1"], "world.population.n_users = -1; allowed: an integ"),
    (
        ["study", "policy=dbmtl", "policies.dbmtl.model.bottom=[0]"],
        "policies.dbmtl.model.bottom = [0]",
    ),
    (
        ["study", "policy=dbmtl", "policies.dbmtl.model.relation=-4"],
        "dbmtl.model.relation = -4",
    ),
    (["study", "policy=sass", "policies.sass.layers=[]"], "policies.sass.layers = []; allowed: "),
    (
        ["study", "policy=rui3", "policies.rui3.model.match_dim=0"],
        "rui3.model.match_dim = 0",
    ),
    (
        ["study", "policy=dbmtl", "policies.dbmtl.model.graph.like=[like]"],
        "policies.dbmtl.model.graph has the cycle like -> like; allowed: graphs without cycles",
    ),
    (["study", "policy=nan"], "policy = 'nan'; allowed: "),
    (["study", "control=nan"], "control = 'nan'; allowed: "),
    (["simulate", "logging.policy=dbmtl"], "logging.policy = 'dbmtl': cannot rank before there"),
    (["study", "logging.policy=sass"], "logging.policy = 'sass': cannot rank before there is a"),
    (["study", "overwrite=3"], "overwrite = 3; allowed: true, false, or the one folder that may"),
    (["study", "policy=no_module:Policy"], "there is no module 'no_module'"),
    (["study", "policy=pathlib:Nope"], "pathlib has no class 'Nope'; allowed: "),
    (["study", "policy=pathlib:PurePath"], "PurePath has no fit and no score"),
    (["study", "+policies.mine._target_=a.b"], "policies.mine: policy class 'a.b': there is no mo"),
    (["study", "+policies.mine.x=1"], "policies.mine = {'x': 1}; allowed: a section with _target_"),
    (["study", "days"], "override 'days' cannot be read"),
    (["study", "--nope"], "flag '--nope' is unknown"),
    (["study", "-m", "seed=0,1", "days=2,0"], "days = 0; allowed: an integer"),
    (["study", "out="], "out = ''; allowed: a path to a folder"),
    (["simulate", "policy=random"], "policy is unknown; allowed: "),
    (
        ["ab", "policy=popularity", "days=60", "ab_days=40"],
        "PopulationConfig.id_days = 90; allowed: at least 100",
    ),
    (
        ["simulate", "world=tiny", "days=300"],
        "PopulationConfig.id_days = 90; allowed: at least 300",
    ),
    (
        ["study", "days=60", "deploy_days=40"],
        "PopulationConfig.id_days = 90; allowed: at least 100",
    ),
    (["simulate", "days=0"], "days = 0; allowed: an integer in [1, 365]"),
    (["nope"], "verb 'nope' is unknown; allowed: study, simulate, "),
    (["report", "out=nowhere"], "nowhere"),
    (["report", "in=x"], "report argument 'in=x'; allowed: out=DIR"),
    (["leaderboard", "nowhere"], "nowhere"),
    (["leaderboard"], "no study in outputs or reports/latest"),
    (["check"], "allowed: one module:Class or policy name"),
    (["check", "nope"], "policy = 'nope'; allowed: "),
    (["check", "nope:"], "policy class 'nope:'; allowed: module:Class"),
    (["doctor", "now"], "doctor arguments ['now']; allowed: none"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda value: str(value)[:60])
def test_one_line_code_2_nothing_written(run, tmp_path, arguments, message) -> None:
    code, printed, complaint = run(*arguments)
    assert (code, printed) == (2, "")
    assert complaint.startswith("error: ")
    assert complaint.count("\n") == 1
    assert message in complaint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["out", "work"])
def test_folder_below_a_file(run, tmp_path, key) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    for path in (file, file / "below"):
        code, _, complaint = run("study", f"{key}={path}")
        assert code == 2
        assert f"{key} = '{path}': {file} is a file; allowed: a folder" in complaint
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "kept"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place where nobody can write")
def test_folder_that_cannot_be_written(run, tmp_path) -> None:
    code, _, complaint = run("simulate", "out=/proc/logs")
    assert code == 2
    assert "out = '/proc/logs': cannot write in /proc (" in complaint


def test_full_disk(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(folders, "MIN_FREE_BYTES", 2**80)
    code, _, complaint = run("study", "out=results")
    assert code == 2
    assert "MB free on the disk of" in complaint
    assert not list(tmp_path.iterdir())


def test_class_whose_module_breaks_on_import(run, tmp_path) -> None:
    (tmp_path / "broken_policy.py").write_text("import json\njson.loads('{')\n")
    code, _, complaint = run("check", "broken_policy:Mine")
    assert code == 2
    assert "importing broken_policy raises JSONDecodeError" in complaint
    assert complaint.count("\n") == 1


def test_class_whose_own_import_is_missing(run, tmp_path) -> None:
    (tmp_path / "needy_policy.py").write_text("import not_installed_anywhere\n")
    code, _, complaint = run("study", "policy=needy_policy:Mine")
    assert code == 2
    assert "importing needy_policy raises ModuleNotFoundError" in complaint
    assert "not_installed_anywhere" in complaint


def test_argument_without_value(run, tmp_path) -> None:
    text = "class Mine:\n    def __init__(self, depth):\n        pass\n    fit = score = print\n"
    (tmp_path / "demanding_policy.py").write_text(text)
    code, _, complaint = run("study", "policy=demanding_policy:Mine")
    assert code == 2
    assert "policies.mine.depth has no value, and Mine needs one" in complaint


@pytest.mark.parametrize("variable", ["SWIPELAB_DEBUG", "HYDRA_FULL_ERROR"])
def test_traceback_on_request(tmp_path, variable) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evaluation", "study", "days=0", f"out={tmp_path}/x"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, variable: "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ConfigError: days = 0" in done.stderr
