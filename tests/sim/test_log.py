"""The log: what was known when, completeness, resumption, and the stream that a ranker meets."""

import json
import shutil

import numpy as np
import pyarrow.dataset as ds
import pytest

from sim.log import FEEDBACK, Log, LogError
from sim.schema import DAY_S, PAD, Impressions, Purchases
from sim.simulate import simulate
from sim.truth_log import logged_truth, sessions_to_their_end
from sim.world import World
from tests.sim.worlds import TICK_S, config, run, same, server

MOMENTS = [0.4 * DAY_S, 1.0 * DAY_S, 1.83 * DAY_S, 3 * DAY_S]


def files(folder):
    """Return {relative path: bytes} of a folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_the_log_holds_what_the_world_did(tmp_path):
    """Reading brings back every impression and purchase, in order."""
    log = simulate(config(), 3, server("random"), 2, tmp_path / "log", ranker_name="random")
    records = run(World(config(), 3), "random", 2)
    rows = [sessions_to_their_end(log, day) for day in range(2)]
    for read, record in zip(rows, records, strict=True):
        assert same(read, record.impressions)
    bought = Purchases.concat([r.purchases for r in records])
    assert same(log.purchases(), bought)
    assert len(logged_truth(log)) == len(log.impressions())


def test_two_writes_are_byte_identical(tmp_path):
    """The same command gives the same bytes, whatever the chunks."""
    for name, chunks in (("a", 1), ("b", 1), ("c", 7)):
        simulate(
            config(), 3, server("popularity", 0.1), 2, tmp_path / name,
            ranker_name="popularity", chunks=chunks,
        )  # fmt: skip
    a, b, c = (files(tmp_path / name) for name in "abc")
    assert a == b
    assert a == c
    assert len(a) > 20


@pytest.mark.parametrize("t_s", MOMENTS)
def test_as_of_shows_nothing_later(tiny_log, t_s):
    """No row, no feedback and no purchase after t; what was complete by t is untouched."""
    then, now = tiny_log.as_of(t_s).impressions(), tiny_log.impressions()
    assert (then.time_s <= t_s).all()
    assert not (then.purchase_s > t_s).any()
    assert (tiny_log.as_of(t_s).purchases().known_s <= t_s).all()
    open_ = then.known_s > t_s
    for name in FEEDBACK:
        assert not getattr(then, name)[open_].any()
    assert (then.watch_s[open_] <= t_s - then.time_s[open_] + 1e-3).all()
    at = np.flatnonzero(np.isin(now.request_id, then.request_id[~open_]))
    closed, full = then.take(~open_), now.take(at[now.known_s[at] <= t_s])
    for name in (*FEEDBACK, "watch_s", "click", "view", "propensity"):
        np.testing.assert_array_equal(getattr(closed, name), getattr(full, name))


def test_as_of_never_looks_ahead_of_itself(tiny_log):
    """Asking for a later moment of an earlier view shows no more."""
    early = tiny_log.as_of(DAY_S)
    assert early.as_of(2 * DAY_S) == early


def test_a_late_purchase_is_unlabelled_until_it_happens(tiny_log):
    """The label appears with the report of the event, on the row that led to it."""
    bought = tiny_log.purchases()
    late = bought.take(bought.event_s > bought.impression_s + 4 * 3600)
    assert len(late)
    for t_s, has in ((late.known_s[0] - 1, False), (late.known_s[0] + 1, True)):
        rows = tiny_log.as_of(t_s).impressions()
        hit = (rows.request_id == late.request_id[0]) & (rows.streamer_id == late.streamer_id[0])
        assert hit.sum() == 1
        assert np.isfinite(rows.purchase_s[hit][0]) == has


def test_ticks_are_the_stream_that_the_ranker_met(tmp_path):
    """Replaying a log gives `observe` the same rows, tick by tick, and the same requests."""

    class Recording:
        """Ranks like popularity and keeps what it was given."""

        needs_truth = False
        observes = True

        def __init__(self):
            self.inner, self.news, self.requests = server("popularity"), [], []

        def rank(self, requests, slate_size, uniforms, truth):
            self.requests.append(requests)
            return self.inner.rank(requests, slate_size, uniforms, truth)

        def observe(self, impressions, purchases, now_s):
            self.news.append((impressions, purchases, now_s))
            self.inner.observe(impressions, purchases, now_s)

    ranker = Recording()
    log = simulate(config(), 3, ranker, 2, tmp_path / "log", ranker_name="popularity")
    ticks = list(log.ticks())
    assert [t.now_s for t in ticks] == [n[2] for n in ranker.news]
    for tick, (known, bought, _) in zip(ticks, ranker.news, strict=True):
        assert same(tick.known, known)
        assert same(tick.purchases, bought)
    met = {int(i): (r, k) for r in ranker.requests for k, i in enumerate(r.request_id)}
    compared = 0
    for tick in ticks:
        requests, request, column = tick.requests()
        np.testing.assert_array_equal(
            requests.candidate_id[request, column], tick.shown.streamer_id
        )
        for k, i in enumerate(requests.request_id.tolist()):
            other, row = met[i]
            np.testing.assert_array_equal(requests.mask[k], other.mask[row])
            np.testing.assert_array_equal(requests.candidate_id[k], other.candidate_id[row])
            np.testing.assert_array_equal(requests.product_id[k], other.product_id[row])
            assert requests.refer_id[k] == other.refer_id[row]
            compared += 1
    assert compared > 1000


def test_slates_hold_what_was_shown(tiny_log):
    """Training batches list each shown row once, at its place."""
    for tick in tiny_log.as_of(DAY_S).ticks():
        requests, rows = tick.slates()
        if not len(requests):
            continue
        real = rows != PAD
        assert sorted(rows[real].tolist()) == list(range(len(tick.shown)))
        np.testing.assert_array_equal(requests.mask, real)
        np.testing.assert_array_equal(
            requests.candidate_id[real], tick.shown.streamer_id[rows[real]]
        )
        assert (requests.room_start_s[real] <= tick.shown.time_s[rows[real]]).all()


def test_nothing_known_is_lost_between_fit_and_serving(tiny_log):
    """The ticks before a cut, what was known after them, and the ticks after it cover all once."""
    cut = tiny_log.as_of(DAY_S)
    early = [t.known for t in cut.ticks()] + [cut.known_after_last_tick()[0]]
    later = [t.known for t in tiny_log.between(DAY_S, 2 * DAY_S).ticks()]
    first = Impressions.concat(early)
    rest = Impressions.concat(later)
    rest = rest.take(rest.known_s > DAY_S)
    everything = Impressions.concat([sessions_to_their_end(tiny_log, d) for d in range(3)])
    last_s = 2 * DAY_S - TICK_S
    due = everything.take(everything.known_s <= last_s)
    keys = np.concatenate(
        [first.request_id * 100 + first.position, rest.request_id * 100 + rest.position]
    )
    np.testing.assert_array_equal(np.sort(keys), np.sort(due.request_id * 100 + due.position))


def test_other_tools_read_it(tiny_log):
    """Arrow sees one table with day and scenario as columns; truth lies elsewhere."""
    table = ds.dataset(tiny_log._folder / "impressions", partitioning="hive").to_table()
    assert {"day", "scenario", "propensity", "watch_s"} <= set(table.column_names)
    assert not [name for name in table.column_names if name.startswith("p_")]
    manifest = json.loads((tiny_log._folder / "manifest.json").read_text())
    assert table.num_rows == manifest["impressions"]


def test_an_interrupted_log_is_not_complete_and_goes_on(tmp_path):
    """After an interruption the folder does not open; the same call finishes it, bytes equal."""
    whole = simulate(config(), 3, server("popularity", 0.1), 3, tmp_path / "a", ranker_name="p")

    class Stop(Exception):
        """Stands for Ctrl-C."""

    def stop(day, impressions):
        if day == 1:
            raise Stop

    target = tmp_path / "b"
    with pytest.raises(Stop):
        simulate(config(), 3, server("popularity", 0.1), 3, target, ranker_name="p", on_day=stop)
    with pytest.raises(LogError, match="incomplete, 2 of 3 days"):
        Log.open(target)
    simulate(config(), 3, server("popularity", 0.1), 3, target, ranker_name="p")
    assert files(target) == files(whole._folder)


def test_broken_folders_are_refused_in_one_line(tiny_log, tmp_path):
    """Missing, foreign, truncated and garbled logs never open."""
    with pytest.raises(LogError, match=r"no manifest.json there; allowed"):
        Log.open(tmp_path / "nowhere")
    copy = tmp_path / "copy"
    shutil.copytree(tiny_log._folder, copy)
    part = copy / "impressions/day=0001/scenario=swipe/part-0.parquet"
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(LogError, match=r"scenario=swipe/part-0.parquet is \d+ bytes instead of"):
        Log.open(copy)
    part.unlink()
    with pytest.raises(LogError, match="is missing"):
        Log.open(copy)
    (copy / "manifest.json").write_text("{")
    with pytest.raises(LogError, match=r"manifest.json is broken"):
        Log.open(copy)
    with pytest.raises(LogError, match="with other settings"):
        simulate(config(), 8, server("random"), 3, tiny_log._folder, ranker_name="random")
    a_file = tmp_path / "file"
    a_file.write_text("x")
    with pytest.raises(LogError, match="is a file"):
        simulate(config(), 8, server("random"), 1, a_file, ranker_name="random")


def test_an_empty_platform_has_an_empty_log():
    """Policies can be fitted before anything happened."""
    nothing = Log.nothing(TICK_S, DAY_S)
    assert len(nothing.impressions()) == len(nothing.purchases()) == 0
    assert list(nothing.ticks()) == []
    assert nothing.catalogue().n_users == 0


def test_follows_begin_with_those_from_before_and_end_with_what_is_known(tiny_log):
    """Initial follow sets are told at once, later ones when their stay is over, none twice."""
    log = tiny_log
    follows, shown = log.follows(), log.impressions()
    before = follows.known_s == 0.0
    assert before.sum() > 100
    assert (np.diff(follows.known_s) >= 0).all()
    later = shown.take(shown.follow)
    told = set(zip(follows.user_id[~before], follows.streamer_id[~before], strict=True))
    assert told >= set(zip(later.user_id, later.streamer_id, strict=True))
    pairs = follows.user_id.astype(np.int64) * 2**32 + follows.streamer_id
    assert len(np.unique(pairs)) == len(pairs)
    then = 1.5 * DAY_S
    assert (log.as_of(then).follows().known_s <= then).all()
    assert len(log.as_of(then).follows()) == (follows.known_s <= then).sum()
    assert len(log.as_of(0.0).follows()) == 0
