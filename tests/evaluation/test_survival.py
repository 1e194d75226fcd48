"""Conversion under delay: closed forms, recovery of known rates, and honest refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation.cure import MIN_PURCHASES, fit_cure
from evaluation.episodes import ConversionTruth, Episodes, conversion_truth, episodes
from evaluation.results import Results, Row, Subject
from evaluation.survival import (
    HORIZONS,
    LATEST,
    MIN_AT_RISK,
    ULTIMATE,
    Survival,
    analyse,
    curve_frame,
)
from sim.presets import preset
from sim.truth import TruthRows
from tests.evaluation.records import impressions

DAY_S = 86400.0
SUBJECT = Subject("quick", 0, "")


@dataclass(frozen=True)
class Alike:
    """One law of the delay for all."""

    by: Callable[[float], float]

    def cdf(self, t_s: float) -> NDArray[np.float64]:
        return np.asarray(self.by(t_s))

    def take(self, rows: NDArray[np.bool_]) -> Alike:
        return self


def waiting(
    seed: int, n: int, rate: float, follow_up_s: float, mean_s: float = 6 * 3600.0
) -> tuple[Episodes, ConversionTruth]:
    """Return exponential delays, episodes opened uniformly over the follow-up, and the truth."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(0, follow_up_s, n)
    delay = rng.exponential(mean_s, n)
    purchased = (rng.random(n) < rate) & (delay <= age)
    opened = Episodes(
        np.arange(n),
        rng.integers(0, n // 4, n).astype(np.int32),
        np.zeros(n, dtype=np.int8),
        np.maximum(np.where(purchased, delay, age), 1.0),
        purchased,
    )
    return opened, ConversionTruth(np.full(n, rate), Alike(lambda t: -np.expm1(-t / mean_s)))


def rows_of(found: Survival, metric: str, scenario: str = "all") -> dict[str, Row]:
    return {r.slice: r for r in found.rows if (r.metric, r.scenario) == (metric, scenario)}


def closed_form_km(duration: NDArray[np.float64], event: NDArray[np.bool_], at: float) -> float:
    survival = 1.0
    for time in np.unique(duration[event & (duration <= at)]):
        survival *= 1.0 - (event & (duration == time)).sum() / (duration >= time).sum()
    return 1.0 - survival


def test_kaplan_meier_equals_the_product_limit_formula() -> None:
    opened, _ = waiting(0, 400, 0.04, 3 * DAY_S)  # too few purchases for a cure fit
    assert 5 < opened.purchased.sum() < MIN_PURCHASES
    coarse = np.ceil(opened.duration_s / 600.0) * 600.0  # ties
    opened = Episodes(opened.row, opened.user_id, opened.scenario, coarse, opened.purchased)
    km = rows_of(analyse(SUBJECT, opened), "cvr/km")
    for name, seconds in HORIZONS[:3]:
        expected = closed_form_km(coarse, opened.purchased, seconds)
        assert km[name].estimate == pytest.approx(expected, abs=1e-12)
        assert km[name].low < expected < km[name].high
    last = np.sort(coarse)[-MIN_AT_RISK]
    plateau = closed_form_km(coarse, opened.purchased, last)
    assert km[LATEST].estimate == pytest.approx(plateau, abs=1e-12)
    assert np.isnan(km[ULTIMATE].estimate)  # nobody said that no purchase comes later


@pytest.fixture(scope="module")
def known() -> Survival:
    """The analysis of exponential delays with a tenth of buyers, seen for up to three days."""
    return analyse(SUBJECT, *waiting(1, 20_000, 0.1, 3 * DAY_S))


def test_corrected_rates_recover_the_truth_and_naive_ones_do_not(known: Survival) -> None:
    found = known
    assert rows_of(found, "cvr/truth")[ULTIMATE].estimate == pytest.approx(0.1)
    for name in ("1h", "24h"):
        true = rows_of(found, "cvr/truth")[name].estimate
        km = rows_of(found, "cvr/km")[name]
        assert km.low < true < km.high
    assert rows_of(found, "cvr/naive")["24h"].high < rows_of(found, "cvr/truth")["24h"].estimate
    cure = rows_of(found, "cvr/cure")[ULTIMATE]
    assert cure.estimate == pytest.approx(0.1, rel=0.1)
    assert rows_of(found, "cvr/naive")[ULTIMATE].high < 0.1
    assert rows_of(found, "cvr/truth")["24h"].kind == "truth"
    assert rows_of(found, "cvr/cure")["24h"].kind == "offline"
    Results(found.rows).arrow()  # keys are unique


def test_weibull_is_chosen_for_exponential_delays_and_covers() -> None:
    opened, _ = waiting(2, 20_000, 0.2, 4 * DAY_S)
    fits = fit_cure(opened.duration_s, opened.purchased)
    assert [fit.family for fit in fits] == ["weibull", "lognormal"]
    assert fits[0].aic < fits[1].aic
    assert fits[0].ultimate.low < 0.2 < fits[0].ultimate.high
    rate = fits[0].rate(np.array([6 * 3600.0]))[0]
    assert rate == pytest.approx(0.2 * -np.expm1(-1.0), rel=0.05)


def test_short_follow_up_is_flagged() -> None:
    opened, _ = waiting(3, 6000, 0.3, 6 * 3600.0)
    found = analyse(SUBJECT, opened)
    ratio = rows_of(found, "cure_plateau_ratio")[ULTIMATE].estimate
    gap = rows_of(found, "cure_family_gap")[ULTIMATE].estimate
    assert ratio < 0.9 or gap > 0.1
    assert any(warning.startswith("all: the cure model") for warning in found.warnings)
    assert np.isnan(rows_of(found, "cvr/km")["24h"].estimate)  # beyond the follow-up


def test_long_follow_up_is_not_flagged() -> None:
    opened, _ = waiting(4, 12_000, 0.3, 12 * DAY_S)
    found = analyse(SUBJECT, opened)
    assert rows_of(found, "cure_plateau_ratio")[ULTIMATE].estimate > 0.95
    assert not [w for w in found.warnings if w.startswith("all: the cure model")]
    assert not rows_of(found, "cvr/truth")


def test_rates_before_the_attribution_horizon_are_never_ultimate() -> None:
    """A tail of weeks, watched for six days: the curve looks flat and is a quarter short."""
    rng = np.random.default_rng(11)
    n = 20_000
    age = rng.uniform(0, 6 * DAY_S, n)
    slow = rng.uniform(0, 30 * DAY_S, n)
    delay = np.where(rng.random(n) < 0.7, rng.exponential(3600.0, n), slow)
    purchased = (rng.random(n) < 0.1) & (delay <= age)
    opened = Episodes(
        np.arange(n), np.arange(n, dtype=np.int32), np.zeros(n, dtype=np.int8),
        np.maximum(np.where(purchased, delay, age), 1.0), purchased,
    )  # fmt: skip

    def by(t_s: float) -> float:
        return float(0.7 * -np.expm1(-t_s / 3600.0) + 0.3 * min(t_s / (30 * DAY_S), 1.0))

    found = analyse(SUBJECT, opened, ConversionTruth(np.full(n, 0.1), Alike(by), 30 * DAY_S))
    km, truth, cure = (rows_of(found, f"cvr/{name}") for name in ("km", "truth", "cure"))
    assert np.isnan([km[ULTIMATE].estimate, km[ULTIMATE].low]).all()
    assert km[LATEST].low < truth[LATEST].estimate < km[LATEST].high
    assert km[LATEST].high < truth[ULTIMATE].estimate  # what the old label would have claimed
    assert np.isfinite(cure[ULTIMATE].estimate)
    assert np.isnan([cure[ULTIMATE].low, cure[ULTIMATE].high]).all()
    readable = rows_of(found, "cvr_readable_s")[LATEST].estimate
    assert 5.8 * DAY_S < readable < 6 * DAY_S
    assert found.warnings[0].startswith("purchases count for 30 days, but the curve can be read")
    assert "5.99 days (all)" in found.warnings[0]
    # the data tell it too, without the horizon
    blind = analyse(SUBJECT, opened)
    assert any("has not levelled off" in w for w in blind.warnings if w.startswith("all:"))
    assert np.isnan(rows_of(blind, "cvr/cure")[ULTIMATE].low)


def test_follow_up_past_the_horizon_has_an_ultimate_curve_and_no_doubt() -> None:
    opened, truth = waiting(12, 12_000, 0.3, 12 * DAY_S)
    found = analyse(SUBJECT, opened, replace(truth, horizon_s=10 * DAY_S))
    km = rows_of(found, "cvr/km")
    assert km[ULTIMATE].low < 0.3 < km[ULTIMATE].high
    cure = rows_of(found, "cvr/cure")[ULTIMATE]
    assert cure.low < 0.3 < cure.high
    assert not [w for w in found.warnings if w.startswith(("all", "purchases count"))]


def test_users_who_come_back_widen_every_interval() -> None:
    """Episodes of a user share their outcome: ten of them say as much as one."""
    one, _ = waiting(13, 1500, 0.2, 4 * DAY_S)
    own = replace(one, user_id=np.arange(1500, dtype=np.int32))
    ten = Episodes(
        np.arange(15_000), np.repeat(own.user_id, 10), np.repeat(one.scenario, 10),
        np.repeat(one.duration_s, 10), np.repeat(one.purchased, 10),
    )  # fmt: skip
    few, many = analyse(SUBJECT, own), analyse(SUBJECT, ten)
    for metric, slice_ in (("cvr/km", "24h"), ("cvr/naive", "24h"), ("cvr/cure", ULTIMATE)):
        a, b = rows_of(few, metric)[slice_], rows_of(many, metric)[slice_]
        assert b.estimate == pytest.approx(a.estimate, rel=2e-3)
        assert b.high - b.low == pytest.approx(a.high - a.low, rel=0.05)


def test_impulse_and_tail_are_flagged_as_a_misfit() -> None:
    rng = np.random.default_rng(10)
    n = 15_000
    age = rng.uniform(0, 3 * DAY_S, n)
    tail = rng.weibull(0.56, n) * 327 * 3600.0
    delay = np.where(rng.random(n) < 0.5, rng.exponential(600.0, n), tail)
    purchased = (rng.random(n) < 0.2) & (delay <= age)
    opened = Episodes(
        np.arange(n), np.arange(n, dtype=np.int32), np.zeros(n, dtype=np.int8),
        np.maximum(np.where(purchased, delay, age), 1.0), purchased,
    )  # fmt: skip
    found = analyse(SUBJECT, opened)
    assert rows_of(found, "cure_misfit")[ULTIMATE].estimate > 0.05
    assert any("does not fit" in warning for warning in found.warnings)
    assert rows_of(found, "cvr/cure")[ULTIMATE].estimate < 0.15  # the truth is 0.2


def test_few_and_no_purchases_are_said_and_not_invented() -> None:
    opened, _ = waiting(5, 300, 0.1, 2 * DAY_S)
    few = np.flatnonzero(opened.purchased)[: MIN_PURCHASES - 1]
    for bought in (few, few[:0]):
        purchased = np.zeros(len(opened), dtype=bool)
        purchased[bought] = True
        part = Episodes(opened.row, opened.user_id, opened.scenario, opened.duration_s, purchased)
        found = analyse(SUBJECT, part)
        assert np.isnan(rows_of(found, "cvr/cure")[ULTIMATE].estimate)
        assert rows_of(found, "cvr/naive")[ULTIMATE].estimate == len(bought) / 300
        assert f"all: no cure model: {len(bought)} purchases" in " ".join(found.warnings)
    km = rows_of(found, "cvr/km")["1h"]
    assert km.estimate == 0.0
    assert np.isnan(km.low)


def test_no_episodes_give_no_rows() -> None:
    opened, _ = waiting(6, 100, 0.1, DAY_S)
    found = analyse(SUBJECT, opened.take(np.zeros(100, dtype=bool)))
    assert (found.rows, found.curves) == ([], [])
    assert "swipe: no episodes" in " ".join(found.warnings)
    assert curve_frame(found.curves).empty


def test_few_episodes_have_a_naive_rate_and_no_curve() -> None:
    opened, truth = waiting(9, MIN_AT_RISK - 1, 0.5, 3 * DAY_S)
    found = analyse(SUBJECT, opened, truth)
    assert np.isnan([row.estimate for row in rows_of(found, "cvr/km").values()]).all()
    assert LATEST not in rows_of(found, "cvr/km")
    assert rows_of(found, "cvr/naive")["24h"].estimate > 0
    assert found.curves == []
    assert "all: 29 episodes, at least 30 are needed for a curve" in found.warnings


def test_everybody_buys_at_once() -> None:
    n = 60
    opened = Episodes(
        np.arange(n), np.arange(n, dtype=np.int32), np.zeros(n, dtype=np.int8),
        np.ones(n), np.ones(n, dtype=bool),
    )  # fmt: skip
    found = analyse(SUBJECT, opened)
    assert rows_of(found, "cvr/naive")["15min"].estimate == 1.0
    assert rows_of(found, "cvr/km")[LATEST].estimate == 1.0


def test_curves_are_increasing_and_come_in_long_form(known: Survival) -> None:
    found = known
    assert [curve.scenario for curve in found.curves] == ["channel", "all"]
    for curve in found.curves:
        for rate in (curve.km, curve.naive, curve.cure, curve.truth):
            assert (np.diff(rate) >= -1e-12).all()
        assert (np.diff(curve.at_risk) <= 0).all()
        assert (curve.naive <= curve.km + 1e-12).all()
    frame = curve_frame(found.curves)
    assert set(frame["estimator"]) == {"km", "naive", "cure", "truth"}
    assert frame[frame["estimator"] == "km"][["low", "high"]].notna().any(axis=None)


def test_truth_of_another_size_is_refused() -> None:
    opened, truth = waiting(8, 50, 0.1, DAY_S)
    with pytest.raises(ValueError, match="truth is about 50 episodes, but there are 49"):
        analyse(SUBJECT, opened.take(np.arange(50) > 0), truth)


def test_episodes_open_when_feedback_is_complete_and_end_with_the_log() -> None:
    shown = impressions(
        6,
        user_id=[0, 1, 2, 3, 4, 5],
        scenario=[0, 1, 2, 0, 0, 0],
        bag_click=[1, 1, 1, 0, 1, 1],
        click=[1, 1, 0, 1, 1, 1],
        known_s=[10.0, 20, 30, 40, 100, 50],
        purchase_s=[15.0, np.nan, 130, 45, np.nan, 50.2],
    )
    opened = episodes(shown, as_of_s=100.0)
    assert list(opened.row) == [0, 1, 2, 5]  # row 4 is not over, row 3 opened no bag
    assert list(opened.duration_s) == [5.0, 80.0, 70.0, 1.0]
    assert list(opened.purchased) == [True, False, False, True]
    assert list(opened.scenario) == [0, 1, 2, 0]
    assert list(episodes(shown, 100.0, "engage").row) == [0, 1, 3, 5]


def test_truth_of_episodes_follows_the_delay_law() -> None:
    shown = impressions(4, bag_click=[0, 1, 1, 1], known_s=[0, 0, 0, 0])
    opened = episodes(shown, as_of_s=10.0)
    columns = {name: np.zeros(4, kind) for name, kind in TruthRows.dtypes().items()}
    columns["p_purchase_given_bag"] = np.array([0.9, 0.1, 0.2, 0.3])
    columns["delay_left_s"] = np.full(4, np.inf)
    columns["delay_sale_wait_s"] = np.full(4, np.inf)
    world = preset("tiny", ["delay=exp_dfm", "world.delay.horizon_days=8"])
    tail = replace(world.delay.tail, scale_h=1 / 6)
    world = replace(world, delay=replace(world.delay, tail=tail))
    truth = conversion_truth(TruthRows(**columns), shown, opened, world)
    assert truth.rate(np.inf) == pytest.approx(0.2)
    assert truth.rate(600.0) == pytest.approx(0.2 * -np.expm1(-1.0), rel=1e-6)
    middle = truth.take(np.array([False, True, False]))
    assert middle.rate(600.0) == pytest.approx(0.2 * -np.expm1(-1.0), rel=1e-6)
    assert np.isnan(truth.take(np.zeros(3, dtype=bool)).rate(600.0))
    assert truth.horizon_s == 8 * DAY_S
    with pytest.raises(ValueError, match="truth has 2 rows"):
        conversion_truth(TruthRows(**{k: v[:2] for k, v in columns.items()}), shown, opened, world)
