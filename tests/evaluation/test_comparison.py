"""Verdicts on figures, and the page, the Markdown and the table that show them."""

import io
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from evaluation.comparison import Comparison, Line, compared
from evaluation.fidelity_page import PAGE, README, TABLE, bar_of, cells_of, show, write
from evaluation.published import PUBLISHED, Published
from evaluation.tally import Measured

RATE = Published("a", "Traffic", "a rate", "share", "rate", 0.2, "a paper")
MEDIAN = Published("b", "Stays", "a median", "s", "quantile", 10.0, "a note", "Be careful.")
HOUR = Published("c", "Clock", "an hour", "h", "order", 18.0, "a paper", rule="absolute", within=1)
BUMP = Published("d", "Clock", "a bump", "ratio", "order", 1.0, "a paper", rule="above", within=0)
STAND_IN = replace(RATE, key="e", standing="stand-in")
OTHER = replace(RATE, key="f", standing="not comparable")
LONG = replace(RATE, key="g", days=21)


def line(row: Published, value: float, days: int = 3) -> Line:
    return Line(row, Measured(value, 100, 0.25), days)


@pytest.mark.parametrize(
    ("row", "value", "verdict"),
    [
        (RATE, 0.219, "holds"),
        (RATE, 0.221, "off"),
        (RATE, 0.179, "off"),
        (MEDIAN, 11.9, "holds"),
        (MEDIAN, 12.1, "off"),
        (HOUR, 19.0, "holds"),
        (HOUR, 16.0, "off"),
        (BUMP, 1.01, "holds"),
        (BUMP, 1.0, "off"),
        (RATE, float("nan"), "not measured"),
        (STAND_IN, 0.2, "stand-in, close"),
        (STAND_IN, 0.4, "stand-in, off"),
        (OTHER, 0.2, "not comparable"),
        (LONG, 0.2, "needs 21 days"),
    ],
)
def test_verdicts(row, value, verdict) -> None:
    assert line(row, value).verdict == verdict


def comparison(*lines: Line) -> Comparison:
    return Comparison("tiny", 3, 3, "popularity", "swipelab fidelity world=tiny", lines)


def test_only_targets_that_can_be_compared_decide() -> None:
    good, bad = line(RATE, 0.2), line(RATE, 0.5)
    idle = [line(STAND_IN, 9.0), line(OTHER, 9.0), line(LONG, 9.0)]
    assert comparison(good, *idle).passes
    assert not comparison(good, bad).passes
    assert not comparison(good, line(RATE, float("nan"))).passes
    assert line(LONG, 0.2, days=21).is_judged


def test_every_published_figure_has_a_line_in_its_order() -> None:
    lines = compared({"entry_rate": Measured(0.28, 5)}, 21)
    assert [each.published for each in lines] == list(PUBLISHED)
    assert lines[0].verdict == "holds"
    assert lines[1].verdict == "not measured"


def test_published_figures_are_complete() -> None:
    keys = [row.key for row in PUBLISHED]
    assert len(set(keys)) == len(keys)
    for row in PUBLISHED:
        assert row.source
        assert row.note or row.standing == "target", row.key
        assert row.holds(row.value) or row.rule == "above", row.key
        usual = 0.2 if row.kind == "quantile" else 0.1
        assert row.tolerance == usual or row.kind == "order", row.key


def test_cells_and_bars() -> None:
    def cells(row: Published, value: float) -> list[str]:
        return [text.replace("\N{NO-BREAK SPACE}", " ") for text in cells_of(line(row, value))[1:5]]

    assert cells(RATE, 0.25) == ["20 %", "25 %", "+25 %", "±10 %"]
    assert cells(HOUR, 17.0) == ["18 h", "17 h", "−1", "±1"]
    assert cells(BUMP, 1.3) == ["> 1", "1.3", "–", "–"]
    equal, double, far = (bar_of(line(RATE, value)) for value in (0.2, 0.4, 99.0))
    assert equal is not None
    assert equal.value == 50
    assert equal.low < 50 < equal.high
    assert double is not None
    assert double.value == 75
    assert far is not None
    assert far.value == 100
    assert bar_of(line(HOUR, 18.0)) is None


def test_files_hold_every_line(tmp_path) -> None:
    lines = [line(RATE, 0.25), line(MEDIAN, 10.0), line(STAND_IN, 0.2), line(BUMP, float("nan"))]
    found = comparison(*lines)
    page = write(found, "seed: 3\n", tmp_path)
    assert page == tmp_path / PAGE
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [PAGE, README, TABLE, "config.yaml"]
    )
    frame = pd.read_parquet(tmp_path / TABLE)
    assert list(frame["verdict"]) == [each.verdict for each in lines]
    assert frame["deviation"][0] == pytest.approx(0.25)
    for text in (page.read_text(), (tmp_path / README).read_text()):
        assert "1 of 3 comparable figures hold" in text
        assert "Be careful." in text
        assert "swipelab fidelity world=tiny" in text
        assert all(each.published.name in text for each in lines)
    assert page.read_text().count('class="tip"') == 3
    before = page.read_bytes()
    assert write(found, "seed: 3\n", tmp_path).read_bytes() == before


def test_terminal_fits_80_columns() -> None:
    out = io.StringIO()
    lines = compared({row.key: Measured(row.value * 13.37, 7) for row in PUBLISHED}, 21)
    show(comparison(*lines), Console(file=out, width=80))
    assert "comparable figures hold" in out.getvalue()
    assert all(len(text) <= 80 for text in out.getvalue().splitlines())
    assert "not comparable" in out.getvalue()
