"""Verdicts on methods: what is right, what is lost, and what mistakes are made of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from evaluation.reliability.methods import Method
from evaluation.reliability.verdicts import (
    by_band,
    by_world,
    errors,
    flips,
    known_pairs,
    verdicts,
)
from tests.evaluation.reliability.made_up import cell, frames

WORTH = (1.0, 1.01, 1.1, 1.5)
FULL = Method("hr@10", "logged")
CLEAN = Method("hr@10", "randomised")
SAMPLED = Method("hr@10", "logged", m=20)


def row_of(table: pd.DataFrame, method: Method) -> pd.Series:
    same = (table["metric"] == method.metric) & (table["source"] == method.source)
    (found,) = [row for _, row in table[same & (table["m"] == method.m)].iterrows()]
    return found


def test_a_method_that_says_the_truth_is_always_right() -> None:
    found = row_of(verdicts(*frames(cell(WORTH, {FULL: WORTH}, true_error=1e-5))), FULL)
    assert (found["right"], found["tau"], found["regret"]) == (1.0, pytest.approx(1.0), 0.0)
    assert (found["misled"], found["undecided"], found["pairs"]) == (0.0, 0.0, 6)


def test_a_method_that_says_the_opposite_is_always_wrong_and_sure_of_it() -> None:
    said = tuple(-value for value in WORTH)
    found = row_of(verdicts(*frames(cell(WORTH, {FULL: said}, true_error=1e-5))), FULL)
    assert (found["right"], found["tau"]) == (0.0, pytest.approx(-1.0))
    assert found["regret"] == pytest.approx(1.0 - 1.0 / 1.5)
    assert found["misled"] == 1.0


def test_a_method_that_says_nothing_is_a_coin() -> None:
    found = row_of(verdicts(*frames(cell(WORTH, {FULL: (2.0,) * 4}, true_error=1e-5))), FULL)
    assert (found["right"], found["undecided"]) == (0.5, 1.0)
    assert np.isnan(found["tau"])
    assert found["regret"] == pytest.approx(1.0 - np.mean(WORTH) / 1.5)  # any of them, at random


@pytest.mark.parametrize("metric", ["logloss/engage", "ece/engage"])
def test_smaller_is_better_where_it_is(metric: str) -> None:
    method = Method(metric, "logged")
    said = tuple(-value for value in WORTH)
    found = row_of(verdicts(*frames(cell(WORTH, {method: said}, true_error=1e-5))), method)
    assert (found["right"], found["misled"]) == (1.0, 0.0)


def test_pairs_of_equal_worth_raise_false_alarms_and_count_for_nothing_else() -> None:
    # the first two are worth the same to within a thousandth, and the method is sure of a gap
    said = {FULL: (0.9, 0.1, 0.5)}
    pairs, scores = frames(cell((1.0, 1.0001, 2.0), said, true_error=1e-5))
    found = row_of(verdicts(pairs, scores), FULL)
    assert (found["pairs"], found["false_alarms"]) == (2, 1.0)
    assert found["right"] == pytest.approx(0.5)  # right on (b, c), wrong on (a, c)
    assert len(known_pairs(pairs)) == 2


def test_pairs_of_which_the_truth_says_too_little_count_nowhere() -> None:
    pairs, scores = frames(cell((1.0, 1.001, 2.0), {FULL: (0.9, 0.1, 0.5)}, true_error=0.05))
    found = row_of(verdicts(pairs, scores), FULL)
    assert found["pairs"] == 2
    assert np.isnan(found["false_alarms"])


def test_a_method_without_intervals_is_neither_sure_nor_unsure() -> None:
    method = Method("pcoc/engage", "logged")
    found = row_of(verdicts(*frames(cell(WORTH, {method: (1.0, 1.1, 1.2, 1.3)}))), method)
    assert found["right"] < 0.5  # nearer to 1 is better, and the best is furthest
    assert np.isnan(found[["misled", "undecided", "false_alarms"]].to_numpy(float)).all()


def test_a_sampled_metric_is_right_as_often_as_its_draws_are() -> None:
    said, noise = (0.30, 0.31), 0.02
    pairs, scores = frames(cell((1.0, 2.0), {SAMPLED: said}, draw_error=noise, true_error=1e-5))
    found = row_of(verdicts(pairs, scores), SAMPLED)
    assert found["right"] == pytest.approx(norm.cdf(0.01 / np.hypot(noise, noise)), rel=1e-9)


def test_intervals_are_over_worlds() -> None:
    right, wrong = (0.0, 1.0), (1.0, 0.0)
    cells = [
        cell((1.0, 2.0), {FULL: right if at < 3 else wrong}, seed=at, true_error=1e-5)
        for at in range(4)
    ]
    found = row_of(verdicts(*frames(*cells)), FULL)
    assert (found["right"], found["worlds"], found["pairs"]) == (0.75, 4, 4)
    assert 0.0 < found["right_low"] < 0.75 < found["right_high"] < 1.0
    alone = row_of(verdicts(*frames(cells[0])), FULL)
    assert np.isnan(alone["right_low"])


def test_regret_and_tau_are_means_over_worlds() -> None:
    cells = [
        cell((1.0, 2.0, 4.0), {FULL: said}, seed=at, true_error=1e-5)
        for at, said in enumerate([(0.1, 0.2, 0.3), (0.1, 0.3, 0.2)])
    ]
    found = row_of(verdicts(*frames(*cells)), FULL)
    assert found["regret"] == pytest.approx((0.0 + 0.5) / 2)
    assert found["tau"] == pytest.approx((1.0 + 1.0 / 3.0) / 2)
    (by_name,) = by_world(*frames(*cells)).to_dict("records")
    assert by_name["tau"] == pytest.approx(found["tau"])


said = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=4, max_size=4)


@settings(max_examples=40, deadline=None)
@given(said, said, said, st.sampled_from([0.0, 0.05]))
def test_kinds_of_error_add_up(
    clean: list[float], full: list[float], sampled: list[float], noise: float
) -> None:
    told = {CLEAN: clean, FULL: full, SAMPLED: sampled}
    pairs, scores = frames(cell(WORTH, told, draw_error=noise, true_error=1e-5))
    table = errors(pairs)
    verdict = verdicts(pairs, scores)
    assert set(table["m"]) == {0, 20}
    for row in table.to_dict("records"):
        parts = ("noise", "proxy", "exposure", "sampling")
        assert row["wrong"] == pytest.approx(sum(row[kind] for kind in parts))
        own = row_of(verdict, FULL if row["m"] == 0 else SAMPLED)
        assert row["wrong"] == pytest.approx(1.0 - own["right"])
        randomised = 1.0 - row_of(verdict, CLEAN)["right"]
        assert row["noise"] + row["proxy"] == pytest.approx(randomised)
    whole = table[table["m"] == 0]
    assert whole["sampling"].to_numpy() == pytest.approx(0.0)


def test_kinds_of_error_by_hand() -> None:
    # True order a < b < c. Randomised traffic is wrong and sure on (a, b) and (a, c), wrong and
    # unsure on (b, c); the log errs on the same pairs, and the sampled metric on none.
    told = {CLEAN: (0.30, 0.20, 0.199), FULL: (0.40, 0.20, 0.199), SAMPLED: (0.1, 0.2, 0.3)}
    pairs, _ = frames(cell((1.0, 2.0, 3.0), told, error=2e-3, true_error=1e-5))
    full, sampled = errors(pairs).sort_values("m").to_dict("records")
    kinds = ("wrong", "noise", "proxy", "exposure", "sampling")
    assert [full[kind] for kind in kinds] == pytest.approx([1.0, 1 / 3, 2 / 3, 0.0, 0.0])
    assert [sampled[kind] for kind in kinds] == pytest.approx([0.0, 1 / 3, 2 / 3, 0.0, -1.0])
    assert (full["pairs"], sampled["pairs"]) == (3, 3)


def test_flips_are_judged_by_the_full_metric_and_by_the_truth() -> None:
    # the truth prefers b, the full metric a, the sampled one b: a flip that happens to be right
    told = {FULL: (0.4, 0.3), SAMPLED: (0.2, 0.6)}
    pairs, _ = frames(cell((1.0, 1.03), told, true_error=1e-5))
    table = flips(pairs)
    assert set(table["band"]) == {-1, 1}  # all pairs, and those between 2 and 5 %
    assert table["flipped"].tolist() == [1.0, 1.0]
    assert table["wrong"].tolist() == [0.0, 0.0]


def test_bands_are_of_the_better_over_the_worse_whichever_comes_first() -> None:
    for worth in ((1.0, 1.1), (1.1, 1.0)):
        pairs, _ = frames(cell(worth, {FULL: worth}, true_error=1e-5))
        (row,) = by_band(pairs).to_dict("records")
        assert (row["band"], row["right"]) == (2, 1.0)


def test_a_method_without_a_number_for_a_policy_has_no_pair_with_it() -> None:
    pairs, scores = frames(cell((1.0, 2.0, 3.0), {FULL: (0.1, float("nan"), 0.3)}))
    assert pairs[["first", "second"]].to_numpy().tolist() == [["a", "c"]]
    assert np.isnan(row_of(verdicts(pairs, scores), FULL)["tau"])  # two have no order


def test_worlds_in_which_nothing_is_known_leave_empty_tables() -> None:
    pairs, scores = frames(cell((1.0, 1.0001, 1.0002), {FULL: (0.1, 0.2, 0.3)}, true_error=1.0))
    assert len(pairs) == 3
    assert verdicts(pairs, scores).empty
    assert "right" in verdicts(pairs, scores)
    for table in (errors(pairs), flips(pairs), by_band(pairs)):
        assert table.empty
