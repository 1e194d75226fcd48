"""Memory that two processes share, for records that are too large for a pipe."""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
import weakref
from collections import deque
from collections.abc import Sequence
from multiprocessing import reduction
from typing import Any

import numpy as np

_ALIGN = 64
"""Arrays begin at multiples of this many bytes."""


class Mailbox:
    """A nameless file in memory, of drawers that grow in number with what is put into them.

    It is handed to a process that is being started, and is gone when the last process that has it
    ends, however that happens: nothing has a name that could stay behind. One process writes.
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self._descriptor = os.memfd_create("swipelab")
        else:  # no memory file outside Linux; this one has no name either
            with tempfile.TemporaryFile() as file:
                self._descriptor = os.dup(file.fileno())
        self._begin()

    def _begin(self) -> None:
        self._map: mmap.mmap | None = None
        self._drawers: dict[int, int] = {}  # of the writer: where each begins, and its bytes
        self._free: set[int] = set()
        self._read: deque[int] = deque()  # of the reader: drawers whose arrays are gone

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a duplicate of the descriptor; only into a process that is being started."""
        return _attach, (reduction.DupFd(self._descriptor),)

    def put(self, value: object) -> bytes:
        """Write a value into a drawer that is free; return the letter with which it can be got.

        Arrays go through the shared memory, the rest stands in the letter.
        """
        buffers: list[pickle.PickleBuffer] = []
        text = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        spans, end = [], 0
        for view in views:
            spans.append((end, view.nbytes))
            end += -(-view.nbytes // _ALIGN) * _ALIGN
        drawer = self._drawer(end)
        shared = self._mapped(drawer + end)
        for view, (start, size) in zip(views, spans, strict=True):
            if size:
                shared[drawer + start : drawer + start + size] = view
        return pickle.dumps((text, spans, drawer, end, len(shared)))

    def get(self, letter: bytes, *, keep: bool) -> Any:
        """Return the value that a letter stands for.

        Args:
            letter: what `put` returned, in this process or the other.
            keep: whether its arrays are copies; else they are read-only and lie in the drawer,
                which is among those of `read` when the last of them is gone.
        """
        text, spans, drawer, end, size = pickle.loads(letter)
        whole = np.frombuffer(self._mapped(size), np.uint8, end, drawer)
        if keep:
            own = [bytearray(whole[a : a + n]) for a, n in spans]
            self._read.append(drawer)
            return pickle.loads(text, buffers=own)
        # the arrays refer to what they are views of
        weakref.finalize(whole, self._read.append, drawer).atexit = False
        shared = whole.data
        return pickle.loads(text, buffers=[shared[a : a + n].toreadonly() for a, n in spans])

    def read(self) -> list[int]:
        """Return the drawers that can be written again, each once."""
        return [self._read.popleft() for _ in range(len(self._read))]

    def release(self, drawers: Sequence[int]) -> None:
        """Let `put` write over what is in these drawers."""
        self._free.update(drawers)

    def release_all(self) -> None:
        """Let `put` write over everything."""
        self._free.update(self._drawers)

    def _drawer(self, size: int) -> int:
        """Return the smallest free drawer of at least `size` bytes, or a new one."""
        fits = [drawer for drawer in self._free if self._drawers[drawer] >= size]
        if fits:
            least = min(fits, key=lambda drawer: (self._drawers[drawer], drawer))
            self._free.remove(least)
            return least
        new = sum(self._drawers.values())
        # some room to spare, or the drawers of one hour would not do for the next
        pages = (size + size // 4) // mmap.PAGESIZE + 1
        self._drawers[new] = pages * mmap.PAGESIZE
        return new

    def _mapped(self, size: int) -> mmap.mmap:
        """Return the memory, of at least `size` bytes; arrays in the old one remain readable."""
        if self._map is None or len(self._map) < size:
            known = os.fstat(self._descriptor).st_size
            if known < size or not known:
                known = max(2 * size, mmap.PAGESIZE)
                os.ftruncate(self._descriptor, known)
            self._map = mmap.mmap(self._descriptor, known)
        return self._map

    def __del__(self) -> None:
        """Let go of the memory."""
        os.close(self._descriptor)


def _attach(duplicate: Any) -> Mailbox:
    mailbox = Mailbox.__new__(Mailbox)
    mailbox._descriptor = duplicate.detach()
    mailbox._begin()
    return mailbox
