"""Factorisations: how a network's logits make probabilities, and which rows they learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

_CERTAIN = -1e-7
"""Log-probabilities above count as this, so that their log-odds stay finite."""


class Factorisation(Protocol):
    """What the logits z [N, T] of a network stand for."""

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
class EntireSpace:
    """P(t_k | x) = prod over k and its ancestors of sigmoid(z_j), learnt from all impressions.

    No loss falls on a conditional probability by itself, so that it is not learnt from the rows
    alone on which its parents happened. Source: ESMM (arXiv 1804.07931, section 2.3), where
    pCTCVR = pCTR pCVR.
    """

    ancestors: tuple[tuple[int, ...], ...]
    """For every target, itself and all its ancestors, ascending."""

    def log_odds(self, z: Tensor) -> Tensor:
        """Return log p - log(1 - p) of the products, [N, T]."""
        return product_log_odds(z, self.ancestors)

    def space(self, labels: Tensor) -> Tensor | None:
        """Return None: every row is in every space."""
        return None

    def terms(self, z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the cross-entropy of each product; see `Factorisation`."""
        return _cross_entropy(self.log_odds(z), labels), None


@dataclass(frozen=True)
class Conditional:
    """sigmoid(z_k) = P(t_k = 1 | all parents of k happened, x), learnt from those rows alone.

    A target needs all its parents, so P(t | x) = prod_k P(t_k | parents, x) is a distribution over
    the patterns that the graph allows, and P(t_k = 1 | x) is the product over k and its ancestors:
    no child is more probable than its parent. Source: DBMTL (arXiv 1902.09154), whose likelihood is
    that of the conditionals.
    """

    ancestors: tuple[tuple[int, ...], ...]
    """For every target, itself and all its ancestors, ascending."""
    parents: tuple[tuple[int, ...], ...]
    """For every target, the positions of its parents."""

    def log_odds(self, z: Tensor) -> Tensor:
        """Return log p - log(1 - p) of the products, [N, T]."""
        return product_log_odds(z, self.ancestors)

    def space(self, labels: Tensor) -> Tensor:
        """Return where all parents of each target happened, [N, T].

        A parent with a label between 0 and 1 counts as happened where it is above 0.
        """
        happened = labels > 0.0
        space = [
            happened[:, list(of)].all(1) if of else happened.new_ones(len(labels))
            for of in self.parents
        ]
        return torch.stack(space, dim=1).float()

    def terms(self, z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the cross-entropy of each conditional where its parents happened."""
        return _cross_entropy(z, labels), self.space(labels)


def product_log_odds(z: Tensor, factors: Sequence[Sequence[int]]) -> Tensor:
    """Return the log-odds of p_k = prod over j in factors[k] of sigmoid(z_j), [N, T].

    The log-odds of a single factor are z itself.
    """
    log_p = functional.logsigmoid(z)
    columns: list[Tensor] = []
    for k, of in enumerate(factors):
        if tuple(of) == (k,):
            columns.append(z[:, k])
            continue
        columns.append(log_odds_of(log_p[:, list(of)].sum(1)))
    return torch.stack(columns, dim=1)


def log_odds_of(log_p: Tensor) -> Tensor:
    """Return log p - log(1 - p) for log p [...], finite also where log p reaches 0."""
    log_p = log_p.clamp(max=_CERTAIN)
    return log_p - torch.log(-torch.expm1(log_p))


def _cross_entropy(log_odds: Tensor, labels: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(log_odds, labels, reduction="none")
