"""Reported effects beside measured ones: what is said of each."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evaluation.lineup import chapters
from evaluation.lineup.budgets import budgets
from evaluation.lineup.claim import Claim
from evaluation.results import ALL, RELATIVE_LIFT
from evaluation.wording import MISSING

CLAIM = Claim("new", "old", "page_ctr", ALL, 0.04)


def numbers(
    estimate: float, low: float, high: float, policy: str = "new", metric: str = "page_ctr"
) -> pd.DataFrame:
    """Return a pooled table with one comparison."""
    row = {
        "policy": policy, "control": "old", "scenario": ALL, "slice": ALL, "metric": metric,
        "unit": RELATIVE_LIFT, "kind": "online", "estimate": estimate, "low": low, "high": high,
    }  # fmt: skip
    return pd.DataFrame([row])


@pytest.mark.parametrize(
    ("estimate", "low", "high", "verdict", "beyond"),
    [
        (0.03, 0.01, 0.05, "as reported", 1),
        (0.10, 0.08, 0.12, "same direction", 1),
        (-0.03, -0.05, -0.01, "the other way", 1),
        (0.03, -0.01, 0.07, "no difference beyond chance", 0),
        (0.03, np.nan, np.nan, "too few events", 0),
    ],
)
def test_verdicts(estimate: float, low: float, high: float, verdict: str, beyond: int) -> None:
    chapter = chapters.claims(numbers(estimate, low, high), [CLAIM])
    (table,) = chapter.tables.values()
    ((*_, said),) = table.rows
    assert said.text == verdict
    verb = "differs" if beyond == 1 else "differ"
    assert chapter.finding.startswith(f"Of 1 reported effects {beyond} {verb} from nothing beyond")
    assert ("1 had too few events" in chapter.finding) == (verdict == "too few events")


def test_a_difference_where_none_is_reported() -> None:
    """It is counted apart from the effects that are reported."""
    claim = Claim("new", "old", "page_ctr", ALL, 0.0)
    chapter = chapters.claims(numbers(0.03, 0.01, 0.05), [claim, CLAIM])
    assert chapter.finding == (
        "Of 1 reported effects 1 differs from nothing beyond chance here. "
        "Of 1 effects reported to be none 1 differs from nothing beyond chance here."
    )
    (table,) = chapter.tables.values()
    assert table.rows[0][-1].text == "a difference where none is reported"
    (table,) = chapters.claims(numbers(0.03, -0.01, 0.05), [claim]).tables.values()
    assert table.rows[0][-1].text == "no difference beyond chance"


def test_a_claim_without_numbers_is_left_out() -> None:
    chapter = chapters.claims(numbers(0.1, 0.0, 0.2), [Claim("x", "old", "page_ctr", ALL, 0.04)])
    (table,) = chapter.tables.values()
    assert table.rows == ()
    assert chapter.finding == ""


def test_what_differs_by_chance_is_said_to() -> None:
    """Of three pairs one is told apart; which way round it was compared does not matter."""
    value = "value_per_user"
    lifts = {
        ("a", "old"): (0.3, 0.1, 0.5),
        ("b", "old"): (0.1, -0.1, 0.3),
        ("a", "b"): (0.2, 0.0, 0.4),
    }
    rows = [
        numbers(sign * x, *sorted((sign * low, sign * high)), one, value).assign(control=other)
        for (a, b), (x, low, high) in lifts.items()
        for one, other, sign in ((a, b, 1.0), (b, a, -1.0))
    ]
    few = numbers(0.0, np.nan, np.nan, "c", value).assign(control="old")
    chapter = chapters.apart(pd.concat([*rows, few]), "old", 3)
    (table,) = chapter.tables.values()
    assert [tuple(cell.text for cell in row) for row in table.rows] == [
        ("a", "b"), ("b", "a, old"), ("c", MISSING), ("old", "b"),
    ]  # fmt: skip
    assert "3 seeds do not tell them apart" in chapter.lead
    assert chapter.finding == (
        "2 of 3 pairs of policies are not told apart in value; the first, a, is not told apart "
        "from b."
    )


def test_the_purchase_is_judged_at_every_horizon() -> None:
    """Its labels are not known on the spot, so that it has no number without one."""
    levels = pd.DataFrame(
        [
            ("new", "auc/engage", ALL, "offline", 0.7),
            ("new", "auc/purchase", "1h", "offline", 0.9),
            ("new", "auc/purchase", "ultimate", "truth", 0.8),
            ("new", "auc/purchase", "top, 1h", "offline", 0.1),
        ],
        columns=["policy", "metric", "slice", "kind", "estimate"],
    ).assign(control="", scenario=ALL, unit="auc", low=np.nan, high=np.nan)
    lift = numbers(0.1, 0.0, 0.2, "new", "value_per_user")
    table = chapters.targets(pd.concat([levels, lift]), "old").tables["AUC"]
    ((_, *cells),) = table.rows
    found = dict(zip(table.head[1:], (cell.text for cell in cells), strict=True))
    assert (found["engage"], found["purchase, 1h"]) == ("0.7000", "0.9000")
    assert found["purchase, ultimate"] == "0.8000"
    assert "purchase, top, 1h" not in found


def test_budgets_are_those_of_the_configs() -> None:
    trainer = {"epochs": 3, "batch_rows": 4096, "learning_rate": 0.006, "valid_share": 0.08}
    plain = {"encoder": {"id_dim": 16}, "trainer": trainer}
    two = plain | {"pretrainer": trainer | {"epochs": 1}}
    (table,) = budgets({"a": plain, "b": {"ranker": two}}, ["b", "random", "a"]).tables.values()
    assert [tuple(cell.text for cell in row[:4]) for row in table.rows] == [
        ("b", "ranker, first", "16", "1"),
        ("b", "ranker, last", "16", "3"),
        ("a", "only", "16", "3"),
    ]
