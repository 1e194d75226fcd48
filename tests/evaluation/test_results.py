"""The results table: names, keys, determinism, and files that are not results."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluation.intervals import Interval
from evaluation.results import (
    RELATIVE_LIFT,
    Results,
    ResultsError,
    Row,
    Subject,
    split_name,
    unit_of,
)

NAN = float("nan")
SUBJECT = Subject("quick", 3, "dbmtl")


def _some() -> Results:
    results = Results()
    results.append(SUBJECT.level("hr@10", "offline", Interval(0.5, 0.4, 0.6, 100)))
    results.append(SUBJECT.lift("page_ctr", "online", Interval(0.02, NAN, NAN, 9), "popularity"))
    results.extend(
        [SUBJECT.difference("page_ctr", "online", Interval(0.1, 0, 0.2, 9), "popularity")]
    )
    survival = Subject("quick", 3, "")
    found = Interval(0.04, 0.03, 0.05, 800)
    results.append(survival.level("cvr/km", "offline", found, scenario="swipe", slice="24h"))
    return results


def test_round_trip_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    _some().write(path)
    frame = pd.read_parquet(path)
    assert ",".join(frame.columns) == (
        "study,world_seed,policy,control,scenario,slice,metric,unit,kind,estimate,low,high,n"
    )
    back = Results.read(path)
    assert len(back) == 4
    assert back.to_pandas().equals(_some().to_pandas())
    lift = frame[frame["unit"] == RELATIVE_LIFT].iloc[0]
    assert (lift["metric"], lift["control"]) == ("page_ctr", "popularity")
    assert math.isnan(lift["low"])


def test_bytes_do_not_depend_on_the_order_of_arrival(tmp_path: Path) -> None:
    _some().write(tmp_path / "a")
    Results(list(reversed(_some().rows))).write(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_writing_replaces_and_failing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    _some().write(path)
    before = path.read_bytes()
    twice = Results.concat([_some(), _some()])
    with pytest.raises(ResultsError, match="same key"):
        twice.write(path)
    assert path.read_bytes() == before
    Results().write(path)
    assert len(Results.read(path)) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["results.parquet"]


def test_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _some().write(tmp_path / "nowhere" / "results.parquet")


def test_files_that_are_no_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="is missing"):
        Results.read(tmp_path / "none.parquet")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 not really")
    with pytest.raises(ResultsError, match="cannot be read"):
        Results.read(broken)
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"study": ["a"]}), other)
    with pytest.raises(ResultsError, match=r"has columns \[study string\]; expected"):
        Results.read(other)


def test_rows_check_what_comes_from_closed_sets() -> None:
    with pytest.raises(
        ResultsError, match="scenario is 'mall'; allowed: channel, feed, tab, detail, swipe, all"
    ):
        SUBJECT.level("mrr", "offline", Interval(1, 1, 1, 1), scenario="mall")
    with pytest.raises(ResultsError, match="kind is 'live'"):
        Row("s", 0, "p", "", "all", "all", "mrr", "share", "live", 0, 0, 0, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("hr@10", "share"), ("ndcg@5/s100", "ndcg"), ("mrr", "reciprocal rank"),
        ("auc/engage", "auc"), ("gmv_cny_per_user", "CNY"), ("cvr/cure", "probability"),
        ("logloss/bag_click", "nats"), ("hr@10/s20_bv0.1", "share"), ("ap", "average precision"),
        ("ece_true/like", "share"), ("gauc_by_users/purchase", "auc"), ("watch_s_per_user", "s"),
    ],
)  # fmt: skip
def test_units_follow_names(metric: str, unit: str) -> None:
    assert unit_of(metric) == unit


@pytest.mark.parametrize("metric", ["", "coverage@10", "hr@0", "auc engage", "HR@10"])
def test_unknown_metrics_are_refused(metric: str) -> None:
    with pytest.raises(ResultsError, match="unknown"):
        unit_of(metric)
    with pytest.raises(ResultsError, match="unknown"):
        SUBJECT.lift(metric, "online", Interval(0, 0, 0, 0), "random")


def test_targets_split_from_names() -> None:
    assert split_name("auc/bag_click") == ("auc", "bag_click")
    assert split_name("hr@10/s20") == ("hr@10/s20", "")
