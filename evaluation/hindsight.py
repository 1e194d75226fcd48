"""The truth about requests that a log holds: the day is run once more, with the logged slates.

The world draws nothing that depends on who ranks, so showing what was shown brings back the same
sessions; at each request the latent state of the user is noted, and with it every probability.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.log import Log
from sim.scene import Minds, Stage
from sim.schema import PAD, Floats, Impressions, Purchases, Requests, Slate
from sim.state import State
from sim.truth import RequestTruth
from sim.truth_log import sessions_to_their_end
from sim.world import World


class HindsightError(RuntimeError):
    """The log does not belong to the world that should explain it."""


class Hindsight:
    """Answers `truth_for(requests)` about the requests of one logged day.

    Args:
        world: a world of the same config and seed as the log's, in any state.
        state: its state at the start of the day.
        log: the log; holds the day of `state` completely.
    """

    def __init__(self, world: World, state: State, log: Log) -> None:
        self.twin = World(world.config, world.seed, state)
        self.day = state.day
        self.log = log

    def open(self) -> Hindsight:
        """Run the day again and keep what was in the users' minds.

        Raises:
            HindsightError: the world asks for a request that the log does not hold.
        """
        replay = _Replay(sessions_to_their_end(self.log, self.day), self.twin.config.tick_s)
        self.cell_: NDArray[np.int64] = self.twin.scene(self.day).on_air.cell
        for _ in self.twin.run(replay, 1):
            pass
        self.request_id_ = np.concatenate([np.zeros(0, np.int64), *replay.request_ids])
        order = np.argsort(self.request_id_, kind="stable")
        self.request_id_ = self.request_id_[order]
        if replay.minds:
            self.minds_ = Minds.concat(replay.minds).take(order)
        self.stages_: dict[int, Stage] = replay.stages
        return self

    def truth_for(self, requests: Requests) -> RequestTruth:
        """Return the truth about logged requests [B] of one tick, as the oracle would have met it.

        Raises:
            HindsightError: a request is not of this day's log, or they span several ticks.
        """
        at = np.searchsorted(self.request_id_, requests.request_id)
        at = np.minimum(at, max(len(self.request_id_) - 1, 0))
        if not len(self.request_id_) or (self.request_id_[at] != requests.request_id).any():
            raise HindsightError(f"a request is not in the log of day {self.day}")
        ticks = np.unique(requests.session_start_s // self.twin.config.tick_s).astype(np.int64)
        if len(ticks) != 1:
            raise HindsightError(f"requests span ticks {ticks.tolist()}; allowed: one tick a batch")
        stage, objective = self.stages_[int(ticks[0])], self.twin.config.objective
        return RequestTruth(stage, self.cell_, objective, requests, self.minds_.take(at))


class _Replay:
    """Shows what the log says was shown, and notes the minds."""

    needs_truth = True
    observes = False

    def __init__(self, shown: Impressions, tick_s: float) -> None:
        self.shown = shown
        self.tick_s = tick_s
        self.request_ids: list[NDArray[np.int64]] = []
        self.minds: list[Minds] = []
        self.stages: dict[int, Stage] = {}

    def rank(
        self, requests: Requests, slate_size: int, uniforms: Floats, truth: RequestTruth | None
    ) -> Slate:
        """Return the logged slates."""
        low = np.searchsorted(self.shown.request_id, requests.request_id, side="left")
        high = np.searchsorted(self.shown.request_id, requests.request_id, side="right")
        # a request that nothing could be shown for leaves no row
        if truth is None or (requests.mask.any(axis=1) & (low == high)).any():
            raise HindsightError("the world asks for a request that the log does not hold")
        at = low[:, None] + np.arange(slate_size)[None, :]
        filled = at < high[:, None]
        at = np.minimum(at, len(self.shown) - 1)
        column = requests.supply.column_of[requests.row[:, None], self.shown.streamer_id[at]]
        self.request_ids.append(requests.request_id)
        self.minds.append(truth.minds)
        self.stages[int(requests.session_start_s[0] // self.tick_s)] = truth.stage
        propensity = np.where(filled, self.shown.propensity[at], 1.0)
        return Slate(np.where(filled, column, PAD).astype(np.int32), propensity)

    def observe(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        """Take no notice: the slates are given."""
