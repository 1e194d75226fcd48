"""Which units of a layer are alive, noted only when training asks for it."""

from __future__ import annotations

import torch
from torch import Tensor


class Vital:
    """Base of modules that report the share of their units that are zero for every row.

    A module that is not watched pays one test of a flag.

    Attributes:
        watched: whether passes are noted; `policies.training.health` switches it.
    """

    watched: bool = False

    def note(self, layer: int, x: Tensor, rows: int) -> None:
        """Note the activations after the ReLU of a layer, where the module is watched.

        Args:
            layer: number of the layer; the last pass through each counts.
            x: activations.
            rows: the axis of x along which rows lie.
        """
        if self.watched:
            noted: dict[int, Tensor] = self.__dict__.setdefault("_dead", {})
            noted[layer] = 1.0 - x.detach().any(rows).float().mean()

    def health(self) -> list[tuple[str, float]]:
        """Return ("dead_units", mean share over the layers), nothing where none was noted."""
        noted = self.__dict__.get("_dead")
        if not noted:
            return []
        return [("dead_units", float(torch.stack(list(noted.values())).mean()))]
