"""Train PPO of stable-baselines3 on the swipe, and compare it with random choice.

Run `pip install -e ".[rl]"`, then `python examples/train_ppo.py [STEPS [WORLD]]`. `Sessions` passes
all sessions on at once; none has a process or an object of its own. `RoomScorer` scores every
offered room by one network, as rankers do.
"""

import sys
import time
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import nn


class Sessions(VecEnv):
    """Sessions as stable-baselines3 wants them: where one ends, the next begins at once."""

    def __init__(self, n: int, world: str, n_candidates: int = 20) -> None:
        name, options = "sim.environment:Swipe-v0", {"world": world, "n_candidates": n_candidates}
        self.envs = gymnasium.make_vec(name, n, **options)
        super().__init__(n, self.envs.single_observation_space, self.envs.single_action_space)

    def reset(self) -> Any:
        seed, self._seeds = self._seeds[0], [None] * self.num_envs  # a seed serves once
        return self.envs.reset(seed=seed)[0]

    def step_async(self, actions: Any) -> None:
        self.actions = actions

    def step_wait(self) -> Any:
        seen, reward, terminated, truncated, _ = self.envs.step(self.actions)
        done, info = terminated | truncated, [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(done):
            info[i] = {"terminal_observation": seen[i], "TimeLimit.truncated": truncated[i]}
        if done.any():
            seen, _ = self.envs.reset(options={"reset_mask": done})
        return seen, reward.astype(np.float32), done, info

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self.envs, attr_name)] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs

    def close(self, *_: Any) -> None:
        """Do nothing: no session holds anything, or has anything of its own."""

    set_attr = env_method = close


class RoomScorer(nn.Module):
    """A logit per offered room, from what is seen of the user and of that room; and a value."""

    def __init__(self, n_features: int, n_rooms: int, room_width: int, hidden: int = 64) -> None:
        super().__init__()
        self.n_rooms, self.own = n_rooms, n_features - n_rooms * room_width
        self.latent_dim_pi, self.latent_dim_vf = n_rooms, hidden  # stable-baselines3 asks for them
        into, out = nn.Linear(self.own + room_width, hidden), nn.Linear(hidden, 1)
        self.score = nn.Sequential(into, nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), out)
        self.value = nn.Sequential(nn.Linear(self.own, hidden), nn.Tanh())

    def forward_actor(self, seen: torch.Tensor) -> torch.Tensor:
        rooms = seen[:, self.own :].unflatten(1, (self.n_rooms, -1))  # the first number: offered?
        own = seen[:, None, : self.own].expand(-1, self.n_rooms, -1)
        return self.score(torch.cat([own, rooms], 2))[..., 0] - 1e3 * (rooms[..., 0] == 0)

    def forward_critic(self, seen: torch.Tensor) -> torch.Tensor:
        return self.value(seen[:, : self.own])

    def forward(self, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.forward_actor(seen), self.forward_critic(seen)


class RoomPolicy(ActorCriticPolicy):
    """Chooses among the offered rooms by the logits of a `RoomScorer`."""

    def __init__(self, *args: Any, room_width: int, **kwargs: Any) -> None:
        self.room_width = room_width
        super().__init__(*args, **kwargs)
        self.action_net = nn.Identity()

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = RoomScorer(self.features_dim, self.action_space.n, self.room_width)


def rewards(agent: PPO | None, sessions: Sessions, each: int = 20) -> np.ndarray:
    """Return the rewards of the first `each` sessions of every place; no agent is random choice."""
    sessions.seed(1)
    seen, n, rng = sessions.reset(), sessions.num_envs, np.random.default_rng(1)
    total, number = np.zeros((n, each + 1)), np.zeros(n, np.int64)  # the last column is not counted
    while number.min() < each:
        at_random = rng.integers(0, sessions.action_space.n, n)
        best = agent.predict(seen, deterministic=True)[0] if agent else at_random
        seen, reward, done, _ = sessions.step(best)
        total[np.arange(n), number] += reward
        number = np.minimum(number + done, each)
    half = 1.96 * (found := total[:, :each].ravel()).std() / found.size**0.5
    print(f"{'PPO' if agent else 'random'}: {found.mean():.2f} ± {half:.2f} a session")
    return found


def main(steps: int = 200_000, world: str = "default") -> tuple[Any, Any]:
    """Train and compare; return the rewards under random and under trained choice."""
    sessions = Sessions(256, world)
    agent = PPO(RoomPolicy, sessions, 1e-3, 32, 2048, 4, 0.9, seed=0, policy_kwargs={
        "room_width": sessions.envs.unwrapped.room_width})  # fmt: skip
    random, began = rewards(None, sessions), time.perf_counter()
    agent.learn(steps)
    print(f"trained for {time.perf_counter() - began:.0f} s")
    return random, rewards(agent, sessions)


if __name__ == "__main__":
    main(*(int(text) if text.isdigit() else text for text in sys.argv[1:]))
