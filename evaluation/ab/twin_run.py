"""What a ranker left behind after serving a twin of the world, ready to be added up by any unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluation.online import UserTotals, user_totals
from sim.config import Objective
from sim.ranker import Ranker
from sim.schema import Impressions, Purchases
from sim.truth import TruthRows
from sim.world import World


@dataclass(frozen=True)
class TwinRun:
    """Impressions of some days, their truth, and what they led to."""

    shown: Impressions
    truth: TruthRows
    bought: Purchases
    """Purchases that became known in these days."""
    ever: Purchases
    """All purchases that the impressions lead to, known or not."""
    objective: Objective
    n_users: int

    def totals(self, ultimate: bool = False) -> UserTotals:
        """Return sums per user, with purchases known by the end or all that ever come."""
        bought = self.ever if ultimate else self.bought
        return user_totals(self.shown, bought, self.objective, self.n_users)

    def totals_by(
        self, unit: NDArray[np.integer], units: int, ultimate: bool = False
    ) -> UserTotals:
        """Return sums per unit, in place of users.

        Args:
            unit: of each impression [N], in [0, units); -1 leaves it out. A request has one unit.
            units: number of units.
            ultimate: as in `totals`.
        """
        kept = np.flatnonzero(unit >= 0)
        shown = replace(self.shown.take(kept), user_id=unit[kept].astype(np.int32))
        bought = self.ever if ultimate else self.bought
        order = np.argsort(shown.request_id, kind="stable")
        ids = shown.request_id[order]
        own = bought.take(np.isin(bought.request_id, ids))
        at = order[np.searchsorted(ids, own.request_id)] if len(own) else np.zeros(0, np.int64)
        own = replace(own, user_id=shown.user_id[at])
        return user_totals(shown, own, self.objective, units)

    def until(self, end_s: float) -> TwinRun:
        """Return what an end at `end_s` would have left: earlier sessions, and what they led to."""
        kept = self.shown.session_start_s < end_s
        return replace(
            self,
            shown=self.shown.take(kept),
            truth=self.truth.take(kept),
            bought=self.bought.take(self.bought.known_s <= end_s),
        )

    def credit(self, target: str) -> NDArray[np.float64]:
        """Return a target of each impression [N]; of purchases those that ever come."""
        if target == "purchase":
            return self.truth.will_purchase.astype(np.float64)
        return self.shown.target(target).astype(np.float64)


def serve(
    ranker: Ranker, world: World, days: int, on_day: Callable[[int], None] | None = None
) -> TwinRun:
    """Let a ranker serve a twin of the world.

    Args:
        ranker: alone in this; policies that learn are altered.
        world: gives config, seed and state; not altered.
        days: to serve, at least 1.
        on_day: called with the number of finished days after each.
    """
    records = []
    for record in world.fork().run(ranker, days):
        records.append(record)
        if on_day is not None:
            on_day(len(records))
    return TwinRun(
        Impressions.concat([r.impressions for r in records]),
        TruthRows.concat([r.truth for r in records]),
        Purchases.concat([r.purchases for r in records]),
        Purchases.concat([r.ultimate for r in records]),
        world.config.objective,
        records[-1].catalogue.n_users,
    )
