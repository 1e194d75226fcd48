"""Gymnasium environments of the swipe: an agent chooses the next room, the user watches or leaves.

    import gymnasium
    env = gymnasium.make("sim.environment:Swipe-v0", world="tiny")
    envs = gymnasium.make_vec("sim.environment:Swipe-v0", num_envs=1024, world="tiny")

One episode is one session: it begins when the user has entered a first room (the refer), each
action is one of the rooms offered, the reward is the objective's value of what the user did, and it
terminates when the user leaves. `info["action_mask"]` marks the rooms that are really offered; an
action beyond them shows the first. Observations hold what a platform sees, never latent state.

Both classes run the same code; the vector environment steps all its sessions in one call and resets
a session at the step after its end (`AutoresetMode.NEXT_STEP`), or when it is asked to:
`reset(options={"reset_mask": mask})` begins those of the mask and leaves the others as they are.

An observation ends with the rooms offered, `room_width` numbers each; what is about the user, the
moment and the refer stands before them.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from sim.arena import Arena, Slots
from sim.bounds import ConfigError
from sim.config import WorldConfig
from sim.kernel import allocating
from sim.presets import preset
from sim.relations import Bonds, bond_with
from sim.rng import MAX_SEED
from sim.schema import DAY_S, ENTRIES, SWIPE

Observations = NDArray[np.float32]

_BANDS = (("user_age_band", 6), ("user_gender", 2), ("user_city_tier", 4), ("user_spend_tier", 4))
_N_TIERS = 4
_CHANNELS = ENTRIES[1:]
_LOG_HOUR = math.log1p(3600.0)


class _Swipes:
    """Sessions of an arena and their observations; what both environments share."""

    def __init__(
        self, world: str | WorldConfig, world_seed: int, n: int, n_candidates: int
    ) -> None:
        if not 1 <= n_candidates <= 1000:
            raise ConfigError(f"n_candidates = {n_candidates!r}; allowed: an integer in [1, 1000]")
        config = preset(world) if isinstance(world, str) else world
        self.arena = Arena(config, world_seed, n, n_candidates)
        self.n_categories = config.population.n_categories
        own = sum(width for _, width in _BANDS) + len(_CHANNELS) + 4 + self.n_categories
        self.room_width = self.n_categories + _N_TIERS + 5
        self.space = spaces.Box(-1.0, 1.0, (own + n_candidates * self.room_width,), np.float32)
        self.actions = spaces.Discrete(n_candidates)

    def begin(self, slots: Slots, rng: np.random.Generator, seed: int) -> None:
        """Fill slots with sessions drawn at random among those whose users swipe on."""
        left = slots
        while len(left):
            session = rng.integers(0, len(self.arena.sessions), len(left))
            ready = self.arena.begin(left, session, seed)
            ready[ready] = self.arena.offer(left[ready], seed)
            left = left[~ready]

    def step(
        self, slots: Slots, choice: Slots, seed: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
        """Play slots [B]; return reward, terminated, truncated, watch seconds [B]."""
        played = self.arena.play(slots, choice, seed)
        spent = self.arena.visits.rows["step"][slots] >= self.arena.longest
        going = np.flatnonzero(~played.left & ~spent)
        terminated = played.left.copy()
        terminated[going] |= ~self.arena.offer(slots[going], seed)
        return played.value, terminated, spent & ~terminated, played.watch_s

    def mask(self, slots: Slots) -> NDArray[np.int8]:
        """Return which actions are really offered [B, C]."""
        return (self.arena.column[slots] >= 0).astype(np.int8)

    def observe(self, slots: Slots) -> Observations:
        """Return what the platform sees of the sessions in `slots` [B, D], in [-1, 1]."""
        arena, rows = self.arena, self.arena.visits.rows[slots]
        known, supply = arena.catalogue, arena.scene.on_air.supply
        user, now_s = rows["user_id"], rows["now_s"]
        angle = 2 * math.pi * (now_s % DAY_S) / DAY_S
        refer = known.streamer_category[arena.scene.on_air.streamer_id[rows["refer"]]]
        own = [
            *(_one_hot(getattr(known, name)[user], width) for name, width in _BANDS),
            _one_hot(rows["entry"] - 1, len(_CHANNELS)),
            np.stack(
                [
                    np.sin(angle), np.cos(angle), rows["step"] / arena.longest,
                    _log_share(rows["refer_watch_s"]),
                ],
                axis=1,
            ),
            _one_hot(refer, self.n_categories),
        ]  # fmt: skip
        column = arena.column[slots]
        offered = (column >= 0)[:, :, None]
        row = arena.scene.on_air.rows(SWIPE, now_s)[:, None]
        who, since_s = supply.streamer_id[row, column], supply.room_start_s[row, column]
        views, follows = _bonds(arena.stage.bonds, user, who)
        room = [
            offered,
            _one_hot(known.streamer_category[who], self.n_categories),
            _one_hot(known.streamer_price_tier[who], _N_TIERS),
            (known.streamer_follower_band[who] / 9.0)[:, :, None],
            _log_share(np.maximum(now_s[:, None] - since_s, 0.0))[:, :, None],
            (np.log1p(views) / 8.0)[:, :, None],
            follows[:, :, None],
        ]
        rooms = np.concatenate(room, axis=2) * offered
        both = [*own, rooms.reshape(len(slots), -1)]
        return np.asarray(np.clip(np.concatenate(both, axis=1), -1.0, 1.0), np.float32)


@allocating
def _bonds(
    bonds: Bonds, user: NDArray[np.int64], who: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return past views, and 1 where the user follows, of each pair [B, C]."""
    views, follows = np.zeros(who.shape), np.zeros(who.shape)
    for b in range(who.shape[0]):
        for c in range(who.shape[1]):
            views[b, c], follows[b, c] = bond_with(bonds, user[b], who[b, c])
    return views, follows


