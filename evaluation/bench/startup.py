"""How long a user waits at first: for the import of the world, and for a first log."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from evaluation.bench.figure import FIRST_LOG_S, IMPORT_S, Figure
from evaluation.bench.plan import BenchPlan

_NOTHING, _IMPORT = ("-c", "pass"), ("-c", "import sim")
_SWIPELAB = "-c", "import sys; from evaluation.cli import main; sys.exit(main(sys.argv[1:]))"
_FIRST_LOG = "simulate", "world=tiny"


def measure(plan: BenchPlan) -> tuple[Figure, ...]:
    """Time both in fresh interpreters, medians over the repeats."""
    scale = plan.scale
    nothing_s, import_s = (_elapsed_s([code] * scale.repeats) for code in (_NOTHING, _IMPORT))
    logs = [
        (*_SWIPELAB, *_FIRST_LOG, f"out={plan.folder / f'first-log-{i}'}")
        for i in range(scale.repeats)
    ]
    _elapsed_s([(*_SWIPELAB, *_FIRST_LOG, f"out={plan.folder / 'compiled'}")])
    log_s = _elapsed_s(logs)
    return (
        Figure(
            name="time/import",
            kind="time",
            unit="s elapsed",
            value=import_s,
            work="a process that does `import sim` and ends",
            floor=nothing_s,
            floor_work="a process that does nothing and ends",
            mark=IMPORT_S if scale.marks_apply else None,
            repeats=scale.repeats,
        ),
        Figure(
            name="time/first_log",
            kind="time",
            unit="s elapsed",
            value=log_s,
            work=f"`swipelab {' '.join(_FIRST_LOG)}` from start to end, kernels compiled before",
            floor=import_s,
            floor_work="a process that does `import sim` and ends",
            mark=FIRST_LOG_S if scale.marks_apply else None,
            repeats=scale.repeats,
        ),
    )


def _elapsed_s(runs: Sequence[tuple[str, ...]]) -> float:
    """Return the median of runs of an interpreter with these arguments.

    Raises:
        OSError: a run failed; the message ends with the last line it wrote.
    """
    spent_s = []
    for arguments in runs:
        begun_s = time.perf_counter()
        found = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
        spent_s.append(time.perf_counter() - begun_s)
        if found.returncode:
            said = found.stderr.strip().splitlines()[-1:] or ["without a word"]
            raise OSError(f"a process that was timed ended with {found.returncode}: {said[0]}")
    return statistics.median(spent_s)
