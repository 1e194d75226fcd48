"""What has happened but is not known yet: stays under way, and purchases not yet reported."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sim.merging import in_order
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
        self._parts: list[tuple[Impressions, ...]] = [(unknown,)]
        """Tick by tick what the shards showed."""
        self._n_old, self._now_s = 0, -np.inf

    def add(self, outcomes: Sequence[TickOutcome]) -> None:
        """Add what a tick led to, shard by shard."""
        self._parts.append(tuple(outcome.impressions for outcome in outcomes))
        bought = [outcome.purchases for outcome in outcomes]
        bought = [part.take(np.isfinite(part.known_s)) for part in bought]
        if any(map(len, bought)):
            self.pending = by_report(Purchases.concat([self.pending, *bought]))

    def learn(self, now_s: float) -> tuple[Impressions | None, Purchases]:
        """Remove what is known at `now_s`.

        Returns:
            Impressions that became complete, None where nobody wants to know; purchases.
        """
        known: Impressions | None = None
        self._n_old, self._now_s = len(self._parts), now_s
        if self.observed:
            rows = Impressions.concat([in_order(tick) for tick in self._parts])
            complete = rows.known_s <= now_s
            known, self._parts = rows.take(complete), [(rows.take(~complete),)]
            self._n_old = 0
        due = self.pending.known_s <= now_s
        bought, self.pending = self.pending.take(due), self.pending.take(~due)
        return known, bought

    @property
    def unknown(self) -> Impressions:
        """Impressions that were not complete at the last call of `learn`, and those added since."""
        old, new = self._parts[: self._n_old], self._parts[self._n_old :]
        late = [[part.take(part.known_s > self._now_s) for part in tick] for tick in old]
        left = Impressions.concat([in_order(tick) for tick in [*late, *new]])
        self._parts, self._n_old = [(left,)], 0
        return left
