"""What worker processes inherit: one thread each, no Ctrl-C, and no life after their parent.

The parent answers for all; children never see the signal.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process, resource_tracker
from types import FrameType

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which numeric libraries are told, when they load, how many threads to start."""


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let no Ctrl-C in while the block runs; one that came is raised at its end.

    Processes that are started in the block keep SIGINT blocked for good, from their very first
    moment: a terminal sends it to the whole group, and a child that is still importing would print
    a traceback. Outside the main thread nothing is held, as signals do not come there.

    Raises:
        KeyboardInterrupt: Ctrl-C came meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = signal.signal(signal.SIGINT, note)  # children start with the default handler again
    resource_tracker.ensure_running()  # it would unblock the signal when it starts
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # but they inherit this
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def end_with_parent() -> None:
    """End this process as soon as the one that started it has gone, however that went."""
    parent = parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let processes that are started inside use one thread for numeric work."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def cores() -> int:
    """Return how many logical processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
