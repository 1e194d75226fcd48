"""Quantities: what the logit of a target stands for that is an amount rather than an event.

Labels are shares y in [0, 1] of a cap, and the policy predicts the expected share E[y | x],
whatever was learnt: so predictions of all losses can be compared, judged and fused alike. Without
a quantity a share is learnt as a probability is, by cross-entropy with log-odds z, whose minimiser
is the mean of the label (Papke & Wooldridge 1996, fractional logit).

    quantity          loss of a row                                    E[y given x]
    none              cross-entropy of y and sigmoid(z)                sigmoid(z)
    LogSeconds        (z - log(1 + T))^2 / 2                           (c exp(z) - 1) / cap
    WeightedLogistic  (T / unit) softplus(-z) + [negative] softplus(z) exp(z) unit / cap
    GammaHurdle       y exp(-z) - 1 - log(y exp(-z)), where y > 0      P(given) exp(z)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from policies.auxiliary import AMOUNT_CAP_CNY, LABELS
from policies.columns import LabelStatistics
from policies.factorisation import Factorisation, log_odds_of
from sim.config import require, require_one_of
from sim.schema import EFFECTIVE_VIEW_S, WATCH_CAP_S

LEAST_SHARE = 1e-9
"""Expected shares count as at least this, so that their log-odds are finite."""


class Quantity(ABC):
    """Loss and meaning of one target's logit z; a subclass is a frozen dataclass."""

    target: ClassVar[str]
    """The one name of `policies.auxiliary.LABELS` that it is made for."""
    given: ClassVar[str | None] = None
    """Target without which the quantity is 0; the logit then speaks of rows where it happened."""
    smeared: ClassVar[bool] = False
    """Whether exp(z) must be scaled, once the network is trained, to have the mean of 1 + T."""

    @abstractmethod
    def loss(self, z: Tensor, y: Tensor) -> Tensor:
        """Return the losses [N] of logits [N] at labels float32 [N] in [0, 1]."""

    @abstractmethod
    def log_share(self, z: Tensor) -> Tensor:
        """Return log E[y | x] [N], given that `given` happened if there is one."""

    @abstractmethod
    def start(self, labels: LabelStatistics) -> float:
        """Return the logit that is best for all rows alike, where the heads begin."""

    def space(self, y: Tensor) -> Tensor | None:
        """Return which rows the logit learns from, bool [N]; None: all."""
        return None

    def _mean(self, labels: LabelStatistics) -> float:
        """Return the mean label, above 0."""
        return max(float(labels.mean[LABELS.index(self.target)]), LEAST_SHARE)


@dataclass(frozen=True)
class LogSeconds(Quantity):
    """z is the expected log(1 + watch seconds), by least squares over all impressions.

    exp(z) is a geometric mean and says too little of the seconds: once trained, it is scaled by
    c = sum of (1 + T) / sum of exp(z) over the training rows, a smearing factor (Duan 1983, JASA
    78), so that predictions have the mean of the labels. What c cannot mend: one factor holds for
    all rows, so pairs with more spread than others are still underrated.
    """

    target = "watch"
    smeared = True

    def loss(self, z: Tensor, y: Tensor) -> Tensor:
        """Return half the squared error on log(1 + seconds)."""
        return 0.5 * (z - torch.log1p(WATCH_CAP_S * y)).square()

    def log_share(self, z: Tensor) -> Tensor:
        """Return log((exp(z) - 1) / cap); z with the log of the smearing factor added."""
        return torch.log((torch.expm1(z) / WATCH_CAP_S).clamp(min=LEAST_SHARE))

    def start(self, labels: LabelStatistics) -> float:
        """Return the mean of log(1 + T)."""
        return float(labels.log_seconds)


