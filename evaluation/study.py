"""A study: simulate a log, try every policy on it, and write one table beside the truth."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from evaluation import offline, online, survival
from evaluation.environment import environment_record, source_digest
from evaluation.episodes import conversion_truth, episodes
from evaluation.leaderboard import TABLE
from evaluation.offline import OfflineProtocol
from evaluation.online import UserTotals
from evaluation.results import Kind, Results, Subject
from evaluation.settings import SimulationSettings, StudySettings
from evaluation.study_folder import CONFIG, CURVES, ENVIRONMENT, NOTES, WORLD
from evaluation.trial import STAGE, Trial, TrialPlan, finished, limit_threads, run_trial
from policies.contract import FitContext
from policies.rank import Server
from sim.config import build
from sim.log import Log
from sim.schema import DAY_S, SWIPE
from sim.simulate import simulate
from sim.truth_log import logged_truth

TIMINGS = "timings.json"
_POLL_S = 0.5


def simulate_log(settings: SimulationSettings) -> Path:
    """Write the log of a simulation into `settings.out` and return that folder.

    An interrupted one is continued; a finished one is left as it is.

    Raises:
        LogError: the folder holds another log or cannot be written.
    """
    with _progress() as progress:
        log = _write_log(settings, settings.out, progress)
    (settings.out / CONFIG).write_text(settings.config_yaml)
    return log.folder


def run_study(settings: StudySettings) -> Path:
    """Run a study and return its folder.

    Finished parts are kept in `settings.work` under a digest of everything that decides them, our
    source included, so that the same command goes on where it was interrupted.

    Raises:
        LogError: the cached log is broken.
        PolicyError: a policy breaks its contract.
    """
    began = time.perf_counter()
    with _progress() as progress:
        log_folder = settings.work / "logs" / _log_key(settings)
        log = _write_log(settings.simulation, log_folder, progress)
        simulated_s = time.perf_counter() - began
        plans = [_plan(settings, name, log_folder) for name in settings.policies]
        trials = _run_trials(plans, settings.workers, progress)
        task = progress.add_task("survival analysis", total=1)
        results, found = _table(settings, plans[0].protocol, trials, log)
        progress.update(task, completed=1)
    out = settings.out
    out.mkdir(parents=True, exist_ok=True)
    (out / CONFIG).write_text(settings.config_yaml)
    _write_json(out / ENVIRONMENT, environment_record())
    _write_json(out / NOTES, {"survival": found.warnings})
    _write_json(out / WORLD, _world_facts(settings, log))
    timings = {t.policy: [round(s, 2) for s in (t.fit_s, t.judge_s, t.deploy_s)] for t in trials}
    whole_s = time.perf_counter() - began
    _write_json(
        out / TIMINGS,
        {"simulate_s": simulated_s, "study_s": whole_s, "fit_judge_deploy_s": timings},
    )
    survival.curve_frame(found.curves).to_parquet(out / CURVES, index=False)
    results.write(out / TABLE)  # last: a folder with a table is a finished study
    return out


def _write_log(settings: SimulationSettings, folder: Path, progress: Progress) -> Log:
    task = progress.add_task(f"simulating {settings.days} days", total=settings.days)

    def on_day(day: int, impressions: int) -> None:
        text = f"simulating, {impressions:,} impressions"
        progress.update(task, completed=day + 1, description=text)

    policy = build(settings.logging.policy).fit(
        Log.nothing(settings.world.tick_s, DAY_S), FitContext()
    )
    log = simulate(
        settings.world,
        settings.seed,
        Server(policy, settings.logging.exploration),
        settings.days,
        folder,
        ranker_name=repr((settings.logging.policy, settings.logging.exploration)),
        on_day=on_day,
    )
    progress.update(task, completed=settings.days)
    return log


def _plan(settings: StudySettings, name: str, log_folder: Path) -> TrialPlan:
    metrics = [f"{kind}@{k}" for kind in ("hr", "ndcg") for k in settings.ks]
    protocol = OfflineProtocol((*metrics, "mrr", "query_auc"), (settings.sampled_m,))
    node = settings.policies[name]
    key = _digest(_log_key(settings), name, repr(node), settings.deploy_days, repr(protocol))
    return TrialPlan(
        policy=name,
        node=node,
        world=settings.world,
        seed=settings.seed,
        days=settings.days,
        deploy_days=settings.deploy_days,
        log=log_folder,
        folder=settings.work / "trials" / f"{name}-{key}",
        protocol=protocol,
    )


def _run_trials(plans: list[TrialPlan], workers: int, progress: Progress) -> list[Trial]:
    """Run the trials, `workers` at a time, and show what each is doing."""
    tasks = {p.policy: progress.add_task(f"{p.policy}: waiting", total=1) for p in plans}

    def watch() -> None:
        for plan in plans:
            stage = plan.folder / STAGE
            text = stage.read_text() if stage.exists() else "waiting"
            done = finished_file(plan)
            progress.update(
                tasks[plan.policy], description=f"{plan.policy}: {text}", completed=int(done)
            )

    if workers == 1:
        trials = []
        for plan in plans:
            progress.update(tasks[plan.policy], description=f"{plan.policy}: running")
            trials.append(run_trial(plan))
            watch()
        return trials
    missing = [plan for plan in plans if finished(plan.folder) is None]
    if missing:
        _in_processes(missing, workers, watch)
    watch()
    return [run_trial(plan) for plan in plans]


def finished_file(plan: TrialPlan) -> bool:
    """Return whether the trial's stage says that it is done."""
    stage = plan.folder / STAGE
    return stage.exists() and stage.read_text() == "done"


def _in_processes(plans: list[TrialPlan], workers: int, watch: Callable[[], None]) -> None:
    pool = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(plans)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        waiting = {pool.submit(_run_quietly, plan) for plan in plans}
        while waiting:
            done, waiting = concurrent.futures.wait(
                waiting, _POLL_S, concurrent.futures.FIRST_COMPLETED
            )
            watch()
            for future in done:
                future.result()
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _run_quietly(plan: TrialPlan) -> None:
    run_trial(plan)  # the result is read from its file: no large object crosses the pipe


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; a worker should just end, the parent says so
    signal.signal(signal.SIGINT, signal.SIG_DFL)
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
        pairs: tuple[tuple[Kind, UserTotals, UserTotals], ...] = (
            ("online", trial.deployment.observed, control.deployment.observed),
            ("truth", trial.deployment.ultimate, control.deployment.ultimate),
        )
        for kind, own, other in pairs:
            results.extend(online.level_rows(subject, own, kind))
            if not is_control:
                results.extend(online.comparison_rows(subject, own, settings.control, other, kind))
    waiting = episodes(log.impressions(), log.as_of_s)
    truth = conversion_truth(logged_truth(log), waiting, settings.world.delay)
    found = survival.analyse(Subject(settings.name, settings.seed, ""), waiting, truth)
    results.extend(found.rows)
    return results, found


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


def _log_key(settings: StudySettings) -> str:
    logging = (settings.logging.policy, settings.logging.exploration)
    return _digest(settings.world, settings.seed, settings.days, logging, source_digest())


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _write_json(path: Path, record: object) -> None:
    path.write_text(json.dumps(record, indent=1) + "\n")


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show bars on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<34}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield progress
