"""Ranking metrics by name, for one positive among n candidates: one value per query.

Gain at rank r in a list of n candidates:
    hr@k, recall@k   1[r <= k]
    precision@k      1[r <= k] / k                (over k also where the list is shorter)
    ndcg, ndcg@k     1[r <= k] / log2(r + 1)      (one positive: the ideal DCG is 1)
    mrr, mrr@k       1[r <= k] / r                (not cut off unless k is given)
    ap, ap@k         the same as mrr for one positive
    query_auc        (n - r) / (n - 1)            (undefined, NaN, for n = 1)

Requests with any number of positives: `evaluation.ranking.lists`. Ties: `evaluation.ranking.ranks`.

Source: Krichene & Rendle, "On Sampled Metrics for Item Recommendation", KDD 2020, table 1. Axis
letters: Q queries (one per positive).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from evaluation.ranking.ranks import MetricError, Ranks, tie_average

Base = Literal["hr", "recall", "precision", "ndcg", "mrr", "ap", "query_auc"]

_MUST_CUT = ("hr", "recall", "precision")
_MAY_CUT = (*_MUST_CUT, "ndcg", "mrr", "ap")


@dataclass(frozen=True)
class RankMetric:
    """A metric of where a request's positives rank.

    Raises:
        MetricError: `k` is missing, superfluous or below 1.
    """

    base: Base
    k: int | None = None
    """Cut-off; required for hr, recall and precision, absent for query_auc, else allowed."""

    def __post_init__(self) -> None:
        """Check base and cut-off."""
        if self.base not in get_args(Base):
            allowed = ", ".join(get_args(Base))
            raise MetricError(f"ranking metric {self.base!r} is unknown; allowed: {allowed}")
        if self.k is not None and (self.k < 1 or self.base not in _MAY_CUT):
            raise MetricError(
                f"cut-off {self.k} of {self.base!r}: at least 1, for {', '.join(_MAY_CUT)} only"
            )
        if self.k is None and self.base in _MUST_CUT:
            raise MetricError(f"{self.base} needs a cut-off k, as in {self.base}@10")

    @classmethod
    def parse(cls, name: str) -> RankMetric:
        """Return the metric called `name`, such as ``hr@10`` or ``mrr``.

        Raises:
            MetricError: the name is not understood.
        """
        parts = re.fullmatch(r"([a-z_]+)(?:@(\d+))?", name)
        if parts is None:
            raise MetricError(f"ranking metric {name!r} is not of the form NAME or NAME@K")
        cut = None if parts[2] is None else int(parts[2])
        return cls(parts[1], cut)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """Name in the results table."""
        return self.base if self.k is None else f"{self.base}@{self.k}"

    def gains(self, n: int) -> NDArray[np.float64]:
        """Return the value at each rank 1..n in a list of n candidates, float64 [n]."""
        rank = np.arange(1, n + 1, dtype=np.float64)
        match self.base:
            case "hr" | "recall":
                gain = np.ones(n)
            case "precision":
                gain = np.full(n, 1.0 / (self.k or 1))
            case "ndcg":
                gain = 1.0 / np.log2(rank + 1.0)
            case "mrr" | "ap":
                gain = 1.0 / rank
            case "query_auc":
                gain = (n - rank) / (n - 1) if n > 1 else np.full(n, np.nan)
        if self.k is not None:
            gain[self.k :] = 0.0
        return gain

    def values(self, ranks: Ranks) -> NDArray[np.float64]:
        """Return the metric of each query, float64 [Q]; NaN where it is undefined."""
        if self.base == "query_auc":
            n = ranks.candidates.astype(np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(n > 1.0, (n - ranks.expected) / (n - 1.0), np.nan)
        longest = int(ranks.candidates.max(initial=1))
        return tie_average(self.gains(longest), ranks)
