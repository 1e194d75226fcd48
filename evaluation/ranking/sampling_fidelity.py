"""How close sampled and corrected metrics come to full ones: in value, and in order of policies.

The full ranks of every policy are known, so nothing has to be assumed: what a sampled metric
reports has an exact expectation and variance for each query, hence for the mean over queries.

    value    error of policy a: bias_a = E[reported_a] - full_a, and sd_a from the draw of negatives
    order    share of pairs of policies, unequal in full, that one draw puts in the right order

`expected_fidelity` takes the exact moments, with negatives drawn independently for each policy and
the mean over queries as normal; `drawn_fidelity` takes repeated draws, in which policies share
their negatives. With the truth at hand, the correction, its gamma and the number of negatives can
be chosen (`best_correction`, `negatives_needed`); a study without it has to guess them.

Sources: Krichene & Rendle, KDD 2020, sections 4 and 6 (order, choice of gamma); the terms fidelity
and resolution: Pereira, Said, Santos, RecSys 2025. Axis letters: A policies, Q queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from evaluation.agreement import agreement
from evaluation.ranking.corrections import RAW, Correction, blind, expected_corrected
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import MetricError, Ranks

By = Literal["value", "order"]


@dataclass(frozen=True)
class SamplingFidelity:
    """How one way to sample and correct a metric fares on a set of policies."""

    policies: tuple[str, ...]
    full: NDArray[np.float64]
    """[A] metric against all candidates, mean over queries."""
    reported: NDArray[np.float64]
    """[A] what is reported, in expectation over the draw of negatives."""
    spread: NDArray[np.float64]
    """[A] its standard deviation over the draw of negatives."""
    right_order: float
    """Share in [0, 1] of pairs unequal in full that one draw puts in the right order, equal reports
    counting one half; NaN without such pairs."""
    blind: bool
    """Whether the cut-off lies in the blind spot of the number of negatives."""

    @property
    def bias(self) -> NDArray[np.float64]:
        """Reported less full [A]."""
        return self.reported - self.full

    @property
    def error(self) -> float:
        """Root mean square over policies of bias and spread together."""
        return float(np.sqrt(np.mean(self.bias**2 + self.spread**2)))

    @property
    def tau(self) -> float:
        """Kendall's tau-b of the expected reports with the full metric; NaN where one is flat."""
        return agreement(self.full, self.reported)[0]

    @property
    def order(self) -> tuple[str, ...]:
        """Policies, best expected report first; equal ones in the order given."""
        return tuple(self.policies[i] for i in np.argsort(-self.reported, kind="stable"))


def expected_fidelity(
    correction: Correction,
    metric: RankMetric,
    ranks: Mapping[str, Ranks],
    m: int,
    *,
    replacement: bool = False,
) -> SamplingFidelity:
    """Return the exact fidelity of a corrected sampled metric, for negatives drawn per policy.

    Args:
        correction: the correction, RAW for none.
        metric: the metric of the full list.
        ranks: policy -> full ranks of the same queries [Q]; at least 1 query.
        m: negatives.
        replacement: whether they are drawn with replacement.

    Raises:
        MetricError: there are no policies or queries, their numbers differ, the metric is defined
            for no query of a policy, or `m` is below 1.
    """
    n = _longest(ranks)
    full, reported, spread = (np.empty(len(ranks)) for _ in range(3))
    for at, (name, own) in enumerate(ranks.items()):
        mean, variance = expected_corrected(correction, metric, own, m, replacement=replacement)
        judged = _judged(name, metric, mean)
        full[at] = metric.values(own)[judged].mean()
        reported[at] = mean[judged].mean()
        spread[at] = np.sqrt(variance[judged].sum()) / len(judged)
    first, second = np.triu_indices(len(full), 1)
    truth = np.sign(full[first] - full[second])
    gap = (reported[first] - reported[second]) * truth
    width = np.hypot(spread[first], spread[second])
    with np.errstate(divide="ignore", invalid="ignore"):
        right = np.where(width > 0.0, ndtr(gap / width), 0.5 * (1.0 + np.sign(gap)))
    share = float(right[truth != 0].mean()) if (truth != 0).any() else float("nan")
    return SamplingFidelity(tuple(ranks), full, reported, spread, share, blind(metric, n, m))


def drawn_fidelity(
    policies: Sequence[str],
    full: NDArray[np.floating],
    drawn: NDArray[np.floating],
    *,
    in_blind_spot: bool = False,
) -> SamplingFidelity:
    """Return the fidelity that repeated draws show, policies sharing their negatives.

    Args:
        policies: names [A].
        full: [A] metric against all candidates.
        drawn: [repeats, A] what each draw reports; at least 2 repeats.
        in_blind_spot: see `corrections.blind`.

    Raises:
        MetricError: shapes differ, or there are fewer than 2 repeats.
    """
    fits = drawn.ndim == 2 and len(drawn) > 1 and drawn.shape[1] == len(full) == len(policies)
    if not fits:
        raise MetricError(
            f"drawn has shape {drawn.shape}; expected [repeats, A] with at least 2 repeats of "
            f"A = {len(policies)} policies"
        )
    first, second = np.triu_indices(len(full), 1)
    truth = np.sign(full[first] - full[second])
    gap = np.sign(drawn[:, first] - drawn[:, second]) * truth
    right = 0.5 * (1.0 + gap[:, truth != 0])
    return SamplingFidelity(
        tuple(policies),
        np.asarray(full, np.float64),
        drawn.mean(axis=0),
        drawn.std(axis=0, ddof=1),
        float(right.mean()) if right.size else float("nan"),
        in_blind_spot,
    )


