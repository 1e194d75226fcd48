"""A comparison of designs: every policy against the control, by every design, beside the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evaluation.ab import gates
from evaluation.ab.assignment import Split
from evaluation.ab.effect import Effect, split_effect, twin_effect
from evaluation.ab.gates import Gate
from evaluation.ab.interference import interference
from evaluation.ab.multiplicity import benjamini_hochberg, holm, joint_differences
from evaluation.ab.panel import panel_of
from evaluation.ab.parts import METRICS, Arm, Parts
from evaluation.ab.planning import Planning, planning
from evaluation.ab.power import minimum_detectable
from evaluation.ab.settings import AbSettings
from evaluation.environment import environment_record
from evaluation.online import UserTotals, user_totals
from evaluation.progress import StudyProgress
from evaluation.simulation import advice, drop_broken, log_key, write_log
from evaluation.trial import limit_threads
from sim.log import Log
from sim.schema import DAY_S

DRAWS = 1000
"""Draws of max-t."""

HEADLINE = "value_per_user"
"""Metric whose analysis the gates examine."""

PROFILE = ("user_age_band", "user_gender", "user_city_tier", "user_spend_tier")
"""Fields in which arms must be alike."""


@dataclass(frozen=True)
class Designs:
    """What every design says, and whether it is to be believed."""

    settings: AbSettings
    command: str
    effects: pd.DataFrame
    """One row per policy, design and metric, beside the truth."""
    gates: pd.DataFrame
    """One row per policy and gate."""
    planning: Planning
    """What the next split could find."""

    @property
    def passes(self) -> bool:
        """Whether all gates are green."""
        return bool(self.gates["passes"].all())


def compare_designs(settings: AbSettings) -> Designs:
    """Write the log, or take it from the cache, and run every design that is not there yet.

    Finished parts are kept in `settings.work` under a digest of everything that decides them, so
    that the same command goes on where it was interrupted.

    Raises:
        LogError: the cached log is broken.
        TrialError: a policy breaks its contract or raises.
    """
    limit_threads()
    simulation = settings.simulation
    folder = settings.work / "logs" / log_key(simulation)
    progress = StudyProgress()
    with progress.shown(), advice(folder):
        drop_broken(folder, progress)
        log = write_log(simulation, folder, progress)
        parts = Parts(settings, log, folder, progress)
        days = parts.control()
        control = days[-1]
        arms = [parts.arm(name) for name in settings.treated]
        done = progress.step("inference")
        shown, bought = log.impressions(), log.purchases()
        before = user_totals(shown, bought, simulation.world.objective, control.users)
        last_s = max(shown.time_s.max(initial=0.0), bought.known_s.max(initial=0.0))
        treated = parts.plan.of_users(np.arange(control.users)) == 1
        rows = [row for arm in arms for row in _rows(arm, control, before, treated)]
        effects = _adjusted(pd.DataFrame(rows), arms, control)
        checks = [
            {"policy": arm.policy, **asdict(gate)}
            for arm in arms
            for gate in _gates(arm, before, last_s, parts.plan, log, settings)
        ]
        planned = planning(days, before, METRICS, settings.salt)
        done()
    command = environment_record()["command"]
    return Designs(settings, command, effects, pd.DataFrame(checks), planned)


def _rows(
    arm: Arm, control: UserTotals, before: UserTotals, treated: NDArray[np.bool_]
) -> Iterator[dict[str, object]]:
    """Yield the effects on one policy, each beside the truth of its metric."""
    for metric in METRICS:
        panel, users = panel_of(arm.split, metric, before=before)
        own = treated[users]
        truth = twin_effect(arm.twin, control, metric, unit="lift")
        found = (
            truth,
            split_effect(panel, own, metric, "lift"),
            split_effect(panel, own, metric, "lift", cuped=True),
        )
        for effect in found:
            yield _row(arm.policy, effect, truth.estimate)
        switched = arm.switchback[metric].effect(metric, "lift")
        # a user counts once a block there, so metrics per user ask something else
        alike = not metric.endswith("_per_user")
        yield _row(arm.policy, switched, truth.estimate if alike else float("nan"))
        bias = interference(arm.split, arm.twin, control, treated, metric).bias
        yield _row(arm.policy, bias, float("nan"))
    for effect in arm.interleaving:
        yield _row(arm.policy, effect, float("nan"))


def _row(policy: str, effect: Effect, truth: float) -> dict[str, object]:
    known = np.isfinite([effect.low, effect.high, truth]).all()
    covers = effect.covers(truth) if known else None
    return {
        "policy": policy,
        **asdict(effect),
        "detectable": _detectable(effect),
        "truth": truth,
        "covers_truth": covers,
    }


def _detectable(effect: Effect) -> float:
    """Return the smallest effect, in the effect's unit, that is found with a power of 80 %."""
    if not effect.standard_error > 0.0:
        return float("nan")
    smallest = minimum_detectable(effect.standard_error)
    return float(np.expm1(smallest)) if effect.unit == "lift" else smallest


