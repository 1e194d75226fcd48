"""A checker of vector environments, which gymnasium itself does not have.

`gymnasium.utils.env_checker.check_env` looks at single environments only. `check_vector_env` plays
a vector environment and returns one message for each broken promise of `gymnasium.vector.VectorEnv`
in NEXT_STEP mode: what was expected, what came, and the likely fix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

AnyVectorEnv = VectorEnv[Any, Any, Any]
_SEED = 7


def check_vector_env(make: Callable[[], AnyVectorEnv], n_steps: int = 200) -> list[str]:
    """Play two environments of the same making and return what they break; empty if nothing.

    Args:
        make: returns a new environment.
        n_steps: steps to play; enough for some sub-environments to end twice.
    """
    first, second = make(), make()
    try:
        found = [*_spaces(first), *_play(first, second, n_steps)]
    finally:
        first.close()
        second.close()
    return found


def _spaces(env: AnyVectorEnv) -> Iterator[str]:
    n = env.num_envs
    for kind in ("observation", "action"):
        single, batch = getattr(env, f"single_{kind}_space"), getattr(env, f"{kind}_space")
        if batch != batch_space(single, n):
            yield (
                f"{kind}_space: is not single_{kind}_space batched {n} times; build it with "
                "gymnasium.vector.utils.batch_space"
            )
    mode = env.metadata.get("autoreset_mode")
    if mode is not AutoresetMode.NEXT_STEP:
        yield f"metadata['autoreset_mode']: {mode!r}; expected AutoresetMode.NEXT_STEP"


def _play(env: AnyVectorEnv, twin: AnyVectorEnv, n_steps: int) -> Iterator[str]:
    (seen, _), (same, _) = env.reset(seed=_SEED), twin.reset(seed=_SEED)
    if not np.array_equal(seen, same):
        yield "reset: two environments with one seed begin differently; draw from self.np_random"
    yield from _observation(env, seen, "reset")
    env.action_space.seed(_SEED)
    over, n_over = np.zeros(env.num_envs, np.bool_), 0
    for _ in range(n_steps):
        action = env.action_space.sample()
        seen, reward, terminated, truncated, _ = env.step(action)
        others = twin.step(action)
        if not all(np.array_equal(a, b) for a, b in zip((seen, reward), others[:2], strict=True)):
            yield "step: the same actions after the same seed bring different results"
            return
        broken = [
            *_observation(env, seen, "step"),
            *_flags(env, reward, terminated, truncated),
            *_reset_step(over, reward, terminated, truncated),
        ]
        if broken:
            yield from broken
            return
        over = np.asarray(terminated) | np.asarray(truncated)
        n_over += int(over.sum())
    if n_over == 0:
        yield f"step: nothing ended in {n_steps} steps; play more, or check the end conditions"


def _observation(env: AnyVectorEnv, seen: Any, where: str) -> Iterator[str]:
    if not env.observation_space.contains(seen):
        space = env.observation_space
        yield (
            f"{where}: the observation (dtype {getattr(seen, 'dtype', type(seen).__name__)}, shape "
            f"{np.shape(seen)}) is not in {type(space).__name__} of dtype {space.dtype}, shape "
            f"{space.shape}; check bounds, dtype and shape"
        )


def _flags(env: AnyVectorEnv, reward: Any, terminated: Any, truncated: Any) -> Iterator[str]:
    for name, value, kind in (
        ("reward", reward, "f"),
        ("terminated", terminated, "b"),
        ("truncated", truncated, "b"),
    ):
        array = np.asarray(value)
        if array.shape != (env.num_envs,) or array.dtype.kind != kind:
            yield (
                f"step: {name} has dtype {array.dtype} and shape {array.shape}; expected "
                f"{'float' if kind == 'f' else 'bool'} of shape ({env.num_envs},)"
            )
    if not np.isfinite(np.asarray(reward, np.float64)).all():
        yield "step: a reward is not finite"
    if (np.asarray(terminated) & np.asarray(truncated)).any():
        yield "step: an episode is terminated and truncated at once; terminated wins"


def _reset_step(over: Any, reward: Any, terminated: Any, truncated: Any) -> Iterator[str]:
    """In NEXT_STEP mode the step after an end only resets."""
    if (np.asarray(reward)[over] != 0).any() or (terminated | truncated)[over].any():
        yield (
            "step: the step after an end brought a reward or another end; in NEXT_STEP mode it "
            "ignores the action and returns the first observation of the next episode"
        )
