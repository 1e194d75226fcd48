"""Writing a log with a logging policy from the config, shown and resumable."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evaluation.blame import blaming
from evaluation.environment import plug_in_digest, source_digest
from evaluation.progress import StudyProgress
from evaluation.randomised import Randomised
from evaluation.settings import LoggingSettings, SimulationSettings
from evaluation.study_folder import CONFIG
from policies.contract import FitContext
from policies.rank import Server
from sim.config import build
from sim.log import Log, LogError, read_manifest
from sim.ranker import Ranker
from sim.schema import DAY_S
from sim.simulate import simulate

UNREAD = "unread-"
"""Begins the digest of a plug-in whose source cannot be read; its work is not kept."""


def simulate_log(settings: SimulationSettings) -> Path:
    """Write the log of a simulation into `settings.out` and return that folder.

    An interrupted one is continued; a finished one is left as it is.

    Raises:
        LogError: the folder holds another log, a broken one, or cannot be written.
        TrialError: the logging policy raises.
    """
    progress = StudyProgress()
    with progress.shown(), advice(settings.out):
        write_log(settings, settings.out, progress)
    draft = settings.out / f".{CONFIG}"
    draft.write_text(settings.config_yaml)
    draft.replace(settings.out / CONFIG)
    return settings.out


def write_log(settings: SimulationSettings, folder: Path, progress: StudyProgress) -> Log:
    """Write the log of a simulation into `folder`, or what is missing of it.

    Raises:
        LogError: the folder holds another log, a broken one, or cannot be written.
        TrialError: the logging policy raises.
    """
    logging = settings.logging
    policy = build(logging.policy, "logging.arguments")
    server = Server(policy, logging.exploration)
    ranker: Ranker = server
    if logging.randomised_days:
        ranker = Randomised(server, (settings.days - logging.randomised_days) * DAY_S)
    watch = progress.simulation(settings.days)
    with blaming(logging.name, "writing the log", policy):
        policy.fit(Log.nothing(settings.world.tick_s, DAY_S), FitContext())
        log = simulate(
            settings.world,
            settings.seed,
            ranker,
            settings.days,
            folder,
            ranker_name=_logging_key(logging),
            executor=settings.executor,
            on_day=watch,
        )
    watch.end()
    return log


@contextmanager
def advice(folder: Path) -> Iterator[None]:
    """Add to the error of a broken log what to do about it."""
    try:
        yield
    except LogError as error:
        text = str(error).removesuffix("; write the log again")
        if any(words in text for words in ("another folder", "the same", "writ")):
            raise  # it says what to do itself, or no file is to blame
        raise LogError(f"{text}; delete {folder} and run the same command") from error


def _logging_key(logging: LoggingSettings) -> str:
    """Say which logging policy this is, its source included: part of the log's identity."""
    return repr((logging, code_digest(logging.policy), source_digest()))


def code_digest(node: Mapping[str, Any]) -> str:
    """Return a digest of a plug-in's source; one that never comes again where it is unreadable."""
    return plug_in_digest(node) or f"{UNREAD}{uuid.uuid4()}"


def drop_broken(folder: Path, progress: StudyProgress) -> None:
    """Remove a cached log that is complete but damaged: the same one is simulated again.

    An incomplete one may be in the hands of another process and is left alone.
    """
    try:
        manifest = read_manifest(folder)
        if manifest["days_written"] < manifest["days"]:
            return
    except (LogError, KeyError):
        return
    try:
        Log.open(folder)
    except LogError as error:
        progress.say(f"{str(error).partition(';')[0]}; simulating it again")
        shutil.rmtree(folder)


def log_key(settings: SimulationSettings) -> str:
    """Return the name of a log in a cache: equal where nothing that decides its bytes differs."""
    code = code_digest(settings.logging.policy)
    unread = UNREAD if code.startswith(UNREAD) else ""
    logging = (settings.logging, code)
    key = digest(settings.world, settings.seed, settings.days, logging, source_digest())
    return f"{unread}{key}"


def digest(*parts: object) -> str:
    """Return a short digest (hex) of what the parts look like."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
