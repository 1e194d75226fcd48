"""The page says what the results say, stands alone, and copes with what a study lacks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluation.agreement import beside, flips, online_agreement, sampled_pairs
from evaluation.drawing import DARK
from evaluation.leaderboard import offline
from evaluation.palette import KNOWN, SPARE, inks
from evaluation.pooling import pooled
from evaluation.report import ReportError, render, summary_svg
from evaluation.results import RELATIVE_LIFT
from tests.evaluation.made_up_study import HIT_RATE, WORTH, rows, write_study


def page_of(folder: Path) -> str:
    """Return the page without plotly's own source."""
    html = render(folder).read_text(encoding="utf-8")
    return re.sub(r"<script>/\*\*.*?</script>", "", html, flags=re.DOTALL)


def plots_of(html: str) -> dict[str, dict[str, list[dict[str, object] | None]]]:
    found = re.search(r'<script type="application/json" id="plots">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(write_study(tmp_path_factory.mktemp("study")))


def test_page_tells_the_findings(html: str) -> None:
    assert "dbmtl leads: +11.2\xa0% value per user against popularity" in html
    assert "36 % of what the truth would gain" in html
    assert "4 of 28 pairs of policies change their order" in html
    assert "hr@10 would have picked dbmtl too" in html
    assert "naive −32.0\xa0%" in html
    assert "Which policy is worth most" in html


def test_page_has_every_chapter_drawn(html: str) -> None:
    plots = plots_of(html)
    assert set(plots) == {"lift", "scatter", "slope", "curves", "bias"}
    # the script is sorted, the choice is not
    assert list(plots["bias"]) == ["24h", "last readable time", "ultimate"]
    assert html.index('<option value="ultimate">') < html.index('<option value="last readable')
    assert html.index('<option value="ultimate">') < html.index('<option value="24h">')
    assert [figure is None for figure in plots["lift"]["page CTR"]] == [False, False, False, True]
    for title in ("Leaderboard", "The world", "Run it again"):
        assert f"<h2>{title}</h2>" in html


def test_every_plot_names_its_axes_with_units(html: str) -> None:
    for panel, options in plots_of(html).items():
        for figures in options.values():
            for figure in filter(None, figures):
                layout = figure["layout"]
                assert isinstance(layout, dict)
                titles = [layout[axis]["title"].get("text", "") for axis in ("xaxis", "yaxis")]
                assert re.search(r"\(.+\)", titles[0]), (panel, titles)
                if panel not in ("lift", "bias"):  # whose y axis holds names
                    assert re.search(r"\(.+\)", titles[1]), (panel, titles)


def test_plots_follow_plotlys_schema(html: str) -> None:
    graph = pytest.importorskip("plotly.graph_objects")
    for panel, options in plots_of(html).items():
        for figures in options.values():
            for figure in list(filter(None, figures))[: 1 if panel == "lift" else None]:
                assert len(graph.Figure(figure).data) > 0  # refuses unknown names and values


def test_page_asks_nothing_of_the_network(html: str) -> None:
    assert "default-src 'none'" in html
    assert not re.search(r"""(src|href)=["'](?!data:,)""", html)
    assert "@import" not in html
    assert "url(" not in html


def test_page_tells_the_world_and_how_to_make_it_again(html: str) -> None:
    assert "754\N{NARROW NO-BREAK SPACE}201" in html
    assert "8.41 %" in html
    assert "swipelab study experiment=quickstart seed=0" in html
    assert "_target_: sim.config.WorldConfig" in html


def test_equal_studies_give_equal_bytes(tmp_path: Path) -> None:
    first = render(write_study(tmp_path / "a")).read_bytes()
    again = render(write_study(tmp_path / "b")).read_bytes()
    assert first == again
    assert render(tmp_path / "a").read_bytes() == first
    assert not list(tmp_path.rglob("*.part"))


def test_text_from_outside_is_escaped(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "a")
    (folder / "config.yaml").write_text("question: '<img src=x onerror=alert(1)></script>'\n")
    (folder / "world.json").write_text(json.dumps({"<b>users": "<i>many"}))
    html = page_of(folder)
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;&lt;/script&gt;" in html
    assert "<b>users" not in html
    assert "<i>many" not in html


def test_question_of_the_config_is_the_title(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "a")
    (folder / "config.yaml").write_text("question: Does refer matter?\n")
    assert "<h1>Does refer matter?</h1>" in page_of(folder)


def test_bare_results_are_enough(tmp_path: Path) -> None:
    html = page_of(write_study(tmp_path / "a", survival=False, extras=False))
    assert "made no survival estimate" in html
    assert "left no description of its world" in html
    assert "did not store its command" in html
    assert set(plots_of(html)) == {"lift", "scatter", "slope"}


def test_one_policy_gives_sentences_for_plots(tmp_path: Path) -> None:
    html = page_of(write_study(tmp_path / "a", ["dbmtl"]))
    assert "No policy was compared online" in html
    assert "no online lift to show" in html
    assert "needs at least 3 policies" in html
    assert "needs at least two policies" in html
    assert set(plots_of(html)) == {"curves", "bias"}


def test_observed_rates_are_never_called_ultimate(html: str) -> None:
    after = html.index("Conversion rate of bag clicks, ultimate")
    until = html.index("Conversion rate of bag clicks, last readable time", after)
    assert "Kaplan–Meier" not in html[after:until]
    assert "mixture cure" in html[after:until]
    assert "by 5.5 days" in html[until:]
    finding = re.search(r"<li>(Distance of conversion rates.*?)</li>", html)
    assert finding is not None
    assert "mixture cure +1.0\xa0% ultimately" in finding[1]
    assert "Kaplan–Meier −2.0\xa0% at the last readable time" in finding[1]


def test_doubts_are_a_list_in_their_chapter(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "a")
    doubts = ["all: the curve is short", "tab: the model does not fit"]
    (folder / "notes.json").write_text(json.dumps({"survival": doubts}))
    html = page_of(folder)
    for text in doubts:
        assert f"<li>{text}</li>" in html
    assert "The data raise 2 doubts, listed in the chapter." in html
    assert "doubts" not in page_of(write_study(tmp_path / "b")).split("</style>")[1]


def test_policies_that_see_the_truth_are_named_by_the_study(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "a", ["popularity", "dbmtl", "sass", "random"])
    assert "dbmtl leads" in page_of(folder)
    (folder / "policies.json").write_text(json.dumps({
        "dbmtl": {"privileged": True, "target": "mine.Cheat"}, "sass": {"privileged": False},
    }))  # fmt: skip
    html = page_of(folder)
    assert "sass leads" in html
    assert "90 % of what the truth would gain" in html
    assert html.count("sees the truth") == 1
    (folder / "policies.json").write_text("[")
    with pytest.raises(ReportError, match=r"policies\.json"):
        render(folder)


def test_too_few_events_are_said(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "a", ["popularity", "dbmtl"])
    results = rows(["popularity", "dbmtl"])
    nan = float("nan")
    for index, row in enumerate(results.rows):
        if row.unit == RELATIVE_LIFT:
            results.rows[index] = replace(row, low=nan, high=nan)
    results.write(folder / "results.parquet")
    html = page_of(folder)
    assert "against popularity (too few events)" in html
    assert "+11.2\xa0%<small>too few events</small>" in html
    assert '<td class="extra">too few events</td>' in html


def test_control_alone_is_no_winner(tmp_path: Path) -> None:
    html = page_of(write_study(tmp_path / "a", ["popularity", "random"]))
    assert "No policy without the truth is worth more per user than popularity" in html


def test_many_worlds_are_pooled(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "a")
    both = rows(seed=0)
    both.extend(rows(seed=1))
    both.write(folder / "results.parquet")
    html = page_of(folder)
    assert "<b>2</b> simulated worlds (seed 0, 1)" in html


def test_bad_folders_give_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="does not exist"):
        render(tmp_path / "nowhere")
    with pytest.raises(ReportError, match=r"has no results\.parquet"):
        render(tmp_path)
    folder = write_study(tmp_path / "a")
    whole = (folder / "results.parquet").read_bytes()
    (folder / "results.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ReportError, match="cannot be read") as caught:
        render(folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "index.html").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("curves.parquet", "no parquet"),
        ("world.json", "{"),
        ("environment.json", "[1]"),
        ("config.yaml", "a: [1"),
    ],
)
def test_broken_companions_are_named(tmp_path: Path, name: str, content: str) -> None:
    folder = write_study(tmp_path / "a")
    (folder / name).write_text(content)
    with pytest.raises(ReportError, match=re.escape(name)) as caught:
        render(folder)
    assert "\n" not in str(caught.value)


