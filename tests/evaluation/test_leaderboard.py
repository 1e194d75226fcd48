"""The leaderboard ranks policies, keeps experiments apart, and prints what it knows."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from evaluation.leaderboard import (
    Board,
    arrow,
    board,
    collect,
    goodness,
    lifts,
    ranges,
    show,
    verdict,
)
from evaluation.pooling import pooled
from evaluation.results import ResultsError
from tests.evaluation.made_up_study import WORTH, rows, write_study


def printed(boards: Sequence[Board], width: int = 160) -> str:
    out = io.StringIO()
    show(boards, Console(file=out, width=width, color_system=None))
    return out.getvalue()


def alone(table: pd.DataFrame) -> list[Board]:
    """Return a table as the leaderboard of the only experiment, in one world."""
    return [Board(table, "default", (0,), (), 0, (), frozenset({"oracle"}))]


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
    assert list(table.columns[10:13]) == ["hr@10", "ndcg@10", "gauc/engage"]


def test_policy_that_was_never_deployed_comes_last_without_rank() -> None:
    frame = rows().to_pandas()
    frame = frame[~((frame["policy"] == "oracle") & (frame["kind"] == "online"))]
    last = board(frame).iloc[-1]
    assert last["policy"] == "oracle"
    assert pd.isna(last["rank"])
    assert np.isnan(last["lift"])
    assert "not deployed" in printed(alone(board(frame)))


def test_study_of_one_policy_has_a_board() -> None:
    table = board(rows(["dbmtl"]).to_pandas())
    assert table["policy"].tolist() == ["dbmtl"]
    assert table["lift"].isna().all()


def test_collect_pools_the_folders_of_a_sweep(tmp_path: Path) -> None:
    for policy in ("dbmtl", "rui3"):
        for seed in (0, 1):
            write_study(tmp_path / "multirun" / f"{policy}-{seed}", ["popularity", policy], seed)
    (found,) = collect([tmp_path])
    table = found.table.set_index("policy")
    assert set(table.index) == {"popularity", "dbmtl", "rui3"}
    assert table["seeds"].unique().tolist() == ["0, 1"]
    assert table["worlds"].tolist() == [2, 2, 2]
    assert found.seeds == (0, 1)
    assert table.loc["dbmtl", "by_world"].startswith("+11.2, +1")
    low, high = table.loc["dbmtl", ["low", "high"]]
    assert low < 0.112 < high  # two worlds have an interval, wide as it is
    assert "wide" in printed([found])


def test_experiments_are_not_averaged(tmp_path: Path) -> None:
    write_study(tmp_path / "usual", seed=0)
    write_study(tmp_path / "dial", seed=0, refer_pull=0.0)
    write_study(tmp_path / "days", seed=1, settings="days: 3\n")
    found = collect([tmp_path])
    assert [one.table["worlds"].max() for one in found] == [1, 1, 1]
    told = [dict(one.apart) for one in found]
    assert told == [
        {"days": "3", "world.session.refer_pull": "0.6"},
        {"days": "6", "world.session.refer_pull": "0.0"},
        {"days": "6", "world.session.refer_pull": "0.6"},
    ]
    text = printed(found, width=80)
    assert "3 experiments" in text
    assert "differs in days = 6, world.session.refer_pull = 0.0" in text
    assert max(map(len, text.splitlines())) <= 80


def test_experiments_that_differ_in_much_name_a_few_settings(tmp_path: Path) -> None:
    for index in range(2):
        many = "".join(f"dial_{i}: {index}\n" for i in range(9))
        write_study(tmp_path / str(index), settings=many)
    assert "dial_3 = 0 and 5 more settings" in printed(collect([tmp_path]))


def test_every_experiment_is_told_from_every_other(tmp_path: Path) -> None:
    for index in range(2):  # differ in many settings, none of which tells the dials apart
        many = "".join(f"dial_{i}: {index}\n" for i in range(9))
        for pull in (0.0, 0.6):
            write_study(tmp_path / f"{index}{pull}", settings=many, refer_pull=pull)
    found = collect([tmp_path])
    assert len({one.apart for one in found}) == len(found) == 4
    assert all("world.session.refer_pull" in dict(one.apart) for one in found)


def test_what_changes_no_result_does_not_part_studies(tmp_path: Path) -> None:
    write_study(tmp_path / "a", ["popularity", "dbmtl"], 0, settings="days: 6\nout: a\n")
    write_study(tmp_path / "b", ["popularity", "rui3"], 0, settings="days: 6\nworkers: 2\n")
    (found,) = collect([tmp_path])
    assert set(found.table["policy"]) == {"popularity", "dbmtl", "rui3"}
    assert found.table["worlds"].tolist() == [1, 1, 1]


def test_a_world_that_ran_twice_counts_once_and_is_said(tmp_path: Path) -> None:
    write_study(tmp_path / "a")
    write_study(tmp_path / "b")
    (found,) = collect([tmp_path])
    assert found.table["worlds"].tolist() == [1] * 8
    assert "same numbers; each counts once" in " ".join(found.notes)
    folder, file = tmp_path / "a", tmp_path / "a" / "results.parquet"
    (once,), (again,) = collect([folder]), collect([folder, file])
    pd.testing.assert_frame_equal(once.table, again.table)
    assert once.notes == again.notes == ()


def test_runs_with_different_numbers_keep_the_newest(tmp_path: Path) -> None:
    old, new = (write_study(tmp_path / name, ["popularity", "dbmtl"]) for name in "ab")
    frame = rows(["popularity", "dbmtl"], seed=5)
    for index, row in enumerate(frame.rows):
        frame.rows[index] = replace(row, world_seed=0)
    frame.write(new / "results.parquet")
    os.utime(old / "results.parquet", (1, 1))
    (found,) = collect([tmp_path])
    (alone_,) = collect([new])
    pd.testing.assert_frame_equal(found.table, alone_.table)
    assert f"dbmtl ran 2 times in world 0 with different numbers; the newest counts ({new})" in (
        found.notes
    )


def test_arguments_tell_policies_apart(tmp_path: Path) -> None:
    for rate in (1, 2):
        node = f"{{_target_: m.P, rate: {rate}, size: 3}}"
        write_study(tmp_path / str(rate), ["popularity", "dbmtl"], arguments=node)
    (found,) = collect([tmp_path])
    names = set(found.table["policy"])
    assert {"dbmtl rate=1", "dbmtl rate=2"} < names
    assert "dbmtl" not in names


def test_studies_without_a_config_are_kept_apart_from_others(tmp_path: Path) -> None:
    write_study(tmp_path / "a")
    write_study(tmp_path / "b", seed=1, extras=False)
    found = collect([tmp_path])
    assert [one.seeds for one in found] == [(0,), (1,)]
    assert "world default" in printed(found)
    assert found[1].notes == ("no config.yaml: what these were made with is unknown",)


def test_versions_of_the_code_are_said(tmp_path: Path) -> None:
    for seed, version in enumerate(("1 (source a)", "1 (source b)")):
        folder = write_study(tmp_path / str(seed), seed=seed)
        (folder / "environment.json").write_text(json.dumps({"swipelab": version}))
    (found,) = collect([tmp_path])
    assert "different versions of the code: 1 (source a), 1 (source b)" in " ".join(found.notes)


def test_plug_ins_that_see_the_truth_are_marked(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "a", ["popularity", "dbmtl", "oracle"])
    about = {"dbmtl": {"privileged": True}, "oracle": {"privileged": False}, "popularity": {}}
    (folder / "policies.json").write_text(json.dumps(about))
    (found,) = collect([folder])
    assert found.privileged == {"dbmtl"}
    text = printed([found])
    assert "dbmtl*" in text
    assert "oracle*" not in text
    assert "* sees the truth" in text


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
    text = printed(alone(board(rows().to_pandas())))
    assert "value per user against popularity" in text
    assert "+11.2 %" in text
    assert "+10.1 to +12.3 %" in text
    assert "control" in text
    assert "hr@10 ↑" in text
    assert "pcoc/engage →1" in text
    assert text.index("oracle") < text.index("dbmtl") < text.index("random")


def test_show_fits_a_narrow_terminal_with_rank_and_seeds() -> None:
    lines = printed(alone(board(rows().to_pandas())), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    head = next(line for line in lines if "policy" in line)
    assert all(name in head for name in ("#", "lift ↑", "95 % interval", "hr@10 ↑", "seeds"))
    row = next(line for line in lines if "shared_bottom" in line)
    assert row.split()[:2] == ["5", "shared_bottom"]
    assert "+8.2 %" in row
    assert "+7.1 to +9.3 %" in row
    assert row.split()[-1] == "0"


@pytest.mark.parametrize("width", [60, 72, 80, 100, 200])
def test_no_cell_is_cut_at_any_width(tmp_path: Path, width: int) -> None:
    for seed in range(3):
        write_study(tmp_path / str(seed), seed=seed)
    text = printed(collect([tmp_path]), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "0-2" in text


def test_too_few_events_are_said_in_the_terminal() -> None:
    table = board(rows().to_pandas())
    table.loc[table["policy"] == "dbmtl", ["lift", "low", "high"]] = (-1.0, np.nan, np.nan)
    table.loc[table["policy"] == "sass", ["lift", "low", "high"]] = (0.0, np.nan, np.nan)
    lines = printed(alone(table), width=80).splitlines()
    assert "too few events" in next(line for line in lines if "dbmtl" in line)
    assert "no difference seen" in next(line for line in lines if "sass" in line)


def test_seeds_are_written_as_ranges() -> None:
    assert ranges([2, 0, 1, 7]) == "0-2, 7"
    assert ranges([1, 0]) == "0, 1"
    assert ranges([]) == ""


def test_directions() -> None:
    assert [arrow(m) for m in ("hr@10", "logloss/engage", "pcoc/engage")] == ["↑", "↓", "→1"]
    values = pd.Series([0.5, 1.0, 2.0])
    assert goodness("logloss/engage", values).idxmax() == 0
    assert goodness("pcoc/engage", values).idxmax() == 1
    assert goodness("auc/engage", values).idxmax() == 2


def test_verdicts() -> None:
    nan = float("nan")
    spans = (
        (0.1, 0.05, 0.2),
        (0.1, -0.05, 0.2),
        (-0.1, -0.2, -0.05),
        (0.1, nan, nan),
        (0.0, nan, nan),
        (nan,) * 3,
    )
    assert [verdict(*span) for span in spans] == [
        "better",
        "unclear",
        "worse",
        "too few events",
        "no difference seen",
        "not deployed",
    ]
