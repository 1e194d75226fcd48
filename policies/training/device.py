"""Where training runs and in which precision, decided before it begins."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, Self, runtime_checkable

import torch

from sim.config import ConfigError

DEVICES = ("auto", "cpu", "cuda")
"""`auto` is a GPU where there is one."""
FLOAT32, BFLOAT16 = "float32", "bfloat16"
PRECISIONS = (FLOAT32, BFLOAT16)
"""`bfloat16` is mixed precision: products in bfloat16, weights and optimiser in float32."""


@runtime_checkable
class Movable(Protocol):
    """A task that can train on another device; one that is not trains on the processor."""

    def to(self, device: torch.device) -> Self:
        """Return the task with its columns on `device`."""


def resolve(device: str, local_rank: int, movable: bool) -> torch.device:
    """Return the device that a name of DEVICES means here.

    Args:
        device: one of DEVICES.
        local_rank: number of this process on its machine, which picks among several GPUs.
        movable: whether the task can leave the processor.

    Raises:
        ConfigError: a GPU is asked for, and there is none or the task cannot go there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device = 'cuda', and torch finds no GPU; allowed here: auto, cpu")
    if device == "cuda" and not movable:
        raise ConfigError("device = 'cuda', and this model trains on the processor; allowed: auto")
    if device == "cpu" or not movable or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())


def casting(precision: str, device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """Return the context in which a loss is computed.

    Raises:
        ConfigError: mixed precision on the processor.
    """
    if precision == FLOAT32:
        return nullcontext
    if device.type == "cpu":
        raise ConfigError("precision = 'bfloat16' on the processor; allowed: float32, or a GPU")
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
