"""Who does the work of a world: shards of its users, in this process or in others.

The log is the same for any number of shards and whoever steps them. `SerialExecutor` steps all in
this process; `sim.pool.PoolExecutor` shares them out among processes of this machine, and
`sim.ray_cluster.RayExecutor` among the actors of a Ray cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from sim.bounds import require_int
from sim.events import Revisits
from sim.outcome import TickOutcome
from sim.ranker import Ranker
from sim.relations import Relations
from sim.schema import Impressions, Purchases, Refunds
from sim.shard import Hand, Order, Part, shard_of
from sim.truth import TruthRows

if TYPE_CHECKING:
    from sim.world import World

R = TypeVar("R", Impressions, TruthRows)

MOST_WORKERS = 256
MOST_SHARDS = 4096


class WorkerLost(RuntimeError):
    """A worker process ended before its work; one line."""


Place = tuple[str, str, int]
"""Module, file and line."""


class Elsewhere(RuntimeError):
    """Cause of an error that arose in another process; tells where.

    Args:
        places: of the calls, the innermost last.
    """

    def __init__(self, places: tuple[Place, ...]) -> None:
        super().__init__("; ".join(f"{file}:{line}" for _, file, line in places))
        self.places = places


class Crew(Protocol):
    """The shards of one run, under way; ticks are begun and awaited in turn."""

    def begin(self, order: Order) -> None:
        """Let every shard start on a tick."""

    def parts(self) -> list[Part]:
        """Wait for the tick that was begun; return what each shard did.

        Arrays may lie in memory that the tick after the next writes over: copy what stays.

        Raises:
            WorkerLost: a worker process ended.
        """


class Executor(Protocol):
    """Where the shards of a world are stepped."""

    @property
    def apart(self) -> bool:
        """Whether they are stepped outside this process, which then is free for other work."""

    @property
    def attempts(self) -> int:
        """How often in a row a day is tried whose worker is lost."""

    def own(self, ranker: Ranker) -> Ranker:
        """Return the ranker that a run may alter: the same, or a copy where workers have theirs.

        Raises:
            ConfigError: the ranker must be sent to another process and cannot.
        """

    def crew(self, world: World, ranker: Ranker, chunks: int) -> AbstractContextManager[Crew]:
        """Return the shards of `world` at its state, ready to go on; left, they are gone.

        Args:
            world: not altered by what is done elsewhere.
            ranker: whoever ranks; workers outside this process get copies.
            chunks: parts into which a shard's sessions of a tick are cut.
        """


class SerialExecutor:
    """Steps all shards in this process, one after the other.

    Args:
        n_shards: parts of the users, in [1, 4096]; more of them need less memory at a time.

    Raises:
        ConfigError: `n_shards` is out of range.
    """

    apart = False
    attempts = 1

    def __init__(self, n_shards: int = 1) -> None:
        self.n_shards = n_shards
        require_int(self, "n_shards", 1, MOST_SHARDS)

    def own(self, ranker: Ranker) -> Ranker:
        """Return the same ranker."""
        return ranker

    def crew(self, world: World, ranker: Ranker, chunks: int) -> SerialCrew:
        """Return the shards of the world; the ranker itself serves and observes."""
        bonds = split_relations(world.state.relations, self.n_shards)
        return SerialCrew(Hand(world, ranker, range(self.n_shards), self.n_shards, bonds, chunks))


class SerialCrew:
    """Shards of this process: a tick runs when its parts are asked for.

    Args:
        hand: steps them.
    """

    def __init__(self, hand: Hand) -> None:
        self._hand = hand
        self._order: Order | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to free."""

    def begin(self, order: Order) -> None:
        """Note what is to be done."""
        self._order = order

    def parts(self) -> list[Part]:
        """Do it."""
        assert self._order is not None, "no tick was begun"
        order, self._order = self._order, None
        return self._hand.run(order)


def split_relations(relations: Relations, n_shards: int) -> list[Relations]:
    """Return the bonds of the users of each shard."""
    if n_shards == 1:
        return [relations]
    owner = shard_of(relations.key >> 32, n_shards)
    return [relations.take(owner == shard) for shard in range(n_shards)]


def merged_relations(parts: Sequence[Relations]) -> Relations:
    """Return the bonds of all users from those of the shards."""
    if len(parts) == 1:
        return parts[0]
    at = _places([part.key for part in parts])
    return Relations(
        _interleaved([part.key for part in parts], at),
        _interleaved([part.views for part in parts], at),
        _interleaved([part.follows for part in parts], at),
    )


def merged_outcome(parts: Sequence[TickOutcome]) -> TickOutcome:
    """Return what all shards did in a tick, in the order in which one shard would have done it.

    Purchases and what follows are in the order of the shards, see `sim.outcome.by_report`.
    """
    if len(parts) == 1:
        return parts[0]
    at = _places([part.impressions.request_id for part in parts])
    return TickOutcome(
        _merged([part.impressions for part in parts], at),
        _merged([part.truth for part in parts], at),
        Purchases.concat([part.purchases for part in parts]),
        Refunds.concat([part.refunds for part in parts]),
        Revisits.concat([part.revisits for part in parts]),
    )


def _places(keys: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Return where each row of ascending keys, of which no two parts share one, stands in all."""
    order = np.argsort(np.concatenate(keys), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return np.split(place, np.cumsum([len(key) for key in keys])[:-1])


def _merged(records: Sequence[R], at: list[NDArray[np.int64]]) -> R:
    kind = type(records[0])
    columns = {
        f.name: _interleaved([getattr(record, f.name) for record in records], at)
        for f in fields(kind)
    }
    return kind(**columns)


def _interleaved(columns: Sequence[NDArray], at: list[NDArray[np.int64]]) -> NDArray:  # type: ignore[type-arg]
    whole = np.empty(sum(len(column) for column in columns), columns[0].dtype)
    for column, rows in zip(columns, at, strict=True):
        whole[rows] = column
    return whole
