"""Live windows and supply against a plain recount."""

import numpy as np

from sim.schedule import SLOT_S, SLOTS_PER_DAY, SPILL_SLOTS, rooms_of_day, row_of
from sim.schema import PAD, SCENARIOS
from sim.world import World
from tests.sim.worlds import config


def test_supply_lists_exactly_who_is_on_air():
    """Table rows equal a brute-force recount from the rooms of three days."""
    world = World(config(), 4)
    scene = world.scene(1)
    on_air, streamers = scene.on_air, world.population.streamers
    left = streamers.left_day
    rooms = [rooms_of_day(world.config.schedule, streamers, left, d, 4) for d in (0, 1, 2)]
    expected: dict[int, set[int]] = {}
    windows = sorted(
        window
        for part in rooms
        for window in zip(part.streamer_id, part.start, part.end, strict=True)
    )
    for i, (s, start, end) in enumerate(windows):
        follows = i + 1 < len(windows) and windows[i + 1][0] == s
        for slot in range(start, min(end, windows[i + 1][1]) if follows else end):
            expected.setdefault(int(slot), set()).add(int(s))
    for code in range(len(SCENARIOS)):
        for slot in range(SLOTS_PER_DAY, 2 * SLOTS_PER_DAY + SPILL_SLOTS, 7):
            row = int(row_of(code, np.array([slot - SLOTS_PER_DAY]))[0])
            listed = on_air.supply.streamer_id[row]
            listed = listed[listed != PAD]
            allowed = {s for s in expected.get(slot, set()) if streamers.in_scenario[s, code]}
            assert set(listed.tolist()) == allowed
            assert len(listed) == len(allowed)


def test_rooms_do_not_overlap_and_hold_their_products():
    """A streamer is in one room at a time, ends after it starts, and shows its own products."""
    world = World(config(), 4)
    on_air = world.scene(0).on_air
    pairs = on_air.slot.astype(np.int64) * 10**6 + on_air.streamer_id
    assert len(np.unique(pairs)) == len(pairs)
    moment = on_air.slot * float(SLOT_S)
    assert (on_air.start_s <= moment).all()
    assert (on_air.end_s > moment).all()
    products = world.population.products
    np.testing.assert_array_equal(products.streamer_id[on_air.product_id], on_air.streamer_id)
    assert (products.joined_day[on_air.product_id] <= on_air.slot // SLOTS_PER_DAY).all()


def test_room_ids_are_fresh_and_days_agree():
    """The hours that two days' tables share hold the same rooms, with the same ids."""
    world = World(config(), 4)
    first, second = world.scene(0).on_air, world.scene(1).on_air
    a = first.slot >= SLOTS_PER_DAY
    b = second.slot < SLOTS_PER_DAY + SPILL_SLOTS
    np.testing.assert_array_equal(first.room_id[a], second.room_id[b])
    np.testing.assert_array_equal(first.product_id[a], second.product_id[b])
    starts = {}
    for room, start in zip(first.room_id, first.start_s, strict=True):
        assert starts.setdefault(int(room), start) == start


def test_published_room_figures():
    """Rooms as stated, of median length 134 min (KuaiLive), before cuts.

    The rate is higher than the published 1.22, which counts days of streamers who had left.
    """
    world = World(config(population__n_streamers=4000), 9)
    streamers = world.population.streamers
    rooms = rooms_of_day(world.config.schedule, streamers, streamers.left_day, 0, 9)
    present = (world.population.streamers.joined_day == 0).sum()
    stated = world.config.schedule.rooms_per_day
    assert abs(len(rooms.start) / present - stated) < 0.05
    assert abs(np.median(rooms.end - rooms.start) * SLOT_S / 60 - 134) < 10
