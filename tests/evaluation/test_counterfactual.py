"""The chapter on off-policy estimates, from rows whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import wording
from evaluation.counterfactual import counterfactual
from evaluation.intervals import Interval
from evaluation.leaderboard import offline
from evaluation.palette import inks
from evaluation.pooling import pooled
from evaluation.results import Results, Subject

TRUE = {"best": 0.4, "worse": -0.2, "worst": -0.4}
NAN = float("nan")


def numbers(estimates):
    """Return pooled rows with true differences TRUE to `control`, and estimated ones."""
    results = Results()
    for policy, gap in TRUE.items():
        subject = Subject("test", 0, policy)
        for metric, value, half in [(m, v[policy], h) for m, (v, h) in estimates.items()]:
            level = Interval(2.0 + value, 2.0 + value - half, 2.0 + value + half, 100)
            results.append(subject.level(metric, "offline", level))
            own = Interval(value, value - half, value + half, 100)
            results.append(subject.difference(metric, "offline", own, "control"))
        results.append(subject.level("request_value", "truth", Interval(2.0 + gap, 2.0, 3.0, 9)))
        own = Interval(gap, gap - 0.01, gap + 0.01, 9)
        results.append(subject.difference("request_value", "truth", own, "control"))
        results.append(subject.lift("request_value", "truth", own, "control"))
        effective = Interval(40.0 + 10.0 * gap, NAN, NAN, 500)
        results.append(subject.level("effective_rounds/top", "offline", effective))
        results.append(subject.level("effective_rounds/request", "offline", effective))
    return pooled(results.to_pandas())


def chapter(estimates):
    names = [*TRUE, "control"]
    return counterfactual(numbers(estimates), names, inks(names), "control")


NEAR = {name: value + 0.1 for name, value in TRUE.items()}
WRONG = {name: -value for name, value in TRUE.items()}


def test_the_nearest_estimator_comes_first_with_its_record():
    found = chapter({"request_value/rips": (WRONG, 0.05), "request_value/iips": (NEAR, 0.2)})
    table = found.tables["Estimators beside the truth, as differences to control"]
    first, second = ([cell.text for cell in row] for row in table.rows)
    assert first == ["request_value/iips", "0.30", "3 of 3", "+1.00", "3"]
    assert second == ["request_value/rips", "2.00", "0 of 3", f"{wording.MINUS}1.00", "3"]
    assert "request_value/iips comes closest" in found.finding
    assert not found.doubts
    assert "the 500 pages looked at are worth 36 of worst’s own" in found.finding


def test_values_stand_beside_the_truth_and_the_weights():
    found = chapter({"request_value/iips": (NEAR, 0.2)})
    table = found.tables["Worth of a page"]
    lines = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert table.head == ("", "best", "worse", "worst")
    assert lines["truth, deployed"] == ["2.40", "1.80", "1.60"]
    assert lines["iips"] == ["2.50", "1.90", "1.70"]
    assert lines["effective pages"] == ["44.00", "38.00", "36.00"]
    assert "request_value/iips" in found.panels[0].options


def test_a_study_without_estimates_says_why_and_shows_none():
    found = chapter({})
    assert "left nothing to chance" in found.lead
    assert not found.tables
    assert not found.panels
    assert not found.finding
    older = numbers({"mrr": (NEAR, 0.1)})
    older = older[~older["metric"].str.contains("_value")]
    assert (
        counterfactual(older, [], {}, "control").lead == "The study holds no off-policy estimates."
    )


def test_estimates_are_offline_metrics_and_their_weights_are_not():
    metrics = set(offline(numbers({"top_value/sndr": (NEAR, 0.2)}))["metric"])
    assert metrics == {"top_value/sndr"}
    assert wording.meaning("top_value/sg_ips") == "worth of the top of a page by sg ips"


@pytest.mark.parametrize("half", [0.2, np.nan])
def test_an_estimate_without_an_interval_is_counted_in_none(half):
    found = chapter({"request_value/iips": (NEAR, half)})
    table = found.tables["Estimators beside the truth, as differences to control"]
    expected = wording.MISSING if np.isnan(half) else "3 of 3"
    assert table.rows[0][2].text == expected


def test_few_effective_pages_are_a_doubt():
    rows = numbers({"request_value/iips": (NEAR, 0.2)})
    rows.loc[
        (rows["metric"] == "effective_rounds/top") & (rows["policy"] == "worst"), "estimate"
    ] = 7
    names = [*TRUE, "control"]
    (doubt,) = counterfactual(rows, names, inks(names), "control").doubts
    assert doubt.startswith("Less than 30 effective pages: worst.")


def test_where_no_policy_differs_no_error_is_told():
    rows = numbers({"request_value/iips": (NEAR, 0.2)})
    rows.loc[(rows["kind"] == "truth") & (rows["control"] != ""), "estimate"] = 0.0
    names = [*TRUE, "control"]
    found = counterfactual(rows, names, inks(names), "control")
    table = found.tables["Estimators beside the truth, as differences to control"]
    assert table.rows[0][1].text == wording.MISSING
