"""The cluster bootstrap, many questions at once, and looking all the time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panels import heavy
from scipy.stats import norm

from evaluation import intervals
from evaluation.ab.bootstrap import (
    BLOCK,
    resampled_ratios,
    resampled_sums,
)
from evaluation.ab.multiplicity import Joint, benjamini_hochberg, holm, joint_differences
from evaluation.ab.power import (
    minimum_detectable,
    power_curve,
    twin_power_curve,
)
from evaluation.ab.sequential import (
    always_valid_p,
    confidence_sequence,
    effect_stream,
    stream,
    tuned_rho,
)


@pytest.mark.parametrize("users", [1, 3, BLOCK, BLOCK + 1, 700])
def test_every_draw_draws_as_many_clusters_as_there_are(users: int) -> None:
    sums = resampled_sums(np.eye(users), 50, 3)
    np.testing.assert_array_equal(sums.sum(axis=1), users)
    np.testing.assert_array_equal(sums, np.round(sums))


@pytest.mark.parametrize("users", [40, 2 * BLOCK, 2 * BLOCK + 40])
def test_weights_have_the_moments_of_a_multinomial(users: int) -> None:
    weights = resampled_sums(np.eye(users), 20_000 if users < BLOCK else 4000, 5)
    runs = len(weights)
    mean, variance = weights.mean(axis=0), weights.var(axis=0)
    exact = 1.0 - 1.0 / users
    assert np.abs(mean - 1.0).max() < 5.0 * np.sqrt(exact / runs)
    assert variance.mean() == pytest.approx(exact, abs=0.01)
    assert np.abs(variance - exact).max() < 6.0 * np.sqrt(3.0 / runs)
    # covariances of each cluster with its neighbour, inside blocks and across: -1 / users
    near = ((weights[:, 1:] - 1.0) * (weights[:, :-1] - 1.0)).mean(axis=0)
    assert near.mean() == pytest.approx(-1.0 / users, abs=4.0 / np.sqrt(runs * users))


def test_the_law_of_a_weight_is_binomial() -> None:
    weights = resampled_sums(np.eye(300), 3000, 9)
    seen = np.bincount(weights.astype(int).reshape(-1), minlength=6)[:6] / weights.size
    exact = [0.3673, 0.3685, 0.1843, 0.0612, 0.0152, 0.0030]  # Binomial(300, 1/300)
    np.testing.assert_allclose(seen, exact, atol=0.002)


def test_errors_are_those_of_the_delta_method() -> None:
    panel = heavy(5000, 6)
    ratios = resampled_ratios(panel.numerator[:, None], panel.denominator[:, None], 2000, 1)
    delta = intervals.ratio(panel.numerator, panel.denominator)
    assert ratios.std() == pytest.approx(delta.standard_error, rel=0.05)
    low, high = np.quantile(ratios, [0.025, 0.975], axis=0)
    found = delta.interval()
    assert low[0] == pytest.approx(found.low, abs=0.15 * delta.standard_error)
    assert high[0] == pytest.approx(found.high, abs=0.15 * delta.standard_error)


def test_draws_do_not_depend_on_columns() -> None:
    values = heavy(600, 7).columns
    np.testing.assert_allclose(
        resampled_sums(values, 30, 2)[:, :1], resampled_sums(values[:, :1], 30, 2), rtol=1e-12
    )
    assert (resampled_sums(values, 30, 2) != resampled_sums(values, 30, 4)).any()


def test_bootstrap_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match=r"values have shape \(0, 2\)"):
        resampled_sums(np.zeros((0, 2)), 5)
    with pytest.raises(ValueError, match="draws = 0"):
        resampled_sums(np.ones((2, 1)), 0)
    with pytest.raises(ValueError, match="1 that are not finite"):
        resampled_sums(np.array([[np.inf]]), 5)
    with pytest.raises(ValueError, match="they must agree"):
        resampled_ratios(np.ones((2, 1)), np.ones((2, 2)), 5)


def test_holm_and_bh_of_the_reference() -> None:
    p = np.array([0.01, 0.02, 0.03, 0.2])
    np.testing.assert_allclose(holm(p), [0.04, 0.06, 0.06, 0.2], rtol=1e-12)
    np.testing.assert_allclose(benjamini_hochberg(p), [0.04, 0.04, 0.04, 0.2], rtol=1e-12)
    with_gap = np.array([0.2, np.nan, 0.01])
    np.testing.assert_allclose(holm(with_gap), [0.2, np.nan, 0.02])
    np.testing.assert_allclose(benjamini_hochberg(with_gap), [0.2, np.nan, 0.02])
    assert np.isnan(holm(np.array([np.nan]))).all()
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        holm(np.array([1.5]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_adjusted_p_values_are_ordered_and_larger(given_p: list[float]) -> None:
    p = np.array(given_p)
    family, false = holm(p), benjamini_hochberg(p)
    assert (family >= p - 1e-15).all()
    assert (family >= false - 1e-12).all()
    assert (family <= np.minimum(p * len(p), 1.0) + 1e-12).all()
    for adjusted in (family, false):
        assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= -1e-12).all()


def test_max_t_of_one_and_of_copies_is_the_plain_p_value() -> None:
    panel = heavy(2000, 8)
    y, x = panel.numerator[:, None], panel.denominator[:, None]
    y0, x0 = (np.asarray(c)[:, None] for c in (panel.before_numerator, panel.before_denominator))
    one = joint_differences((y, x), (y0, x0), 4000)
    copies = joint_differences(
        tuple(np.repeat(c, 5, axis=1) for c in (y, x)),  # type: ignore[arg-type]
        tuple(np.repeat(c, 5, axis=1) for c in (y0, x0)),  # type: ignore[arg-type]
        4000,
    )
    single = one.max_t()[0]
    np.testing.assert_allclose(copies.max_t(), single)
    plain = intervals.difference(
        intervals.ratio(y[:, 0], x[:, 0]), intervals.ratio(y0[:, 0], x0[:, 0])
    )
    z = abs(plain.value) / plain.standard_error
    assert single == pytest.approx(2.0 * norm.sf(z), abs=0.03)


def test_max_t_holds_its_level_and_is_sharper_than_holm_for_related_questions() -> None:
    rng = np.random.default_rng(2)
    rejected, runs = 0, 400
    for _ in range(runs):
        common = rng.normal(0.0, 1.0, (200, 1))
        values = common + 0.3 * rng.normal(size=(200, 4))
        draws = rng.multinomial(200, np.full(200, 1 / 200), 300) @ values / 200
        rejected += bool((Joint(values.mean(axis=0), draws).max_t() < 0.05).any())
    assert 0.025 < rejected / runs < 0.085
    # the last draws, about estimates of two standard errors
    joint = Joint(2.0 * draws.std(axis=0), draws)
    alone = 2.0 * norm.sf(np.abs(joint.estimates) / joint.standard_errors)
    assert (joint.max_t() < 0.75 * holm(alone)).all()


def test_max_t_without_an_error_is_nan() -> None:
    joint = Joint(np.array([1.0, 0.5]), np.column_stack([np.ones(50), np.arange(50.0)]))
    assert np.isnan(joint.max_t()[0])
    assert np.isfinite(joint.max_t()[1])
    assert np.isnan(Joint(np.ones(1), np.ones((5, 1))).max_t()).all()


def test_a_sequence_knows_nothing_before_something_has_varied() -> None:
    values = np.concatenate([np.zeros(400), np.tile([0.0, 1.0], 50)])
    low, high = confidence_sequence(stream(values, np.array([100, 200, 450])), 500)
    assert np.isinf(low[:2]).all()
    assert np.isinf(high[:2]).all()
    assert np.isfinite([low[2], high[2]]).all()
    far = stream(1e8 + np.random.default_rng(0).normal(size=500), np.array([500]))
    assert 0.9 < float(far.sd[0]) < 1.1


def test_confidence_sequence_done_by_hand() -> None:
    known = stream(np.array([1.0, 3.0, 2.0, 2.0]), [2, 4])
    np.testing.assert_allclose(known.mean, [2.0, 2.0])
    np.testing.assert_allclose(known.sd, [1.0, np.sqrt(0.5)])
    rho2 = tuned_rho(4) ** 2
    assert rho2 == pytest.approx((-2 * np.log(0.05) + np.log(-2 * np.log(0.05)) + 1) / 4)
    low, high = confidence_sequence(known, 4)
    half = np.sqrt(0.5) * np.sqrt(
        2 * (4 * rho2 + 1) / (16 * rho2) * np.log(np.sqrt(4 * rho2 + 1) / 0.05)
    )
    assert high[1] - 2.0 == pytest.approx(half, rel=1e-12)
    assert 2.0 - low[1] == pytest.approx(half, rel=1e-12)


def test_anytime_valid_inference_holds_under_peeking() -> None:
    """A naive test that looks all the time rejects in a third of the runs; these do not."""
    rng = np.random.default_rng(1)
    runs, n = 2000, 2000
    known = stream(rng.normal(0.0, 2.0, (runs, n)), np.arange(100, n + 1, 50))
    low, high = confidence_sequence(known, n)
    naive = (np.abs(known.mean) > 1.96 * known.sd / np.sqrt(known.n)).any(axis=1).mean()
    by_sequence = ((low > 0.0) | (high < 0.0)).any(axis=1).mean()
    by_ratio = (always_valid_p(known, 0.2)[:, -1] < 0.05).mean()
    assert naive > 0.2
    assert by_sequence <= 0.05
    assert by_ratio <= 0.05
    assert by_sequence > 0.002  # valid, and not by never rejecting


def test_two_arms_become_a_stream_of_their_effect() -> None:
    rng = np.random.default_rng(4)
    treated = rng.random((500, 1000)) < 0.3
    values = 5.0 + rng.normal(size=treated.shape) + 0.4 * treated
    effects = effect_stream(values, treated, 0.3)
    assert effects.mean() == pytest.approx(0.4, abs=0.02)
    low, high = confidence_sequence(stream(effects, np.arange(100, 1001, 50)), 1000)
    covered = ((low <= 0.4) & (high >= 0.4)).all(axis=1).mean()
    assert covered >= 0.95
    # not far from the error of a fixed test: the mean of those before takes the level away
    assert effects[:, 100:].std() == pytest.approx(1.0 / np.sqrt(0.3 * 0.7), rel=0.05)


def test_always_valid_p_values_never_rise() -> None:
    known = stream(np.random.default_rng(5).normal(0.1, 1.0, (20, 500)), np.arange(10, 501, 10))
    p = always_valid_p(known, 0.1)
    assert (np.diff(p, axis=1) <= 0.0).all()
    assert ((p > 0.0) & (p <= 1.0)).all()


def test_sequential_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match=r"must lie in \[2, 3\]"):
        stream(np.ones(3), [4])
    with pytest.raises(ValueError, match="planned = 0"):
        tuned_rho(0)
    with pytest.raises(ValueError, match="tau is"):
        always_valid_p(stream(np.ones(3), [3]), 0.0)
    with pytest.raises(ValueError, match="share is"):
        effect_stream(np.ones(3), np.ones(3, np.bool_), 1.0)


def test_minimum_detectable_effect_closed_form() -> None:
    assert minimum_detectable(1.0) == pytest.approx(1.959963985 + 0.841621234, rel=1e-8)
    with pytest.raises(ValueError, match="power = 1"):
        minimum_detectable(1.0, 1.0)


def test_power_curves_meet_the_formula_and_cuped_gains() -> None:
    panel = heavy(3000, 10)
    lifts = (0.0, 0.05, 0.1, 0.2)
    curves = {m: power_curve(panel, lifts, m, 1000) for m in ("delta", "cuped", "anytime")}
    for curve in curves.values():
        assert (np.diff(curve.power) >= 0.0).all()
    assert curves["delta"].power[0] == pytest.approx(0.05, abs=0.021)
    assert curves["anytime"].power[0] < 0.02
    assert (curves["cuped"].power >= curves["delta"].power - 0.02).all()
    assert (curves["anytime"].power <= curves["delta"].power).all()
    level = panel.numerator.sum() / panel.denominator.sum()
    error = 2.0 * intervals.ratio(panel.numerator, panel.denominator).standard_error
    formula = minimum_detectable(error) / level
    fine = power_curve(panel, tuple(np.linspace(0, 2 * formula, 9)), "delta", 1000)
    assert fine.detectable() == pytest.approx(formula, rel=0.15)
    assert np.isnan(power_curve(panel, (0.0, 0.001), "delta", 200).detectable())
    with pytest.raises(ValueError, match="method = 'magic'"):
        power_curve(panel, lifts, "magic")  # type: ignore[arg-type]


def test_twins_see_smaller_effects_than_a_split_of_the_same_users() -> None:
    """Two policies alike whose users share four fifths of their clicks."""
    rng, panel = np.random.default_rng(12), heavy(1000, 11)
    lost = [rng.binomial(panel.numerator.astype(int), 0.1) for _ in range(2)]
    one, other = ((panel.numerator - gone, panel.denominator) for gone in lost)
    lifts = (0.0, 0.03, 0.06)
    twins = twin_power_curve(one, other, lifts, 1000)
    split = power_curve(panel, lifts, "delta", 1000)
    assert twins.power[0] == pytest.approx(0.05, abs=0.025)
    assert twins.power[2] > 0.9
    assert twins.power[2] > split.power[2] + 0.4
    assert twins.detectable() < 0.06
    with pytest.raises(ValueError, match="runs = 0"):
        twin_power_curve(one, other, lifts, 0)
