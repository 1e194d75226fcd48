"""Shards in processes of this machine.

Orders and letters go through pipes, rows through shared memory.
"""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Self

import pyarrow as pa

from sim.executor import WorkerLost
from sim.mailbox import Mailbox, Mailboxes
from sim.processes import end_with_parent, interrupts_held, one_thread
from sim.remote_work import Done, Recipe, RemoteExecutor, in_order, served
from sim.shard import Hand, Order, Part

_PATIENCE_S = 5.0
"""How long a process that was told to end may take before it is killed."""

_FILES = b"files"
"""Letter that asks for files; any other is an order."""


class PoolExecutor(RemoteExecutor):
    """Steps the shards in processes of this machine; arguments and errors as of the base."""

    def _started(self, recipes: Sequence[Recipe]) -> PoolCrew:
        return PoolCrew(recipes)


class PoolCrew:
    """Processes with their shards.

    Args:
        recipes: what each process is made from.
    """

    def __init__(self, recipes: Sequence[Recipe]) -> None:
        self._orders = Mailbox()
        self._workers: list[_Worker] = []
        self.keeps = recipes[0].keeps
        # merging copies; there is nothing to merge where there is one shard
        self._whole = recipes[0].n_shards == 1
        try:
            with interrupts_held(), one_thread():
                for _ in recipes:
                    self._workers.append(_Worker(self._orders))
            # only now: whoever is sent something large is waited for until it can read
            for worker, recipe in zip(self._workers, recipes, strict=True):
                worker.send(pickle.dumps(recipe, protocol=5))
        except BaseException:
            self.close()
            raise

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
        answers = self._letters()
        return in_order(
            [worker.ticks.get(letter, keep=self._whole).done for worker, letter in answers]
        )

    def begin_files(self) -> None:
        """Tell every process."""
        for worker in self._workers:
            worker.send(_FILES)

    def files(self) -> dict[str, pa.Buffer]:
        """Wait for every process.

        Raises:
            WorkerLost: a process ended.
        """
        found: dict[str, pa.Buffer] = {}
        for worker, letter in self._letters():
            found |= worker.files.get(letter, keep=False).done
        return found

    def _letters(self) -> list[tuple[_Worker, bytes]]:
        """Return what every process answers, in the order of the processes."""
        waiting = {worker.connection: worker for worker in self._workers}
        by_sentinel = {worker.process.sentinel: worker for worker in self._workers}
        letters: dict[_Worker, bytes] = {}
        while len(letters) < len(self._workers):
            # one that ended may have answered before: its answer counts first
            for ready in wait([*waiting, *by_sentinel]):
                if isinstance(ready, Connection):
                    worker = waiting.pop(ready)
                    del by_sentinel[worker.process.sentinel]
                    letters[worker] = worker.letter()
                    break
            else:
                raise next(iter(by_sentinel.values())).lost()
        return [(worker, letters[worker]) for worker in self._workers]

    def close(self) -> None:
        """End the processes; whatever they did not hand back is lost."""
        with interrupts_held():  # a second Ctrl-C must not leave processes behind
            for worker in self._workers:
                worker.process.terminate()
            for worker in self._workers:
                worker.end()


class _Worker:
    """A process seen from outside."""

    def __init__(self, orders: Mailbox) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.ticks, self.files = Mailboxes(), Mailboxes()
        self.process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, orders, self.ticks, self.files), daemon=True
        )
        self.process.start()
        theirs.close()  # so that its end shows as the end of the pipe

    def send(self, letter: bytes) -> None:
        try:
            self.connection.send_bytes(letter)
        except OSError as error:
            raise self.lost() from error

    def letter(self) -> bytes:
        try:
            return self.connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise self.lost() from error

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


def _serve(connection: Connection, orders: Mailbox, ticks: Mailboxes, files: Mailboxes) -> None:
    """Do what letters ask for until the parent has no more; the first is the recipe."""
    end_with_parent()
    recipe: Recipe | None = None
    hand: Hand | None = None
    while True:
        try:
            letter = connection.recv_bytes()
        except (EOFError, OSError):
            return
        if recipe is None:
            recipe = pickle.loads(letter)
            continue

        def work(letter: bytes = letter, recipe: Recipe = recipe) -> Done:
            nonlocal hand
            hand = hand or recipe.hand()
            if letter == _FILES:
                return hand.files()
            # a policy may keep what it is told
            return hand.run(orders.get(letter, keep=True))

        answer = (files if letter == _FILES else ticks).put(served(work))
        try:
            connection.send_bytes(answer)
        except OSError:
            return
