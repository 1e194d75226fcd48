"""Deployments as sums per user, and paired comparisons between them."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.online import (
    CLICK_METRICS,
    DELAYED_METRICS,
    METRICS,
    SCOPES,
    UserTotals,
    comparison_rows,
    level_rows,
    user_totals,
)
from evaluation.results import RELATIVE_LIFT, Results, ResultsError, Subject
from sim.config import Objective
from sim.schema import PAD, SCENARIOS, SWIPE
from tests.evaluation.records import impressions, purchases_of

OBJECTIVE = Objective(1.0, 6.0, 0.5, 0.5, 2.0, 0.0, 3.0, 10.0)
SUBJECT = Subject("quick", 0, "dbmtl")
CHANNEL, TAB = (SCENARIOS.index(name) for name in ("channel", "tab"))


def _deployment() -> tuple[UserTotals, UserTotals]:
    """Observed and ultimate totals of six impressions, users 0, 1 and 3 of 4."""
    shown = impressions(
        6,
        user_id=[0, 0, 1, 1, 3, 3],
        scenario=[CHANNEL, CHANNEL, CHANNEL, SWIPE, SWIPE, TAB],
        click=[1, 0, 0, 0, 0, 1],
        watch_s=[60.0, 0, 0, 30, 5, 1200],
        view=[1, 0, 0, 1, 0, 1],
        follow=[1, 0, 0, 0, 0, 0],
        like=[0, 0, 0, 1, 0, 0],
        bag_click=[1, 0, 0, 1, 0, 1],
        cart=[1, 0, 0, 0, 0, 1],
    )
    both = purchases_of(shown, [0, 5], [100.0, 50.0])
    now = both.take(np.array([0]))
    stray = impressions(1, request_id=[99], user_id=[2])
    foreign = purchases_of(stray, [0], [777.0])
    observed = type(now).concat([now, foreign])
    return user_totals(shown, observed, OBJECTIVE, 4), user_totals(shown, both, OBJECTIVE, 4)


@pytest.mark.parametrize(
    ("metric", "scenario", "expected"),
    [
        ("page_ctr", "all", 2 / 4),
        ("page_ctr", "channel", 1 / 3),
        ("user_ctr", "all", 2 / 3),
        ("user_ctr", "channel", 1 / 2),
        ("clicks_per_user", "all", 2 / 3),
        ("watch_s_per_user", "all", 1295 / 3),
        ("watch_s_per_user", "swipe", 35 / 2),
        ("views_per_user", "all", 1.0),
        ("follows_per_user", "channel", 1 / 2),
        ("likes_per_user", "swipe", 1 / 2),
        ("comments_per_user", "all", 0.0),
        ("bag_clicks_per_user", "tab", 1.0),
        ("carts_per_user", "all", 2 / 3),
        ("purchases_per_user", "all", 1 / 3),
        ("purchases_per_user", "tab", 0.0),
        ("gmv_cny_per_user", "all", 100 / 3),
        # row 0: engage 1, watch 6*.1, follow 2, cart 3, purchase 10; 3: engage 1, watch .3,
        # like .5; 4: watch .05; 5: engage 1, watch 6, cart 3
        ("value_per_user", "all", (16.6 + 1.8 + 0.05 + 10.0) / 3),
    ],
)
def test_metrics_of_a_deployment_done_by_hand(metric: str, scenario: str, expected: float) -> None:
    observed, _ = _deployment()
    got = observed.estimate(metric, scenario)
    assert got.value == pytest.approx(expected, rel=1e-6)


def test_truth_counts_purchases_that_come_later() -> None:
    observed, ultimate = _deployment()
    assert ultimate.estimate("purchases_per_user").value == pytest.approx(2 / 3)
    assert ultimate.estimate("gmv_cny_per_user", "tab").value == pytest.approx(50.0)
    gap = ultimate.estimate("value_per_user").value - observed.estimate("value_per_user").value
    assert gap == pytest.approx(10 / 3)


def test_level_rows_cover_the_table() -> None:
    observed, ultimate = _deployment()
    rows = level_rows(SUBJECT, observed, "online")
    assert len(rows) == len(SCOPES) * len(METRICS) - len(CLICK_METRICS)
    assert not [r for r in rows if r.scenario == "swipe" and r.metric in CLICK_METRICS]
    truth = level_rows(SUBJECT, ultimate, "truth")
    assert {r.metric for r in truth} == set(DELAYED_METRICS)
    by_all = {r.metric: r for r in rows if r.scenario == "all"}
    assert by_all["clicks_per_user"].n == 3  # user 2 never came
    Results(rows + truth).arrow()  # keys are unique


def test_a_policy_against_its_twin_differs_by_nothing_and_claims_no_certainty() -> None:
    observed, _ = _deployment()
    rows = comparison_rows(SUBJECT, observed, "popularity", observed, "online")
    assert {r.control for r in rows} == {"popularity"}
    for row in rows:
        # NaN: nothing to divide by, or nobody there
        nothing = row.unit == RELATIVE_LIFT or row.scenario in ("feed", "detail")
        assert row.estimate == 0.0 or (nothing and np.isnan(row.estimate))
        assert np.isnan([row.low, row.high]).all()
    Results(rows).arrow()


def _traffic(users: int, clicks: int, purchases: int) -> UserTotals:
    """One list impression for each user; the first users click, the first of those buy."""
    bought = np.arange(users) < purchases
    shown = impressions(
        users, user_id=np.arange(users), click=np.arange(users) < clicks, bag_click=bought
    )
    own = purchases_of(shown, list(np.flatnonzero(bought)), [100.0] * purchases)
    return user_totals(shown, own, OBJECTIVE, users)


@pytest.mark.parametrize(("treated", "control"), [(0, 3), (3, 3), (6, 3), (40, 9), (9, 40)])
def test_a_handful_of_events_gives_no_interval(treated: int, control: int) -> None:
    rows = comparison_rows(
        SUBJECT, _traffic(500, 200, treated), "popularity", _traffic(500, 180, control), "online"
    )
    rare = [r for r in rows if r.metric in ("purchases_per_user", "gmv_cny_per_user")]
    assert any(np.isfinite(r.estimate) for r in rare)
    assert all(np.isnan([r.low, r.high]).all() for r in rare)
    clicks = next(
        r for r in rows
        if (r.metric, r.unit, r.scenario) == ("page_ctr", RELATIVE_LIFT, "all")
    )  # fmt: skip
    assert -1 < clicks.low < clicks.estimate < clicks.high


def test_levels_stay_within_their_range() -> None:
    rows = level_rows(SUBJECT, _traffic(60, 58, 12), "online")
    by_name = {r.metric: r for r in rows if r.scenario == "all"}
    assert by_name["page_ctr"].low < 58 / 60 < by_name["page_ctr"].high <= 1
    assert 0 < by_name["purchases_per_user"].low < 12 / 60 < by_name["purchases_per_user"].high
    nothing = {r.metric: r for r in level_rows(SUBJECT, _traffic(60, 0, 0), "online")}
    assert nothing["page_ctr"].estimate == 0
    assert 0.03 < nothing["page_ctr"].high < 0.1  # 60 users without a click exclude no 3 %


def test_pairing_recovers_a_small_lift_that_unpaired_intervals_miss() -> None:
    rng = np.random.default_rng(0)
    users, per_user = 1500, 12
    n = users * per_user
    user = np.repeat(np.arange(users), per_user)
    taste = rng.beta(0.6, 2.4, users)[user]
    noise = rng.random(n)
    deployments = [
        user_totals(
            impressions(n, user_id=user, click=noise < taste * boost),
            purchases_of(impressions(1), [], []),
            OBJECTIVE,
            users,
        )
        for boost in (1.0, 1.02)
    ]
    control, treated = deployments
    rows = comparison_rows(SUBJECT, treated, "popularity", control, "online")
    lift = next(
        r for r in rows
        if (r.metric, r.unit, r.scenario) == ("page_ctr", RELATIVE_LIFT, "all")
    )  # fmt: skip
    assert 0.0 < lift.low < lift.high < 0.05
    levels = [d.estimate("page_ctr").interval() for d in deployments]
    assert levels[0].high > levels[1].low


def test_bad_input_is_refused() -> None:
    observed, _ = _deployment()
    with pytest.raises(ResultsError, match="user id 3; ids must be below 3"):
        user_totals(impressions(1, user_id=[3]), purchases_of(impressions(1), [], []), OBJECTIVE, 3)
    small = UserTotals(observed.sums[:, :, :2])
    with pytest.raises(ResultsError, match="dbmtl has 4 users and popularity 2"):
        comparison_rows(SUBJECT, observed, "popularity", small, "online")
    with pytest.raises(ResultsError, match="metric 'ctr' is unknown"):
        observed.estimate("ctr")
    with pytest.raises(ResultsError, match="scenario 'mall' is unknown"):
        observed.estimate("page_ctr", "mall")


def test_records_have_the_padding_of_the_schema() -> None:
    assert impressions(1).refer_id[0] == PAD


def test_nobody_came() -> None:
    empty = user_totals(impressions(0), purchases_of(impressions(1), [], []), OBJECTIVE, 5)
    rows = level_rows(SUBJECT, empty, "online")
    assert all(np.isnan(row.estimate) and row.n == 0 for row in rows)
