"""Histories: last streamers and products of users, and joins with neighbours, by brute force."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from policies.features import FeatureStore
from policies.histories import KINDS, Histories, HistoryConfig
from policies.memory import FeatureConfig, SequenceFeatures
from policies.neighbours import Neighbours
from policies.recents import Recents
from sim.config import ConfigError
from sim.schema import PAD, Follows, Impressions, Purchases
from tests.policies.planted_learning import (
    FEATURES,
    N_STREAMERS,
    N_USERS,
    LearningLog,
    learning_log,
    serving_requests,
    told_store,
)

LOG = learning_log(hours=7, per_hour=60)
LENGTH, NEAR, PERIOD_S = 5, 4, 2 * 3600.0
CATALOGUE = replace(
    LOG.known_catalogue,  # three products of every other streamer's
    product_streamer_id=(np.arange(N_STREAMERS) // 3 * 2).astype(np.int32),
)

Met = dict[int, list[int]]


def last_ones(events: list[tuple[float, int, int]]) -> Met:
    """Return the last LENGTH different items of each user from (moment, user, item)."""
    out: Met = defaultdict(list)
    for _, user, item in sorted(events, key=lambda e: (-e[0], e[2])):
        if item not in out[user] and len(out[user]) < LENGTH:
            out[user].append(item)
    return out


def brute_neighbours(met: Met, n: int = NEAR) -> dict[int, list[tuple[int, float]]]:
    """Return the nearest items of each item, pair by pair and user by user."""
    users = defaultdict(set)
    for user, items in met.items():
        for item in items:
            users[item].add(user)
    out = {}
    for a in users:
        near = []
        for b in users:
            common = users[a] & users[b]
            if a != b and common:
                weight = sum(1.0 / math.log(1.0 + len(met[u])) for u in common)
                near.append((b, weight / math.sqrt(len(users[a]) * len(users[b]))))
        out[a] = sorted(near, key=lambda e: (-np.float32(e[1]), e[0]))[:n]
    return out


def brute_join(items: list[int], near: dict[int, list[tuple[int, float]]]) -> list[int]:
    """Return the neighbours of the items by their total likeness."""
    total: dict[int, float] = defaultdict(float)
    for a in items:
        for b, likeness in near.get(a, []):
            total[b] += float(np.float32(likeness))
    return sorted(total, key=lambda b: (-np.float32(total[b]), b))[:LENGTH]


def owners(products: list[int]) -> list[int]:
    """Return the different streamers of products, in their order."""
    return list(dict.fromkeys(int(CATALOGUE.product_streamer_id[p]) for p in products))


def brute_histories(log: LearningLog, now_s: float) -> dict[str, Met]:
    """Return all kinds as of a moment, from the rows of the log."""
    rows, bought, follows = log.rows, log.bought, log.follows()
    due_s = now_s // PERIOD_S * PERIOD_S

    def until(t_s: float) -> tuple[Met, Met]:
        watched = [
            (t, u, s)
            for t, u, s, e in zip(
                rows.known_s, rows.user_id, rows.streamer_id, rows.engage, strict=True
            )
            if e and t <= t_s
        ]
        products = [
            (t, u, p)
            for t, u, p, c in zip(
                rows.known_s, rows.user_id, rows.product_id, rows.bag_click, strict=True
            )
            if c and t <= t_s
        ]
        sold = zip(bought.known_s, bought.user_id, bought.product_id, strict=True)
        products += [(t, u, p) for t, u, p in sold if t <= t_s]
        return last_ones(watched), last_ones(products)

    watched, products = until(now_s)
    a2a, i2i = (brute_neighbours(met) for met in until(due_s))
    told = zip(follows.known_s, follows.user_id, follows.streamer_id, strict=True)
    return {
        "U2F": last_ones([(t, u, s) for t, u, s in told if t <= now_s]),
        "U2A": watched,
        "U2A2A": {u: brute_join(items, a2a) for u, items in watched.items()},
        "U2I2A": {u: owners(items) for u, items in products.items()},
        "U2I2I2A": {u: owners(brute_join(items, i2i)) for u, items in products.items()},
    }


def as_list(row: NDArray[np.int32]) -> list[int]:
    """Return a sequence without its padding, which must stand at its end."""
    n = int((row != PAD).sum())
    assert (row[n:] == PAD).all()
    return [int(x) for x in row[:n]]


@pytest.mark.parametrize("now_h", [0.0, 1.0, 3.5, 7.0])
def test_every_kind_equals_a_brute_force_join(now_h: float) -> None:
    now_s = now_h * 3600.0
    store = FeatureStore(FEATURES, 4)
    follows = LOG.follows()
    store.tell(follows.take(follows.known_s <= 0.0))
    store.update(LOG.rows, LOG.bought, now_s)
    store.refresh(CATALOGUE)
    assert store.histories is not None
    got = store.histories.of(np.arange(N_USERS), CATALOGUE)
    expected = brute_histories(LOG, now_s)
    assert tuple(expected) == KINDS
    for k, kind in enumerate(KINDS):
        for user in range(N_USERS):
            assert as_list(got[user, k]) == expected[kind].get(user, []), (kind, user)
    lengths = (got != PAD).sum(2).max(0)
    assert (lengths > 0).all() == (now_h > PERIOD_S / 3600.0)
    assert lengths[0] >= 2  # follows from before the log


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.0, LOG.as_of_s), max_size=4))
def test_histories_do_not_depend_on_how_the_stream_is_cut(cuts_s: list[float]) -> None:
    whole, cut = Histories(FEATURES.histories), Histories(FEATURES.histories)
    whole.add(*known(-np.inf, LOG.as_of_s), LOG.as_of_s)
    for after_s, until_s in itertools.pairwise([-np.inf, *sorted(cuts_s), LOG.as_of_s]):
        cut.add(*known(after_s, until_s), until_s)
    users = np.arange(N_USERS)
    assert np.array_equal(whole.of(users, CATALOGUE), cut.of(users, CATALOGUE))


def known(after_s: float, until_s: float) -> tuple[Impressions, Purchases]:
    rows, bought = LOG.rows, LOG.bought
    return (
        rows.take((rows.known_s > after_s) & (rows.known_s <= until_s)),
        bought.take((bought.known_s > after_s) & (bought.known_s <= until_s)),
    )


def test_recents_keep_the_last_different_items() -> None:
    recents = Recents(3)
    recents.add(np.array([1, 1, 1, 4]), np.array([7, 8, 7, 2]), np.array([1.0, 2.0, 3.0, 1.0]))
    assert as_list(recents.of(np.array([1]))[0]) == [7, 8]
    recents.add(np.array([1, 1, PAD]), np.array([8, 9, 3]), np.array([4.0, 5.0, 9.0]))
    assert as_list(recents.of(np.array([1]))[0]) == [9, 8, 7]
    recents.add(np.array([1, 1]), np.array([5, 6]), np.array([6.0, 6.0]))
    assert as_list(recents.of(np.array([1]))[0]) == [5, 6, 9]
    assert (recents.of(np.array([PAD, 0, 3, 10**6])) == PAD).all()
    assert recents.items.nbytes <= 4 * 3 * 2 * 5


def test_likeness_by_hand() -> None:
    met = np.array([[0, 1, PAD], [0, 1, 2], [2, PAD, PAD]], np.int32)
    table = Neighbours.of(met, 2)
    two, three = 1 / math.log(3), 1 / math.log(4)
    assert table.item.tolist() == [[1, 2], [0, 2], [0, 1]]
    expected = [
        [(two + three) / 2, three / 2],
        [(two + three) / 2, three / 2],
        [three / 2, three / 2],
    ]
    assert table.likeness == pytest.approx(np.array(expected), rel=1e-6)
    assert as_list(table.join(np.array([[2, PAD]], np.int32), 4)[0]) == [0, 1]
    assert as_list(table.join(np.array([[0, 2]], np.int32), 4)[0]) == [1, 0, 2]
    assert (table.join(np.array([[PAD, 77]], np.int32), 2) == PAD).all()
    assert len(Neighbours.of(np.full((3, 2), PAD, np.int32), 2).item) == 0


def test_neighbours_are_of_the_last_computation() -> None:
    histories = Histories(HistoryConfig(length=3, neighbours=2, join_every_h=1.0))
    rows, bought = known(-np.inf, 3600.0)
    histories.add(rows, bought, 3600.0)
    before = histories.streamer_neighbours
    histories.add(*known(3600.0, 7000.0), 7000.0)
    assert histories.streamer_neighbours is before
    histories.add(*known(7000.0, 7200.0), 7200.0)
    assert not np.array_equal(histories.streamer_neighbours.item, before.item)


def test_elements_carry_side_information_as_known_now() -> None:
    store, requests = told_store(LOG), serving_requests(20, LOG)
    sequences = store.sequences(requests)
    assert sequences is not None
    there = sequences.place != PAD
    assert there.any()
    assert not there.all()
    ids = sequences.streamers.ids[sequences.place[there], 0] - 1
    catalogue = requests.catalogue
    columns = sequences.streamers.context[sequences.place[there]] - 1
    names = ("category", "price_tier", "follower_band")
    for column, name in zip(columns.T, names, strict=True):
        assert np.array_equal(column, getattr(catalogue, f"streamer_{name}")[ids])
    dense = sequences.streamers.dense[sequences.place[there]]
    assert np.array_equal(dense[:, :-1], store.streamers.lifts(ids + 1))
    assert len(np.unique(sequences.streamers.ids)) == len(sequences.streamers.ids)


def test_stores_remember_sequences_only_when_asked() -> None:
    store = FeatureStore(FeatureConfig(half_life_days=7.0, shrinkage=2.0), 4)
    store.update(LOG.rows, LOG.bought, LOG.as_of_s)
    store.refresh(CATALOGUE)
    assert store.histories is None
    assert store.sequences(serving_requests(3, LOG)) is None
    assert not any(name.startswith("histories") for name in store.state())


def test_histories_survive_a_restart() -> None:
    one, other = told_store(LOG), FeatureStore(FEATURES, 4)
    other.restore(one.state())
    assert one.histories is not None
    assert other.histories is not None
    later = replace(LOG.rows, known_s=LOG.rows.known_s + LOG.as_of_s)
    sold = replace(LOG.bought, known_s=LOG.bought.known_s + LOG.as_of_s)
    users = np.arange(N_USERS)
    for store in (one, other):
        store.update(later, sold, 1.9 * LOG.as_of_s)
        store.refresh(CATALOGUE)
    a, b = (s.histories.of(users, CATALOGUE) for s in (one, other) if s.histories)
    assert np.array_equal(a, b)


def test_strangers_and_unborn_products_have_no_history() -> None:
    store = told_store(LOG)
    assert store.histories is not None
    users = np.array([PAD, 10**6], np.int32)
    assert (store.histories.of(users, CATALOGUE) == PAD).all()
    unborn = replace(CATALOGUE, product_streamer_id=np.full(N_STREAMERS, -1, np.int32))
    assert (store.histories.of(np.arange(N_USERS), unborn)[:, 3:] == PAD).all()
    empty = Histories(FEATURES.histories)
    empty.tell(Follows.empty())
    empty.add(Impressions.empty(), Purchases.empty(), 0.0)
    assert (empty.of(np.arange(3), CATALOGUE) == PAD).all()


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"HistoryConfig.length = 0"):
        HistoryConfig(length=0, neighbours=4, join_every_h=2.0)
    with pytest.raises(ConfigError, match=r"histories"):
        SequenceFeatures(7.0, 2.0, histories=3)  # type: ignore[arg-type]
