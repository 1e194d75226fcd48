"""A contest: every policy of a study is tried on one log, side by side in processes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

from evaluation.blame import TrialError
from evaluation.offline import OfflineProtocol
from evaluation.progress import POLL_S, StudyProgress, TrialWatch
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
from evaluation.trial import Trial, TrialPlan, finished, limit_threads, run_trial
from sim.log import Log
from sim.processes import end_with_parent, interrupts_held


@dataclass(frozen=True)
class Contest:
    """What came of it; finished parts stay in the cache."""

    log: Log
    trials: tuple[Trial, ...]
    simulate_s: float
    """Elapsed, of writing the logs."""
    folders: tuple[Path, ...]
    """Of the logs and the trials."""

    def forget_unread(self) -> None:
        """Remove what a later run could not trust: work of plug-ins without readable source."""
        for folder in self.folders:
            if UNREAD in folder.name:
                shutil.rmtree(folder, ignore_errors=True)


def hold_contest(
    settings: StudySettings,
    protocol: OfflineProtocol,
    progress: StudyProgress,
    randomised_days: int = 0,
) -> Contest:
    """Write the log and run every trial that is not there yet.

    Args:
        settings: of the study.
        protocol: of the offline judgement.
        progress: is told of every part.
        randomised_days: 1 also judges on the last day of a log on which that day is uniform; 0
            does not.

    Raises:
        LogError: a cached log is broken.
        TrialError: a policy breaks its contract or raises.
    """
    began_s = time.perf_counter()
    log_folder = _written(settings, 0, progress)
    randomised = _written(settings, randomised_days, progress) if randomised_days else None
    simulate_s = time.perf_counter() - began_s
    plans = [_plan(settings, protocol, name, log_folder, randomised) for name in settings.policies]
    trials = run_trials(plans, settings.workers, progress)
    logs = [folder for folder in (log_folder, randomised) if folder is not None]
    folders = (*logs, *(plan.folder for plan in plans))
    return Contest(Log.open(log_folder), tuple(trials), simulate_s, folders)


def _written(settings: StudySettings, randomised_days: int, progress: StudyProgress) -> Path:
    """Return the folder of a complete log."""
    simulation = settings.simulation
    logging = replace(simulation.logging, randomised_days=randomised_days)
    simulation = replace(simulation, logging=logging)
    folder = settings.work / "logs" / log_key(simulation)
    with advice(folder):
        drop_broken(folder, progress)
        write_log(simulation, folder, progress)
    return folder


def _plan(
    settings: StudySettings,
    protocol: OfflineProtocol,
    name: str,
    log_folder: Path,
    randomised: Path | None,
) -> TrialPlan:
    node = settings.policies[name]
    code = code_digest(node)
    unread = UNREAD if code.startswith(UNREAD) else ""
    key = digest(
        log_key(settings.simulation), name, repr(node), code, settings.deploy_days, repr(protocol),
        randomised is not None,
    )  # fmt: skip
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
        randomised=randomised,
    )


def run_trials(plans: Sequence[TrialPlan], workers: int, progress: StudyProgress) -> list[Trial]:
    """Run the trials, `workers` at a time, and show what each is doing.

    Raises:
        TrialError: a policy breaks its contract or raises, or a worker is lost.
    """
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
