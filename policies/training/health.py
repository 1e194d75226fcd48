"""Training health for the metrics stream: what gates, units and gradients of a network are doing.

A module reports by a method `health() -> list[tuple[str, float]]` about its last pass in training,
such as ("gate_entropy", 1.9); one that also has an attribute `watched` is told when its next pass
will be read, and need note nothing in the others.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn

from policies.training.rowwise_adagrad import touched


class Health:
    """Reads a network at the steps after which it is evaluated.

    Args:
        network: whose modules report.
        covered: names of parameters that are known to have had a gradient, after a resume.
    """

    def __init__(self, network: nn.Module, covered: Collection[str] = ()) -> None:
        """Find the modules that report."""
        self.network = network
        self.covered = set(covered)
        self._reporting = [
            (name, module)
            for name, module in network.named_modules()
            if callable(getattr(module, "health", None))
        ]

    def watch(self, on: bool) -> None:
        """Tell the modules whether the passes that follow will be read."""
        for _, module in self._reporting:
            if hasattr(module, "watched"):
                module.watched = on

    def readings(self) -> dict[str, float]:
        """Return the figures of the step whose gradients the parameters still hold.

        `gradient_norm` is the length of the gradient over all parameters; `gradient_coverage` the
        share of the parameter tensors that had a gradient other than zero at one of the steps read
        so far; the rest is what modules report, under ``module.key``.
        """
        total = 0.0
        names = []
        for name, parameter in self.network.named_parameters():
            names.append(name)
            if parameter.grad is not None:
                square = float(_entries(parameter.grad).double().square().sum())
                total += square
                if square > 0.0:
                    self.covered.add(name)
        found = {
            "gradient_norm": math.sqrt(total),
            "gradient_coverage": len(self.covered.intersection(names)) / max(len(names), 1),
        }
        found.update(self._reports())
        return found

    def _reports(self) -> Iterator[tuple[str, float]]:
        for name, module in self._reporting:
            for key, value in module.health():
                yield (f"{name}.{key}" if name else key), float(value)


def _entries(gradient: Tensor) -> Tensor:
    """Return the entries that are not implicitly zero, repeated rows summed."""
    if gradient.layout != torch.sparse_coo:
        return gradient
    return touched(gradient)[1]