def test_empty_table_is_refused(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "a")
    rows([], survival=False).write(folder / "results.parquet")
    with pytest.raises(ReportError, match="no rows"):
        render(folder)


def test_picture_shows_lifts(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "a")
    svg = summary_svg(folder).read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "+11.2\xa0%" in svg
    assert svg.index("oracle") < svg.index("dbmtl") < svg.index("random")
    with pytest.raises(ReportError, match="no online lift"):
        summary_svg(write_study(tmp_path / "b", ["dbmtl"]))


def test_agreement_finds_the_metric_that_orders_like_deployment() -> None:
    lift = pd.Series({"a": 0.3, "b": 0.2, "c": 0.1, "d": 0.0})
    values = {"hr@10": [4, 3, 2, 1], "logloss/engage": [1, 2, 3, 4], "mrr": [1, 2, 3, 4]}
    frame = pd.DataFrame(
        [(p, m, v) for m, numbers in values.items() for p, v in zip("abcd", numbers, strict=True)],
        columns=["policy", "metric", "estimate"],
    )
    found = online_agreement(frame, lift).set_index("metric")
    assert found["tau"].to_dict() == {"hr@10": 1.0, "logloss/engage": 1.0, "mrr": -1.0}
    assert found.loc["hr@10", "p_value"] == pytest.approx(2 / 24)  # one of 4! orders, two-sided


