"""Reported effects beside measured ones: what is said of each."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evaluation.lineup import chapters
from evaluation.lineup.claim import Claim
from evaluation.results import ALL, RELATIVE_LIFT

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
    assert chapter.finding.startswith(f"Of 1 reported effects {beyond} ")


def test_a_difference_where_none_is_reported() -> None:
    claim = Claim("new", "old", "page_ctr", ALL, 0.0)
    (table,) = chapters.claims(numbers(0.03, 0.01, 0.05), [claim]).tables.values()
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
    chapter = chapters.apart(pd.concat(rows), "old")
    (table,) = chapter.tables.values()
    assert [tuple(cell.text for cell in row) for row in table.rows] == [
        ("a", "b"), ("b", "a, old"), ("old", "b"),
    ]  # fmt: skip
    assert chapter.finding.startswith("2 of 3 pairs of policies differ in value by no more than")
    assert chapter.finding.endswith("nobody can tell a from b.")
