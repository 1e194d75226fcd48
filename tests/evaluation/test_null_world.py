"""The null world is null: no comparison finds what is not there more often than it says it does.

What the right test is depends on what is drawn anew. In the null world two policies show different
rooms, each pair of user and room has its own luck, and no room is better than another: a paired
comparison of two policies tests a true hypothesis, and must reject it in 5 % of cases. Where they
happen to show the same room to the same user at the same moment, they tie exactly, which a paired
interval takes account of. The same policy twice ties exactly everywhere: there is nothing to test,
and no interval. It must be compared unpaired, by a split of the users.

Pairs within a seed share users and policies, metrics and scenarios share sessions, so that
rejections come in clusters: the error of the rejection rate is that of its mean over seeds.
"""

import dataclasses
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from evaluation.deployment import deploy
from evaluation.intervals import Estimate
from evaluation.online import CLICK_METRICS, METRICS, SCOPES, UserTotals, comparison_rows
from evaluation.results import RELATIVE_LIFT, Subject
from policies.contract import FitContext
from policies.heuristics import Popularity, Random, Recency
from policies.oracle import AntiOracle, Oracle
from sim.config import WorldConfig
from sim.delay_parameters import DelayConfig
from sim.log import Log
from sim.parameters import ScenarioConfig
from sim.presets import preset
from sim.rng import Purpose, uniforms
from sim.schema import DAY_S, SCENARIOS, SWIPE
from sim.world import World

POLICIES = {
    "random": Random, "popularity": Popularity, "recency": Recency, "oracle": Oracle,
    "anti_oracle": AntiOracle,
}  # fmt: skip
SEEDS = range(20)
SMALL = ["world.population.n_users=1500", "world.population.n_streamers=150"]

OFF = {
    "population.profile_signal": 0.0,
    "population.price_log_sigma": 0.0,
    "population.price_tier_step": 0.0,
    "population.initial_follows": 0.0,
    "visits.return_gain": 0.0,
    "turnover.share_per_day": 0.0,
    "turnover.starvation": 0.0,
    "calendar.sale_day": None,
    "drift.popularity_sigma": 0.0,
    "drift.jumps_per_day": 0.0,
    "drift.preference": "none",
    "drift.watch_pull": 0.0,
    **{
        f"{name}.{field}": value
        for name in SCENARIOS
        for field, value in {
            "scenario_shift": 0.0, "after_click": 1.0, "social_shift": 0.0, "commerce_shift": 0.0,
        }.items()
    },
    "session.entry_shares": [1.0, 0.0, 0.0],
    "session.refer_pull": 0.0,
    "session.satiation": 0.0,
    "session.patience_gain": 0.0,
    **{
        f"response.{field}": 0.0
        for field in (
            "affinity", "quality", "bait", "bait_disappointment", "popularity", "follow",
            "intensity_weight", "task_conflict", "target_coupling", "highlight", "audience",
            "crowding",
        )
    },
    "watch.satisfaction_gain": 0.0,
    **{
        f"feedback.{field}": 0.0
        for field in ("social_affinity", "commerce_affinity", "charm", "appeal", "price")
    },
    "delay.imm.weight": 1.0,
    "delay.imm.scale_h": 0.0,
    "delay.short.weight": 0.0,
    "delay.tail.weight": 0.0,
    "delay.promo_wait.weight": 0.0,
    "delay.loss.sold_out_per_day": 0.0,
    "delay.loss.unfollow_per_day": 0.0,
    "delay.refund.probability": 0.0,
    "delay.reporting.mean_s": 0.0,
    "delay.reporting.late_share": 0.0,
    "delay.reporting.lost_share": 0.0,
    "delay.repeat.probability": 0.0,
    "delay.revisit.rate_per_day": 0.0,
    "delay.drift.delay_per_day": 0.0,
    "delay.drift.conversion_per_day": 0.0,
    "delay.drift.volume_per_day": 0.0,
}  # fmt: skip
"""Fields by which a mechanism is switched off, and the value that does it."""

