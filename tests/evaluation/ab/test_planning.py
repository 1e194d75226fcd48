"""What the next split could find: the formula against simulation, and what it grows with."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.ab.panel import Panel
from evaluation.ab.planning import SIZES, STEPS, detectable_lift, planning
from evaluation.ab.power import power_curve
from evaluation.online import METRICS, SCOPES, SUMS, UserTotals
from tests.evaluation.ab.panels import heavy


def totals(panel: Panel, before: bool = False) -> UserTotals:
    """Return totals that hold a panel as the page's click rate, all scenarios together."""
    sums = np.zeros((len(SUMS), len(SCOPES), len(panel)))
    columns = (panel.numerator, panel.denominator)
    if before:
        assert panel.before_numerator is not None
        assert panel.before_denominator is not None
        columns = (panel.before_numerator, panel.before_denominator)
    for name, column in zip(METRICS["page_ctr"], columns, strict=True):
        sums[SUMS.index(name), -1] = column
    return UserTotals(sums)


@pytest.mark.parametrize("cuped", [False, True])
def test_the_detectable_lift_is_found_in_eight_of_ten_experiments(cuped: bool) -> None:
    panel = heavy(3000, 1)
    lift = float(np.expm1(detectable_lift(panel, cuped)))
    curve = power_curve(panel, (0.0, lift), "cuped" if cuped else "delta", 2000)
    assert curve.power[0] == pytest.approx(0.05, abs=0.015)
    assert curve.power[1] == pytest.approx(0.8, abs=0.04)


def test_the_tables_fall_with_users_and_gain_by_the_time_before() -> None:
    panel = heavy(2000, 2)
    plan = planning([totals(panel)], totals(panel, before=True), ["page_ctr"])
    found = plan.detectable.set_index(["analysis", "users"])["lift"]
    assert list(found["delta"].index) == [round(2000 * size) for size in SIZES]
    logs = np.log1p(found["delta"].to_numpy())
    np.testing.assert_allclose(logs * np.sqrt(SIZES), logs[1])
    assert (found["cuped"] < 0.95 * found["delta"]).all()
    power = plan.power.set_index(["analysis", "lift"])["power"]
    assert set(plan.power["analysis"]) == {"delta", "cuped", "anytime"}
    assert len(power) == 3 * len(STEPS)
    assert power["delta"].iloc[2] == pytest.approx(0.8, abs=0.05)
    assert power["cuped"].iloc[2] > power["delta"].iloc[2] + 0.05
    assert power["anytime"].iloc[2] < power["delta"].iloc[2] - 0.05


def test_more_days_are_not_more_users() -> None:
    """Two days of the same users say less than as many users again."""
    one, more = heavy(2000, 3), heavy(2000, 4)
    # the second day repeats the first: nothing new is learnt about who these users are
    both = Panel(2 * one.numerator, 2 * one.denominator, one.before_numerator,
                 one.before_denominator)  # fmt: skip
    plan = planning([totals(one), totals(both)], totals(more, before=True), ["page_ctr"])
    found = plan.detectable[plan.detectable["analysis"] == "delta"].groupby("days")["lift"]
    np.testing.assert_allclose(found.get_group(1), found.get_group(2))


def test_where_nothing_happens_nothing_is_promised() -> None:
    nothing = Panel(np.zeros(50), np.ones(50), np.zeros(50), np.ones(50))
    assert np.isnan(detectable_lift(nothing, cuped=False))
    assert np.isnan(detectable_lift(nothing.take(np.arange(1)), cuped=True))
    plan = planning([totals(nothing)], totals(nothing, before=True), ["page_ctr"])
    assert plan.detectable["lift"].isna().all()
    assert plan.power.empty
