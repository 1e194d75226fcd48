"""Shards in the actors of a Ray cluster, on this machine or many.

Orders and rows travel through Ray's object store. The package `ray` is an optional extra and is
imported only when a run begins.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from sim.config import ConfigError
from sim.executor import WorkerLost
from sim.processes import interrupts_held, one_thread
from sim.remote_work import Answer, Recipe, RemoteExecutor, in_order, served
from sim.shard import Hand, Order, Part

_STORE_BYTES = 2**30
"""Memory in a cluster of our own for orders, what a tick brings, and the files of two days; beyond
it, and where /dev/shm is smaller, Ray goes on in files."""


class RayExecutor(RemoteExecutor):
    """Steps the shards in the actors of a Ray cluster.

    The cluster is that of the variable RAY_ADDRESS or the one that this process has joined; where
    there is none, one is started on this machine and stopped at the end of the run.

    Args:
        workers, n_shards, attempts: as of `RemoteExecutor`; a worker is an actor.

    Raises:
        ConfigError: an argument is out of range, or Ray is not installed.
    """

    def __init__(self, workers: int, n_shards: int | None = None, attempts: int = 3) -> None:
        super().__init__(workers, n_shards, attempts)
        if importlib.util.find_spec("ray") is None:
            raise ConfigError(
                "executor = 'ray': the package ray is not installed; allowed: "
                "pip install 'swipelab[ray]', or executor=pool"
            )

    def _started(self, recipes: Sequence[Recipe]) -> RayCrew:
        return RayCrew(recipes)


class Actor:
    """One worker of the cluster.

    Args:
        recipe: what it is made from.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._hand: Hand | None = None

    def run(self, order: Order) -> Answer:
        """Step one tick."""

        def step() -> list[Part]:
            self._hand = self._hand or self._recipe.hand()
            return self._hand.run(order)

        return served(step)

    def files(self) -> Answer:
        """Make the files of the day."""
        assert self._hand is not None, "no tick was run"
        return served(self._hand.files)


class RayCrew:
    """Actors with their shards.

    Args:
        recipes: what each actor is made from.
    """

    def __init__(self, recipes: Sequence[Recipe]) -> None:
        import ray

        self._owns = not ray.is_initialized()
        self._actors: list[Any] = []
        self._waiting: deque[list[Any]] = deque()
        self.keeps = recipes[0].keeps
        try:
            with interrupts_held(), one_thread():
                if self._owns:
                    # a cluster that is running has its own size; releases of Ray report nothing
                    # of one that `init` starts
                    elsewhere = bool(os.environ.get("RAY_ADDRESS"))
                    ray.init(
                        num_cpus=None if elsewhere else len(recipes),
                        object_store_memory=None if elsewhere else _STORE_BYTES,
                        include_dashboard=False,
                        log_to_driver=False,
                        logging_level=logging.ERROR,
                    )
                make = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Actor)
                self._actors = [make.remote(recipe) for recipe in recipes]
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
        """End the actors."""
        self.close()

    def begin(self, order: Order) -> None:
        """Put the order into the object store, once for all."""
        import ray

        stored = ray.put(order)
        self._waiting.append([actor.run.remote(stored) for actor in self._actors])

    def parts(self) -> list[Part]:
        """Wait for every actor.

        Raises:
            WorkerLost: an actor ended.
        """
        return in_order([answer.done for answer in self._answers()])

    def begin_files(self) -> None:
        """Tell every actor."""
        self._waiting.append([actor.files.remote() for actor in self._actors])

    def files(self) -> dict[str, pa.Buffer]:
        """Wait for every actor.

        Raises:
            WorkerLost: an actor ended.
        """
        found: dict[str, pa.Buffer] = {}
        for answer in self._answers():
            found |= answer.done
        return found

    def _answers(self) -> list[Answer]:
        import ray
        from ray.exceptions import RayError

        try:
            answers: list[Answer] = ray.get(self._waiting.popleft())
        except RayError as error:
            raise WorkerLost(f"a Ray actor ended ({type(error).__name__})") from error
        return answers

    def close(self) -> None:
        """End the actors, and the cluster where it was started for them."""
        import ray

        with interrupts_held():
            self._waiting.clear()
            if self._owns:
                ray.shutdown()
            else:
                for actor in self._actors:
                    ray.kill(actor)
            self._actors = []
