"""Whose fault an error is: what a policy raises becomes one line that names it and the place."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evaluation.environment import OURS
from evaluation.ranking.ranks import MetricError
from policies.rank import PolicyError
from sim.config import ConfigError
from sim.executor import Elsewhere, Place
from sim.log import LogError


class TrialError(RuntimeError):
    """A policy failed; one line with its name, what it was doing, and where it happened.

    Args:
        line: the message.
        ours: whether the policy is one of ours and the error one that we did not foresee.
    """

    def __init__(self, line: str, ours: bool = False) -> None:
        super().__init__(line, ours)  # both, so that it survives the way out of a worker process
        self.ours = ours

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def blaming(name: str, doing: str, policy: object) -> Iterator[None]:
    """Turn an error of a policy into a `TrialError`; a broken log remains a `LogError`.

    Args:
        name: of the policy, as in the config.
        doing: such as `fitting`.
        policy: tells which source is its own.
    """
    try:
        yield
    except (LogError, TrialError):
        raise
    except Exception as error:
        raise _blamed(error, name, doing, type(policy).__module__) from error


def _blamed(error: Exception, name: str, doing: str, module: str) -> TrialError:
    text = " ".join(str(error).split())
    is_foreseen = _is_foreseen(error)
    if not is_foreseen:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    top = module.partition(".")[0]
    place = _place(error, top) if not is_foreseen or top not in OURS else ""
    if not place and not is_foreseen:
        place = _place(error, None)
    ours = top in OURS and not is_foreseen
    return TrialError(f"policy {name}: while {doing}: {text}{place and f' ({place})'}", ours)


def _is_foreseen(error: Exception) -> bool:
    """Return whether the error is one of ours, whose message says everything."""
    names = {kind.__name__ for kind in type(error).__mro__}  # torch stays out for the sake of one
    return isinstance(error, ConfigError | PolicyError | MetricError) or "TrainingError" in names


def _place(error: Exception, top: str | None) -> str:
    """Return `file:line` of the innermost frame of a top-level module, "" where there is none."""
    for module, file, line in reversed(_places(error)):
        if top is None or module.partition(".")[0] == top:
            return f"{Path(file).name}:{line}"
    return ""


def _places(error: Exception) -> tuple[Place, ...]:
    """Return the calls in which an error arose, also those in a worker process."""
    if isinstance(error.__cause__, Elsewhere):
        return error.__cause__.places
    return tuple(
        (str(frame.f_globals.get("__name__")), frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    )
