"""How errors are told: one line on stderr and an exit code, or a traceback where it is asked for.

Errors that a user can cause have the code 2, errors of ours 1; SWIPELAB_DEBUG=1 or
HYDRA_FULL_ERROR=1 shows the traceback.
"""

from __future__ import annotations

import os
import sys

_ASKED_FOR_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"
"""Hydra's own variable, read before it is set for Hydra."""


def comes_of_interruption(error: BaseException | None) -> bool:
    """Return whether Ctrl-C is behind an error: libraries turn it into errors of their own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


class ErrorsInOneLine:
    """Ends the process with our line and code, before Hydra adds lines of its own."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Turn an error into a line and SystemExit."""
        if comes_of_interruption(error):
            raise KeyboardInterrupt
        if isinstance(error, Exception) and not debugging():
            raise SystemExit(report_error(error))


def report_error(error: Exception) -> int:
    """Write one line on an error and return the exit code."""
    from evaluation.blame import TrialError
    from evaluation.overrides import HYDRA_ERRORS, one_line
    from evaluation.ranking.ranks import MetricError
    from evaluation.results import ResultsError
    from evaluation.study_folder import ReportError
    from policies.rank import PolicyError
    from sim.config import ConfigError
    from sim.log import LogError

    expected = (
        ConfigError,
        LogError,
        MetricError,
        PolicyError,
        ReportError,
        ResultsError,
        TrialError,
        OSError,
        *HYDRA_ERRORS,
    )
    is_training = any(kind.__name__ == "TrainingError" for kind in type(error).__mro__)
    line = one_line(error)
    if isinstance(error, TrialError) and error.ours:
        complain(f"error: {line} (not expected; SWIPELAB_DEBUG=1 shows where)")
        return 1
    if isinstance(error, expected) or is_training:  # torch is not imported for the sake of one
        complain(f"error: {line}")
        return 2
    complain(f"error: {type(error).__name__}: {line} (not expected; SWIPELAB_DEBUG=1 shows where)")
    return 1


def debugging() -> bool:
    """Return whether tracebacks are asked for."""
    return os.environ.get("SWIPELAB_DEBUG") == "1" or _ASKED_FOR_TRACEBACKS


def complain(line: str) -> None:
    """Write a line on stderr."""
    sys.stderr.write(f"{line}\n")
