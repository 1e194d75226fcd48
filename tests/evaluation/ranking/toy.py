"""The toy table of Krichene & Rendle (KDD 2020): three recommenders among n = 10,000 items."""

from __future__ import annotations

import numpy as np

from evaluation.ranking.ranks import Ranks

N, M = 10_000, 99
TOY = {
    "A": [100] * 5,
    "B": [40, 40, 8437, 9266, 4482],
    "C": [212, 2, 743, 5342, 1548],
}


def toy(name: str, copies: int = 1) -> Ranks:
    """The five ranks of a recommender, each `copies` times."""
    return Ranks.untied(np.repeat(TOY[name], copies), N)
