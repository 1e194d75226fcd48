"""The leaderboard pools worlds, ranks policies, and prints what it knows."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from evaluation.intervals import Interval
from evaluation.leaderboard import (
    Z95,
    arrow,
    board,
    collect,
    goodness,
    lifts,
    pooled,
    show,
    verdict,
)
from evaluation.results import Results, ResultsError, Subject
from tests.evaluation.made_up_study import WORTH, rows, write_study


def lift_rows(estimates: list[float], half: float) -> pd.DataFrame:
    results = Results()
    for seed, estimate in enumerate(estimates):
        interval = Interval(estimate, estimate - half, estimate + half, 100)
        results.append(
            Subject("s", seed, "dbmtl").lift("value_per_user", "online", interval, "popularity")
        )
    return results.to_pandas()


def printed(frame: pd.DataFrame, width: int = 160) -> str:
    out = io.StringIO()
    show(frame, Console(file=out, width=width, color_system=None))
    return out.getvalue()


def test_one_world_keeps_its_own_interval() -> None:
    frame = lift_rows([0.1], 0.02)
    frame["low"] = 0.03  # not symmetric, so that a recomputed interval would show
    row = pooled(frame).iloc[0]
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx((0.1, 0.03, 0.12))
    assert row["worlds"] == 1


def test_like_worlds_narrow_the_interval() -> None:
    row = pooled(lift_rows([0.1, 0.1, 0.1, 0.1], 0.02)).iloc[0]
    assert row["estimate"] == pytest.approx(0.1)
    assert row["high"] - row["estimate"] == pytest.approx(0.02 / 2)
    assert (row["worlds"], row["n"]) == (4, 400)


def test_unlike_worlds_widen_the_interval() -> None:
    estimates = [0.0, 0.1, 0.2]
    row = pooled(lift_rows(estimates, 0.001)).iloc[0]
    assert row["estimate"] - row["low"] == pytest.approx(Z95 * np.std(estimates, ddof=1) / 3**0.5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.floats(0.001, 0.5))
def test_pooling_ignores_the_order_of_worlds(estimates: list[float], half: float) -> None:
    forward, backward = lift_rows(estimates, half), lift_rows(estimates[::-1], half)
    numbers = ["estimate", "low", "high"]
    np.testing.assert_allclose(
        pooled(forward)[numbers].to_numpy(), pooled(backward)[numbers].to_numpy(), atol=1e-12
    )


def test_worlds_without_an_estimate_are_left_out() -> None:
    row = pooled(lift_rows([0.1, float("nan")], 0.02)).iloc[0]
    assert (row["estimate"], row["worlds"]) == (pytest.approx(0.1), 1)


def test_lifts_contain_the_control_at_zero() -> None:
    found = lifts(pooled(rows().to_pandas()))
    control = found[(found["policy"] == "popularity") & (found["scenario"] == "all")]
    assert control["estimate"].tolist() == [0.0]
    assert control["low"].isna().all()


def test_board_ranks_by_lift() -> None:
    table = board(rows().to_pandas())
    assert table["policy"].tolist() == sorted(WORTH, key=lambda name: -WORTH[name])
    assert table["rank"].tolist() == list(range(1, 9))
    assert table.loc[1, "hr@10"] == pytest.approx(0.221)
    assert list(table.columns[9:12]) == ["hr@10", "ndcg@10", "gauc/engage"]


def test_policy_that_was_never_deployed_comes_last_without_rank() -> None:
    frame = rows().to_pandas()
    frame = frame[~((frame["policy"] == "oracle") & (frame["kind"] == "online"))]
    last = board(frame).iloc[-1]
    assert last["policy"] == "oracle"
    assert pd.isna(last["rank"])
    assert np.isnan(last["lift"])
    assert "not deployed" in printed(board(frame))


def test_study_of_one_policy_has_a_board() -> None:
    table = board(rows(["dbmtl"]).to_pandas())
    assert table["policy"].tolist() == ["dbmtl"]
    assert table["lift"].isna().all()


def test_collect_pools_the_folders_of_a_sweep(tmp_path: Path) -> None:
    for policy in ("dbmtl", "rui3"):
        for seed in (0, 1):
            write_study(tmp_path / "multirun" / f"{policy}-{seed}", ["popularity", policy], seed)
    table = collect([tmp_path]).set_index("policy")
    assert set(table.index) == {"popularity", "dbmtl", "rui3"}
    assert table["seeds"].unique().tolist() == ["0, 1"]
    assert table["worlds"].tolist() == [2, 2, 2]


def test_runs_named_twice_count_once(tmp_path: Path) -> None:
    write_study(tmp_path / "a")
    write_study(tmp_path / "b")
    folder, file = tmp_path / "a", tmp_path / "a" / "results.parquet"
    once, twice = collect([folder]), collect([tmp_path, folder, file])
    pd.testing.assert_frame_equal(once, twice)


def test_collect_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"no results\.parquet"):
        collect([tmp_path])
    with pytest.raises(ResultsError, match="does not exist"):
        collect([tmp_path / "nowhere"])
    with pytest.raises(ResultsError, match="name at least one"):
        collect([])


def test_collect_refuses_a_truncated_table(tmp_path: Path) -> None:
    file = write_study(tmp_path / "a") / "results.parquet"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ResultsError, match="cannot be read"):
        collect([tmp_path])


def test_show_prints_lifts_intervals_and_directions() -> None:
    text = printed(board(rows().to_pandas()))
    assert "value per user vs popularity ↑" in text
    assert "+11.2 %" in text
    assert "+10.1 to +12.3 %" in text
    assert "control" in text
    assert "hr@10 ↑" in text
    assert "pcoc/engage →1" in text
    assert text.index("oracle") < text.index("dbmtl") < text.index("random")


def test_show_fits_a_narrow_terminal() -> None:
    lines = printed(board(rows().to_pandas()), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("shared_bottom" in line and "+8.2 %" in line for line in lines)


def test_directions() -> None:
    assert [arrow(m) for m in ("hr@10", "logloss/engage", "pcoc/engage")] == ["↑", "↓", "→1"]
    values = pd.Series([0.5, 1.0, 2.0])
    assert goodness("logloss/engage", values).idxmax() == 0
    assert goodness("pcoc/engage", values).idxmax() == 1
    assert goodness("auc/engage", values).idxmax() == 2


def test_verdicts() -> None:
    nan = float("nan")
    spans = ((0.1, 0.05, 0.2), (0.1, -0.05, 0.2), (-0.1, -0.2, -0.05), (0.1, nan, nan), (nan,) * 3)
    assert [verdict(*span) for span in spans] == [
        "better",
        "unclear",
        "worse",
        "no interval",
        "not deployed",
    ]
