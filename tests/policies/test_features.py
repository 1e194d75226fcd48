"""Features: as of the tick, the same in replay and in serving, defined for the unknown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from policies.columns import sequence_tensors
from policies.counters import Counters
from policies.examples import Examples, replay
from policies.features import PAIR_FIELDS, FeatureStore, Side
from policies.history import FIELDS, PairHistory
from policies.memory import FeatureConfig
from sim.config import ConfigError
from sim.schema import PAD, TARGETS, Catalogue, Requests
from tests.policies.planted_learning import (
    FEATURES,
    TICK_S,
    LearningLog,
    as_log,
    elements,
    later_changed,
    learning_log,
    pair_columns,
    rooms,
    serving_requests,
    told_store,
)

LOG = learning_log()


def columns(store: FeatureStore, requests: Requests) -> list[NDArray[np.generic]]:
    """Return every column of the requests, flattened into arrays."""
    supply = requests.supply
    flat = [supply.streamer_id, supply.product_id, supply.room_start_s]
    scenario = np.zeros(supply.streamer_id.size, np.int64)
    sides: list[Side] = [
        store.user(requests),
        store.refer(requests),
        store.moment(requests),
        store.streamer(requests.catalogue, *(f.reshape(-1) for f in flat), scenario),  # type: ignore[arg-type, call-arg]
    ]
    parts: list[NDArray[np.generic]] = [pair_columns(store, requests)]
    for side in sides:
        parts += [side.ids, side.context, side.dense]
    sequences = sequence_tensors(store.sequences(requests))
    return [*parts, *(part.numpy() for part in elements(sequences))]


def example_columns(examples: Examples, before_s: float) -> list[torch.Tensor]:
    """Return every feature column of rows of ticks that begin until `before_s`."""
    rows = torch.nonzero(examples.tick * TICK_S <= before_s).flatten()
    batch = examples.batch(rows)
    request = batch.request
    sides = (request.user, request.refer, request.moment, batch.streamer)
    flat = [part for s in sides for part in (s.ids, s.context, s.dense)]
    return [batch.pair, *flat, *elements(request.sequences)]


def replayed(log: LearningLog) -> tuple[Examples, FeatureStore]:
    store = FeatureStore(FEATURES, n_categories=4)
    return replay(as_log(log), store), store


@settings(max_examples=6, deadline=None)
@given(st.floats(0.0, LOG.as_of_s))
def test_events_after_t_change_no_feature_at_t(t_s: float) -> None:
    plain, turned = replayed(LOG)[0], replayed(later_changed(LOG, t_s))[0]
    for a, b in zip(example_columns(plain, t_s), example_columns(turned, t_s), strict=True):
        assert torch.equal(a, b)


def test_later_events_do_change_later_features() -> None:
    plain, turned = replayed(LOG)[0], replayed(later_changed(LOG, TICK_S))[0]
    assert not torch.equal(plain.pair, turned.pair)
    assert not torch.equal(plain.requests.user.dense, turned.requests.user.dense)
    a, b = elements(plain.requests.sequences)[0], elements(turned.requests.sequences)[0]
    later = plain.requests.moment.context[:, 2] - 1 > 2  # hours
    for kind in range(1, a.shape[1]):
        assert not torch.equal(a[later, kind], b[later, kind])


def test_events_told_early_wait_until_they_are_known() -> None:
    half_s = LOG.as_of_s / 2
    requests = serving_requests(20, LOG)
    early, exact = FeatureStore(FEATURES, 4), FeatureStore(FEATURES, 4)
    early.update(LOG.rows, LOG.bought, half_s)
    known, bought = LOG.rows.known_s <= half_s, LOG.bought.known_s <= half_s
    exact.update(LOG.rows.take(known), LOG.bought.take(bought), half_s)
    for moment_s in (half_s, LOG.as_of_s):
        for store in (early, exact):
            store.update(LOG.rows.take([]), LOG.bought.take([]), moment_s)  # type: ignore[arg-type]
            store.refresh(LOG.known_catalogue)
        if moment_s == half_s:
            assert_same(columns(early, requests), columns(exact, requests))
            exact.update(LOG.rows.take(~known), LOG.bought.take(~bought), half_s)
    assert_same(columns(early, requests), columns(exact, requests))


def test_replaying_what_was_told_counts_nothing_twice() -> None:
    once, twice = told_store(LOG), told_store(LOG)
    told = LOG.rows.take(LOG.rows.known_s <= LOG.as_of_s)
    bought = LOG.bought.take(LOG.bought.event_s <= LOG.as_of_s)
    twice.update(told, bought, LOG.as_of_s + 5.0)
    once.update(LOG.rows.take([]), LOG.bought.take([]), LOG.as_of_s + 5.0)  # type: ignore[arg-type]
    for store in (once, twice):
        store.refresh(LOG.known_catalogue)
    requests = serving_requests(20, LOG)
    assert_same(columns(once, requests), columns(twice, requests))


def test_hourly_ticks_and_one_big_tick_know_the_same() -> None:
    hourly, whole = replayed(LOG)[1], told_store(LOG)
    requests = serving_requests(30, LOG)
    for a, b in zip(columns(hourly, requests), columns(whole, requests), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_training_and_serving_columns_are_equal() -> None:
    store, number = FeatureStore(FEATURES, 4), 3
    store.tell(LOG.follows().take(slice(0, 80)))
    ticks = list(LOG.ticks())
    for tick in ticks[: number + 1]:
        store.update(tick.known, tick.purchases, tick.now_s)
        store.refresh(LOG.known_catalogue)
    examples, _ = replayed(LOG)
    requests, rows = ticks[number].slates()
    mine = examples.batch(torch.nonzero(examples.tick == number).flatten())
    of = np.flatnonzero(rows >= 0) // rows.shape[1]
    assert np.array_equal(mine.request.user.dense.numpy(), store.user(requests).dense[of])
    assert np.array_equal(mine.request.refer.dense.numpy(), store.refer(requests).dense[of])
    served_elements = elements(sequence_tensors(store.sequences(requests)))
    for a, b in zip(elements(mine.request.sequences), served_elements, strict=True):
        assert torch.equal(a, b[of])
    # served from one long shared list, the joins run from the other side
    wide = replace(
        requests,
        supply=rooms(np.arange(24)[None, :]),
        row=np.zeros(len(requests), np.int32),
        mask=np.ones((len(requests), 24), np.bool_),
    )
    served = pair_columns(store, wide).reshape(len(requests), 24, -1)
    shown = requests.candidate_id.reshape(-1)[np.flatnonzero(rows >= 0)]
    assert np.array_equal(mine.pair.numpy(), served[of, shown])


def test_pair_columns_by_hand() -> None:
    store = told_store(LOG)
    requests = serving_requests(40, LOG)
    got = pair_columns(store, requests)
    cells = np.flatnonzero(requests.mask)
    rows = LOG.rows
    known = rows.known_s <= LOG.as_of_s
    for place in range(0, len(cells), 97):
        b, c = divmod(int(cells[place]), requests.mask.shape[1])
        user, streamer = requests.user_id[b], requests.candidate_id[b, c]
        mine = known & (rows.user_id == user) & (rows.streamer_id == streamer)
        sold = (LOG.bought.user_id == user) & (LOG.bought.streamer_id == streamer)
        sold &= LOG.bought.known_s <= LOG.as_of_s
        expected = {
            "shown": mine.sum(),
            "engage": rows.engage[mine].sum(),
            "watch": rows.target("watch")[mine].sum(),
            "follow": rows.follow[mine].sum(),
            "purchase": sold.sum(),
        }
        for name, value in expected.items():
            assert got[place, PAIR_FIELDS.index(name)] == pytest.approx(np.log1p(value), rel=1e-5)
        refer = requests.refer_id[b]
        category = requests.catalogue.streamer_category
        like = refer != PAD and category[refer] == category[streamer]
        assert got[place, PAIR_FIELDS.index("like_refer")] == float(like)


def test_unknown_ids_have_columns_too() -> None:
    store = told_store(LOG)
    requests = serving_requests(6, LOG)
    beyond = 10**6
    strange = replace(
        requests,
        user_id=np.full(6, beyond, np.int32),
        refer_id=np.full(6, beyond, np.int32),
        supply=rooms(np.full((6, 3), beyond)),
        row=np.arange(6, dtype=np.int32),
        mask=np.ones((6, 3), np.bool_),
    )
    for part in columns(store, strange):
        assert np.isfinite(np.asarray(part, np.float64)).all()
    assert not store.user(strange).dense[:, : 2 * len(TARGETS)].any()
    assert not pair_columns(store, strange)[:, : len(FIELDS)].any()


def test_an_empty_store_answers() -> None:
    store = FeatureStore(FEATURES, 4)
    requests = serving_requests(5, LOG)
    for part in columns(store, requests):
        assert np.isfinite(np.asarray(part, np.float64)).all()


def test_state_survives_a_restart() -> None:
    store, other = told_store(LOG), FeatureStore(FEATURES, 4)
    later = replace(LOG.rows, known_s=LOG.rows.known_s + 1e6)
    store.update(later, replace(LOG.bought, known_s=LOG.bought.known_s + 1e6), LOG.as_of_s)
    other.restore(store.state())
    requests = serving_requests(10, LOG)
    for moment_s in (LOG.as_of_s, LOG.as_of_s + 2e6):
        for each in (store, other):
            each.update(LOG.rows.take([]), LOG.bought.take([]), moment_s)  # type: ignore[arg-type]
            each.refresh(LOG.known_catalogue)
        assert_same(columns(store, requests), columns(other, requests))


def test_history_agrees_with_a_dictionary() -> None:
    rng = np.random.default_rng(0)
    history, expected = PairHistory(), np.zeros((6, 9, len(FIELDS)))
    for _ in range(5):
        user, streamer = rng.integers(0, 6, 30), rng.integers(0, 9, 30)
        amounts = rng.integers(0, 3, (30, len(FIELDS))).astype(np.float32)
        history.add(user, streamer, amounts)
        np.add.at(expected, (user, streamer), amounts)
    users, streamers = np.divmod(np.arange(54), 9)
    assert np.array_equal(history.lookup(users, streamers), expected.reshape(54, -1))
    owner, known, row = history.entries(np.array([4, 2]))
    assert set(owner[known == known[0]]) <= {0, 1}
    assert np.array_equal(history.sums[row], expected[np.array([4, 2])[owner], known])
    assert not history.lookup(np.array([PAD, 3]), np.array([2, PAD])).any()


def test_lifts_by_hand() -> None:
    counters = Counters(("engage",), half_life_s=100.0, shrinkage=2.0)
    counters.grow(3)
    who, where = np.array([1, 1, 2]), np.array([0, 0, 0])
    counters.add(who, where, 0, np.ones(3))
    counters.add(who, where, 1, np.array([1.0, 1.0, 0.0]))
    base = (2.0 + 0.05) / (3.0 + 1.0)
    expected = [np.log((2 + 2) / (2 * base + 2)), np.log((0 + 2) / (base + 2)), 0.0]
    assert counters.lifts(np.array([1, 2, 3]))[:, 0] == pytest.approx(expected, rel=1e-5)
    counters.decay(100.0)
    assert counters.sums[1, 0].tolist() == [1.0, 1.0]


def test_the_world_may_grow_while_serving() -> None:
    store = told_store(LOG)
    grown = Catalogue(
        **{
            name: np.concatenate([value, value[:1]])
            for name, value in vars(LOG.known_catalogue).items()
        }
    )
    fresh = LOG.rows.take([0])  # type: ignore[arg-type]
    fresh = replace(
        fresh,
        streamer_id=np.array([24], np.int32),
        user_id=np.array([40], np.int32),
        known_s=np.array([LOG.as_of_s + 1.0]),
    )
    store.update(fresh, LOG.bought.take([]), LOG.as_of_s + 2.0)  # type: ignore[arg-type]
    store.refresh(grown)
    assert store.history.lookup(np.array([40]), np.array([24]))[0, 0] == 1.0


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"FeatureConfig.half_life_days = -1"):
        FeatureConfig(half_life_days=-1.0, shrinkage=2.0)


def assert_same(a: list[NDArray[np.generic]], b: list[NDArray[np.generic]]) -> None:
    """Fail unless all arrays agree to float32 rounding."""
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
