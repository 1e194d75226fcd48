"""Figures of finished runs that take too long to be run again, taken over from what they left."""

from __future__ import annotations

import json
from pathlib import Path

from evaluation.bench.figure import (
    PEAK_GB,
    RUN_IMPRESSIONS,
    RUN_POLICIES,
    RUN_S,
    TIMES_ONE_WORKER,
    Figure,
)

RUN_WORKERS = 2
"""Of `make run`."""
LONG_LOG = "100m"
"""The scale whose record is taken over."""


def run_time(study: Path) -> Figure:
    """Return how long the study in a folder took, where it was one uninterrupted `make run`."""
    mark = f"`make run` with at least {RUN_IMPRESSIONS:,} impressions and {RUN_POLICIES} policies"
    whole_s, reason = _whole_run_s(study)
    return Figure(
        name="time/run",
        kind="time",
        unit="s elapsed",
        value=whole_s,
        work=f"{mark}: {reason}",
        mark=RUN_S,
    )


def _whole_run_s(study: Path) -> tuple[float | None, str]:
    from evaluation.study import TIMINGS  # heavy, and needed only here
    from evaluation.study_folder import WORLD

    try:
        timings = json.loads((study / TIMINGS).read_text())
        facts = json.loads((study / WORLD).read_text())
        spans = timings["fit_judge_deploy_s"]
        busy_s = sum(sum(parts) for parts in spans.values())
        whole_s, simulate_s = float(timings["study_s"]), float(timings["simulate_s"])
        n = int(str(facts["impressions"]).replace(",", ""))
    except FileNotFoundError:
        return None, f"not measured, there is no finished run in {study}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, f"not measured, the files in {study} cannot be read"
    what = f"{len(spans)} policies, {n:,} impressions"
    if n < RUN_IMPRESSIONS or len(spans) < RUN_POLICIES:
        return None, f"not measured, {study} holds a smaller study ({what})"
    # a resumed study takes less time than the parts that it found finished
    if whole_s < simulate_s + busy_s / RUN_WORKERS or simulate_s * 1e6 < n:
        return None, f"not measured, {study} was not made in one go by {RUN_WORKERS} workers"
    return whole_s, f"the last run in {study}, {what}"


def long_log_figures(folder: Path) -> tuple[Figure, Figure]:
    """Return what a long log took in memory, and what its workers gained.

    Args:
        folder: where `swipelab bench scale=100m` left its record.
    """
    memory_gb, gain, reason = _long_log(folder / f"{LONG_LOG}.json")
    return (
        Figure(
            name="gain/workers",
            kind="gain",
            unit="times one process",
            value=gain,
            work=f"the large world, typed log written, elapsed: {reason}",
            mark=TIMES_ONE_WORKER,
        ),
        Figure(
            name="memory/long_log",
            kind="memory",
            unit="GB",
            value=memory_gb,
            work=f"the largest process of a long log, parent or worker: {reason}",
            mark=PEAK_GB,
        ),
    )


def _long_log(record: Path) -> tuple[float | None, float | None, str]:
    command = f"`swipelab bench scale={LONG_LOG}`"
    try:
        found = json.loads(record.read_text())
        peaks_gb = [max(day["parent_peak_gb"], day["worker_peak_gb"]) for day in found["memory"]]
        memory_gb, gain = float(max(peaks_gb)), float(found["speedup"])
        n, workers = int(found["impressions"]), int(found["plan"]["workers"])
        where = f"{found['machine']['processor']}, {found['machine']['swipelab']}"
    except FileNotFoundError:
        return None, None, f"not measured, {command} left nothing in {record.parent}"
    except (OSError, ValueError, KeyError, TypeError):
        return None, None, f"not measured, {record} cannot be read"
    return memory_gb, gain, f"{n:,} impressions, {workers} workers, by {command} ({where})"
