"""Shards in processes of this machine.

Orders and letters go through pipes, rows through shared memory.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Self

from sim.executor import WorkerLost
from sim.mailbox import Mailbox
from sim.processes import end_with_parent, interrupts_held, one_thread
from sim.remote_work import Answer, Recipe, RemoteExecutor, in_order, served
from sim.shard import Hand, Order, Part

_PATIENCE_S = 5.0
"""How long a process that was told to end may take before it is killed."""


class PoolExecutor(RemoteExecutor):
    """Steps the shards in processes of this machine; arguments and errors as of the base."""

    def _started(self, recipes: Sequence[Recipe]) -> PoolCrew:
        return PoolCrew(recipes)


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