def _adjusted(effects: pd.DataFrame, arms: Sequence[Arm], control: UserTotals) -> pd.DataFrame:
    """Add p-values for all policies and metrics of a design together."""
    by_design = effects.groupby("design", sort=False)["p_value"]
    for name, adjust in (("p_holm", holm), ("p_bh", benjamini_hochberg)):
        effects[name] = by_design.transform(lambda p, f=adjust: f(p.to_numpy(np.float64)))
    questions = [(arm, metric) for arm in arms for metric in METRICS]
    pairs = [
        [np.column_stack(columns) for columns in zip(*sums, strict=True)]
        for sums in (
            [arm.twin.columns(metric) for arm, metric in questions],
            [control.columns(metric) for _, metric in questions],
        )
    ]
    came = np.logical_or.reduce([columns.any(axis=1) for pair in pairs for columns in pair])
    (y1, x1), (y0, x0) = ([columns[came] for columns in pair] for pair in pairs)
    joint = joint_differences((y1, x1), (y0, x0), DRAWS).max_t()
    effects["p_max_t"] = np.nan
    effects.loc[effects["design"] == "twins", "p_max_t"] = joint
    return effects


def _gates(
    arm: Arm,
    before: UserTotals,
    last_s: float,
    plan: Split,
    log: Log,
    settings: AbSettings,
) -> Iterator[Gate]:
    """Yield the gates on the split of one policy, as it was served.

    Args:
        arm: what the designs did with the policy.
        before: the covariate.
        last_s: moment of the latest event in it, seconds.
        plan: of the split.
        log: on which the policies trained.
        settings: of the comparison.
    """
    catalogue, (came, served) = log.catalogue(), arm.exposures.T
    yield gates.sample_ratio(np.bincount(served, minlength=2).tolist(), (0.5, 0.5))
    # the plan, by which effects are analysed, counts as one more exposure
    planned = plan.of_users(came)
    yield gates.stickiness(np.tile(came, 2), np.concatenate([served, planned]))
    known = came < catalogue.n_users
    for field in PROFILE:
        profile = getattr(catalogue, field)[came[known]]
        there = profile >= 0  # who joined after the log has no profile in it
        yield gates.balance(served[known][there], profile[there], field.removeprefix("user_"))
    panel, users = panel_of(arm.split, HEADLINE, before=before)
    assert panel.before_numerator is not None
    assert panel.before_denominator is not None
    treated = plan.of_users(users) == 1
    yield gates.before(
        treated, panel.before_numerator, panel.before_denominator, last_s,
        settings.simulation.days * DAY_S,
    )  # fmt: skip
    for cuped in (False, True):
        yield gates.a_a(gates.split_analysis(panel, cuped), len(panel), seed=settings.salt)
