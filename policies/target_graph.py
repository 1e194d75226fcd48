"""Target graphs: which target depends on which, as a validated and sorted acyclic graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from policies.auxiliary import LABELS
from sim.config import ConfigError


class TargetGraphError(ConfigError):
    """A target graph is not usable; the message names the target and what is allowed."""


@dataclass(frozen=True)
class TargetGraph:
    """An acyclic graph over targets; P(t | x) = prod_k P(t_k | parents of k, x).

    Source: DBMTL (arXiv 1902.09154); "any acyclic graph" as the talk's causal graph of targets.
    """

    targets: tuple[str, ...]
    """Targets in an order in which parents come before children."""
    parents: tuple[tuple[int, ...], ...]
    """For every target, the positions of its parents in `targets`."""

    @classmethod
    def build(cls, parents: Mapping[str, Sequence[str]], field: str = "graph") -> TargetGraph:
        """Validate and sort a mapping {child: parents}.

        Targets that appear only as parents are roots. Ties are broken by the order of
        `policies.auxiliary.LABELS`, so that the result does not depend on the order of the mapping.
        Errors call the mapping `field`.

        Raises:
            TargetGraphError: the mapping is empty, a name is unknown or repeated, or there is a
                cycle (which the message spells out).
        """
        if not isinstance(parents, Mapping) or not parents:
            raise TargetGraphError(
                f"{field} = {parents!r}; allowed: {{target: [parents]}} with at least one target"
            )
        for child, of in parents.items():
            if not isinstance(of, list | tuple):
                raise TargetGraphError(f"{field}.{child} = {of!r}; allowed: a list of targets")
        named = {child: list(of) for child, of in parents.items()}
        for child, of in named.items():
            for name in (child, *of):
                if name not in LABELS:
                    raise TargetGraphError(
                        f"{field}: target {name!r} is unknown; allowed: {', '.join(LABELS)}"
                    )
            if len(set(of)) != len(of):
                raise TargetGraphError(f"{field}.{child} = {of}; allowed: each parent at most once")
        everyone = sorted({*named, *(p for of in named.values() for p in of)}, key=LABELS.index)
        sorter = TopologicalSorter({name: named.get(name, []) for name in everyone})
        try:
            sorter.prepare()
        except CycleError as error:
            cycle = " -> ".join(error.args[1])
            raise TargetGraphError(
                f"{field} has the cycle {cycle}; allowed: graphs without cycles"
            ) from error
        order: list[str] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready(), key=LABELS.index)
            order.extend(ready)
            sorter.done(*ready)
        position = {name: i for i, name in enumerate(order)}
        return cls(
            targets=tuple(order),
            parents=tuple(tuple(position[p] for p in named.get(name, [])) for name in order),
        )

    def order(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Return the graph's targets in their order.

        Raises:
            TargetGraphError: `targets` are not those of the graph.
        """
        if set(targets) != set(self.targets):
            raise TargetGraphError(
                f"target_weights has {', '.join(targets)}; allowed: one weight for each target of "
                f"the graph, {', '.join(self.targets)}"
            )
        return self.targets

    def ancestors(self) -> tuple[tuple[int, ...], ...]:
        """Return, for every target, the positions of itself and of all its ancestors, ascending."""
        closed: list[set[int]] = []
        for k, of in enumerate(self.parents):
            closed.append({k}.union(*(closed[p] for p in of)))
        return tuple(tuple(sorted(one)) for one in closed)

    def layers(self) -> tuple[tuple[int, ...], ...]:
        """Return positions of targets by depth: layer 0 are the roots, a child is one below."""
        depth: list[int] = []
        for of in self.parents:
            depth.append(1 + max((depth[p] for p in of), default=-1))
        return tuple(
            tuple(i for i, d in enumerate(depth) if d == level) for level in range(max(depth) + 1)
        )
