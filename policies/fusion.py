"""Fusion: one ranking score from the probabilities of several targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from policies.target_graph import TargetGraph
from policies.target_weights import check_weights
from sim.config import Objective, require_section


@runtime_checkable
class Fusion(Protocol):
    """Turns probabilities [N, T] into scores [N]; higher is better, monotone in each target."""

    def fuse(
        self, probabilities: NDArray[np.float32], targets: Sequence[str]
    ) -> NDArray[np.float32]:
        """Return scores float32 [N]; column k of `probabilities` [N, T] belongs to targets[k]."""


@dataclass(frozen=True)
class AdditiveFusion:
    """Sum over targets of w_k p_k (the talk's first fusion; the oracle's objective).

    With unconditional probabilities it is the expected value of the objective.
    """

    objective: Objective
    """Weights w_k."""

    def __post_init__(self) -> None:
        """Check the objective."""
        require_section(self, "objective", Objective)

    def fuse(
        self, probabilities: NDArray[np.float32], targets: Sequence[str]
    ) -> NDArray[np.float32]:
        """Return sum_k w_k p_k, float32 [N]."""
        weight = self.objective.weights()
        fused = probabilities @ np.array([weight.get(name, 0.0) for name in targets], np.float32)
        return np.asarray(fused, np.float32)


@dataclass(frozen=True)
class WeightedFusion:
    """Sum over targets of w_k p_k with weights of its own, for auxiliary labels too.

    With a weight for `amount` it is an expected value in which money counts beside events; see
    `policies.auxiliary`.
    """

    weights: Mapping[str, float]
    """{label: w_k}; labels without a weight do not count."""

    def __post_init__(self) -> None:
        """Check the weights."""
        check_weights("weights", self.weights)

    def fuse(
        self, probabilities: NDArray[np.float32], targets: Sequence[str]
    ) -> NDArray[np.float32]:
        """Return sum_k w_k p_k, float32 [N]."""
        weight = np.array([self.weights.get(name, 0.0) for name in targets], np.float32)
        return np.asarray(probabilities @ weight, np.float32)


@dataclass(frozen=True)
class MultiplicativeFusion:
    """Product over the layers of the target graph of the weighted sum inside the layer.

    (w1 p1)(w2 p2 + w3 p3)(w4 p4 + w5 p5) of the talk: a room must promise something at every
    layer. Layers whose weights are all zero drop out. Scores are finite and non-negative for any
    probabilities in [0, 1].
    """

    objective: Objective
    """Weights w_k, used inside the layers."""
    graph: Mapping[str, Sequence[str]]
    """{child: parents}, see `policies.target_graph`."""

    def __post_init__(self) -> None:
        """Check objective and graph."""
        require_section(self, "objective", Objective)
        TargetGraph.build(self.graph)

    def fuse(
        self, probabilities: NDArray[np.float32], targets: Sequence[str]
    ) -> NDArray[np.float32]:
        """Return prod_layers sum_k w_k p_k, float32 [N]; targets outside the graph are ignored."""
        weight = self.objective.weights()
        graph = TargetGraph.build(self.graph)
        column = {name: k for k, name in enumerate(targets)}
        score = np.ones(len(probabilities), np.float32)
        for layer in graph.layers():
            names = [graph.targets[i] for i in layer if graph.targets[i] in column]
            w = np.array([weight.get(name, 0.0) for name in names], np.float32)
            if w.any():
                score *= probabilities[:, [column[name] for name in names]] @ w
        return score
