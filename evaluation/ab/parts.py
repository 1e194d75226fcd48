"""The parts of a comparison of designs: each is one run of the world, kept when it is finished."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluation.ab.assignment import Split, Switchback
from evaluation.ab.effect import Effect
from evaluation.ab.interleaving import TeamDraft, preference
from evaluation.ab.settings import AbSettings
from evaluation.ab.switchback import PairedBlocks, paired_blocks
from evaluation.ab.traffic import Traffic
from evaluation.ab.twin_run import TwinRun, serve
from evaluation.blame import blaming
from evaluation.environment import source_digest
from evaluation.online import UserTotals
from evaluation.progress import StudyProgress
from evaluation.simulation import code_digest, digest, log_key
from policies.contract import FitContext
from policies.rank import Exploration, Server
from sim.config import build
from sim.log import Log
from sim.ranker import Ranker
from sim.schema import DAY_S
from sim.state import State, state_path
from sim.world import World

T = TypeVar("T")

METRICS = ("page_ctr", "watch_s_per_user", "views_per_user", "purchases_per_user", "value_per_user")
"""Metrics that the designs are compared on, all scenarios together."""

CREDITS = ("engage", "watch", "purchase")
"""What interleaving gives credit for."""


@dataclass(frozen=True)
class Arm:
    """What all designs did with one treated policy."""

    policy: str
    twin: UserTotals
    split: UserTotals
    exposures: NDArray[np.int64]
    """Pairs (user, arm that served them) of the split traffic, each once [N, 2]."""
    switchback: dict[str, PairedBlocks]
    """By metric."""
    interleaving: tuple[Effect, ...]
    """By credit."""


class Parts:
    """Runs what is not there yet.

    Args:
        settings: of the comparison.
        log: on which the policies train.
        folder: of the log.
        progress: is told of every part.
    """

    def __init__(
        self, settings: AbSettings, log: Log, folder: Path, progress: StudyProgress
    ) -> None:
        self.settings, self.log, self.folder = settings, log, folder
        self.progress = progress
        self.plan = Split(salt=settings.salt)
        self.schedule = Switchback(
            settings.simulation.days * DAY_S, settings.simulation.world.tick_s, salt=settings.salt
        )
        self._fitted: dict[str, Any] = {}

    @cached_property
    def world(self) -> World:
        """The world at the end of the log."""
        simulation = self.settings.simulation
        state = State.load(self.folder / state_path(simulation.days))
        return World(simulation.world, simulation.seed, state)

    def control(self) -> tuple[UserTotals, ...]:
        """Return what the control does when it serves everybody: by one day, two days, all."""
        name = self.settings.control

        def by_day() -> tuple[UserTotals, ...]:
            served = self._serve(self._server(name), name)
            days = range(1, self.settings.ab_days + 1)
            return tuple(served.until(self.schedule.start_s + d * DAY_S).totals() for d in days)

        return self._kept(name, "twin", by_day)

    def arm(self, name: str) -> Arm:
        """Return what every design does with a treated policy."""
        control = self.settings.control

        def both() -> tuple[Server, Server]:
            return self._server(control), self._server(name)

        def split() -> tuple[UserTotals, NDArray[np.int64]]:
            traffic = Traffic(both(), self.plan, self.settings.own_data)
            return self._serve(traffic, name).totals(), traffic.exposures

        def switchback() -> dict[str, PairedBlocks]:
            served = self._serve(Traffic(both(), self.schedule), name)
            return {m: paired_blocks(served, self.schedule, m) for m in METRICS}

        def interleaving() -> tuple[Effect, ...]:
            ranker = TeamDraft(*both(), salt=self.settings.salt)
            served = self._serve(ranker, name)
            team = ranker.teams.of(served.shown)
            return tuple(
                preference(served.shown, team, served.credit(credit), served.n_users, credit)
                for credit in CREDITS
            )

        return Arm(
            name,
            self._kept(name, "twin", lambda: self._serve(self._server(name), name).totals()),
            *self._kept(name, "split", split),
            self._kept(name, "switchback", switchback),
            self._kept(name, "interleaving", interleaving),
        )

    def _serve(self, ranker: Ranker, name: str) -> TwinRun:
        with blaming(name, "ranking", self._fitted.get(name)):
            return serve(ranker, self.world, self.settings.ab_days)

    def _server(self, name: str) -> Server:
        """Return a server with a copy of the fitted policy, which may learn on."""
        if name not in self._fitted:
            policy = build(self.settings.policies[name], f"policies.{name}")
            folder = self._place(name, "fit")
            folder.mkdir(parents=True, exist_ok=True)
            context = FitContext(seed=self.settings.simulation.seed, folder=folder)
            with blaming(name, "fitting", policy):
                policy.fit(self.log, context)
            self._fitted[name] = policy
        return Server(copy.deepcopy(self._fitted[name]), Exploration(kind="greedy"))

    def _kept(self, name: str, part: str, make: Callable[[], T]) -> T:
        """Return a part from before, or make and keep it."""
        path = self._place(name, f"{part}.pickle")
        if path.exists():
            self.progress.say(f"{name}, {part}: kept from before")
            with path.open("rb") as file:
                found: T = pickle.load(file)
            return found
        done = self.progress.step(f"{name}, {part}")
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        with draft.open("wb") as file:
            pickle.dump(made, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        done()
        return made

    def _place(self, name: str, part: str) -> Path:
        """Return where a part lies, under a digest of everything that decides it."""
        settings = self.settings
        nodes = [settings.policies[settings.control], settings.policies[name]]
        key = digest(
            log_key(settings.simulation), *nodes, *map(code_digest, nodes), settings.ab_days,
            settings.salt, settings.own_data, settings.simulation.world.objective, source_digest(),
        )  # fmt: skip
        return settings.work / "ab" / key / part
