"""Common random numbers: what twins share, and what it is worth."""

import numpy as np
import pytest

from evaluation.luck import DRAWS, OtherLuck, near_pairs, shared_luck, warmed_up, watched_s
from sim.world import World
from tests.sim.worlds import config, run, same


@pytest.fixture(scope="module")
def measured():
    return shared_luck(config("default"), 3)


@pytest.mark.parametrize("draws", DRAWS[1:])
def test_near_policies_share_twenty_times_their_luck(measured, draws):
    """Against each meaning of independent draws, even with the same people, rooms and moods."""
    fixed = [row for row in measured if row.pair.startswith("fixed order")]
    assert len(fixed) == 2
    for row in fixed:
        assert row.variance_s2["common"] > 0
        assert row.times_smaller(draws) >= 20


def test_policies_that_learn_share_it_too(measured):
    """Their counters pass a difference on to everyone; against a split of users it is 20 times."""
    learning = [row for row in measured if row.pair.startswith("learning")]
    assert len(learning) == 2
    for row in learning:
        assert row.times_smaller("people") >= 15
    assert max(row.times_smaller("people") for row in learning) >= 20


def test_different_policies_share_less(measured):
    """The gain comes from what two policies do alike, not from the way of counting."""
    *near, different = measured
    assert different.times_smaller("luck") < 3
    assert all(row.times_smaller("luck") > 2 * different.times_smaller("luck") for row in near)
    assert abs(different.difference_s) > 10 * abs(near[0].difference_s)


def test_the_same_policy_twice_ties_exactly_under_common_draws_alone():
    """No user differs by a bit; with other luck almost every visitor does."""
    tiny = config()
    state, learnt = warmed_up(tiny, 5)
    once, again = (watched_s(World(tiny, 5), state, learnt, 0.0) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    other = watched_s(OtherLuck(tiny, 5, 6, same_sessions=True), state, learnt, 0.0)
    assert (other != once)[once > 0].mean() > 0.95
    assert ((other > 0) == (once > 0)).mean() > 0.95


def test_other_luck_keeps_people_rooms_and_sessions():
    """Only what happens inside the sessions is new."""
    world, other = World(config(), 5), OtherLuck(config(), 5, 6, same_sessions=True)
    assert same(world.population.users, other.population.users)
    assert same(world.sessions(1), other.sessions(1))
    np.testing.assert_array_equal(world.scene(1).on_air.room_id, other.scene(1).on_air.room_id)
    a, b = run(world, "recency", 1)[0].impressions, run(other, "recency", 1)[0].impressions
    first = (a.position == 0) & (a.step == 0), (b.position == 0) & (b.step == 0)
    _, i, j = np.intersect1d(a.request_id[first[0]], b.request_id[first[1]], return_indices=True)
    assert len(i) > 200
    stays = a.watch_s[first[0]][i], b.watch_s[first[1]][j]
    assert (stays[0] == stays[1])[stays[0] > 0].mean() < 0.01
    anew = OtherLuck(config(), 5, 6, same_sessions=False)
    assert not same(world.sessions(1).take(slice(0, 50)), anew.sessions(1).take(slice(0, 50)))


def test_swaps_move_few_streamers():
    """The pair is near: its orders differ in twice as many places as there are swaps."""
    state, learnt = warmed_up(config(), 5)
    fixed = near_pairs(learnt)[1]
    assert 0 < (fixed.first.rate != fixed.second.rate).sum() <= 40
    assert state.day == 2