FREE = {
    "": {"name", "ticks_per_day"},
    "population": {  # sizes, and the shape of a space in which nothing happens
        "n_users", "n_streamers", "products_per_streamer", "n_categories", "n_dims",
        "taste_concentration", "user_noise", "streamer_noise", "product_noise", "popularity_tail",
        "price_median_cny", "product_weight", "id_scheme", "id_days",
    },
    "visits": {  # users' own doing
        "rate_per_day", "excitation", "excitation_days", "sessions_per_visit",
        "activity_log_sigma", "hour_weights", "satisfaction_memory",
    },
    "turnover": {"streamers", "users", "products", "earnings_memory"},  # factors of 0
    "calendar": {  # the week is everybody's; the sale does not come
        "weekday_traffic", "sale_days", "sale_period_days", "preheat_days", "aftermath_days",
        "sale_traffic", "preheat_cart", "preheat_wait", "sale_purchase", "aftermath_purchase",
        "sale_discount", "sale_thrift", "sale_categories",
    },
    "drift": {  # shape of drifts of size 0
        "popularity_days", "jump_size", "preference_angle", "preference_day", "preference_days",
    },
    "schedule": {  # who is on air when
        "rooms_per_day", "length_median_min", "length_log_sigma", "evening_share", "evening_hour",
        "start_jitter_h", "product_min", "highlight_share",
    },
    "scenario": {  # traffic, supply, layout and base rates; weights are factors of 0
        "traffic_share", "supply_share", "users_share", "opens_day", "slate_size", "base_click",
        "base_engaged_stay", "patience", "max_requests", "examination", "examination_decay",
        "quality_weight", "bait_weight", "follow_weight",
    },
    "session": {  # users' own mood and patience
        "task_stay_s", "refer_gain", "refer_threshold", "satiation_memory", "mood_sigma",
        "patience_sigma", "patience_decay", "max_session_s", "glance_s",
    },
    "watch": {
        "bounce_median_s", "bounce_log_sigma", "bounce_cap_s", "engaged_median_s",
        "engaged_log_sigma",
    },
    "feedback": {  # base rates, and users' own propensity
        "like", "comment", "follow", "bag_click", "cart", "purchase", "propensity_sigma",
    },
    "delay": {  # with everything bought at once there is no delay to shape
        "horizon_days", "time_of_day", "imm.law", "imm.shape", "imm.price", "imm.intent",
        "imm.live_left", "imm.price_stretch", "imm.intent_stretch",
        *(
            f"{part}.{field}"
            for part in ("short", "tail")
            for field in (
                "law", "shape", "scale_h", "price", "intent", "live_left", "price_stretch",
                "intent_stretch",
            )
        ),
        "promo_wait.price", "promo_wait.intent", "promo_wait.nearness", "promo_wait.window_days",
        "promo_wait.half_life_h", "refund.price", "refund.fast_share", "refund.fast_mean_h",
        "refund.slow_mean_h", "reporting.late_mean_h", "repeat.law", "repeat.shape",
        "repeat.scale_h", "repeat.intent", "revisit.fade_days", "revisit.pending_lift",
        "revisit.informative", "revisit.cart_share",
    },
    "objective": {
        "engage", "watch", "like", "comment", "follow", "bag_click", "cart", "purchase",
    },
}  # fmt: skip
"""Fields that no policy can make use of while those of OFF are off, by section."""


def leaves(record: object, path: str = "") -> dict[str, object]:
    """Return every field of nested records by its dotted path."""
    found: dict[str, object] = {}
    for field in dataclasses.fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        where = f"{path}.{field.name}" if path else field.name
        found |= leaves(value, where) if dataclasses.is_dataclass(value) else {where: value}
    return found


def is_free(path: str) -> bool:
    """Return whether a field is listed in FREE."""
    section, _, field = path.rpartition(".")
    if path.startswith("delay."):
        section, field = "delay", path.removeprefix("delay.")
    section = "scenario" if section in SCENARIOS else section
    return field in FREE.get(section, ())


def test_every_field_of_a_world_is_classified():
    """Whoever adds a mechanism says how the null world switches it off."""
    for path in leaves(preset("null")):
        assert (path in OFF) != is_free(path), f"{path}: in exactly one of OFF and FREE"


def test_every_effect_is_off():
    """The values of the preset are those that switch mechanisms off."""
    values = leaves(preset("null"))
    for path, value in OFF.items():
        assert values[path] == value, path
    kinds = {type(part).__name__ for part in vars(preset("null")).values()}
    assert {WorldConfig.__name__, ScenarioConfig.__name__, DelayConfig.__name__} - kinds == {
        WorldConfig.__name__
    }


@cache
def deployed(seed: int, name: str) -> UserTotals:
    """Return what a policy that starts from nothing does on one day of the null world."""
    config = preset("null", SMALL)
    world = World(config, seed)
    policy = POLICIES[name]().fit(Log.nothing(config.tick_s, DAY_S), FitContext())
    return deploy(policy, world, world.state, 1).ultimate


def paired(seed: int, a: str, b: str) -> np.ndarray:
    """Return which paired comparisons of two policies reject, one for each metric and scope."""
    rows = comparison_rows(
        Subject("null", seed, a), deployed(seed, a), b, deployed(seed, b), "online"
    )
    tested = [r for r in rows if r.unit != RELATIVE_LIFT and np.isfinite(r.low)]
    return np.array([r.low > 0 or r.high < 0 for r in tested])


