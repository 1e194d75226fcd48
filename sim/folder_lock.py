"""The lock that lets one process at a time write into a folder."""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

LOCK = "writer.lock"
"""Empty file on which the lock is held; it stays behind, for it means nothing by itself."""


class FolderLock:
    """An exclusive advisory lock of a folder.

    The operating system frees it when its process ends, however it ends, so that none is ever
    stale. Removing the file would let two processes lock two files of the same name.

    Args:
        folder: exists.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        self._free: weakref.finalize[[int], FolderLock] | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._free is not None and self._free.alive

    def acquire(self) -> bool:
        """Take the lock at once, or return False where someone else holds it.

        Raises:
            OSError: the file cannot be made, or its file system knows no locks.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            raise
        # whoever forgets to release it loses it with the object
        self._free = weakref.finalize(self, _unlock, descriptor)
        return True

    def release(self) -> None:
        """Free the lock; does nothing where it is not held."""
        if self._free is not None:
            self._free()


def _unlock(descriptor: int) -> None:
    # said aloud: children made by fork share the descriptor, and closing ours alone frees nothing
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