def best_correction(
    metric: RankMetric,
    ranks: Mapping[str, Ranks],
    m: int,
    corrections: Sequence[Correction],
    *,
    by: By = "order",
    replacement: bool = False,
) -> tuple[Correction, SamplingFidelity]:
    """Return the correction that serves these policies best, chosen by the truth.

    Args:
        metric: the metric of the full list.
        ranks: policy -> full ranks of the same queries [Q].
        m: negatives.
        corrections: those to choose from, such as bv with several gammas; at least one.
        by: "order" for the largest share of pairs in the right order, "value" for the least error;
            the other one decides between equals, then the order given.
        replacement: whether negatives are drawn with replacement.

    Raises:
        MetricError: there is nothing to choose from, or the input is refused.
    """
    if not corrections:
        raise MetricError("corrections is empty; at least one to choose from")
    found = [
        (c, expected_fidelity(c, metric, ranks, m, replacement=replacement)) for c in corrections
    ]

    def badness(entry: tuple[Correction, SamplingFidelity]) -> tuple[float, float]:
        wrong, error = 1.0 - entry[1].right_order, entry[1].error
        return (wrong, error) if by == "order" and not np.isnan(wrong) else (error, wrong)

    return min(found, key=badness)


def negatives_needed(
    correction: Correction,
    metric: RankMetric,
    ranks: Mapping[str, Ranks],
    numbers: Sequence[int],
    *,
    right_order: float = 0.95,
    replacement: bool = False,
) -> int | None:
    """Return the least number of negatives from which on the order of policies can be relied on.

    Args:
        correction: the correction, RAW for none.
        metric: the metric of the full list.
        ranks: policy -> full ranks of the same queries [Q].
        numbers: numbers of negatives to try.
        right_order: least share of pairs that a draw must put in the right order, in (0, 1].
        replacement: whether negatives are drawn with replacement.

    Returns:
        The least number at which, and at every larger one tried, the share is reached; None where
        the largest does not reach it. (Orders turn more than once as the number grows.)

    Raises:
        MetricError: `right_order` is outside (0, 1], or the input is refused.
    """
    if not 0.0 < right_order <= 1.0:
        raise MetricError(f"right_order is {right_order}; it must lie in (0, 1]")
    least = None
    for m in sorted(set(numbers), reverse=True):
        found = expected_fidelity(correction, metric, ranks, m, replacement=replacement)
        if not found.right_order >= right_order:
            break
        least = m
    return least


def orders(
    metric: RankMetric,
    ranks: Mapping[str, Ranks],
    numbers: Sequence[int],
    *,
    replacement: bool = False,
) -> list[tuple[int, tuple[str, ...]]]:
    """Return where the expected order of policies turns as the number of negatives grows.

    Args:
        metric: the sampled metric, uncorrected.
        ranks: policy -> full ranks of the same queries [Q].
        numbers: numbers of negatives, ascending.
        replacement: whether they are drawn with replacement.

    Returns:
        (number, policies best first) at the first number and at each that changes the order.

    Raises:
        MetricError: as for `expected_fidelity`.
    """
    turns: list[tuple[int, tuple[str, ...]]] = []
    _longest(ranks)
    names = tuple(ranks)
    for m in numbers:
        reported = np.empty(len(ranks))
        for at, (name, own) in enumerate(ranks.items()):
            mean, _ = expected_corrected(RAW, metric, own, m, replacement=replacement)
            reported[at] = mean[_judged(name, metric, mean)].mean()
        order = tuple(names[i] for i in np.argsort(-reported, kind="stable"))
        if not turns or turns[-1][1] != order:
            turns.append((m, order))
    return turns


def _judged(name: str, metric: RankMetric, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the queries [..] that have a value [Q]; refuse none, whose mean would be a guess."""
    judged = np.flatnonzero(~np.isnan(values))
    if not len(judged):
        raise MetricError(
            f"{metric.name} is defined for none of the {len(values)} queries of {name!r}; "
            "at least 1 is needed"
        )
    return judged


def _longest(ranks: Mapping[str, Ranks]) -> int:
    sizes = {name: len(own) for name, own in ranks.items()}
    if not sizes or min(sizes.values()) == 0 or len(set(sizes.values())) > 1:
        raise MetricError(f"queries by policy are {sizes}; each policy needs the same, at least 1")
    return max(int(own.candidates.max()) for own in ranks.values())
