"""How far the work is: plain lines without a terminal, and times that can be believed."""

import io
import json

import pytest
from rich.console import Console

from evaluation import progress
from evaluation.progress import StudyProgress, TrialWatch
from evaluation.trial import DEPLOYING, DONE, JUDGING, RESULT, TRAINING, TrialPlan, note_stage
from tests.cli.conftest import SMALL


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves; returns how."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def plan(folder) -> TrialPlan:
    folder.mkdir()
    return TrialPlan(folder.name, None, None, 0, 2, 1, folder, folder, None, None)


def test_lines_of_a_simulation(clock, capsys) -> None:
    shown = StudyProgress()
    on_day = shown.simulation(4)
    for day in range(4):
        clock(10.0)
        on_day(day, 1000 * (day + 1))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[0:10] simulated day 1 of 4, 1,000 impressions, about 0:30 left"
    assert lines[3] == "[0:40] simulated day 4 of 4, 4,000 impressions"


def test_time_left_counts_only_what_this_run_simulated(clock, capsys) -> None:
    on_day = StudyProgress().simulation(12)
    clock(10.0)
    on_day(9, 1)  # nine days were there
    assert "about 0:20 left" in capsys.readouterr().err


def test_long_simulation_writes_few_lines(clock, capsys) -> None:
    on_day = StudyProgress().simulation(200)
    for day in range(200):
        on_day(day, 1)
    assert len(capsys.readouterr().err.splitlines()) == progress.LINES_OF_SIMULATION


def test_lines_of_trials(clock, capsys, tmp_path) -> None:
    plans = [plan(tmp_path / name) for name in ("kept", "quick", "slow")]
    (plans[0].folder / RESULT).touch()
    note_stage(plans[2].folder, DEPLOYING)  # left by an interrupted run
    watch = StudyProgress().trials(plans)
    note_stage(plans[1].folder, TRAINING)
    note_stage(plans[2].folder, TRAINING)
    watch.look()
    clock(55.0)
    note_stage(plans[1].folder, JUDGING)
    watch.look()
    clock(45.0)
    for stage in (DEPLOYING, DONE):
        note_stage(plans[1].folder, stage)
    watch.look()
    watch.look()
    assert capsys.readouterr().err.splitlines() == [
        "[0:00] kept: kept from before",
        "[0:55] quick: trained in 0:55; policies: about 2:25 left",
        "[1:40] quick: judged in 0:45; policies: about 2:47 left",
        "[1:40] quick: deployed in 0:00; policies: about 1:40 left",
    ]


def test_steps_of_training_move_the_bar(clock, monkeypatch, tmp_path) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=150)
    monkeypatch.setattr(progress, "Console", lambda stderr: terminal)
    one = plan(tmp_path / "model")
    (one.folder / "fit").mkdir()
    note_stage(one.folder, TRAINING)
    shown = StudyProgress()
    with shown.shown():
        watch = TrialWatch(shown, [one])
        note_stage(one.folder, TRAINING)
        metrics = one.folder / "fit/train.metrics.jsonl"
        metrics.write_text(json.dumps({"step": 150, "steps": 300}) + '\n{"step": 20')
        watch.look()  # a line that is being written is no reason to stop
        metrics.write_text(json.dumps({"step": 150, "steps": 300}) + "\n")
        clock(10.0)
        watch.look()
    assert "model: training, step 150 of 300" in screen.getvalue()
    assert "about 0:26 left" in screen.getvalue()


def test_study_without_terminal_tells_stages(run) -> None:
    code, _, complaint = run(*SMALL, "work=own", "policy=random", "out=here", "deploy_days=2")
    assert code == 0
    for text in ("simulated day 2 of 2, ", "random: trained in ", "random: judged in "):
        assert text in complaint
    assert "random: deployed in " in complaint
    assert "survival analysis: done in " in complaint
    code, _, complaint = run(*SMALL, "work=own", "policy=random", "out=here", "deploy_days=2")
    assert code == 0
    assert "log of 2 days: kept from before" in complaint
    assert "random: kept from before" in complaint
