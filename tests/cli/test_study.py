"""The whole chain on the tiny world, as a user runs it."""

import pandas as pd
import yaml


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