def _one_hot(code: NDArray[Any], width: int) -> NDArray[np.float64]:
    return np.asarray(code[..., None] == np.arange(width), np.float64)


def _log_share(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(1 + s) relative to an hour."""
    return np.asarray(np.log1p(seconds) / (2 * _LOG_HOUR))


class SwipeEnv(gymnasium.Env[Observations, np.int64]):
    """One swipe session at a time.

    Args:
        world: preset of `conf/world`, or a config.
        world_seed: decides who exists and who arrives.
        n_candidates: rooms offered at each step.
        render_mode: none is offered.

    Raises:
        ConfigError: an argument is not allowed.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - as the base class types it

    def __init__(
        self,
        world: str | WorldConfig = "default",
        world_seed: int = 0,
        n_candidates: int = 20,
        render_mode: str | None = None,
    ) -> None:
        self.swipes = _Swipes(world, world_seed, 1, n_candidates)
        self.observation_space = self.swipes.space
        self.action_space = self.swipes.actions
        self.render_mode = render_mode
        self.slot = np.zeros(1, np.int64)
        self.seed_now = 0

    @property
    def room_width(self) -> int:
        """Numbers of an observation that describe one offered room."""
        return self.swipes.room_width

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin a session; with a seed, the same sessions and draws follow."""
        super().reset(seed=seed)
        self.seed_now = int(self.np_random.integers(MAX_SEED))
        self.swipes.begin(self.slot, self.np_random, self.seed_now)
        return self._seen()

    def step(self, action: np.int64) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """Show the offered room number `action`."""
        reward, terminated, truncated, watch_s = self.swipes.step(
            self.slot, np.asarray([action], np.int64), self.seed_now
        )
        observation, info = self._seen()
        info["watch_s"] = float(watch_s[0])
        return observation, float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def _seen(self) -> tuple[Observations, dict[str, Any]]:
        mask = self.swipes.mask(self.slot)[0]
        return self.swipes.observe(self.slot)[0], {"action_mask": mask}


class SwipeVectorEnv(VectorEnv[Observations, NDArray[np.int64], NDArray[Any]]):
    """Many swipe sessions, stepped in one call.

    Args:
        num_envs: sessions.
        world: preset of `conf/world`, or a config.
        world_seed: decides who exists and who arrives.
        n_candidates: rooms offered at each step.
        render_mode: none is offered.

    Raises:
        ConfigError: an argument is not allowed.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as the base class types it
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        world: str | WorldConfig = "default",
        world_seed: int = 0,
        n_candidates: int = 20,
        render_mode: str | None = None,
    ) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs = {num_envs!r}; allowed: an integer of at least 1")
        self.swipes = _Swipes(world, world_seed, num_envs, n_candidates)
        self.num_envs = num_envs
        self.single_observation_space = self.swipes.space
        self.single_action_space = self.swipes.actions
        self.observation_space = batch_space(self.swipes.space, num_envs)
        self.action_space = batch_space(self.swipes.actions, num_envs)
        self.render_mode = render_mode
        self.slots = np.arange(num_envs)
        self.over = np.zeros(num_envs, np.bool_)
        self.seed_now = 0

    @property
    def room_width(self) -> int:
        """Numbers of an observation that describe one offered room."""
        return self.swipes.room_width

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin all sessions, or those of `options["reset_mask"]` [num_envs].

        With a seed, the same sessions and draws follow.
        """
        super().reset(seed=seed)
        chosen = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_)))
        self.seed_now = int(self.np_random.integers(MAX_SEED))
        self.swipes.begin(np.flatnonzero(chosen), self.np_random, self.seed_now)
        self.over = self.over & ~chosen
        return self.swipes.observe(self.slots), {"action_mask": self.swipes.mask(self.slots)}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[
        Observations, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """Show each session the offered room of that number; begin anew where one was over."""
        reward, watch_s = np.zeros(self.num_envs), np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), np.bool_)
        # a session that comes up again must not meet the same luck
        self.seed_now = (self.seed_now + 1) % MAX_SEED
        going, over = np.flatnonzero(~self.over), np.flatnonzero(self.over)
        choice = np.asarray(actions, np.int64)[going]
        reward[going], terminated[going], truncated[going], watch_s[going] = self.swipes.step(
            going, choice, self.seed_now
        )
        self.swipes.begin(over, self.np_random, self.seed_now)
        self.over = terminated | truncated
        info = {"action_mask": self.swipes.mask(self.slots), "watch_s": watch_s}
        return self.swipes.observe(self.slots), reward, terminated, truncated, info


gymnasium.register(
    "Swipe-v0",
    entry_point="sim.environment:SwipeEnv",
    vector_entry_point="sim.environment:SwipeVectorEnv",
)
