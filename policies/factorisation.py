"""Factorisations: how a network's logits make probabilities, and which rows they learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from policies.target_graph import TargetGraph, TargetGraphError

_CERTAIN = -1e-7
"""Log-probabilities above count as this, so that their log-odds stay finite."""


_QUANTITIES = ("watch", "amount")
"""Targets that measure how much: their logit is no chance that something happens."""


class Factorisation(Protocol):
    """What the logits z [N, T] of a network stand for."""

    @property
    def ancestors(self) -> tuple[tuple[int, ...], ...]:
        """For every target, itself and all that it needs, ascending; empty where none needs any."""

    def log_odds(self, z: Tensor) -> Tensor:
        """Return the log-odds of the unconditional probabilities P(t_k | x), [N, T]."""

    def space(self, labels: Tensor) -> Tensor | None:
        """Return which rows are in which target's sample space, from their labels alone.

        Args:
            labels: float32 [N, T] in [0, 1].

        Returns:
            float32 [N, T], 1 where a row is in the space and 0 elsewhere, or None where every row
            is in every space.
        """

    def terms(self, z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return negative log-likelihoods and sample spaces.

        Args:
            z: logits [N, T].
            labels: float32 [N, T] in [0, 1].

        Returns:
            Terms [N, T]; the sample spaces as `space` returns them.
        """


