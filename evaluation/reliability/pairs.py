"""Every two policies of a world: what each method says of them beside what is true.

The truth of a pair is the difference in expected value per user who comes, of twins of one world
under common random numbers, with the luck in outcomes integrated out (`evaluation.true_value`).

Frames, one world a (world, seed):

    scores   world, seed, policy, metric, source, slice, m, correction, estimate, low, high,
             draw_error; the true value has the source "truth" and the metric TRUTH
    pairs    world, seed, first, second, metric, source, slice, m, correction,
             gap               first less second, turned so that above 0 speaks for the first
             draw_error        standard deviation of the gap over draws of negatives, independent
                               for the two policies (with negatives in common it is smaller)
             decided           1 where the 95 % interval of the gap (paired by user; of a sampled
                               metric, of its expectation) excludes 0, else 0; NaN where it has none
             truth             relative lift of the first over the second in true value
             truth_low, truth_high   its 95 % interval, paired by user
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from evaluation.intervals import Estimate, difference, lift
from evaluation.leaderboard import goodness
from evaluation.reliability.methods import Method, Score

TRUTH = "value_per_user"

METHOD = ("metric", "source", "slice", "m", "correction")
"""Columns that name a method."""

CELL = ("world", "seed")
"""Columns that name a world."""


@dataclass(frozen=True)
class Cell:
    """One world: what every method says of every policy, and what they are worth."""

    world: str
    seed: int
    truth: Mapping[str, Estimate]
    """Expected value per user of each policy, paired by user."""
    scores: Mapping[str, Mapping[Method, Score]]
    """By policy."""


def score_frame(cell: Cell) -> pd.DataFrame:
    """Return the scores of a world; columns in the module."""
    rows = []
    for policy, own in cell.scores.items():
        true = Method(TRUTH, "truth")
        for method, score in ((true, Score(cell.truth[policy])), *own.items()):
            found = score.estimate.interval()
            rows.append(
                {
                    "world": cell.world,
                    "seed": cell.seed,
                    "policy": policy,
                    **asdict(method),
                    "estimate": found.estimate,
                    "low": found.low,
                    "high": found.high,
                    "draw_error": score.draw_error,
                }
            )
    return pd.DataFrame(rows)


def pair_frame(cell: Cell) -> pd.DataFrame:
    """Return the pairs of a world; columns in the module.

    A method that one of two policies lacks, or that is undefined for one, has no row.
    """
    rows = [
        row for first, second in combinations(cell.scores, 2) for row in _pair(cell, first, second)
    ]
    return pd.DataFrame(rows)


def _pair(cell: Cell, first: str, second: str) -> Iterator[dict[str, object]]:
    truth = lift(cell.truth[first], cell.truth[second]).interval()
    own, other = cell.scores[first], cell.scores[second]
    for method in (m for m in own if m in other):
        one, two = own[method], other[method]
        good = goodness(method.metric, pd.Series([one.estimate.value, two.estimate.value]))
        gap = float(good.iloc[0] - good.iloc[1])
        if np.isnan(gap):
            continue
        found = difference(one.estimate, two.estimate).interval()
        decided = float(found.low > 0.0 or found.high < 0.0)
        # which of two is nearer to 1 has no interval
        if np.isnan(found.low) or method.metric.startswith("pcoc"):
            decided = float("nan")
        yield {
            "world": cell.world,
            "seed": cell.seed,
            "first": first,
            "second": second,
            **asdict(method),
            "gap": gap,
            "draw_error": float(np.hypot(one.draw_error, two.draw_error)),
            "decided": decided,
            "truth": truth.estimate,
            "truth_low": truth.low,
            "truth_high": truth.high,
        }
