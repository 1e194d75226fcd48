"""Output folders: find out that nothing can be written there before hours of work, not after."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from sim.config import ConfigError

MIN_FREE_BYTES = 512 * 2**20
"""Room for the log and the results of a study on the default world, about 0.3 GB."""


def require_writable(folder: Path, field: str) -> None:
    """Raise unless `folder` can be made, or written if it exists; leaves nothing behind.

    Args:
        folder: a folder that need not exist yet.
        field: name of the setting, for the message.

    Raises:
        ConfigError: a part of the path is a file, the place is read-only, or its disk is full.
    """
    shown = f"{field} = {str(folder)!r}"
    place = folder.absolute()
    try:
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            raise ConfigError(f"{shown}: {place} is a file; allowed: a folder that can be written")
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"probe")
            probe.flush()
        free = shutil.disk_usage(place).free
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"{shown}: cannot write in {place} ({reason}); allowed: a folder that can be written"
        ) from error
    if free < MIN_FREE_BYTES:
        raise ConfigError(
            f"{shown}: {free / 2**20:.0f} MB free on the disk of {place}; "
            f"allowed: at least {MIN_FREE_BYTES / 2**20:.0f} MB"
        )
