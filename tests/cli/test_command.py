"""The dispatcher: help, exit codes, interruption, the examination."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation import doctor
from evaluation.cli import VERBS
from evaluation.shadowing import shadowed

ROOT = Path(__file__).resolve().parents[2]


def test_help_lists_every_verb(run) -> None:
    for typed in ([], ["--help"], ["-h"], ["help"]):
        code, printed, _ = run(*typed)
        assert code == 0
        assert all(f"  {verb}" in printed for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb(run, tmp_path, verb) -> None:
    code, printed, complaint = run(verb, "--help")
    assert (code, complaint) == (0, "")
    assert printed.startswith(f"swipelab {verb}")
    assert not list(tmp_path.iterdir())


def test_help_of_study_lists_options(run) -> None:
    _, printed, _ = run("study", "--help")
    for name in (
        "world: bait, default, delayed_heavy",
        "experiment: ",
        "deploy_days: 1",
        "seed: 0",
        "out: null",
    ):
        assert name in printed


@pytest.mark.parametrize(("verb", "limit_s"), [([], 1.5), (["study"], 3.0)])
def test_help_is_instant(verb, limit_s) -> None:
    def spent_s() -> float:
        times = os.times()
        return times.children_user + times.children_system

    before_s = spent_s()
    command = [sys.executable, "-m", "evaluation", *verb, "--help"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert spent_s() - before_s < limit_s, "of processor time: about 0.4 s and 0.9 s when idle"


def test_composed_config_can_be_shown(run, tmp_path) -> None:
    code, printed, _ = run("study", "world=tiny", "policy=random,oracle", "--cfg", "job")
    assert code == 0
    assert "oracle:" in printed
    assert not list(tmp_path.iterdir())


def test_interruption(run, monkeypatch) -> None:
    def interrupted(config) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("evaluation.cli.study_job", interrupted)
    for sweep in ([], ["-m"]):
        code, _, complaint = run("study", *sweep, "world=tiny", "policy=random")
        assert code == 130
        assert complaint.endswith("interrupted; the same command goes on from here\n")


def test_error_of_ours_is_one_line_and_code_1(run, monkeypatch) -> None:
    def broken(paths):
        raise RuntimeError("not\nforeseen")

    monkeypatch.setattr("evaluation.leaderboard.collect", broken)
    code, _, complaint = run("leaderboard", ".")
    assert code == 1
    assert complaint == (
        "error: RuntimeError: not foreseen (not expected; SWIPELAB_DEBUG=1 shows where)\n"
    )


def test_error_inside_a_job_is_one_line(run, monkeypatch) -> None:
    def full(settings):
        raise OSError(28, "No space left on device", str(settings.out))

    monkeypatch.setattr("evaluation.study.run_study", full)
    code, _, complaint = run("study", "world=tiny", "policy=random", "out=here")
    assert code == 2
    assert complaint == "error: [Errno 28] No space left on device: 'here'\n"


def test_environment_is_left_as_it_was(run, monkeypatch) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr("evaluation.cli.study_job", lambda config: None)
    before = list(sys.argv)
    assert run("study", "world=tiny", "policy=random")[0] == 0
    assert sys.argv == before
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_another_package_of_our_name_is_noticed(tmp_path, monkeypatch) -> None:
    assert shadowed() == []
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/__init__.py").touch()
    monkeypatch.delitem(sys.modules, "conf", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (line,) = shadowed()
    assert f"package 'conf' is {tmp_path / 'conf'}" in line


def test_check_says_what_is_wrong(run, tmp_path) -> None:
    (tmp_path / "flawed_module.py").write_text(
        "class Flawed:\n"
        "    def fit(self, log, context):\n"
        "        return self\n"
        "    def score(self, requests):\n"
        "        return requests.candidate_id[:, :1]\n"
    )
    code, printed, complaint = run("check", "flawed_module:Flawed")
    assert (code, printed) == (1, "")
    assert "Flawed fails " in complaint
    assert ": expected score to return real numbers [B, C]" in complaint


def test_doctor(run) -> None:
    code, printed, _ = run("doctor")
    for subject in ("python", "torch", "threads", "device", "policies", "requirements", "outputs"):
        assert f" {subject} " in printed
    assert code == int("PROBLEM" in printed)


def test_doctor_finds_unmet_requirements(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "needy-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: needy\nVersion: 1.0\n"
        "Requires-Dist: numpy<1\nRequires-Dist: not-there\nRequires-Dist: nor-this; extra == 'x'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = [line for line in doctor.unmet_requirements() if line.startswith("needy")]
    assert len(found) == 2
    assert found[0].startswith("needy 1.0 requires not-there, which is not installed")
    assert found[1].startswith("needy 1.0 requires numpy<1, but ")
