"""The world as a whole: determinism, common random numbers, truth against frequencies."""

import numpy as np
import pytest

from sim.schema import SWIPE, Impressions
from sim.state import State
from sim.truth import TruthRows
from sim.world import World
from tests.sim.worlds import config, run, same, save


def everything(records):
    """Return the impressions and truth of several days."""
    return (
        Impressions.concat([r.impressions for r in records]),
        TruthRows.concat([r.truth for r in records]),
    )


def first_sessions(shown):
    """Return the rows of each user's first session: later ones depend on bonds, so on a policy."""
    _, once = np.unique(shown.user_id, return_index=True)
    return shown.take(np.isin(shown.session_id, shown.session_id[once]))


@pytest.mark.parametrize("chunks", [2, 7])
@pytest.mark.parametrize("policy", ["random", "popularity", "oracle"])
def test_chunks_do_not_matter(chunks, policy):
    """Cutting each tick's sessions into parts changes no byte."""
    whole = run(World(config(), 3), policy, 1)
    parts = run(World(config(), 3), policy, 1, chunks=chunks)
    for a, b in zip(whole, parts, strict=True):
        assert same(a.impressions, b.impressions)
        assert same(a.truth, b.truth)
        assert same(a.purchases, b.purchases)


def test_interruption_between_days_does_not_matter(tmp_path):
    """Going on from a saved state equals going on without a stop."""
    through = run(World(config(), 3), "random", 3)
    world = World(config(), 3)
    first = run(world, "random", 1)
    save(world.state, tmp_path / "state")
    rest = run(World(config(), 3, State.load(tmp_path / "state")), "random", 2)
    for a, b in zip(through, first + rest, strict=True):
        assert same(a.impressions, b.impressions)
        assert same(a.purchases, b.purchases)


def test_no_policy_changes_who_arrives_when_and_in_which_mood():
    """Arrivals are the world's alone: the same sessions begin under every policy."""
    worlds = {name: World(config(), 8) for name in ("random", "popularity", "recency", "oracle")}
    for day in range(2):
        base = worlds["random"].sessions(day)
        for name, world in worlds.items():
            assert same(base, world.sessions(day))
            began = run(world, name, 1)[0].impressions
            at = np.searchsorted(base.session_id, began.session_id)
            np.testing.assert_array_equal(base.session_id[at], began.session_id)
            np.testing.assert_array_equal(base.start_s[at], began.session_start_s)
            np.testing.assert_array_equal(base.user_id[at], began.user_id)
            np.testing.assert_array_equal(base.entry[at], began.entry)


def test_swipe_sessions_enter_the_same_room_under_every_policy():
    """The first refer and the stay in it are no policy's doing."""
    first = {}
    for name in ("random", "oracle"):
        shown = run(World(config(), 8), name, 1)[0].impressions
        begun = first_sessions(shown)
        first[name] = begun.take((begun.scenario == SWIPE) & (begun.step == 0))
    np.testing.assert_array_equal(first["random"].session_id, first["oracle"].session_id)
    np.testing.assert_array_equal(first["random"].refer_id, first["oracle"].refer_id)
    np.testing.assert_array_equal(first["random"].refer_watch_s, first["oracle"].refer_watch_s)


def test_the_same_pair_at_the_same_moment_meets_the_same_luck():
    """Where two policies show the same room first, everything that follows is the same."""
    a = run(World(config(), 8), "random", 1)[0]
    b = run(World(config(), 8), "popularity", 1)[0]
    x, y = a.impressions, b.impressions
    x, y = (first_sessions(r) for r in (x, y))
    x, y = (r.take((r.step == 0) & (r.position == 0)) for r in (x, y))
    _, i, j = np.intersect1d(x.request_id, y.request_id, return_indices=True)
    same_room = x.streamer_id[i] == y.streamer_id[j]
    i, j = i[same_room], j[same_room]
    assert len(i) > 20
    for name in ("click", "watch_s", "like", "comment", "follow", "bag_click", "cart"):
        np.testing.assert_array_equal(getattr(x, name)[i], getattr(y, name)[j])


def test_twins_do_not_touch_each_other():
    """Running a fork leaves the original where it was."""
    world = World(config(), 2)
    twin = world.fork()
    ahead = run(twin, "oracle", 1)
    assert world.state.day == 0
    assert len(world.state.unknown) == 0
    again = run(world.fork(), "oracle", 1)
    assert same(ahead[0].impressions, again[0].impressions)


@pytest.fixture(scope="module")
def logged():
    """A fair number of rows under uniform ranking."""
    return everything(run(World(config(population__n_users=3000), 21), "random", 2))


def test_base_rates_are_those_of_the_config(logged):
    """Under uniform ranking, examined clicks on the channel page come at the stated rate.

    Real requests differ from random pairs (evening users, followed streamers, moods), so the
    agreement is rough; a broken intercept would be off by much more.
    """
    shown, _ = logged
    channel = shown.take((shown.scenario == 0) & (shown.position == 0))
    assert abs(channel.click.mean() - config().channel.base_click) < 0.05


def test_sessions_never_outlive_their_room_or_deadline(logged):
    """Watching stops where the room ends; clocks only move forward."""
    shown, _ = logged
    assert (shown.known_s >= shown.time_s).all()
    assert (shown.time_s - shown.session_start_s <= config().session.max_session_s).all()
    same_session = shown.session_id[1:] == shown.session_id[:-1]
    assert (np.diff(shown.time_s)[same_session] >= 0).all()


def test_no_room_is_shown_twice_in_a_session(logged):
    """Struck-out rooms do not come back."""
    shown, _ = logged
    pair = shown.session_id * 100_000 + shown.streamer_id
    assert len(np.unique(pair)) == len(pair)


def test_uninterested_entries_watch_the_entry_room_less():
    """Who came for a title is disappointed; who came by interest stays."""
    shown = everything(run(World(config(population__n_users=3000), 4), "random", 1))[0]
    first = shown.take((shown.scenario == SWIPE) & (shown.step == 0))
    stayed = {e: (first.refer_watch_s[first.entry == e] >= 60).mean() for e in (1, 2)}
    assert stayed[1] > 1.5 * stayed[2]


def test_refer_pull_is_a_dial():
    """With the pull, what follows a liked refer resembles it in interest; without, it does not."""
    shares = {}
    for pull in (0.0, 0.9):
        world = World(config(population__n_users=3000, session__refer_pull=pull), 6)
        record = run(world, "random", 1)[0]
        shown = record.impressions
        streamers = world.population.streamers
        # refers that the user entered by interest and watched for long
        rows = np.flatnonzero((shown.entry == 1) & (shown.refer_watch_s >= 60))
        alike = (
            streamers.category[shown.refer_id[rows]] == streamers.category[shown.streamer_id[rows]]
        )
        view = shown.view[rows]
        shares[pull] = view[alike].mean() - view[~alike].mean()
    assert shares[0.9] > shares[0.0] + 0.02


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_bad_seed_is_refused(seed):
    """The message names field, value and what is allowed."""
    with pytest.raises(ValueError, match=rf"seed = {seed}; allowed: an integer in \[0, "):
        World(config(), seed)
