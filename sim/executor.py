"""Who does the work of a world: shards of its users, in this process or in others.

The log is the same for any number of shards and whoever steps them. `SerialExecutor` steps all in
this process; `sim.pool.PoolExecutor` shares them out among processes of this machine, and
`sim.ray_cluster.RayExecutor` among the actors of a Ray cluster.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import pyarrow as pa

from sim.bounds import require_int
from sim.partition import shard_of
from sim.ranker import Ranker
from sim.schema import Impressions
from sim.shard import Hand, Order, Own, Part
from sim.state import State

if TYPE_CHECKING:
    from sim.world import World

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
    """The shards of one run, under way; what is begun is awaited in turn."""

    @property
    def keeps(self) -> bool:
        """Whether shards keep rows and bonds and make files of them, see `Hand`."""

    def begin(self, order: Order) -> None:
        """Let every shard start on a tick."""

    def parts(self) -> list[Part]:
        """Wait for the tick that was begun; return what each shard did.

        Arrays may lie in memory that the tick after the next writes over: copy what stays.

        Raises:
            WorkerLost: a worker process ended.
        """

    def begin_files(self) -> None:
        """Let every shard make the files of the day whose last tick was begun.

        They may be written over those of two days before, which by now must have been read.
        """

    def files(self) -> dict[str, pa.Buffer]:
        """Wait for the files that were begun; return all by name.

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

    def crew(
        self, world: World, ranker: Ranker, chunks: int, n_parts: int
    ) -> AbstractContextManager[Crew]:
        """Return the shards of `world` at its state, ready to go on; left, they are gone.

        Args:
            world: not altered by what is done elsewhere.
            ranker: whoever ranks; workers outside this process get copies.
            chunks: parts into which a shard's sessions of a tick are cut.
            n_parts: of the log that is written, whose files shards may make; 0 where none is.
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

    def crew(self, world: World, ranker: Ranker, chunks: int, n_parts: int) -> SerialCrew:
        """Return the shards of the world; the ranker itself serves and observes."""
        own, n = dealt(world.state, self.n_shards, keeps=False), self.n_shards
        return SerialCrew(Hand(world, ranker, range(n), n, own, chunks, keeps=False))


class SerialCrew:
    """Shards of this process: a tick runs when its parts are asked for; files are left to others.

    Args:
        hand: steps them.
    """

    keeps = False

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

    def begin_files(self) -> None:
        """Do nothing: there are none."""

    def files(self) -> dict[str, pa.Buffer]:
        """Return none."""
        return {}


def dealt(state: State, n_shards: int, keeps: bool) -> list[Own]:
    """Return what each shard has at the beginning; see `Hand` for `keeps`."""
    bonds = state.relations.divided(n_shards)
    if not keeps:
        return [Own(own, Impressions.empty()) for own in bonds]
    owner = shard_of(state.unknown.user_id, n_shards)
    return [Own(own, state.unknown.take(owner == shard)) for shard, own in enumerate(bonds)]
