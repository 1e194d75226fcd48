"""Inference on arms: tea-tasting, closed forms, and one form for thousands of runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panels import golden, heavy
from scipy import stats

from evaluation import intervals
from evaluation.ab.assignment import redrawn
from evaluation.ab.contrast import Contrast, between, within
from evaluation.ab.effect import split_effect
from evaluation.ab.level import cuped_levels, ratio_level
from evaluation.ab.moments import Moments, assigned
from evaluation.ab.panel import Panel

TEA_TASTING = {
    "mean": (
        38.58836073059359, 39.28736464088398, 0.6990039102903864, -3.2389608145548165,
        4.63696863513559, 0.018114371718729316, -0.07980034034917449, 0.12644779100825776,
        0.7272921295501932, 0.34897966247342915,
    ),
    "mean_cuped": (
        38.37965664105883, 39.53988505860836, 1.1602284175495328, -1.08806909288695,
        3.4085259279860156, 0.030230296961758496, -0.027481524099495114, 0.09136689027437939,
        0.31092151854521577, 1.0146266470131038,
    ),
    "ratio": (
        0.3942408376963351, 0.48852040816326536, 0.09427957046693025, 0.045562613706862085,
        0.1429965272269984, 0.23914207117109787, 0.11056573572248984, 0.38260439986227435,
        0.0001660258864523812, 3.805797483593583,
    ),
    "ratio_cuped": (
        0.3941694810479401, 0.48860887449129414, 0.09443939344335406, 0.05261027591692773,
        0.13626851096978038, 0.23959083080779675, 0.1280423766240839, 0.3621699500521738,
        1.1944057825536422e-05, 4.439807539494411,
    ),
}  # fmt: skip
"""tea-tasting 1.14.0 on `panels.golden()`: control, treatment, effect with interval, relative
effect with interval, p-value, statistic."""

FIELDS = (
    "control", "treatment", "effect_size", "effect_size_ci_lower", "effect_size_ci_upper",
    "rel_effect_size", "rel_effect_size_ci_lower", "rel_effect_size_ci_upper", "pvalue",
    "statistic",
)  # fmt: skip


def ours(name: str) -> list[float]:
    """Return what TEA_TASTING lists, by our own code."""
    ratio, watch, treated = golden()
    columns = (watch if name.startswith("mean") else ratio).columns
    arms = Moments.of(columns[treated]), Moments.of(columns[~treated])
    one, other = cuped_levels(*arms) if name.endswith("cuped") else map(ratio_level, arms)
    gap, gain = between(one, other), between(one, other, "lift")
    found = [
        other.value, one.value, gap.estimate, *gap.interval(), gain.estimate, *gain.interval(),
        gap.p_value, gap.statistic,
    ]  # fmt: skip
    return [float(value) for value in found]


@pytest.mark.parametrize("name", TEA_TASTING)
def test_delta_method_and_cuped_equal_tea_tasting(name: str) -> None:
    np.testing.assert_allclose(ours(name), TEA_TASTING[name], rtol=1e-9)


@pytest.mark.parametrize("seed", [1, 2])
def test_they_equal_it_live_where_it_is_installed(seed: int) -> None:
    tt = pytest.importorskip("tea_tasting", reason="needs the extra peers")
    pa = pytest.importorskip("pyarrow")
    panel, treated = heavy(3000, seed), redrawn(3000, 1, 0.3, seed)[0]
    table = pa.table(
        dict(zip(("y", "x", "y0", "x0"), panel.columns.T, strict=True))
        | {"variant": treated.astype(int)}
    )
    ratio = tt.RatioOfMeans("y", "x")
    with_past = tt.RatioOfMeans("y", "x", numer_covariate="y0", denom_covariate="x0")
    found = tt.Experiment(plain=ratio, cuped=with_past).analyze(table)
    for name in ("plain", "cuped"):
        for unit, low, high, value in (
            ("difference", *FIELDS[3:5], FIELDS[2]),
            ("lift", *FIELDS[6:8], FIELDS[5]),
        ):
            effect = split_effect(panel, treated, "ctr", unit, cuped=name == "cuped")
            peer = [getattr(found[name], field) for field in (value, low, high)]
            np.testing.assert_allclose(
                [effect.estimate, effect.low, effect.high], peer, rtol=1e-7, atol=1e-12
            )


def test_means_of_two_arms_are_welchs_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1.0, 2.0, 30), rng.normal(0.0, 1.0, 50)
    arms = (Moments.of(np.column_stack([v, np.ones(len(v))])) for v in (a, b))
    one, other = (ratio_level(arm) for arm in arms)
    got, peer = between(one, other), stats.ttest_ind(a, b, equal_var=False)
    assert float(got.p_value) == pytest.approx(peer.pvalue, rel=1e-10)
    assert float(got.df) == pytest.approx(peer.df, rel=1e-10)
    np.testing.assert_allclose(got.interval(0.9), peer.confidence_interval(0.9), rtol=1e-10)


def test_ratio_done_by_hand() -> None:
    # y = 1, 3 and x = 1, 2: R = 4/3, linearised (y - R x) / 1.5 = -2/9, 2/9, variance 8/81, n = 2
    level = ratio_level(Moments.of(np.array([[1.0, 1.0], [3.0, 2.0]])))
    assert float(level.value) == pytest.approx(4 / 3)
    assert float(level.variance) == pytest.approx(4 / 81)


def test_cuped_done_by_hand() -> None:
    # the covariate explains all but the effect of 1: theta is the pooled slope
    before = np.array([1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0])
    treated = np.arange(8) < 4
    panel = Panel(2.0 * before + treated, np.ones(8), before, np.ones(8))
    one, other = cuped_levels(*(Moments.of(panel.columns[rows]) for rows in (treated, ~treated)))
    assert float(one.value - other.value) == pytest.approx(1.0)
    assert float(one.variance) == pytest.approx(0.0, abs=1e-12)


def test_cuped_takes_away_the_squared_correlation() -> None:
    rng = np.random.default_rng(3)
    before = rng.normal(5.0, 1.0, 40_000)
    after = before + rng.normal(0.0, 1.0, len(before))  # correlation 1 / sqrt 2
    one = np.ones(len(before))
    panel, treated = Panel(after, one, before, one), rng.random(len(before)) < 0.5
    arms = [Moments.of(panel.columns[rows]) for rows in (treated, ~treated)]
    plain = between(*(ratio_level(arm) for arm in arms))  # type: ignore[arg-type]
    cuped = between(*cuped_levels(*arms))
    assert float(cuped.standard_error / plain.standard_error) ** 2 == pytest.approx(0.5, abs=0.02)


def test_a_constant_past_changes_nothing() -> None:
    panel, treated = heavy(500, 1), redrawn(500, 1)[0]
    one = np.ones(500)
    with_past = Panel(panel.numerator, panel.denominator, 3.0 * one, one)
    plain, cuped = (split_effect(with_past, treated, "ctr", cuped=c) for c in (False, True))
    assert (plain.estimate, plain.low) == (cuped.estimate, cuped.low)


def test_many_assignments_at_once_equal_one_at_a_time() -> None:
    panel, runs = heavy(300, 2), redrawn(300, 7, 0.3)
    treated, control = assigned(panel.columns, runs)
    many = between(*cuped_levels(treated, control))
    for run, rows in enumerate(runs):
        effect = split_effect(panel, rows, "ctr", cuped=True)
        assert float(many.estimate[run]) == pytest.approx(effect.estimate, rel=1e-10)
        assert float(many.p_value[run]) == pytest.approx(effect.p_value, rel=1e-8)


def test_merged_arms_are_the_whole() -> None:
    values, runs = heavy(200, 3).columns, redrawn(200, 4)
    whole = Moments.of(values)
    merged = assigned(values, runs)[0].merged(assigned(values, runs)[1])
    for run in range(4):
        np.testing.assert_allclose(merged.mean[run], whole.mean, rtol=1e-12)
        np.testing.assert_allclose(merged.cov[run], whole.cov, rtol=1e-10)


@pytest.mark.parametrize("unit", ["difference", "lift"])
def test_paired_arms_equal_the_influences_of_intervals(unit: str) -> None:
    panel = heavy(200, 4)
    pairs = (panel.numerator, panel.denominator), (panel.before_numerator, panel.before_denominator)
    got: Contrast = within(*pairs, unit)  # type: ignore[arg-type]
    one, other = (intervals.ratio(y, x, scale="positive") for y, x in pairs)  # type: ignore[arg-type]
    found = (intervals.lift if unit == "lift" else intervals.difference)(one, other).interval()
    assert float(got.estimate) == pytest.approx(found.estimate, rel=1e-12)
    np.testing.assert_allclose(got.interval(), (found.low, found.high), rtol=1e-10)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10.0), st.integers(20, 200))
def test_effects_swap_and_scale(seed: int, factor: float, users: int) -> None:
    """The difference turns its sign with the arms; the lift does not see units; bounds hold."""
    panel, treated = heavy(users, seed), redrawn(users, 1, 0.5, seed)[0]
    if min(treated.sum(), (~treated).sum()) < 3:
        return
    one, other = (split_effect(panel, rows, "ctr") for rows in (treated, ~treated))
    assert one.estimate == pytest.approx(-other.estimate, rel=1e-9, abs=1e-12)
    assert one.p_value == pytest.approx(other.p_value, rel=1e-6, nan_ok=True)
    bigger = Panel(factor * panel.numerator, panel.denominator)
    lifts = [split_effect(p, treated, "ctr", "lift") for p in (panel, bigger)]
    assert lifts[0].estimate == pytest.approx(lifts[1].estimate, rel=1e-9, abs=1e-9, nan_ok=True)
    assert not lifts[0].low < -1.0
    assert not one.low > one.estimate
    assert np.isnan(one.p_value) or 0.0 <= one.p_value <= 1.0


def test_what_is_not_defined_is_nan_and_bad_input_is_refused() -> None:
    none = Panel(np.zeros(40), np.ones(40))
    treated = np.arange(40) < 20
    effect = split_effect(none, treated, "ctr")
    assert effect.estimate == 0.0
    assert np.isnan([effect.low, effect.high, effect.p_value]).all()  # nothing happened
    assert np.isnan(split_effect(none, np.ones(40, np.bool_), "ctr").estimate)  # nobody to compare
    with pytest.raises(ValueError, match=r"treated has shape \(3,\); must be \[U\] = \(40,\)"):
        split_effect(none, np.ones(3, np.bool_), "ctr")
    with pytest.raises(ValueError, match="knows nothing of the time before"):
        split_effect(none, treated, "ctr", cuped=True)
    with pytest.raises(ValueError, match="denominator has 1 values that are not finite"):
        Panel(np.ones(2), np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="both or none"):
        Panel(np.ones(2), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="CUPED needs numerator"):
        cuped_levels(*(Moments.of(np.ones((4, 2))) for _ in range(2)))
