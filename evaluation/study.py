"""A study: simulate a log, try every policy on it, and write one table beside the truth."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from evaluation import offline, online, survival
from evaluation.contest import Contest, hold_contest
from evaluation.environment import environment_record
from evaluation.episodes import conversion_truth, episodes
from evaluation.off_policy import valuation
from evaluation.offline import OfflineProtocol
from evaluation.online import UserTotals
from evaluation.predictions import reference_rows
from evaluation.progress import StudyProgress
from evaluation.publishing import POLICIES, hidden_table, new_draft, publish, require_own
from evaluation.publishing import TIMINGS as TIMINGS
from evaluation.ranking.corrections import Correction
from evaluation.results import Kind, Results, Row, Subject
from evaluation.settings import StudySettings
from evaluation.study_folder import CONFIG, CURVES, ENVIRONMENT, NOTES, WORLD
from evaluation.trial import Trial
from policies.contract import is_privileged
from sim.config import build
from sim.log import Log
from sim.processes import interrupts_held
from sim.schema import DAY_S, SWIPE
from sim.truth_log import logged_truth


def run_study(settings: StudySettings) -> Path:
    """Run a study and return its folder.

    Finished parts are kept in `settings.work` under a digest of everything that decides them, our
    source and that of plug-ins included, so that the same command goes on where it was interrupted.

    Raises:
        ConfigError: `settings.out` holds what is not to be replaced.
        LogError: the cached log is broken.
        TrialError: a policy breaks its contract or raises.
    """
    began = time.perf_counter()
    progress = StudyProgress()
    protocol = offline_protocol(settings)
    with progress.shown():
        contest = hold_contest(settings, protocol, progress)
        done = progress.step("survival analysis")
        results, found = _table(settings, protocol, contest)
        done()
    require_own(settings.out, settings.config_yaml, settings.overwrite)  # it may have changed
    draft = new_draft(settings.out)
    (draft / CONFIG).write_text(settings.config_yaml)
    _write_json(draft / ENVIRONMENT, environment_record())
    _write_json(draft / NOTES, {"survival": found.warnings})
    _write_json(draft / WORLD, _world_facts(settings, contest.log))
    _write_json(draft / POLICIES, _policy_facts(settings))
    timings = {
        t.policy: [round(s, 2) for s in (t.fit_s, t.judge_s, t.deploy_s)] for t in contest.trials
    }
    whole_s = time.perf_counter() - began
    _write_json(
        draft / TIMINGS,
        {"simulate_s": contest.simulate_s, "study_s": whole_s, "fit_judge_deploy_s": timings},
    )
    survival.curve_frame(found.curves).to_parquet(draft / CURVES, index=False)
    results.write(hidden_table(draft))
    with interrupts_held():
        publish(draft, settings.out)
    contest.forget_unread()
    return settings.out


CORRECTIONS = (Correction("cls"), Correction("bv", 0.1))
"""Corrections of sampled metrics on the page; 0.1 is what their source favours (KDD 2020)."""


def ranking_metrics(ks: Sequence[int]) -> tuple[str, ...]:
    """Return the names of the ranking metrics of a study, at these cut-offs and without."""
    cut = [f"{kind}@{k}" for kind in ("hr", "ndcg", "recall") for k in ks]
    return (*cut, "mrr", "query_auc", "ap")


def offline_protocol(settings: StudySettings) -> OfflineProtocol:
    """Return how a study judges offline."""
    metrics = ranking_metrics(settings.ks)
    return OfflineProtocol(metrics, (settings.sampled_m,), CORRECTIONS)


def _table(
    settings: StudySettings, protocol: OfflineProtocol, contest: Contest
) -> tuple[Results, survival.Survival]:
    log, trials = contest.log, contest.trials
    by_name = {trial.policy: trial for trial in trials}
    control = by_name[settings.control]
    results = Results()
    for trial in trials:
        subject = Subject(settings.name, settings.seed, trial.policy)
        is_control = trial is control
        if trial.judgement is not None:
            results.extend(offline.level_rows(subject, trial.judgement, protocol))
            if not is_control and control.judgement is not None:
                results.extend(
                    offline.comparison_rows(
                        subject, trial.judgement, settings.control, control.judgement, protocol
                    )
                )
        results.extend(_values(subject, trial, control))
        pairs: tuple[tuple[Kind, UserTotals, UserTotals], ...] = (
            ("online", trial.deployment.observed, control.deployment.observed),
            ("truth", trial.deployment.ultimate, control.deployment.ultimate),
        )
        for kind, own, other in pairs:
            results.extend(online.level_rows(subject, own, kind))
            if not is_control:
                results.extend(online.comparison_rows(subject, own, settings.control, other, kind))
    held_out = log.between((settings.days - 1) * DAY_S, log.end_s)
    world = Subject(settings.name, settings.seed, "")
    results.extend(reference_rows(world, held_out, log.catalogue().n_users))
    if control.valuation is not None:
        results.extend(valuation.logged_rows(world, control.valuation))
    shown = log.impressions()
    waiting = episodes(shown, log.as_of_s)
    truth = conversion_truth(logged_truth(log), shown, waiting, settings.world)
    found = survival.analyse(Subject(settings.name, settings.seed, ""), waiting, truth)
    results.extend(found.rows)
    return results, found


def _values(subject: Subject, trial: Trial, control: Trial) -> Iterator[Row]:
    """Yield what the log says a policy is worth, and what its pages are truly worth."""
    name = "" if trial is control else control.policy
    other = None if trial is control else control.deployment.pages
    yield from valuation.true_rows(subject, trial.deployment.pages, name, other)
    if trial.valuation is not None:
        yield from valuation.level_rows(subject, trial.valuation)
        if name and control.valuation is not None:
            yield from valuation.comparison_rows(subject, trial.valuation, name, control.valuation)


def _world_facts(settings: StudySettings, log: Log) -> dict[str, str]:
    shown, bought = log.impressions(), log.purchases()
    on_lists = shown.scenario != SWIPE
    population = settings.world.population
    return {
        "world": settings.world.name,
        "users": f"{population.n_users:,}",
        "streamers": f"{population.n_streamers:,}",
        "logged days": str(settings.days),
        "days of deployment": str(settings.deploy_days),
        "logged by": settings.logging.name,
        "impressions": f"{len(shown):,}",
        "requests": f"{len(np.unique(shown.request_id)):,}",
        "rooms to rank, mean": f"{shown.n_candidates.mean():.0f}",
        "click rate on lists": f"{shown.click[on_lists].mean():.3f}",
        "effective views in the swipe": f"{shown.view[~on_lists].mean():.3f}",
        "median stay, s": f"{np.median(shown.watch_s[shown.watch_s > 0]):.1f}",
        "purchases seen": f"{len(bought):,}",
    }


def _policy_facts(settings: StudySettings) -> dict[str, dict[str, object]]:
    """Return {policy: whether it reads the truth, and its class}."""
    return {
        name: {"privileged": is_privileged(build(node)), "target": str(node["_target_"])}
        for name, node in settings.policies.items()
    }


def _write_json(path: Path, record: object) -> None:
    path.write_text(json.dumps(record, indent=1) + "\n")
