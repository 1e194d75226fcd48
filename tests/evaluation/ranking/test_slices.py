"""Slices of queries by what the platform observes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evaluation.ranking.slices import Traits
from sim.schema import DAY_S, ENTRIES
from tests.evaluation.records import impressions, requests


def _traits() -> Traits:
    whole = requests(impressions(1), np.zeros((1, 1), np.int32)).catalogue
    catalogue = replace(
        whole,
        user_joined_day=np.array([0, 0, 3, 4, 5, 0, 0, 0, 0], np.int32),
        streamer_joined_day=np.array([0, 5, 3] + [0] * 9, np.int32),
        streamer_follower_band=np.array([0, 4, 9] + [0] * 9, np.int8),
    )
    user, streamer = np.array([0, 2, 3, 4]), np.array([0, 1, 2, 2])
    return Traits.of(
        catalogue, np.array([0, 1, 1, 3], np.int8), user, streamer, np.full(4, 5.5 * DAY_S)
    )


def test_slices_by_hand() -> None:
    found = {name: list(np.flatnonzero(rows)) for name, rows in _traits().slices()}
    assert found["entry page"] == [0]
    assert found["entry interest"] == [1, 2]
    assert found["entry product"] == []
    # on day 5 who joined on day 4 or 5 is new; who was there on day 0 never was
    assert found["new user"] == [2, 3]
    assert found["settled user"] == [0, 1]
    assert found["new streamer"] == [1]
    assert found["followers 0-2"] == [0]
    assert found["followers 3-5"] == [1]
    assert found["followers 6-9"] == [2, 3]
    assert set(found) >= {f"entry {name}" for name in ENTRIES}


def test_traits_stack() -> None:
    one = _traits()
    both = Traits.concat([one, one])
    np.testing.assert_array_equal(both.follower_band, np.tile(one.follower_band, 2))
    assert all(not rows.any() for _, rows in Traits.concat([]).slices())
