"""Checkpoints and the metrics stream of a training run: written atomically, read back safely."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.jsonl"


def fingerprint(network: nn.Module, what: str) -> str:
    """Return a short text that tells runs apart: `what` and a checksum of weights and buffers."""
    check = 0
    for name, value in network.state_dict().items():
        check = zlib.crc32(value.detach().cpu().contiguous().numpy().tobytes(), check)
        check = zlib.crc32(name.encode(), check)
    return f"{what} network={check:08x}"


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values to `path`; after an interruption the old file is intact.

    Raises:
        OSError: the folder cannot be written; no partial file is left behind.
    """
    draft = path.with_name(path.name + ".draft")
    try:
        with draft.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any] | None:
    """Return what `write` stored, or None where there is no readable checkpoint."""
    if not path.exists():
        return None
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, ValueError, OSError, KeyError):
        return None
    return content if isinstance(content, dict) else None


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a copy of a state dict that training does not touch."""
    return {name: value.detach().clone() for name, value in state.items()}


class MetricsStream:
    """Appends one JSON object per line; a resumed run first drops what came after its checkpoint.

    Args:
        path: file to append to, or None to keep nothing.
        step: lines with a larger step are dropped.
    """

    def __init__(self, path: Path | None, step: int) -> None:
        """Cut the file back to `step`."""
        self.path = path
        if path is not None and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step(line) <= step]
            draft = path.with_name(path.name + ".draft")
            draft.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
            draft.replace(path)

    def append(self, row: Mapping[str, float | int | str]) -> None:
        """Write one line."""
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dict(row)) + "\n")


def _step(line: str) -> float:
    """Return the step of a line, infinite where the line was cut off."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
