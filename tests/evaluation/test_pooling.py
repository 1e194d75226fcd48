"""Pooling over worlds: closed forms, refusals, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.intervals import Interval
from evaluation.pooling import Z95, pooled
from evaluation.results import Results, Subject

NAN = float("nan")


def rows_of(
    estimates: list[float], half: float, metric: str = "value_per_user", lift: bool = True
) -> pd.DataFrame:
    """Return one row per world; a lift, or a difference of two levels."""
    results = Results()
    for seed, estimate in enumerate(estimates):
        interval = Interval(estimate, estimate - half, estimate + half, 100)
        subject = Subject("s", seed, "dbmtl")
        make = subject.lift if lift else subject.difference
        results.append(make(metric, "online", interval, "popularity"))
    return results.to_pandas()


def test_one_world_keeps_its_own_interval() -> None:
    frame = rows_of([0.1], 0.02)
    frame["low"] = 0.03  # not symmetric, so that a recomputed interval would show
    row = pooled(frame).iloc[0]
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx((0.1, 0.03, 0.12))
    assert row["worlds"] == 1


def test_unlike_worlds_have_the_one_sample_t_interval() -> None:
    estimates = [0.0, 0.1, 0.25]
    row = pooled(rows_of(estimates, 0.001, lift=False)).iloc[0]
    peer = stats.ttest_1samp(estimates, 0.0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((peer.low, peer.high), rel=1e-6)


def test_worlds_that_agree_by_luck_keep_the_error_within_them() -> None:
    row = pooled(rows_of([0.1] * 4, 0.02, lift=False)).iloc[0]
    assert row["high"] - row["estimate"] == pytest.approx(0.02 / 2)
    assert (row["worlds"], row["n"]) == (4, 400)
    two = pooled(rows_of([0.1, 0.1001], 0.02, lift=False)).iloc[0]
    assert two["high"] - two["low"] >= 2 * 0.02 / np.sqrt(2)


def test_a_world_is_counted_once() -> None:
    frame = rows_of([0.1, 0.2], 0.02)
    row = pooled(pd.concat([frame, frame])).iloc[0]
    assert (row["worlds"], row["n"]) == (2, 200)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-0.9, 1), min_size=2, max_size=6), st.floats(0.001, 0.09))
def test_pooling_ignores_the_order_of_worlds(estimates: list[float], half: float) -> None:
    forward, backward = rows_of(estimates, half), rows_of(estimates[::-1], half)
    numbers = ["estimate", "low", "high"]
    one, two = (pooled(frame)[numbers].to_numpy() for frame in (forward, backward))
    np.testing.assert_allclose(one, two, atol=1e-9, rtol=1e-9)
    assert (one[:, 1] >= -1).all()
    assert (one[:, 1] <= one[:, 0]).all()


def test_no_pooled_interval_leaves_its_range() -> None:
    lift = pooled(rows_of([-0.2, 0.6], 0.02)).iloc[0]
    assert -1 < lift["low"] < 0.2 < lift["high"]
    results = Results()
    for seed, share in enumerate((0.03, 0.09)):
        about = Interval(share, share - 0.01, share + 0.01, 50)
        results.append(Subject("s", seed, "dbmtl").level("hr@10", "offline", about))
    share_row = pooled(results.to_pandas()).iloc[0]
    assert 0 < share_row["low"] < 0.06 < share_row["high"] < 1


def test_worlds_without_an_estimate_are_left_out() -> None:
    row = pooled(rows_of([0.1, NAN], 0.02)).iloc[0]
    assert (row["estimate"], row["worlds"]) == (pytest.approx(0.1), 1)


def test_a_world_with_too_few_events_leaves_no_interval() -> None:
    frame = rows_of([-1.0, -1.0, 0.2], 0.02)
    frame.loc[:1, ["low", "high"]] = NAN
    row = pooled(frame).iloc[0]
    assert row["estimate"] == pytest.approx(-0.6)
    assert np.isnan([row["low"], row["high"]]).all()


@pytest.mark.parametrize("worlds", [2, 3, 5])
@pytest.mark.parametrize("ratio", [0.0, 1.0, 4.0])
def test_pooled_intervals_cover_at_their_level(worlds: int, ratio: float) -> None:
    """The truth is the mean over all worlds; `ratio` is the spread between over that within."""
    rng = np.random.default_rng(int(10 * ratio) + worlds)
    runs, error, truth = 4000, 0.02, 0.1
    estimates = truth + np.hypot(1.0, ratio) * error * rng.standard_normal((runs, worlds))
    half = Z95 * error * rng.uniform(0.8, 1.25, estimates.shape)
    frame = pd.DataFrame({
        "world_seed": np.tile(np.arange(worlds), runs),
        "policy": np.repeat([f"p{i}" for i in range(runs)], worlds), "control": "popularity",
        "scenario": "all", "slice": "all", "metric": "value_per_user", "unit": "relative lift",
        "kind": "online", "estimate": estimates.ravel(), "n": 100,
        "low": (estimates - half).ravel(), "high": (estimates + half).ravel(),
    })  # fmt: skip
    found = pooled(frame)
    cover = ((found["low"] <= truth) & (truth <= found["high"])).mean()
    assert cover > 0.935, (worlds, ratio, cover)
    if ratio > 0 and worlds > 2:
        assert cover < 0.98
