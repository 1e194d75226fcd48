"""The privileged policies: they rank by the true expected value, and so bound every policy.

The bound is myopic: it is the best order for the objective of one request, not of a whole session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from policies.contract import FitContext
from policies.rank import PolicyError
from sim.schema import Requests

if TYPE_CHECKING:
    from sim.log import Log
    from sim.truth import RequestTruth


class Oracle:
    """Scores by the world's own expected objective."""

    privileged = True

    def fit(self, log: Log, context: FitContext) -> Self:
        """Return self; there is nothing to learn."""
        return self

    def score(self, requests: Requests) -> NDArray[np.floating]:
        """Refuse: without the truth the oracle knows nothing.

        Raises:
            PolicyError: always.
        """
        name = type(self).__name__
        raise PolicyError(
            f"policy {name} is privileged: serve it in a world, or use score_with_truth"
        )

    def score_with_truth(self, requests: Requests, truth: RequestTruth) -> NDArray[np.floating]:
        """Return the expected objective of showing each candidate, [B, C], from the true state."""
        return truth.value()


class AntiOracle(Oracle):
    """Scores by the world's own expected objective with its sign changed: the worst order there is.

    With the oracle it brackets every policy, and as a logging policy it makes the hardest log.
    """

    def score_with_truth(self, requests: Requests, truth: RequestTruth) -> NDArray[np.floating]:
        """Return the negative expected objective of showing each candidate, [B, C]."""
        return -truth.value()
