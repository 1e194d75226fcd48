"""Inverted probabilities: how often a target is predicted above what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.target_graph import TargetGraph
from sim.config import ConfigError


@dataclass(frozen=True)
class InversionRate:
    """Of one edge of a target graph."""

    parent: str
    child: str
    rate: float
    """Share of candidates with p_child > p_parent; NaN where there are no candidates."""


def inversion_rates(
    predicted: Mapping[str, NDArray[np.floating]], mask: NDArray[np.bool_], graph: TargetGraph
) -> tuple[InversionRate, ...]:
    """Return the inversion rate of each edge, by child and parent in the order of the graph.

    A soft factorisation, such as that of DBMTL (arXiv 1902.09154), does not rule inversions out.
    They are faults only where the child cannot happen without its parent.

    Args:
        predicted: {target: probabilities [B, C]}, as `policies.contract.Probabilistic.predict`.
        mask: bool [B, C], which candidates count.
        graph: whose edges to look at; its targets must be predicted.

    Raises:
        ConfigError: a target of the graph is not predicted.
    """
    if lacking := [name for name in graph.targets if name not in predicted]:
        raise ConfigError(
            f"graph has {', '.join(lacking)}; allowed: predicted targets, {', '.join(predicted)}"
        )
    p = {name: np.asarray(predicted[name])[mask] for name in graph.targets}
    return tuple(
        InversionRate(
            parent=graph.targets[j],
            child=name,
            rate=float(np.mean(p[name] > p[graph.targets[j]])) if mask.any() else float("nan"),
        )
        for name, of in zip(graph.targets, graph.parents, strict=True)
        for j in of
    )
