"""Processes in which parts of a benchmark run, so that peaks and seconds belong to one part."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from sim.processes import THREADS

P = ParamSpec("P")
R = TypeVar("R")


def in_fresh_process(job: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
    """Run a job in a process of its own, which ends with this call, whatever happens.

    Args:
        job: a function of a module.
        args: what it is given; pickles.
        named: likewise.
    """
    pool = concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), initializer=_end_on_interrupt
    )
    try:
        return pool.submit(job, *args, **named).result()
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let processes that are started inside use `n` threads for numeric work."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(n)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end_on_interrupt() -> None:
    # Ctrl-C reaches the whole process group; the stage should just end, the command says so
    signal.signal(signal.SIGINT, signal.SIG_DFL)
