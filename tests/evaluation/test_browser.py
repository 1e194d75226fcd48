"""The page in a real browser: no complaints, plots drawn, in both papers and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.report import render
from tests.evaluation import headless
from tests.evaluation.made_up_study import write_study

PROGRAM = headless.executable()
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no chromium on the path (Debian: apt-get install chromium)"
)
DRAWN = "[...document.querySelectorAll('.plot:not([hidden])')].map(p => p.querySelectorAll"
INK = "getComputedStyle(document.querySelector('#lift-0 .scatterlayer path.point')).fill"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[headless.Page]:
    pytest.importorskip("websocket", reason="websocket-client is not installed")
    html = render(write_study(tmp_path_factory.mktemp("study")))
    assert PROGRAM is not None
    with headless.page(PROGRAM, tmp_path_factory.mktemp("profile")) as found:
        found.paper(1200, 900)
        found.open(html)
        yield found
        assert found.complaints == []


def test_page_opens_without_complaints_or_requests(page: headless.Page) -> None:
    assert page.complaints == []
    assert [url for url in page.requested if not url.startswith(("file:", "data:", "blob:"))] == []


def test_every_plot_has_marks(page: headless.Page) -> None:
    marks = page.evaluate(DRAWN + "('path.point, path.js-line').length)")
    assert len(marks) == 4 + 1 + 1 + 3 + 1
    assert min(marks) >= 3
    titles = page.evaluate(DRAWN + "('.xtitle').length)")
    assert min(titles) == 1


def test_choice_redraws(page: headless.Page) -> None:
    title = "document.querySelector('#lift-0 .xtitle').textContent"
    assert "value per user" in page.evaluate(title)
    page.evaluate(
        "(s => { s.value = 'page CTR'; s.dispatchEvent(new Event('change')) })"
        "(document.getElementById('lift-choice'))"
    )
    page.wait(f"{title}.includes('page CTR')")
    assert page.evaluate("document.getElementById('lift-3').hidden")
    assert not page.evaluate("document.getElementById('lift-3-empty').hidden")


def test_dark_paper_swaps_the_inks(page: headless.Page) -> None:
    light = page.evaluate(INK)
    page.paper(1200, 900, dark=True)
    page.wait(f"{INK} !== '{light}'")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(19, 21, 24)"
    page.paper(1200, 900)
    page.wait(f"{INK} === '{light}'")


def test_nothing_sticks_out_on_a_phone(page: headless.Page) -> None:
    page.paper(400, 800)
    page.wait("window.innerWidth === 400")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.wait(
        "[...document.querySelectorAll('.plot svg.main-svg')].every(s => s.clientWidth < 400)"
    )


def test_bare_study_opens_too(tmp_path: Path) -> None:
    html = render(write_study(tmp_path / "study", ["dbmtl"], survival=False, extras=False))
    assert PROGRAM is not None
    with headless.page(PROGRAM, tmp_path / "profile") as found:
        found.open(html)
        assert found.complaints == []
        assert found.evaluate("document.querySelectorAll('svg.main-svg').length") == 0