def test_flips_are_the_pairs_in_the_other_order() -> None:
    metrics = offline(pooled(rows().to_pandas()))
    assert ("hr@10", "hr@10/s20") in sampled_pairs(sorted(set(metrics["metric"])))
    pairs = beside(metrics, "hr@10", "hr@10/s20")
    assert pairs["policy"].tolist() == sorted(HIT_RATE, key=lambda name: -HIT_RATE[name])
    assert flips(pairs) == [
        ("dbmtl", "sass"), ("dbmtl", "shared_bottom"), ("rui3", "sass"), ("rui3", "shared_bottom"),
    ]  # fmt: skip


def test_ties_are_no_flips() -> None:
    frame = pd.DataFrame({
        "policy": list("abab"), "metric": ["mrr", "mrr", "mrr/s9", "mrr/s9"],
        "estimate": [0.2, 0.1, 0.5, 0.5],
    })  # fmt: skip
    assert flips(beside(frame, "mrr", "mrr/s9")) == []


def test_inks_are_fixed_and_distinct() -> None:
    names = [*WORTH, "mine", "yours", "theirs"]
    found = inks(names)
    assert len({ink.light for ink in found.values()}) == len(names)
    assert found["dbmtl"] is KNOWN["dbmtl"]
    assert inks(["mine"])["mine"] == found["mine"] or len({"mine", "yours", "theirs"}) > 1
    assert inks(reversed(names)) == found
    assert len(inks([f"p{i}" for i in range(40)])) == 40


def test_inks_are_readable_on_both_papers() -> None:
    def luminance(colour: str) -> float:
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for ink in (*KNOWN.values(), *SPARE):
        assert (luminance("#ffffff") + 0.05) / (luminance(ink.light) + 0.05) > 3.5
        assert (luminance(ink.dark) + 0.05) / (luminance("#191c20") + 0.05) > 3.5
        assert DARK[ink.light] == ink.dark
