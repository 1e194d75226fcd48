"""What has happened but is not known yet: stays under way, and purchases not yet reported."""

from __future__ import annotations

import numpy as np

from sim.outcome import TickOutcome, by_report
from sim.schema import Impressions, Purchases


class Backlog:
    """Rows that the platform will learn of, in the order in which they arose.

    Args:
        unknown: impressions whose feedback is not complete.
        pending: purchases of which nobody was told.
        observed: whether somebody wants to know; if not, no rows are sorted out before the end.
    """

    def __init__(self, unknown: Impressions, pending: Purchases, observed: bool) -> None:
        self.observed = observed
        self.pending = pending
        self._parts = [unknown]
        self._n_old, self._now_s = 0, -np.inf

    def add(self, outcome: TickOutcome) -> None:
        """Add what a tick led to."""
        self._parts.append(outcome.impressions)
        bought = outcome.purchases.take(np.isfinite(outcome.purchases.known_s))
        if len(bought):
            self.pending = by_report(Purchases.concat([self.pending, bought]))

    def learn(self, now_s: float) -> tuple[Impressions | None, Purchases]:
        """Remove what is known at `now_s`.

        Returns:
            Impressions that became complete, None where nobody wants to know; purchases.
        """
        known: Impressions | None = None
        self._n_old, self._now_s = len(self._parts), now_s
        if self.observed:
            rows = Impressions.concat(self._parts)
            complete = rows.known_s <= now_s
            known, self._parts = rows.take(complete), [rows.take(~complete)]
            self._n_old = 0
        due = self.pending.known_s <= now_s
        bought, self.pending = self.pending.take(due), self.pending.take(~due)
        return known, bought

    @property
    def unknown(self) -> Impressions:
        """Impressions that were not complete at the last call of `learn`, and those added since."""
        old, new = self._parts[: self._n_old], self._parts[self._n_old :]
        left = [rows.take(rows.known_s > self._now_s) for rows in old]
        self._parts, self._n_old = [Impressions.concat([*left, *new])], 0
        return self._parts[0]
