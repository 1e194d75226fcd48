"""A finished day, and how it is put together from what the shards hand back tick by tick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sim.columns import places
from sim.events import Revisits
from sim.memory import Stays
from sim.outcome import TickOutcome
from sim.relations import Relations
from sim.schedule import DaySupply
from sim.schema import Catalogue, Follows, Impressions, Purchases, Refunds
from sim.shard import Part
from sim.truth import TruthRows

R = TypeVar("R", Impressions, TruthRows)


@dataclass(frozen=True)
class DayRecord:
    """One finished day."""

    day: int
    ticks: tuple[TickOutcome, ...]
    """What was shown tick by tick, with all that comes of it, now or later; `impressions` and
    `truth` stack it when they are first asked for."""
    n_impressions: int
    """How many there are."""
    files: Mapping[str, pa.Buffer] | None
    """The day's files by part, where the shards made them: then no truth is in `ticks`, and no
    impressions but for a ranker that observes. They may
    lie in memory that is written over when two days more have been run."""
    purchases: Purchases
    """Purchases that became known on this day, whenever they happened."""
    refunds: Refunds
    """Refunds that became known on this day."""
    revisits: Revisits
    """Visits after a stay that happened on this day."""
    ultimate: Purchases
    """All purchases that the day's sessions lead to, whenever they happen, by request, streamer
    and ordinal; `known_s` is infinite where nobody ever learns of it. True, not observed."""
    follows: Follows
    """Follows of the day's sessions; of day 0 also those from before."""
    on_air: DaySupply
    catalogue: Catalogue

    @cached_property
    def impressions(self) -> Impressions:
        """What was shown on the day."""
        return Impressions.concat([Impressions.empty(), *(t.impressions for t in self.ticks)])

    @cached_property
    def truth(self) -> TruthRows:
        """The true side of the impressions, in their order."""
        return TruthRows.concat([TruthRows.empty(), *(t.truth for t in self.ticks)])


class Harvest:
    """What the shards hand back during a day.

    Args:
        follows: known before the first tick.
    """

    def __init__(self, follows: Follows) -> None:
        self.ticks: list[TickOutcome] = []
        self.n_impressions = 0
        self._stays = [Stays.empty()]
        self._follows = [follows]
        self._visitors = [np.zeros(0, np.int32)]
        self._bonds: list[Relations] = []

    def add(self, parts: Sequence[Part]) -> TickOutcome:
        """Add what each shard did in a tick; return what all did."""
        outcome = _outcome([part.outcome for part in parts])
        self.ticks.append(outcome)
        self.n_impressions += sum(part.n_impressions for part in parts)
        # copies: the parts may lie in memory that is written over
        self._visitors.append(np.concatenate([part.visitors for part in parts]))
        self._stays.append(Stays.concat([part.stays for part in parts]))
        self._follows.append(_by_moment(Follows.concat([part.follows for part in parts])))
        self._bonds = [part.relations for part in parts if part.relations is not None]
        return outcome

    @property
    def visitors(self) -> NDArray[np.int32]:
        """Users who had a session, with repeats [N]."""
        return np.concatenate(self._visitors)

    @property
    def stays(self) -> Stays:
        """All stays, each user's in the order in which they began."""
        return Stays.concat(self._stays)

    @property
    def follows(self) -> Follows:
        """All follows, those known before the first tick first."""
        return Follows.concat(self._follows)

    @property
    def relations(self) -> Relations:
        """Bonds after the last tick; none where the shards keep them."""
        return Relations.together(self._bonds) if self._bonds else Relations.empty()

    @property
    def ultimate(self) -> Purchases:
        """All purchases to come, in an order that does not depend on shards."""
        bought = Purchases.concat([Purchases.empty(), *(tick.purchases for tick in self.ticks)])
        return bought.take(np.lexsort((bought.ordinal, bought.streamer_id, bought.request_id)))


def _outcome(parts: Sequence[TickOutcome]) -> TickOutcome:
    """Return what all shards did in a tick, in the order in which one shard would have done it.

    Purchases and what follows are in the order of the shards, see `sim.outcome.by_report`.
    """
    if len(parts) == 1:
        return parts[0]
    return TickOutcome(
        _by_request([part.impressions for part in parts]),
        _by_request([part.truth for part in parts]),
        Purchases.concat([part.purchases for part in parts]),
        Refunds.concat([part.refunds for part in parts]),
        Revisits.concat([part.revisits for part in parts]),
    )


def _by_request(parts: Sequence[R]) -> R:
    return type(parts[0]).merged(parts, places([part.request_id for part in parts]))


def _by_moment(follows: Follows) -> Follows:
    """Return follows in an order that does not depend on shards."""
    return follows.take(np.lexsort((follows.streamer_id, follows.user_id, follows.known_s)))