@dataclass(frozen=True)
class WeightedLogistic(Quantity):
    """Logistic regression whose positives weigh their watch time; its odds are watch time.

    Source: Covington, Adams & Sargin (RecSys 2016, section 4.2). There a row is either a positive
    of weight T or a negative of weight 1 (`negatives: others`), so the odds are the positives' part
    of E[T] over P(negative): close to E[T] while positives are rare, and above it by 1 / (1 - p)
    where they are not. With
    `negatives: all` every row is a negative of weight 1 as well, and the odds are E[T] exactly.
    """

    unit_s: float
    """Seconds of watching that weigh as much as one negative."""
    negatives: str
    """`others`: rows that are no effective view; `all`: every row."""

    target = "watch"

    def __post_init__(self) -> None:
        """Check the fields."""
        require(self, "unit_s", 1e-3, 1e6)
        require_one_of(self, "negatives", ("others", "all"))

    def loss(self, z: Tensor, y: Tensor) -> Tensor:
        """Return the weighted cross-entropy; see the class."""
        weight = y * (WATCH_CAP_S / self.unit_s)
        if self.negatives == "all":
            return weight * functional.softplus(-z) + functional.softplus(z)
        positive = y >= EFFECTIVE_VIEW_S / WATCH_CAP_S
        return torch.where(positive, weight * functional.softplus(-z), functional.softplus(z))

    def log_share(self, z: Tensor) -> Tensor:
        """Return log(odds x unit / cap)."""
        return z + torch.log(torch.tensor(self.unit_s / WATCH_CAP_S))

    def start(self, labels: LabelStatistics) -> float:
        """Return the log of E[T] / unit over the share of negatives.

        With `negatives: others` slightly above the best: E[T] holds what the negatives watched.
        """
        negative = 1.0
        if self.negatives == "others":
            negative = max(1.0 - float(labels.effective), LEAST_SHARE)
        return math.log(self._mean(labels) * WATCH_CAP_S / self.unit_s / negative)


@dataclass(frozen=True)
class GammaHurdle(Quantity):
    """exp(z) is the expected amount where something was bought, learnt from those rows alone.

    The loss is half the unit deviance of a gamma distribution with a log link (McCullagh & Nelder
    1989, chapter 8): its spread grows with its mean, as that of prices does, and its minimiser is
    the mean itself, while least squares on log CNY would need a correction for their spread. Times
    P(purchase) it is the expected amount of an impression.
    """

    target = "amount"
    given = "purchase"

    def loss(self, z: Tensor, y: Tensor) -> Tensor:
        """Return y exp(-z) - 1 - log(y exp(-z)) of amounts above 0, never negative."""
        log_ratio = torch.log(y.clamp(min=LEAST_SHARE)) - z
        return torch.expm1(log_ratio) - log_ratio

    def log_share(self, z: Tensor) -> Tensor:
        """Return z."""
        return z

    def start(self, labels: LabelStatistics) -> float:
        """Return the log of the mean amount of who buys; where nobody did, of one CNY."""
        buyers = float(labels.positive[LABELS.index(self.target)])
        return math.log(self._mean(labels) / buyers if buyers else 1.0 / AMOUNT_CAP_CNY)

    def space(self, y: Tensor) -> Tensor:
        """Return where something was bought, as far as known."""
        return y > 0.0


@dataclass(frozen=True)
class Quantified:
    """A factorisation of which some logits stand for quantities; see `Factorisation`."""

    base: Factorisation
    """Says what the other logits stand for."""
    quantities: tuple[tuple[int, Quantity, int | None], ...]
    """Column of the target, its quantity, and the column of what it is given; no other target's
    probability may use the column as a factor."""

    @property
    def ancestors(self) -> tuple[tuple[int, ...], ...]:
        """Those of the base."""
        return self.base.ancestors

    def log_odds(self, z: Tensor) -> Tensor:
        """Return the log-odds of probabilities and expected shares, [N, T]."""
        columns = list(self.base.log_odds(z).unbind(1))
        for k, quantity, given in self.quantities:
            log_share = quantity.log_share(z[:, k])
            if given is not None:
                log_share = log_share + functional.logsigmoid(columns[given])
            columns[k] = log_odds_of(log_share)
        return torch.stack(columns, dim=1)

    def space(self, labels: Tensor) -> Tensor | None:
        """Return the base's sample spaces, with those of quantities in their columns."""
        space = self.base.space(labels)
        own = {k: quantity.space(labels[:, k]) for k, quantity, _ in self.quantities}
        if space is None and all(rows is None for rows in own.values()):
            return None
        columns = list((torch.ones_like(labels) if space is None else space).unbind(1))
        for k, rows in own.items():
            columns[k] = torch.ones_like(labels[:, k]) if rows is None else rows.to(labels.dtype)
        return torch.stack(columns, dim=1)

    def terms(self, z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the base's terms, with the losses of quantities in their columns."""
        columns = list(self.base.terms(z, labels)[0].unbind(1))
        for k, quantity, _ in self.quantities:
            columns[k] = quantity.loss(z[:, k], labels[:, k])
        return torch.stack(columns, dim=1), self.space(labels)
