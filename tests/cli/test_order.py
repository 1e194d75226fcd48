"""The claim on which everything rests, over the default world: policies rank as they should."""

import pandas as pd
import pytest

LEARNED = ("shared_bottom", "dbmtl", "rui3", "sass")


@pytest.mark.slow
def test_oracle_then_learned_then_popularity_then_random(run, tmp_path) -> None:
    lifts = {}
    for control in ("popularity", "oracle"):
        where = (f"out={control}", "work=work", f"control={control}")
        code, _, complaint = run("study", "experiment=order", *where)
        assert code == 0, complaint
        table = pd.read_parquet(tmp_path / control / "results.parquet")
        rows = table[
            (table["metric"] == "value_per_user")
            & (table["unit"] == "relative lift")
            & (table["scenario"] == "all")
            & (table["kind"] == "online")
        ]
        lifts[control] = rows.set_index("policy")
    against = lifts["popularity"]
    assert against.loc["random", "high"] < 0
    for policy in LEARNED:
        assert against.loc[policy, "low"] > 0, policy
        # on the oracle's own objective nobody beats it: the whole interval lies below
        assert lifts["oracle"].loc[policy, "high"] < 0, policy
