"""The page on reliability says what the tables hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.reliability import chapters, page
from evaluation.reliability.methods import Method
from evaluation.reliability.study import Frames
from evaluation.reliability.verdicts import verdicts
from evaluation.study_folder import ReportError
from tests.evaluation.reliability.made_up import cell, frames

WORLDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
WORTH = (1.0, 1.03, 1.1, 1.5)
SAID = {
    Method("hr@10", "logged"): (0.4, 0.3, 0.2, 0.1),
    Method("hr@10", "randomised"): (0.1, 0.2, 0.3, 0.4),
    Method("hr@10", "logged", m=20): (0.5, 0.4, 0.45, 0.3),
    Method("hr@10", "logged", m=50): (0.5, 0.4, 0.35, 0.3),
    Method("ndcg@10", "logged"): (0.1, 0.2, 0.4, 0.3),
    Method("ndcg@10", "randomised"): (0.1, 0.2, 0.3, 0.4),
    Method("top_value/dr", "off_policy"): (0.1, 0.2, 0.3, 0.4),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cells = [cell(WORTH, SAID, world=name, true_error=1e-5) for name in WORLDS]
    pairs, scores = frames(*cells)
    pairs.to_parquet(tmp_path / "pairs.parquet")
    scores.to_parquet(tmp_path / "scores.parquet")
    verdicts(pairs, scores).to_parquet(tmp_path / "reliability.parquet")
    return tmp_path


def test_rows_say_what_their_heads_say(folder: Path) -> None:
    drawn, table, _ = page._opened(folder)
    assert isinstance(drawn, Frames)
    by_name = {}
    for row, record in zip(chapters.choice_rows(table), table.to_dict("records"), strict=True):
        by_name[row[0].text, record["source"]] = dict(zip(chapters.HEADS, row, strict=True))
    right = by_name["ndcg@10", "logged"]
    # of the pairs only that of the two best is wrong; choosing the second best loses 1.1 of 1.5
    assert right["better policy chosen"].text == "83\N{NO-BREAK SPACE}%"
    assert right["τ with true value"].text == "+0.67"
    assert right["lost by trusting it"].text == "27\N{NO-BREAK SPACE}%"
    assert right["sure and wrong"].text == "17\N{NO-BREAK SPACE}%"
    assert right["undecided"].text == "0\N{NO-BREAK SPACE}%"
    assert right["false alarms"].text == "–"
    assert right["pairs"].text == "48"
    assert by_name["hr@10/s20", "logged"]["better policy chosen"].text == "17\N{NO-BREAK SPACE}%"


def test_bands_are_named_by_their_ends() -> None:
    assert chapters.BANDS == ("< 2 %", "2 to 5 %", "5 to 15 %", "> 15 %")


def test_page_and_markdown_tell_the_same(folder: Path) -> None:
    html = page.render(folder).read_text()
    told = (folder / "README.md").read_text()
    finding = (
        "top_value/dr chooses the better policy most often (100 %, 59 to 100) and hr@10 least "
        "(0 %, 0 to 41)"
    )
    assert finding in told
    assert finding in html
    assert f"worlds {', '.join(WORLDS)}, 1 seed(s) each: 48 pairs, 48 of them told" in told
    assert (
        "against all candidates: hr@10 100 %, on randomised traffic 0 %; ndcg@10 17 %, on" in told
    )
    assert "| ndcg@10 | 83 % " in told.replace("\N{NO-BREAK SPACE}", " ")
    plots = json.loads(html.split('id="plots">')[1].split("</script>")[0])
    bars = {
        t["name"]: dict(zip(t["y"], t["x"], strict=True))
        for t in plots["kinds"]["all candidates"][0]["data"]
    }
    assert bars["exposure"] == {"hr@10": 100.0, "ndcg@10": pytest.approx(100 / 6)}
    assert bars["proxy"] == {"hr@10": 0.0, "ndcg@10": 0.0}
    lines = plots["negatives"]["any size"]
    flipped = {t["name"]: (t["x"], t["y"]) for t in lines[0]["data"]}
    assert flipped["hr@10"] == ([20, 50], [pytest.approx(100 / 6), 0.0])
    assert page.render(folder).read_text() == html


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"has no scores\.parquet"):
        page.render(tmp_path)
    with pytest.raises(ReportError, match="does not exist"):
        page.render(tmp_path / "nowhere")


def test_worlds_where_all_tie_have_an_honest_page(tmp_path: Path) -> None:
    pairs, scores = frames(cell((1.0,) * 3, {Method("hr@10", "logged"): (0.1, 0.2, 0.3)}))
    pairs.to_parquet(tmp_path / "pairs.parquet")
    scores.to_parquet(tmp_path / "scores.parquet")
    table = verdicts(pairs, scores)
    table.to_parquet(tmp_path / "reliability.parquet")
    assert not np.any(table["pairs"])
    assert "tells no two policies of this study apart" in page.render(tmp_path).read_text()