@dataclass(frozen=True)
class Marginal:
    """P(t_k | x) = sigmoid(z_k), every target learnt from all impressions."""

    @property
    def ancestors(self) -> tuple[tuple[int, ...], ...]:
        """None: no target needs another."""
        return ()

    def log_odds(self, z: Tensor) -> Tensor:
        """Return z."""
        return z

    def space(self, labels: Tensor) -> Tensor | None:
        """Return None: every row is in every space."""
        return None

    def terms(self, z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the cross-entropy of each target; see `Factorisation`."""
        return _cross_entropy(z, labels), None


@dataclass(frozen=True)
class Nested:
    """P(t_k | x) = prod over k and its ancestors of sigmoid(z_j): a child needs all its parents.

    No child is more probable than its parent.
    """

    ancestors: tuple[tuple[int, ...], ...]
    """For every target, itself and all its ancestors, ascending."""

    def log_odds(self, z: Tensor) -> Tensor:
        """Return log p - log(1 - p) of the products, [N, T]."""
        return product_log_odds(z, self.ancestors)

    def factors(self, rates: Tensor) -> Tensor:
        """Return shares [T] whose products are `rates` [T]: where the heads begin.

        A head that began at its own base rate would begin with a product far below it.
        """
        shares = rates.clone()
        for k in sorted(range(len(rates)), key=lambda k: len(self.ancestors[k])):
            above = [j for j in self.ancestors[k] if j != k]
            shares[k] = (rates[k] / shares[above].prod().clamp(min=1e-12)).clamp(1e-6, 0.99)
        return shares


@dataclass(frozen=True)
class EntireSpace(Nested):
    """Products learnt from all impressions.

    No loss falls on a conditional probability by itself, so that it is not learnt from the rows
    alone on which its parents happened. Source: ESMM (arXiv 1804.07931, section 2.3), where
    pCTCVR = pCTR pCVR.
    """

    def space(self, labels: Tensor) -> Tensor | None:
        """Return None: every row is in every space."""
        return None

    def terms(self, z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the cross-entropy of each product; see `Factorisation`."""
        return _cross_entropy(self.log_odds(z), labels), None


@dataclass(frozen=True)
class Conditional(Nested):
    """sigmoid(z_k) = P(t_k = 1 | all parents of k happened, x), learnt from those rows alone.

    As a target needs all its parents, P(t | x) = prod_k P(t_k | parents, x) is a distribution over
    the patterns that the graph allows, and the terms of a row in its spaces add up to -log P(t | x)
    exactly. A row on which a target happened without its parents has probability 0 and adds nothing
    for that target: the graph must be true of the log. Source: DBMTL (arXiv 1902.09154), whose
    likelihood is that of the conditionals.
    """

    parents: tuple[tuple[int, ...], ...]
    """For every target, the positions of its parents."""

    def space(self, labels: Tensor) -> Tensor:
        """Return where all parents of each target happened, [N, T]."""
        happened = labels > 0.5
        space = [
            happened[:, list(of)].all(1) if of else happened.new_ones(len(labels))
            for of in self.parents
        ]
        return torch.stack(space, dim=1).float()

    def terms(self, z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the cross-entropy of each conditional where its parents happened."""
        return _cross_entropy(z, labels), self.space(labels)


def entire_space(needs: Mapping[str, Sequence[str]], targets: Sequence[str]) -> EntireSpace:
    """Return the factorisation in which children need their parents, learnt from all impressions.

    Args:
        needs: {child: parents} over some of the targets, acyclic; the others are roots.
        targets: in the order of the logits.

    Raises:
        TargetGraphError: see `event_graph`.
    """
    graph = event_graph(needs, targets)
    return EntireSpace(_placed(graph.ancestors(), graph, targets))


def conditional(needs: Mapping[str, Sequence[str]], targets: Sequence[str]) -> Conditional:
    """Return the factorisation in which children need their parents, learnt where they happened.

    Args:
        needs: {child: parents} over some of the targets, acyclic; the others are roots.
        targets: in the order of the logits.

    Raises:
        TargetGraphError: see `event_graph`.
    """
    graph = event_graph(needs, targets)
    return Conditional(
        _placed(graph.ancestors(), graph, targets), _placed(graph.parents, graph, targets)
    )


def event_graph(needs: Mapping[str, Sequence[str]], targets: Sequence[str]) -> TargetGraph:
    """Return the graph over all `targets` in which those outside `needs` are roots.

    {root: []} says that nothing needs anything.

    Raises:
        TargetGraphError: it is no graph, a name is not among the targets, or a target needs
            `watch` or `amount`, which are quantities and not events that happen or do not.
    """
    TargetGraph.build(needs, "needs")
    named = {*needs, *(parent for of in needs.values() for parent in of)}
    if strangers := sorted(named.difference(targets)):
        raise TargetGraphError(
            f"needs names {', '.join(strangers)}; allowed: the targets {', '.join(targets)}"
        )
    for child, of in needs.items():
        if quantities := [name for name in of if name in _QUANTITIES]:
            raise TargetGraphError(
                f"needs.{child} = {list(of)}; allowed: parents that happen or do not, "
                f"{quantities[0]} is a quantity"
            )
    return TargetGraph.build({**{name: [] for name in targets}, **needs})


def chains(factorisation: Factorisation, targets: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs (ancestor, descendant) with P(descendant | x) <= P(ancestor | x) always."""
    needed = enumerate(factorisation.ancestors)
    return tuple((targets[j], targets[k]) for k, of in needed for j in of if j != k)


def product_log_odds(z: Tensor, factors: Sequence[Sequence[int]]) -> Tensor:
    """Return the log-odds of p_k = prod over j in factors[k] of sigmoid(z_j), [N, T].

    Products are taken two at a time: where l are the log-odds of a product, those of its product
    with sigmoid(z) are -log(exp(-l) + exp(-z) + exp(-l - z)), which neither overflows nor loses
    digits, however sure the factors are. The log-odds of a single factor are z itself.
    """
    known: dict[tuple[int, ...], Tensor] = {}

    def odds(of: tuple[int, ...]) -> Tensor:
        if of not in known:
            last = z[:, of[-1]]
            known[of] = last if len(of) == 1 else _both(odds(of[:-1]), last)
        return known[of]

    return torch.stack([odds(tuple(of)) for of in factors], dim=1)


def _both(a: Tensor, b: Tensor) -> Tensor:
    """Return the log-odds that two independent events of log-odds a and b both happen."""
    return -torch.logaddexp(torch.logaddexp(-a, -b), -a - b)


def _placed(
    rows: Sequence[Sequence[int]], graph: TargetGraph, targets: Sequence[str]
) -> tuple[tuple[int, ...], ...]:
    """Return positions in `graph.targets`, one row each, as ascending positions in `targets`."""
    place = [targets.index(name) for name in graph.targets]
    moved = {place[k]: tuple(sorted(place[j] for j in of)) for k, of in enumerate(rows)}
    return tuple(moved[k] for k in range(len(targets)))


def log_odds_of(log_p: Tensor) -> Tensor:
    """Return log p - log(1 - p) for log p [...], finite also where log p reaches 0."""
    log_p = log_p.clamp(max=_CERTAIN)
    return log_p - torch.log(-torch.expm1(log_p))


def _cross_entropy(log_odds: Tensor, labels: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(log_odds, labels, reduction="none")
