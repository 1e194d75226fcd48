"""The named worlds: each builds, runs, and does what its name says."""

from pathlib import Path

import numpy as np
import pytest

import conf
from sim.presets import preset
from sim.schema import SCENARIOS
from sim.world import World
from tests.sim.worlds import run

NAMES = sorted(p.stem for p in Path(conf.__file__).parent.glob("world/*.yaml"))
SMALL = ["world.population.n_users=200", "world.population.n_streamers=100"]


def test_the_ladder_is_complete():
    """Names that users rely on."""
    assert {
        "tiny", "default", "large", "null", "sparse_tab", "bait", "double11", "turnover_5",
        "turnover_30", "new_scenario", "delayed_heavy",
    } <= set(NAMES)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_each_world_runs_and_says_what_it_is_for(name):
    """Every preset carries its name and purpose, and lives through two days."""
    text = (Path(conf.__file__).parent / f"world/{name}.yaml").read_text()
    assert text.startswith("# ")
    config = preset(name, SMALL)
    assert config.name == name
    days = run(World(config, 1), "random", 2)
    assert all(len(day.impressions) > 300 for day in days)


def test_the_new_scenario_opens_on_its_day():
    """Before, nobody comes; after, its share of the sessions of those who may."""
    world = World(preset("new_scenario", [SMALL[1], "world.population.n_users=2000"]), 1)
    feed = SCENARIOS.index("feed")
    share = []
    for day in range(7):
        sessions = world.sessions(day)
        share.append(float((sessions.scenario == feed).mean()))
    assert share[:4] == [0.0] * 4
    weights = [world.config.scenarios[m].traffic_share for m in range(len(SCENARIOS))]
    member = world.population.users.in_scenario[sessions.user_id]
    expected = (weights[feed] * member[:, feed] / (member * weights).sum(axis=1)).mean()
    assert np.mean(share[4:]) == pytest.approx(expected, abs=0.03)


def test_the_sale_brings_visits_and_purchases_and_lower_prices():
    """Pre-heat, peak and aftermath of double11 show in what happens."""
    world = World(preset("double11", [SMALL[1], "world.population.n_users=1500"]), 1)
    days = run(world, "popularity", 13)
    visits = [len(np.unique(d.impressions.user_id)) for d in days]
    plain = np.mean(visits[:5])
    assert visits[10] > 1.25 * plain
    assert plain < visits[8] < visits[10]

    def rate(day, what, given):
        shown = days[day].impressions
        return getattr(shown, what).sum() / getattr(shown, given).sum()

    def cart_rate(span):
        return np.mean([rate(d, "cart", "bag_click") for d in span])

    def purchase_rate(span):
        bought = sum(days[d].truth.will_purchase.sum() for d in span)
        return bought / sum(days[d].impressions.cart.sum() for d in span)

    assert cart_rate(range(6, 10)) > 1.1 * cart_rate(range(6))
    assert purchase_rate(range(6, 10)) < 0.9 * purchase_rate(range(6)) < purchase_rate([10])
    first, sale = days[0], days[10]
    price = dict(zip(first.impressions.product_id, first.truth.amount_cny, strict=True))
    both = [
        (price[p], a)
        for p, a in zip(sale.impressions.product_id, sale.truth.amount_cny, strict=True)
        if p in price
    ]
    before, now = np.array(both).T
    assert (now <= before).all()
    assert 1 - (now / before).mean() == pytest.approx(0.15, abs=0.05)
