"""A study: simulate a log, try every policy on it, and write one table beside the truth."""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from evaluation import offline, online, survival
from evaluation.blame import TrialError
from evaluation.environment import environment_record
from evaluation.episodes import conversion_truth, episodes
from evaluation.off_policy import valuation
from evaluation.offline import OfflineProtocol
from evaluation.online import UserTotals
from evaluation.predictions import reference_rows
from evaluation.progress import POLL_S, StudyProgress, TrialWatch
from evaluation.publishing import POLICIES, hidden_table, new_draft, publish, require_own
from evaluation.publishing import TIMINGS as TIMINGS
from evaluation.ranking.corrections import Correction
from evaluation.results import Kind, Results, Row, Subject
from evaluation.settings import StudySettings
from evaluation.simulation import (
    UNREAD,
    advice,
    code_digest,
    digest,
    drop_broken,
    log_key,
    write_log,
)
from evaluation.study_folder import CONFIG, CURVES, ENVIRONMENT, NOTES, WORLD
from evaluation.trial import Trial, TrialPlan, finished, limit_threads, run_trial
from policies.contract import is_privileged
from sim.config import build
from sim.log import Log
from sim.processes import end_with_parent, interrupts_held
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
    log_folder = settings.work / "logs" / log_key(settings.simulation)
    with progress.shown(), advice(log_folder):
        drop_broken(log_folder, progress)
        log = write_log(settings.simulation, log_folder, progress)
        simulated_s = time.perf_counter() - began
        plans = [_plan(settings, name, log_folder) for name in settings.policies]
        trials = _run_trials(plans, settings.workers, progress)
        done = progress.step("survival analysis")
        results, found = _table(settings, plans[0].protocol, trials, log)
        done()
    require_own(settings.out, settings.config_yaml, settings.overwrite)  # it may have changed
    draft = new_draft(settings.out)
    (draft / CONFIG).write_text(settings.config_yaml)
    _write_json(draft / ENVIRONMENT, environment_record())
    _write_json(draft / NOTES, {"survival": found.warnings})
    _write_json(draft / WORLD, _world_facts(settings, log))
    _write_json(draft / POLICIES, _policy_facts(settings))
    timings = {t.policy: [round(s, 2) for s in (t.fit_s, t.judge_s, t.deploy_s)] for t in trials}
    whole_s = time.perf_counter() - began
    _write_json(
        draft / TIMINGS,
        {"simulate_s": simulated_s, "study_s": whole_s, "fit_judge_deploy_s": timings},
    )
    survival.curve_frame(found.curves).to_parquet(draft / CURVES, index=False)
    results.write(hidden_table(draft))
    with interrupts_held():
        publish(draft, settings.out)
    for folder in (log_folder, *(plan.folder for plan in plans)):
        if UNREAD in folder.name:
            shutil.rmtree(folder, ignore_errors=True)
    return settings.out


CORRECTIONS = (Correction("cls"), Correction("bv", 0.1))
"""Corrections of sampled metrics on the page; 0.1 is what their source favours (KDD 2020)."""


def _plan(settings: StudySettings, name: str, log_folder: Path) -> TrialPlan:
    metrics = [f"{kind}@{k}" for kind in ("hr", "ndcg", "recall") for k in settings.ks]
    protocol = OfflineProtocol(
        (*metrics, "mrr", "query_auc", "ap"), (settings.sampled_m,), CORRECTIONS
    )
    node = settings.policies[name]
    code = code_digest(node)
    unread = UNREAD if code.startswith(UNREAD) else ""
    key = digest(
        log_key(settings.simulation), name, repr(node), code, settings.deploy_days, repr(protocol)
    )
    return TrialPlan(
        policy=name,
        node=node,
        world=settings.world,
        seed=settings.seed,
        days=settings.days,
        deploy_days=settings.deploy_days,
        log=log_folder,
        folder=settings.work / "trials" / f"{name}-{unread}{key}",
        protocol=protocol,
        logging=settings.logging,
    )


def _run_trials(plans: list[TrialPlan], workers: int, progress: StudyProgress) -> list[Trial]:
    """Run the trials, `workers` at a time, and show what each is doing."""
    watch = progress.trials(plans)
    if workers == 1:
        with watch.polling():
            return [run_trial(plan) for plan in plans]
    missing = [plan for plan in plans if finished(plan.folder) is None]
    if missing:
        _in_processes(missing, workers, watch)
    watch.look()
    return [run_trial(plan) for plan in plans]


def _in_processes(plans: list[TrialPlan], workers: int, watch: TrialWatch) -> None:
    pool = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(plans)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        with interrupts_held():  # the pool starts its processes here
            waiting = {pool.submit(_run_quietly, plan) for plan in plans}
        while waiting:
            done, waiting = concurrent.futures.wait(
                waiting, POLL_S, concurrent.futures.FIRST_COMPLETED
            )
            watch.look()
            for future in done:
                future.result()
    except BrokenProcessPool as error:
        raise TrialError(
            "a worker process ended without a word, perhaps for lack of memory; finished policies "
            f"are kept; allowed: fewer workers than {workers}, or a smaller world"
        ) from error
    except BaseException:
        with interrupts_held():  # a second Ctrl-C must not leave processes behind
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


def _run_quietly(plan: TrialPlan) -> None:
    run_trial(plan)  # the result is read from its file: no large object crosses the pipe


def _start_worker() -> None:
    end_with_parent()
    os.environ["OMP_NUM_THREADS"] = "1"
    limit_threads()


def _table(
    settings: StudySettings, protocol: OfflineProtocol, trials: list[Trial], log: Log
) -> tuple[Results, survival.Survival]:
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
