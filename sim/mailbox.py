"""Memory that two processes share, for records that are too large for a pipe."""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from multiprocessing import reduction
from typing import Any

_ALIGN = 64
"""Arrays begin at multiples of this many bytes."""


class Mailbox:
    """A nameless file in memory that grows with what is put into it.

    It is handed to a process that is being started, and is gone when the last process that has it
    ends, however that happens: nothing has a name that could stay behind.
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self._descriptor = os.memfd_create("swipelab")
        else:  # no memory file outside Linux; this one has no name either
            with tempfile.TemporaryFile() as file:
                self._descriptor = os.dup(file.fileno())
        self._map: mmap.mmap | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a duplicate of the descriptor; only into a process that is being started."""
        return _attach, (reduction.DupFd(self._descriptor),)

    def put(self, value: object) -> bytes:
        """Write a value over what is there; return the letter with which it can be got.

        Arrays go through the shared memory, the rest stands in the letter.
        """
        buffers: list[pickle.PickleBuffer] = []
        text = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        spans, end = [], 0
        for view in views:
            spans.append((end, view.nbytes))
            end += -(-view.nbytes // _ALIGN) * _ALIGN
        shared = self._mapped(end)
        for view, (start, size) in zip(views, spans, strict=True):
            if size:
                shared[start : start + size] = view
        return pickle.dumps((text, spans, len(shared)))

    def get(self, letter: bytes, *, keep: bool) -> Any:
        """Return the value that a letter stands for.

        Args:
            letter: what the last `put` returned, in this process or the other.
            keep: whether its arrays must outlast the next `put`; else they are read-only and lie
                in the shared memory.
        """
        text, spans, size = pickle.loads(letter)
        shared = memoryview(self._mapped(size))
        if keep:
            return pickle.loads(text, buffers=[bytearray(shared[a : a + n]) for a, n in spans])
        return pickle.loads(text, buffers=[shared[a : a + n].toreadonly() for a, n in spans])

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


class Mailboxes:
    """Two mailboxes in turn, so that what is got without being kept outlasts the next `put`.

    Each process puts, or gets, into one and the other, from the first.
    """

    def __init__(self) -> None:
        self._boxes = (Mailbox(), Mailbox())
        self._turn = 0

    def put(self, value: object) -> bytes:
        """Put a value into the box whose turn it is, see `Mailbox.put`."""
        return self._next().put(value)

    def get(self, letter: bytes, *, keep: bool) -> Any:
        """Return what lies in the box whose turn it is, see `Mailbox.get`."""
        return self._next().get(letter, keep=keep)

    def _next(self) -> Mailbox:
        box, self._turn = self._boxes[self._turn], 1 - self._turn
        return box


def _attach(duplicate: Any) -> Mailbox:
    mailbox = Mailbox.__new__(Mailbox)
    mailbox._descriptor = duplicate.detach()
    mailbox._map = None
    return mailbox
