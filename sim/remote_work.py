"""What workers outside this process have in common, whatever they are.

Each has a copy of the world, the bonds of its own users, and its own copy of the ranker.
"""

from __future__ import annotations

import copy
import pickle
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sim.bounds import require_int
from sim.config import ConfigError
from sim.events import Revisits
from sim.executor import MOST_SHARDS, MOST_WORKERS, Crew, Elsewhere, Place, dealt
from sim.ranker import Ranker
from sim.relations import Relations
from sim.schema import Impressions, Purchases, Refunds
from sim.shard import Hand, Own, Part

if TYPE_CHECKING:
    from sim.world import World


@dataclass(frozen=True)
class Recipe:
    """Everything from which a worker makes its `Hand`; pickles."""

    world: bytes
    """A pickle of the world, for arrays that Ray hands over itself cannot be written; without its
    state: each worker has the bonds of its own users."""
    ranker: bytes
    """A pickle."""
    shards: tuple[int, ...]
    n_shards: int
    own: tuple[Own, ...]
    chunks: int
    keeps: bool

    def hand(self) -> Hand:
        """Return the worker's shards, at the beginning of the run."""
        return Hand(
            pickle.loads(self.world), pickle.loads(self.ranker), self.shards, self.n_shards,
            self.own, self.chunks, self.keeps,
        )  # fmt: skip


class RemoteExecutor(ABC):
    """Steps the shards in workers outside this process; a subclass says what they are.

    Args:
        workers: one core each, in [1, 256].
        n_shards: parts of the users, in [workers, 4096]. None: as many as the log that is written
            has parts, so that workers make its files, and no more workers than that; one a worker
            where it has one part only.
        attempts: how often in a row a day is tried whose worker is lost, in [1, 100].

    Raises:
        ConfigError: an argument is out of range.
    """

    apart = True

    def __init__(self, workers: int, n_shards: int | None = None, attempts: int = 3) -> None:
        self.workers = workers
        self.n_shards = n_shards
        self.attempts = attempts
        require_int(self, "workers", 1, MOST_WORKERS)
        if n_shards is not None:
            require_int(self, "n_shards", workers, MOST_SHARDS)
        require_int(self, "attempts", 1, 100)

    def own(self, ranker: Ranker) -> Ranker:
        """Return the ranker as a worker would have it.

        Raises:
            ConfigError: it cannot be sent to another process.
        """
        own: Ranker = pickle.loads(_packed(ranker))
        return own

    def crew(
        self, world: World, ranker: Ranker, chunks: int, n_parts: int
    ) -> AbstractContextManager[Crew]:
        """Start the workers; `ranker` itself neither serves nor observes.

        Raises:
            ConfigError: the ranker cannot be sent to another process.
        """
        ready = _packed(ranker)
        n_shards = self.n_shards or (n_parts if n_parts > 1 else self.workers)
        keeps, workers = n_shards == n_parts > 1, min(self.workers, n_shards)
        own = dealt(world.state, n_shards, keeps)
        bare = copy.copy(world)
        bare.state = replace(
            world.state, relations=Relations.empty(), unknown=Impressions.empty(),
            pending=Purchases.empty(), refunds=Refunds.empty(), revisits=Revisits.empty(),
        )  # fmt: skip
        packed = pickle.dumps(bare, protocol=5)
        recipes = []
        for worker in range(workers):  # the shards are dealt out in turn
            shards = range(worker, n_shards, workers)
            recipes.append(
                Recipe(
                    packed, ready, tuple(shards), n_shards, tuple(own[shard] for shard in shards),
                    chunks, keeps,
                )
            )  # fmt: skip
        return self._started(recipes)

    @abstractmethod
    def _started(self, recipes: Sequence[Recipe]) -> AbstractContextManager[Crew]:
        """Start one worker a recipe."""


Done = list[Part] | dict[str, pa.Buffer]
"""What a worker does: parts of a tick, or files of a day."""


@dataclass(frozen=True)
class Answer:
    """What a worker has to say: what it did, or an error and where it arose."""

    _done: Done
    error: Exception | None = None
    places: tuple[Place, ...] = ()

    @property
    def done(self) -> Any:
        """What was done.

        Raises:
            Exception: the error.
        """
        if self.error is not None:
            raise self.error from Elsewhere(self.places)
        return self._done


def served(step: Callable[[], Done]) -> Answer:
    """Return the answer of a worker whose work is `step`."""
    try:
        return Answer(step())
    except Exception as error:
        frames = traceback.walk_tb(error.__traceback__)
        places = tuple(
            (str(frame.f_globals.get("__name__")), frame.f_code.co_filename, line)
            for frame, line in frames
        )
        try:
            if type(pickle.loads(pickle.dumps(error))) is type(error):
                return Answer([], error, places)
        except Exception:  # an error may hold or need what does not pickle
            pass
        return Answer([], RuntimeError(f"{type(error).__name__}: {error}"), places)


def in_order(answers: Sequence[Sequence[Part]]) -> list[Part]:
    """Return the parts of all workers in the order of the shards."""
    longest = max(len(parts) for parts in answers)
    return [parts[i] for i in range(longest) for parts in answers if i < len(parts)]


def _packed(ranker: Ranker) -> bytes:
    """Return a pickle of a ranker.

    Raises:
        ConfigError: it cannot be sent to another process.
    """
    try:
        return pickle.dumps(ranker, protocol=5)
    except Exception as error:  # __reduce__ and __getstate__ raise what they like
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"ranker {type(ranker).__name__} cannot be sent to other processes ({reason}); "
            "allowed: executor=serial, or a policy that pickles"
        ) from error
