"""Shards in processes of this machine.

Each process has a copy of the world, the bonds of its own users, and its own copy of the ranker.
Orders and letters go through pipes, rows through shared memory.
"""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sim.bounds import require_int
from sim.config import ConfigError
from sim.executor import MOST_SHARDS, MOST_WORKERS, Elsewhere, Place, WorkerLost, split_relations
from sim.mailbox import Mailbox
from sim.processes import end_with_parent, interrupts_held, one_thread
from sim.ranker import Ranker
from sim.relations import Relations
from sim.schema import Impressions, Purchases, Refunds
from sim.shard import Hand, Order, Part

if TYPE_CHECKING:
    from sim.world import World

_PATIENCE_S = 5.0
"""How long a process that was told to end may take before it is killed."""


@dataclass(frozen=True)
class Recipe:
    """Everything from which a worker makes its `Hand`; pickles."""

    world: World
    """Without its state: each worker has the bonds of its own users."""
    ranker: bytes
    """A pickle, see `packed`."""
    shards: tuple[int, ...]
    n_shards: int
    relations: tuple[Relations, ...]
    chunks: int

    def hand(self) -> Hand:
        """Return the worker's shards, at the beginning of the run."""
        return Hand(
            self.world, pickle.loads(self.ranker), self.shards, self.n_shards, self.relations,
            self.chunks,
        )  # fmt: skip


def recipes(world: World, ranker: Ranker, workers: int, n_shards: int, chunks: int) -> list[Recipe]:
    """Return what each worker needs; the shards are dealt out in turn.

    Raises:
        ConfigError: the ranker cannot be sent.
    """
    ready, bonds = packed(ranker), split_relations(world.state.relations, n_shards)
    bare = copy.copy(world)
    bare.state = replace(
        world.state, relations=Relations.empty(), unknown=Impressions.empty(),
        pending=Purchases.empty(), refunds=Refunds.empty(),
    )  # fmt: skip
    dealt = [tuple(range(number, n_shards, workers)) for number in range(workers)]
    return [
        Recipe(bare, ready, own, n_shards, tuple(bonds[shard] for shard in own), chunks)
        for own in dealt
    ]  # fmt: skip


def packed(ranker: Ranker) -> bytes:
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


def own_copy(ranker: Ranker) -> Ranker:
    """Return a ranker as a worker would have it.

    Raises:
        ConfigError: it cannot be sent to another process.
    """
    own: Ranker = pickle.loads(packed(ranker))
    return own


@dataclass(frozen=True)
class Answer:
    """What a worker has to say after an order: its parts, or an error and where it arose."""

    done: list[Part]
    error: Exception | None = None
    places: tuple[Place, ...] = ()

    def parts(self) -> list[Part]:
        """Return the parts, or raise the error."""
        if self.error is not None:
            raise self.error from Elsewhere(self.places)
        return self.done


def served(step: Callable[[], list[Part]]) -> Answer:
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


class PoolExecutor:
    """Steps the shards in processes of this machine.

    Args:
        workers: processes, in [1, 256].
        n_shards: parts of the users, in [workers, 4096]; None: one a worker.
        attempts: how often in a row a day is tried whose worker is lost, in [1, 100].

    Raises:
        ConfigError: an argument is out of range.
    """

    apart = True

    def __init__(self, workers: int, n_shards: int | None = None, attempts: int = 3) -> None:
        self.workers = workers
        self.n_shards = workers if n_shards is None else n_shards
        self.attempts = attempts
        require_int(self, "workers", 1, MOST_WORKERS)
        require_int(self, "n_shards", workers, MOST_SHARDS)
        require_int(self, "attempts", 1, 100)

    def own(self, ranker: Ranker) -> Ranker:
        """Return a copy.

        Raises:
            ConfigError: the ranker cannot be sent to another process.
        """
        return own_copy(ranker)

    def crew(self, world: World, ranker: Ranker, chunks: int) -> PoolCrew:
        """Start the processes; `ranker` itself neither serves nor observes.

        Raises:
            ConfigError: the ranker cannot be sent to another process.
        """
        return PoolCrew(recipes(world, ranker, self.workers, self.n_shards, chunks))


class PoolCrew:
    """Processes with their shards.

    Args:
        parts: what each process is made from.
    """

    def __init__(self, parts: Sequence[Recipe]) -> None:
        self._orders = Mailbox()
        self._workers: list[_Worker] = []
        self._only = parts[0].n_shards == 1
        try:
            with interrupts_held(), one_thread():
                for recipe in parts:
                    self._workers.append(_Worker(recipe, self._orders))
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> list[int]:
        """Ids of the processes."""
        return [worker.process.pid or 0 for worker in self._workers]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes."""
        self.close()

    def begin(self, order: Order) -> None:
        """Send the order to every process."""
        letter = self._orders.put(order)
        for worker in self._workers:
            worker.send(letter)

    def parts(self) -> list[Part]:
        """Wait for every process.

        Raises:
            WorkerLost: a process ended.
        """
        waiting = {worker.connection: worker for worker in self._workers}
        by_sentinel = {worker.process.sentinel: worker for worker in self._workers}
        answers: dict[_Worker, list[Part]] = {}
        while len(answers) < len(self._workers):
            # one that ended may have answered before: its answer counts first
            for ready in wait([*waiting, *by_sentinel]):
                if isinstance(ready, Connection):
                    worker = waiting.pop(ready)
                    del by_sentinel[worker.process.sentinel]
                    # merging copies; there is nothing to merge where there is one shard
                    answers[worker] = worker.answer(keep=self._only)
                    break
            else:
                raise next(iter(by_sentinel.values())).lost()
        return in_order([answers[worker] for worker in self._workers])

    def close(self) -> None:
        """End the processes; whatever they did not hand back is lost."""
        with interrupts_held():  # a second Ctrl-C must not leave processes behind
            for worker in self._workers:
                worker.process.terminate()
            for worker in self._workers:
                worker.end()


class _Worker:
    """A process seen from outside."""

    def __init__(self, recipe: Recipe, orders: Mailbox) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.boxes = (Mailbox(), Mailbox())
        self._turn = 0
        self.process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, orders, self.boxes, recipe), daemon=True
        )
        self.process.start()
        theirs.close()  # so that its end shows as the end of the pipe

    def send(self, letter: bytes) -> None:
        try:
            self.connection.send_bytes(letter)
        except OSError as error:
            raise self.lost() from error

    def answer(self, keep: bool) -> list[Part]:
        try:
            letter = self.connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise self.lost() from error
        box, self._turn = self.boxes[self._turn], 1 - self._turn
        answer: Answer = box.get(letter, keep=keep)
        return answer.parts()

    def lost(self) -> WorkerLost:
        self.process.join(_PATIENCE_S)
        code = self.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return WorkerLost(f"worker process {self.process.pid} ended ({how})")

    def end(self) -> None:
        self.process.join(_PATIENCE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def _serve(
    connection: Connection, orders: Mailbox, boxes: tuple[Mailbox, Mailbox], recipe: Recipe
) -> None:
    """Answer orders until the parent has no more; what it reads in one box it may read on."""
    end_with_parent()
    turn = 0
    hand: Hand | None = None
    while True:
        try:
            letter = connection.recv_bytes()
        except (EOFError, OSError):
            return
        # a policy may keep what it is told
        order = orders.get(letter, keep=True)

        def step(order: Order = order) -> list[Part]:
            nonlocal hand
            hand = hand or recipe.hand()
            return hand.run(order)

        answer = boxes[turn].put(served(step))
        turn = 1 - turn
        try:
            connection.send_bytes(answer)
        except OSError:
            return
