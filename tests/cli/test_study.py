"""The whole chain on the tiny world, as a user runs it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_study_report_leaderboard(run, tmp_path) -> None:
    code, printed, complaint = run("study", "experiment=smoke", "out=study", "work=cache")
    assert code == 0, complaint
    folder = tmp_path / "study"
    assert printed.rstrip().endswith("study/index.html")
    assert "random" in printed
    table = pd.read_parquet(folder / "results.parquet")
    assert set(table["policy"]) >= {"random", "popularity", "oracle"}
    assert set(table["kind"]) == {"offline", "online", "truth"}
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    assert (stored["name"], stored["control"]) == ("smoke", "popularity")
    assert (folder / "environment.json").is_file()

    page = (folder / "index.html").read_bytes()
    (folder / "index.html").unlink()
    code, printed, _ = run("report", "out=study")
    assert code == 0
    assert (folder / "index.html").read_bytes() == page

    code, printed, _ = run("leaderboard", "study")
    assert code == 0
    assert "oracle" in printed


def test_simulate_writes_a_log(run, tmp_path) -> None:
    from sim.log import Log

    code, printed, complaint = run("simulate", "world=tiny", "days=1", "out=log")
    assert code == 0, complaint
    assert len(Log.open(tmp_path / printed.strip()).impressions()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [2.0, 4.5, 7.0])
def test_interrupted_study_goes_on(tmp_path, after_s) -> None:
    def command(name: str) -> list[str]:
        places = [f"out={tmp_path / name}", f"work={tmp_path / name}-work"]
        study = ["study", "experiment=smoke", "policy=random,popularity,dbmtl"]
        return [sys.executable, "-m", "evaluation", *study, *places]

    whole = subprocess.run(command("whole"), cwd=ROOT, capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    with subprocess.Popen(
        command("cut"), cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as cut:
        time.sleep(after_s)
        os.killpg(cut.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        _, complaint = cut.communicate(timeout=60)
    if cut.returncode != 0:  # it may have been quick enough
        assert cut.returncode == 130
        assert complaint.endswith("interrupted; the same command goes on from here\n")
        assert "Traceback" not in complaint
    again = subprocess.run(command("cut"), cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    tables = [(tmp_path / name / "results.parquet").read_bytes() for name in ("whole", "cut")]
    assert tables[0] == tables[1]
