"""Attribution against a loop over all pairs, and on a log."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.attribution import LEVELS, RULES, WINDOWS_S, attribute
from sim.config import ConfigError
from sim.schema import DAY_S, Impressions, Purchases
from sim.simulate import simulate
from tests.sim.worlds import config, server


def record(kind, n, **columns):
    """Return a record with zeros where nothing is given."""
    given = {name: np.zeros(n, dtype) for name, dtype in kind.dtypes().items()}
    return kind(**given | {name: np.asarray(v, kind.dtypes()[name]) for name, v in columns.items()})


ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),  # user
        st.integers(0, 2),  # product; its streamer is half of it
        st.integers(0, 12),  # moment
        st.sampled_from(["click", "stay", "neither"]),
    ),
    max_size=25,
)
BOUGHT = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 14)), max_size=12)


def made_up(rows, bought):
    """Return impressions and purchases."""
    user, product, time_s, how = ([row[k] for row in rows] for k in range(4))
    shown = record(
        Impressions, len(rows), user_id=user, product_id=product, time_s=time_s,
        streamer_id=np.array(product, int) // 2, click=[h == "click" for h in how],
        watch_s=[3.0 * (h == "stay") for h in how],
    )  # fmt: skip
    user, product, event_s = ([row[k] for row in bought] for k in range(3))
    return shown, record(
        Purchases, len(bought), user_id=user, product_id=product,
        streamer_id=np.array(product, int) // 2, event_s=event_s,
    )  # fmt: skip


def by_loop(shown, bought, window_s, rule, level):
    """The definition: every touch of every purchase, one by one."""
    pairs = []
    for p in range(len(bought)):
        found = []
        for i in range(len(shown)):
            touch = shown.click[i] or shown.watch_s[i] > 0
            name = f"{level}_id"
            same = shown.user_id[i] == bought.user_id[p]
            same &= getattr(shown, name)[i] == getattr(bought, name)[p]
            before_s = bought.event_s[p] - shown.time_s[i]
            if touch and same and 0 <= before_s <= window_s:
                found.append((shown.time_s[i], i))
        found.sort()
        kept = {"last": found[-1:], "first": found[:1], "any": found}[rule]
        pairs += [(i, p) for _, i in kept]
    return pairs


@settings(max_examples=200, deadline=None)
@given(
    rows=ROWS,
    bought=BOUGHT,
    window_s=st.sampled_from([0.5, 1.0, 3.0, 50.0, np.inf]),
    rule=st.sampled_from(RULES),
    level=st.sampled_from(LEVELS),
)
def test_credits_are_those_of_the_definition(rows, bought, window_s, rule, level):
    """Ties, empty tables, windows that end on a touch."""
    shown, bought = made_up(rows, bought)
    found = attribute(shown, bought, window_s=window_s, rule=rule, level=level)
    pairs = list(zip(found.impression.tolist(), found.purchase.tolist(), strict=True))
    assert pairs == by_loop(shown, bought, window_s, rule, level)
    label = found.labels(len(shown))
    assert set(np.flatnonzero(label).tolist()) == {i for i, _ in pairs}


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, bought=BOUGHT, shift=st.permutations(range(25)))
def test_order_of_rows_does_not_matter(rows, bought, shift):
    """Where no two touches share a moment, any order of the impressions gives the same credits."""
    rows = [(u, p, 0.5 * i, how) for i, (u, p, _, how) in enumerate(rows)]
    shown, bought = made_up(rows, bought)
    order = np.array([i for i in shift if i < len(rows)], np.int64)
    for rule in RULES:
        one = attribute(shown, bought, window_s=4.0, rule=rule)
        two = attribute(shown.take(order), bought, window_s=4.0, rule=rule)
        np.testing.assert_array_equal(one.labels(len(shown))[order], two.labels(len(shown)))


@pytest.fixture(scope="module")
def busy_log(tmp_path_factory):
    """Three days in which much is bought."""
    busy = config(feedback__bag_click=0.3, feedback__cart=0.7, feedback__purchase=0.7)
    folder = tmp_path_factory.mktemp("busy") / "log"
    return simulate(busy, 7, server("random"), 3, folder, ranker_name="random")


def test_rules_on_a_log(busy_log):
    """Any holds last and first; what is left of the cause; longer windows credit more."""
    shown, bought = busy_log.impressions(), busy_log.purchases()
    assert len(bought) > 300
    by = {r: attribute(shown, bought, window_s=WINDOWS_S["3 d"], rule=r) for r in RULES}
    pairs = {r: set(zip(c.impression.tolist(), c.purchase.tolist(), strict=True))
             for r, c in by.items()}  # fmt: skip
    assert pairs["last"] <= pairs["any"]
    assert pairs["first"] <= pairs["any"]
    assert len(pairs["last"]) == len(pairs["first"]) == len(set(by["any"].purchase.tolist()))
    assert len(pairs["any"]) > len(pairs["last"])
    # the cause is a touch in the window, so "any" finds it for every purchase
    cause = {}
    for i in np.flatnonzero(np.isfinite(shown.purchase_s)).tolist():
        cause[shown.request_id[i], shown.streamer_id[i]] = i
    own = [cause[k] for k in zip(bought.request_id, bought.streamer_id, strict=True)]
    causal = set(zip(own, range(len(bought)), strict=True))
    within = bought.event_s - shown.time_s[own] <= WINDOWS_S["3 d"]
    assert within.all()
    assert causal <= pairs["any"]
    right = len(causal & pairs["last"]) / len(bought)
    assert 0.5 < right < 1.0  # last touch is not the cause where the user came back meanwhile
    day, week = (
        attribute(shown, bought, window_s=w, rule="last") for w in (0.1 * DAY_S, WINDOWS_S["7 d"])
    )
    assert len(day) < len(week) == len(bought)
    product = attribute(shown, bought, window_s=WINDOWS_S["3 d"], rule="any", level="product")
    assert set(zip(product.impression, product.purchase, strict=True)) <= pairs["any"]


def test_a_view_as_of_t_is_as_late_as_its_reports(busy_log):
    """Nothing of what is not reported yet is credited."""
    then = busy_log.as_of(1.2 * DAY_S)
    shown, bought = then.impressions(), then.purchases()
    credits = attribute(shown, bought, window_s=np.inf, rule="last")
    assert 0 < len(credits) <= len(bought)
    assert (bought.known_s[credits.purchase] <= then.as_of_s).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"window_s": 0.0}, "window_s = 0.0; allowed: seconds above 0"),
        ({"window_s": float("nan")}, "window_s = nan; allowed: seconds above 0"),
        ({"rule": "middle"}, "rule = 'middle'; allowed: last, first, any"),
        ({"level": "room"}, "level = 'room'; allowed: streamer, product"),
    ],
)
def test_bad_settings_are_refused(given, message):
    """One line: field, value, what is allowed."""
    shown, bought = made_up([], [])
    with pytest.raises(ConfigError, match=message):
        attribute(shown, bought, **{"window_s": 1.0, "rule": "last", **given})