def halves(users: int, seed: int) -> np.ndarray:
    """Return a random half of the users [U]."""
    return uniforms(seed, Purpose.CALIBRATION, np.arange(users), 1)[0] < 0.5


def unpaired(seed: int, a: str, b: str) -> np.ndarray:
    """Return which comparisons reject if half of the users meet `a` and the other half `b`."""
    totals = deployed(seed, a), deployed(seed, b)
    first = halves(totals[0].users, seed)
    found = []
    for scope in SCOPES:
        for metric in METRICS:
            if scope == SCENARIOS[SWIPE] and metric in CLICK_METRICS:
                continue
            one = UserTotals(totals[0].sums * first).estimate(metric, scope)
            other = UserTotals(totals[1].sums * ~first).estimate(metric, scope)
            if min(one.events or 0, other.events or 0) < 10:
                continue
            error = np.hypot(one.standard_error, other.standard_error)
            found.append(abs(one.value - other.value) > 1.96 * error)
    return np.array(found)


def rate(found: list[np.ndarray]) -> tuple[float, float, int]:
    """Return the rejection rate, its error between seeds, and the number of tests."""
    share, n = np.array([f.mean() for f in found]), np.array([len(f) for f in found])
    whole = float(np.average(share, weights=n))
    spread = np.sqrt((n**2 * (share - whole) ** 2).sum()) / n.sum()
    return whole, float(spread), int(n.sum())


@pytest.mark.slow
def test_paired_comparisons_reject_in_five_per_cent():
    """Two disjoint pairs a seed, which share no policy: 20 seeds, thousands of tests."""
    found = [
        np.concatenate([paired(s, "random", "popularity"), paired(s, "recency", "oracle")])
        for s in SEEDS
    ]
    share, error, n = rate(found)
    assert n > 2500
    assert error < 0.012, f"{share:.3f} +- {error:.3f}: the band would mean little"
    assert 0.02 < share < 0.09, f"{share:.3f} +- {error:.3f} of {n}"


@pytest.mark.slow
@pytest.mark.parametrize("pair", list(combinations(POLICIES, 2)), ids="-".join)
def test_no_pair_of_policies_differs(pair):
    """Of the ten pairs none is told apart more often than its own error between seeds allows."""
    share, error, n = rate([paired(seed, *pair) for seed in SEEDS])
    assert n > 1000
    assert share < max(0.09, 0.05 + 3 * error), f"{share:.3f} +- {error:.3f} of {n}"


@pytest.mark.slow
@pytest.mark.parametrize("pair", [("random", "random"), ("popularity", "oracle")], ids="-".join)
def test_split_users_reject_in_five_per_cent(pair):
    """Unpaired: half of the users meet one policy, the other half the same, or another."""
    share, error, n = rate([unpaired(seed, *pair) for seed in SEEDS])
    assert n > 1000
    assert error < 0.015
    assert 0.02 < share < 0.09, f"{share:.3f} +- {error:.3f} of {n}"


def test_the_same_policy_twice_ties_exactly():
    """Nothing to test: every sum of every user is the same, and no interval is given."""
    config = preset("null", SMALL)
    worlds = [World(config, 3) for _ in range(2)]
    one, two = (deploy(Random(), world, world.state, 1).ultimate for world in worlds)
    np.testing.assert_array_equal(one.sums, two.sums)
    rows = comparison_rows(Subject("null", 3, "a"), one, "b", two, "online")
    assert all(r.estimate == 0 or np.isnan(r.estimate) for r in rows if r.unit != RELATIVE_LIFT)
    assert not any(np.isfinite(r.low) for r in rows)


def test_the_truth_ties():
    """Every candidate of a request is worth the same, but for the time that its room has left."""
    config = preset("null", SMALL)
    gaps = []

    class Spy(Oracle):
        def score_with_truth(self, requests, truth):
            value, some = truth.value(), requests.mask.any(axis=1)
            least, most = (np.where(requests.mask, value, none)[some] for none in (np.inf, -np.inf))
            gaps.append(least.min(axis=1) / most.max(axis=1))
            return value

    world = World(config, 3)
    deploy(Spy(), world, world.state, 1)
    gap = np.concatenate(gaps)
    assert np.median(gap) > 0.9999
    assert gap.mean() > 0.99


def test_the_rate_of_a_fair_and_of_a_broken_judge():
    """The check itself: a fair judge passes, one whose errors are a third too small does not."""
    u = uniforms(3, Purpose.CALIBRATION, np.arange(4000))[0].reshape(20, 200)
    fair, _, n = rate(list(u < 0.05))
    assert n == 4000
    assert 0.02 < fair < 0.09
    broken, _, _ = rate(list(u < 0.19))  # |z| > 1.96 * 2 / 3
    assert broken > 0.09
    assert isinstance(deployed(0, "random").estimate("watch_s_per_user"), Estimate)
