"""Writing files past the page cache.

A log is larger than memory, and nobody reads it while it is written. Copying it into the page cache
first costs the processor up to a sixth of what simulating a day does, for nothing.
"""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

import pyarrow as pa

_SECTOR = 4096
"""Past the cache, whole sectors are written, from memory aligned to them."""

_SMALL = 1 << 20
"""Files of fewer bytes go through the cache: each would wait for the disk, and is soon read."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class DirectWriter:
    """Writes whole files, large ones past the page cache where the file system lets it.

    Args:
        block_bytes: of the memory through which they go, a multiple of 4096.
    """

    def __init__(self, block_bytes: int = 1 << 22) -> None:
        self._block = mmap.mmap(-1, block_bytes)

    def write(self, path: Path, content: pa.Buffer) -> int:
        """Write a file from its beginning; return its descriptor, to be synced and closed.

        Raises:
            OSError: the disk refuses.
        """
        direct = getattr(os, "O_DIRECT", 0)
        if direct and content.size >= _SMALL:
            try:
                return self._written(path, direct, memoryview(content).cast("B"))
            except OSError as error:
                if error.errno != errno.EINVAL:  # how file systems say that they cannot
                    raise
        return self._written(path, 0, memoryview(content).cast("B"))

    def _written(self, path: Path, direct: int, content: memoryview) -> int:
        descriptor = os.open(path, _NEW | direct, 0o666)
        try:
            if direct:
                self._fill_by_blocks(descriptor, content)
            else:
                _put(descriptor, content)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _fill_by_blocks(self, descriptor: int, content: memoryview) -> None:
        room = memoryview(self._block)
        for start in range(0, len(content), len(room)):
            piece = content[start : start + len(room)]
            room[: len(piece)] = piece
            _put(descriptor, room[: -(-len(piece) // _SECTOR) * _SECTOR])
        os.ftruncate(descriptor, len(content))


def _put(descriptor: int, content: memoryview) -> None:
    while len(content):
        content = content[os.write(descriptor, content) :]
