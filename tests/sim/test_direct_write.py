"""Files that are written past the page cache hold what was to be written."""

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sim import direct_write
from sim.direct_write import DirectWriter

BLOCK = 8192


@pytest.fixture
def writer(monkeypatch):
    """Return a writer with a small block that takes no file for small."""
    monkeypatch.setattr(direct_write, "_SMALL", 0)
    return DirectWriter(BLOCK)


def content_of(size):
    """Return bytes that do not repeat with any block."""
    return pa.py_buffer(np.arange(size, dtype=np.uint32).view(np.uint8)[:size].tobytes())


def put(writer, path, content):
    """Write a file and close it."""
    os.close(writer.write(path, content))
    return path.read_bytes()


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, BLOCK - 1, BLOCK, 3 * BLOCK + 5])
def test_every_size_is_written_whole(writer, tmp_path, size):
    """Also over a longer file, of which nothing stays."""
    content = content_of(size)
    assert put(writer, tmp_path / "new", content) == content
    (tmp_path / "old").write_bytes(b"x" * (5 * BLOCK))
    assert put(writer, tmp_path / "old", content) == content


@pytest.mark.parametrize("most", [1000, 4096, 5000])
def test_what_is_written_in_pieces_is_whole(writer, tmp_path, monkeypatch, most):
    """A disk may take less than it is offered, also where what is left is no longer aligned."""
    real, content = os.write, content_of(3 * BLOCK + 5)
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:most]))
    assert put(writer, tmp_path / "file", content) == content


@pytest.mark.parametrize("refusing", ["open", "write"])
def test_a_file_system_that_cannot_is_written_as_usual(writer, tmp_path, monkeypatch, refusing):
    """Some refuse to open such a file, some only to write it."""
    opens, writes, direct, refused = os.open, os.write, [], []

    def refuse():
        refused.append(refusing)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def opened(path, flags, mode):
        if not flags & os.O_DIRECT:
            return opens(path, flags, mode)
        if refusing == "open":
            refuse()
        direct.append(opens(path, flags & ~os.O_DIRECT, mode))
        return direct[-1]

    def written(descriptor, data):
        if descriptor in direct and not refused:
            refuse()
        return writes(descriptor, data)

    if not hasattr(os, "O_DIRECT"):
        pytest.skip("no such flag here")
    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "write", written)
    assert put(writer, tmp_path / "file", content_of(BLOCK + 7)) == content_of(BLOCK + 7)
    assert len(refused) == 1


def test_an_error_is_raised_and_leaves_nothing_open(writer, tmp_path, monkeypatch):
    """A full disk is no reason to try again."""
    descriptors = Path("/proc/self/fd")
    before = len([*descriptors.iterdir()]) if descriptors.exists() else None

    def fail(descriptor, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(OSError, match="No space left") as raised:
        writer.write(tmp_path / "file", content_of(BLOCK))
    assert raised.value.errno == errno.ENOSPC
    if before is not None:
        assert len([*descriptors.iterdir()]) == before
