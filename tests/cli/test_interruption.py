"""Ctrl-C at any moment: one line, code 130, nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evaluation.cli import main
from sim.processes import interrupts_held

ROOT = Path(__file__).resolve().parents[2]


def test_interrupt_is_held_and_then_raised() -> None:
    done = []

    def interrupted() -> None:
        with interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            done.append("the block ran to its end")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done
    with interrupts_held():
        done.append("nothing came, nothing is raised")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_children_started_meanwhile_never_see_it() -> None:
    code = "import time; print('up', flush=True); time.sleep(30)"
    with interrupts_held():
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        child.send_signal(signal.SIGINT)  # while it is starting
        assert child.stdout.readline() == b"up\n"
        child.send_signal(signal.SIGINT)
        time.sleep(0.1)
        assert child.poll() is None
        child.terminate()
    assert child.returncode == -signal.SIGTERM


def test_error_behind_which_is_an_interruption(run, monkeypatch) -> None:
    def wrapped(*arguments, **options):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise RuntimeError from error

    monkeypatch.setattr("evaluation.overrides.compose", wrapped)
    code, _, complaint = run("study", "world=tiny")
    assert (code, complaint) == (130, "interrupted; the same command goes on from here\n")


@pytest.mark.parametrize(("verb", "says"), [("bench", "starts over"), ("simulate", "goes on")])
def test_line_says_what_is_true_of_the_verb(monkeypatch, capsys, verb, says) -> None:
    def interrupted(rest) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules["evaluation.cli"].VERBS, verb, (interrupted, ""))
    assert main([verb]) == 130
    assert says in capsys.readouterr().err


def processes_of(group: int) -> list[str]:
    """Return the living processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:  # gone meanwhile
            continue
        state, _, of = rest.split()[:3]
        if int(of) == group and state != "Z":
            found.append(name)
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes")
@pytest.mark.parametrize("after_s", [0.0, 0.5, pytest.param(1.0, marks=pytest.mark.slow)])
def test_interrupt_while_workers_start(tmp_path, after_s) -> None:
    small = ("world=tiny", "days=2", "policy=random,popularity,dbmtl", "workers=2")
    command = [sys.executable, "-m", "evaluation", "study", *small, f"out={tmp_path}/out"]
    with subprocess.Popen(
        [*command, f"work={tmp_path}/work"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as study:
        assert study.stderr is not None
        early = ""
        for line in study.stderr:
            early += line
            if "simulated day 2 of 2" in line:  # workers come next
                break
        while len(processes_of(study.pid)) < 2:
            time.sleep(0.01)
        time.sleep(after_s)
        os.killpg(study.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        _, complaint = study.communicate(timeout=60)
    assert study.returncode == 130
    assert complaint.splitlines()[-1] == "interrupted; the same command goes on from here"
    assert "Traceback" not in complaint
    deadline_s = time.monotonic() + 5.0
    while processes_of(study.pid) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert processes_of(study.pid) == []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes")
def test_killed_parent_leaves_no_workers(tmp_path) -> None:
    small = ("world=tiny", "days=2", "policy=dbmtl,random", "workers=2", "control=random")
    command = [sys.executable, "-m", "evaluation", "study", *small, f"out={tmp_path}/out"]
    with subprocess.Popen(
        [*command, f"work={tmp_path}/work"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as study:
        while not list((tmp_path / "work").glob("trials/*/stages")):
            assert study.poll() is None
            time.sleep(0.05)
        study.kill()
    deadline_s = time.monotonic() + 10.0
    while processes_of(study.pid) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert processes_of(study.pid) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_of_a_pool_outlives_its_run(tmp_path, number) -> None:
    """Neither Ctrl-C in a terminal nor a kill of the parent leaves workers behind."""
    small = ("world=tiny", "days=90", "executor=pool", "workers=2", f"out={tmp_path}/log")
    with subprocess.Popen(
        [sys.executable, "-m", "evaluation", "simulate", *small],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        while not list((tmp_path / "log").glob("manifest.json")):
            assert run.poll() is None
            time.sleep(0.05)
        assert len(processes_of(run.pid)) >= 3
        if number == signal.SIGINT:
            os.killpg(run.pid, number)
        else:
            run.kill()
        _, complaint = run.communicate(timeout=60)
    if number == signal.SIGINT:
        assert run.returncode == 130
        assert complaint.splitlines()[-1] == "interrupted; the same command goes on from here"
    assert "Traceback" not in complaint
    deadline_s = time.monotonic() + 10.0
    while processes_of(run.pid) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert processes_of(run.pid) == []


def test_exit_code_where_an_exec_was_interrupted(tmp_path) -> None:
    """Importing runs `exec` on text; a plain KeyboardInterrupt from there costs the exit code."""
    code = """
import os, signal, sys
from evaluation import cli

def importing(given):
    exec("import time; os.kill(os.getpid(), signal.SIGINT); time.sleep(5)", globals())

cli._dispatch = importing
sys.argv = ["swipelab", "study"]
sys.exit(cli.main())
"""
    (tmp_path / "command.py").write_text(code)
    done = subprocess.run(  # only `-m` minds what happened in an exec
        [sys.executable, "-m", "command"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    said = "interrupted; the same command goes on from here\n"
    assert (done.returncode, done.stderr) == (130, said)
