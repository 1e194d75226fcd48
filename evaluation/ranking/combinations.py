"""Logarithms of binomial coefficients: of how many ways there are to draw, or to stand.

Logarithms of factorials carry rounding of 1e-11; who makes probabilities of them normalises.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln


def log_choose(n: NDArray[np.int64] | int, k: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """Return ln(n choose k), float64, of numbers that broadcast; 0 <= k <= n."""
    table = _log_factorials(int(np.max(n)))
    out: NDArray[np.float64] = table[n] - table[k] - table[np.subtract(n, k)]
    return out


@lru_cache(maxsize=1 << 10)
def _log_factorials(n: int) -> NDArray[np.float64]:
    return np.asarray(gammaln(np.arange(n + 1) + 1.0), dtype=np.float64)
