"""The gymnasium door: both checkers, determinism, and what an agent may and may not see."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sim.checks import check_vector_env
from sim.config import ConfigError
from sim.environment import SwipeEnv, SwipeVectorEnv
from sim.scene import ATTENTION
from sim.schema import SWIPE

NAME = "sim.environment:Swipe-v0"


def envs(n=16, **settings):
    """Return a small vector environment."""
    return SwipeVectorEnv(n, world="tiny", **settings)


def test_gymnasiums_checker_has_nothing_to_say():
    """No error and no warning, of the bare environment and as `make` wraps it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(NAME, world="tiny")
        check_env(env.unwrapped)
        env.reset(seed=1)
        env.step(env.action_space.sample())


def test_our_vector_checker_has_nothing_to_say():
    """The promises of VectorEnv hold, also through `make_vec`."""
    assert check_vector_env(envs) == []
    assert check_vector_env(lambda: gymnasium.make_vec(NAME, num_envs=3, world="tiny")) == []


class Unseeded(SwipeVectorEnv):
    """Forgets the seed."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=None, options=options)


class Eager(SwipeVectorEnv):
    """Pays where it only resets."""

    def step(self, actions):
        seen, reward, terminated, truncated, info = super().step(actions)
        return seen, reward + 1.0, terminated, truncated, info


class Narrow(SwipeVectorEnv):
    """Answers in the wrong type."""

    def step(self, actions):
        seen, *rest = super().step(actions)
        return seen.astype(np.float64), *rest


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Unseeded, "begin differently"),
        (Eager, "step after an end"),
        (Narrow, "is not in Box"),
    ],
)
def test_our_vector_checker_finds_what_is_broken(kind, says):
    """Each broken promise has its message."""
    found = check_vector_env(lambda: kind(16, world="tiny"))
    assert says in found[0]


def test_sessions_of_one_seed_repeat_and_others_differ():
    """Observations and rewards are a function of seed and actions."""
    runs = {}
    for seed in (3, 3, 4):
        env = envs()
        seen, _ = env.reset(seed=seed)
        rewards = [env.step(np.zeros(16, np.int64))[1] for _ in range(20)]
        runs.setdefault(seed, []).append((seen, np.array(rewards)))
    (first, again), (other,) = runs[3], runs[4]
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_the_mask_says_which_rooms_are_offered():
    """More candidates than rooms: the rest is masked, and choosing it shows the first."""
    env = envs(n_candidates=60)
    _, info = env.reset(seed=0)
    mask = info["action_mask"]
    assert mask.shape == (16, 60)
    assert (mask[:, 0] == 1).all()
    assert (np.diff(mask, axis=1) <= 0).all()
    assert (mask == 0).any()
    beyond, first = envs(n_candidates=60), envs(n_candidates=60)
    for one in (beyond, first):
        one.reset(seed=0)
    a = beyond.step(np.full(16, 59))
    b = first.step(np.where(mask[:, 59] == 1, 59, 0))
    assert np.array_equal(a[0], b[0])
    assert np.array_equal(a[1], b[1])


def test_some_sessions_begin_anew_when_asked_and_the_others_go_on():
    """As gymnasium's own vector environments do with `reset_mask`."""
    env = envs()
    before, _ = env.reset(seed=3)
    mask = np.arange(16) < 5
    after, info = env.reset(options={"reset_mask": mask})
    changed = (before != after).any(axis=1)
    assert changed[:5].all()
    assert not changed[5:].any()
    assert np.array_equal(info["action_mask"], env.swipes.mask(env.slots))
    while not env.over.any():
        env.step(np.zeros(16, np.int64))
    ended = env.over.copy()
    env.reset(options={"reset_mask": ended})
    assert not env.over.any()
    steps = env.swipes.arena.visits.rows["step"]
    was = steps.copy()
    env.step(np.zeros(16, np.int64))
    assert (steps == was + 1).all(), "no session spends the step on beginning"


def test_rooms_stand_last_in_an_observation():
    """Their first number says whether a room is offered, as the mask does."""
    env = envs(n_candidates=60)
    seen, info = env.reset(seed=0)
    rooms = seen[:, -60 * env.room_width :].reshape(16, 60, env.room_width)
    assert np.array_equal(rooms[:, :, 0] == 1, info["action_mask"] == 1)


def test_no_room_is_offered_twice_in_a_session():
    """What was watched does not come back."""
    env = envs(n=1)
    env.reset(seed=5)
    arena, watched = env.swipes.arena, []
    for _ in range(40):
        if env.over[0]:
            break
        column, row = arena.column[0], arena.scene.on_air.rows(SWIPE, arena.visits.rows["now_s"])
        offered = set(arena.scene.on_air.supply.streamer_id[row[0], column[column >= 0]])
        assert not offered & set(watched)
        watched.append(int(arena.scene.on_air.supply.streamer_id[row[0], column[0]]))
        env.step(np.zeros(1, np.int64))
    assert watched


def closest(env):
    """Return the offered rooms closest to the users' long-term interests."""
    arena = env.swipes.arena
    rows, stage, on_air = arena.visits.rows, arena.stage, arena.scene.on_air
    airing = on_air.cell[on_air.rows(SWIPE, rows["now_s"])[:, None], arena.column]
    long_term = stage.interests[ATTENTION, SWIPE, rows["user_id"]]
    likeness = np.einsum("bk,bck->bc", long_term, stage.content[airing])
    return np.where(arena.column >= 0, likeness, -2.0).argmax(axis=1)


def test_better_choices_earn_more():
    """Rooms that the users like earn more than the first ones offered."""
    env = SwipeVectorEnv(256, world="tiny")
    earned = {}
    for name in ("first", "closest"):
        env.reset(seed=11)
        steps = (closest(env) if name == "closest" else np.zeros(256, int) for _ in range(60))
        earned[name] = sum(env.step(choice)[1].sum() for choice in steps)
    assert earned["closest"] > 1.1 * earned["first"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"n_candidates": 0}, r"n_candidates = 0; allowed: an integer in \[1, 1000\]"),
        ({"n": 0}, "num_envs = 0; allowed: an integer of at least 1"),
    ],
)
def test_bad_arguments_are_refused(settings, says):
    """One line that names the argument."""
    with pytest.raises(ConfigError, match=says):
        envs(**settings)


def test_unknown_worlds_are_refused():
    """The message lists the presets."""
    with pytest.raises(ConfigError, match=r"nowhere.*tiny"):
        SwipeEnv("nowhere")
