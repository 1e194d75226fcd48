"""Interference: the bias of split traffic, measured against the twins."""

from __future__ import annotations

import numpy as np
import pytest
from twins import DAYS, SEED

from evaluation.ab.assignment import Split
from evaluation.ab.effect import twin_effect
from evaluation.ab.interference import interference
from evaluation.ab.traffic import Traffic
from evaluation.ab.twin_run import serve
from evaluation.intervals import difference
from evaluation.online import METRICS, UserTotals
from policies.heuristics import Random
from policies.rank import Exploration, Server
from sim.presets import preset
from sim.world import World
from tests.sim.worlds import config, server


def test_without_interference_split_users_do_what_they_do_in_their_twin() -> None:
    """No audience effects and policies that do not learn: only the users' own arm matters."""
    calm = config(response__audience=0.0, response__crowding=0.0)
    plan = Split(salt=4)
    arms = [Random(), Random()]
    split, control = (
        serve(ranker, World(calm, SEED), DAYS).totals()
        for ranker in (
            Traffic([server("random"), server("recency")], plan),
            Server(arms[0], Exploration()),
        )
    )
    treated_twin = serve(server("recency"), World(calm, SEED), DAYS).totals()
    treated = plan.of_users(np.arange(split.users)) == 1
    for metric in METRICS:
        found = interference(split, treated_twin, control, treated, metric)
        assert found.bias.estimate == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(ValueError, match="they must be the same"):
        interference(split, UserTotals(control.sums[:, :, 1:]), control, treated, "page_ctr")


CROWDED = [
    "world.population.n_users=1000", "world.population.n_streamers=300",
    "world.response.audience=0.5", "world.response.crowding=0.5",
]  # fmt: skip
"""A small default world in which audiences draw a crowd, and crowds turn people away."""


def biases(
    overrides: list[str], control: str, treated: str, metric: str, seeds: range
) -> np.ndarray:
    """Return (twin effect, bias of the split, its error, spill on control) of worlds."""
    rows = []
    for seed in seeds:
        world, plan = World(preset("default", overrides), seed), Split(salt=seed)
        low, high = (serve(server(name), world, 3).totals(True) for name in (control, treated))
        shared = serve(Traffic([server(control), server(treated)], plan), world, 3).totals(True)
        found = interference(shared, high, low, plan.of_users(np.arange(low.users)) == 1, metric)
        bias = difference(found.on_treated, found.on_control)
        truth = twin_effect(high, low, metric).estimate
        rows.append((truth, bias.value, bias.standard_error, found.on_control.value))
    return np.array(rows)


@pytest.mark.slow
def test_crowds_bias_split_traffic_against_the_twins() -> None:
    """The oracle's effect on clicks is seen 6 % too small, as the control gains from its crowds."""
    rows = biases(CROWDED, "random", "oracle", "page_ctr", range(1, 7))
    truth, bias, _, spill = rows.mean(axis=0)
    assert bias < -3.0 * np.sqrt((rows[:, 2] ** 2).mean() / len(rows)), rows
    assert -0.15 < bias / truth < -0.03, rows
    assert spill > 0.0
    assert (rows[:, 0] > 0.05).all()


@pytest.mark.slow
def test_shared_data_moves_the_policy_that_learns_and_nobody_else() -> None:
    """Popularity learns from the random half what it would not find out alone.

    By how much is too small for a test: +8 % of the effect on views, standard error 3 %, over
    twelve worlds.
    """
    calm = [*CROWDED[:2], "world.response.audience=0.0", "world.response.crowding=0.0"]
    rows = biases(calm, "random", "popularity", "views_per_user", range(7, 9))
    assert (np.abs(rows[:, 1]) > 0.0).all()
    assert (rows[:, 3] == 0.0).all()  # the random half meets nothing of it
