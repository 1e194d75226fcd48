"""Raw impressions: the room grows, and what came of one tick does not change with the next."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from sim.scene import Minds
from sim.schema import Requests
from sim.session import Asked
from sim.sheet import SHOWN, Sheet
from sim.world import World
from tests.sim.worlds import config, run


def test_a_sheet_keeps_what_it_is_told_to_and_grows() -> None:
    sheet, kept = Sheet(), []
    for step in range(40):
        room = sheet.room(100)
        room["airing"] = np.arange(100) + 1000 * step
        sheet.keep(step)
        kept += list(range(1000 * step, 1000 * step + step))
    assert sheet.rows.dtype == SHOWN
    assert sheet.rows["airing"].tolist() == kept
    large = sheet.room(10_000)
    assert len(large) == 10_000
    assert sheet.rows["airing"].tolist() == kept
    sheet.clear()
    assert len(sheet.rows) == 0


def test_ticks_of_a_day_do_not_share_memory() -> None:
    """The sheet is used again for every tick; what was made of it must be a copy."""
    (day,) = run(World(config(), 4), "random", 1)
    for name in ("impressions", "truth"):
        first, second = (getattr(tick, name) for tick in day.ticks[:2])
        for column in (f.name for f in fields(first)):
            assert not np.shares_memory(getattr(first, column), getattr(second, column))


def test_requests_take_the_columns_in_the_order_in_which_they_are_asked() -> None:
    asked = Asked._fields[: -len(("n_candidates", "uniforms"))]
    assert asked == tuple(f.name for f in fields(Requests))[: len(asked)]


def test_gathered_rows_equal_stacked_ones_also_of_tables() -> None:
    (day,) = run(World(config(), 4), "random", 1)
    parts = [tick.impressions for tick in day.ticks]
    rows = [np.flatnonzero(part.click) for part in parts]
    ends = np.cumsum([0, *map(len, parts)])[:-1]
    expected = day.impressions.take(
        np.concatenate([r + e for r, e in zip(rows, ends, strict=True)])
    )
    found = type(parts[0]).gathered(parts, rows)
    assert len(found) > 0
    for column in (f.name for f in fields(found)):
        np.testing.assert_array_equal(getattr(found, column), getattr(expected, column))
    with pytest.raises(IndexError, match="mask of 1 rows"):
        day.impressions.take(np.array([True]))


def test_gathered_rows_keep_the_axes_behind_the_first() -> None:
    ids, table = np.arange(3, dtype=np.int32), np.arange(6, dtype=np.float32).reshape(3, 2)
    one = np.zeros(3, np.float32)
    minds = Minds(ids, ids.astype(np.int8), one, table, table, one.astype(np.float64))
    both = Minds.gathered([minds, minds], [np.array([2]), np.array([0, 1])])
    np.testing.assert_array_equal(both.interest, table[[2, 0, 1]])
