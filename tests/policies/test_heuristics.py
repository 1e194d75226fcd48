"""Baselines: what they count, what they forget, and what they never look at."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from policies.contract import FitContext
from policies.heuristics import Popularity, Random, Recency
from policies.oracle import AntiOracle, Oracle
from policies.rank import Exploration, PolicyError, Server
from sim.config import ConfigError
from sim.schema import PAD, Requests
from sim.truth import RequestTruth
from tests.policies.planted import impressions, log, no_purchases, requests

CONTEXT = FitContext()
HALF_LIFE_S = 7200.0


def fitted(as_of_s: float = 7200.0, prior: float = 2.0) -> Popularity:
    """Streamer 0: one engaged and one not at 7,200 s; streamer 1: one engaged at 0 s."""
    rows = impressions([1, 0, 0, 3], [True, True, False, True], [0.0, 7200.0, 7200.0, 9000.0])
    return Popularity(HALF_LIFE_S, prior).fit(log(rows, as_of_s), CONTEXT)


def test_random_scores_alike_and_recency_prefers_the_newest_live() -> None:
    batch = requests([[3, 7, 5, PAD]])
    assert np.ptp(Random().score(batch)) == 0.0
    assert int(Recency().score(batch)[0, :3].argmax()) == 1


def test_popularity_is_the_faded_smoothed_rate() -> None:
    score = fitted().score(requests([[0, 1, 2, 3, PAD]]))[0]
    shown, engaged = 2.0 + 0.5, 1.0 + 0.5  # the event of streamer 1 is one half-life old
    mean = engaged / shown
    assert score[0] == pytest.approx((1.0 + 2.0 * mean) / (2.0 + 2.0))
    assert score[1] == pytest.approx((0.5 + 2.0 * mean) / (0.5 + 2.0))
    assert score[2] == pytest.approx(mean)
    assert score[3] == pytest.approx(mean)  # known only at 9,000 s
    assert np.isfinite(score[4])


def test_popularity_goes_on_while_deployed_as_if_it_had_been_fitted_later() -> None:
    deployed = fitted()
    deployed.observe(impressions([3], [True], [9000.0]), no_purchases(), 10_800.0)
    later = fitted(as_of_s=10_800.0)
    batch = requests([[0, 1, 2, 3]])
    assert deployed.score(batch) == pytest.approx(later.score(batch), rel=1e-12)


def test_rows_of_the_future_wait_until_they_are_known() -> None:
    policy = fitted()
    batch = requests([[0, 1, 2, 3]])
    late = impressions([2], [True], [8000.0])
    policy.observe(late, no_purchases(), 7300.0)
    quiet = fitted()
    quiet.observe(impressions([], [], []), no_purchases(), 7300.0)
    assert (policy.score(batch) == quiet.score(batch)).all()
    policy.observe(impressions([], [], []), no_purchases(), 8100.0)
    assert policy.score(batch)[0, 2] > policy.score(requests([[4]]))[0, 0]


def test_popularity_without_events_and_with_new_ids_scores_a_constant() -> None:
    empty = Popularity().fit(log(impressions([], [], []), 3600.0), CONTEXT)
    assert (empty.score(requests([[0, 5, PAD]])) == 0.0).all()
    new = fitted().score(requests([[2, 11, 500]]))[0]
    assert np.ptp(new) == 0.0


def test_popularity_survives_a_restart(tmp_path: Path) -> None:
    policy = fitted()
    policy.observe(impressions([2], [True], [8000.0]), no_purchases(), 7300.0)
    policy.save(tmp_path)
    back = Popularity(HALF_LIFE_S, 2.0).load(tmp_path)
    batch = requests([[0, 1, 2, 3]])
    for one in (policy, back):
        one.observe(impressions([1], [False], [8500.0]), no_purchases(), 9000.0)
    assert (policy.score(batch) == back.score(batch)).all()


class Truth:
    """Stands for the true state: streamers of high id are worth more."""

    def __init__(self, batch: Requests) -> None:
        self.batch = batch

    def value(self) -> NDArray[np.float64]:
        return self.batch.candidate_id.astype(np.float64)


def test_the_oracle_is_served_the_truth_and_refuses_to_guess() -> None:
    batch, u = requests([[3, 7, 5, PAD], [1, PAD, 2, PAD]]), np.full((2, 2), 0.5)
    server = Server(Oracle().fit(log(impressions([], [], []), 3600.0), CONTEXT), Exploration())
    assert server.needs_truth
    assert not Server(Random(), Exploration()).needs_truth
    slate = server.rank(batch, 2, u, cast("RequestTruth", Truth(batch)))
    assert slate.column.tolist() == [[1, 2], [2, 0]]
    with pytest.raises(PolicyError, match=r"Oracle is privileged: needs `truth`, got None"):
        server.rank(batch, 2, u, None)
    with pytest.raises(PolicyError, match="Oracle is privileged"):
        Oracle().score(batch)


def test_the_anti_oracle_is_the_oracle_upside_down() -> None:
    batch, u = requests([[3, 7, 5, PAD]]), np.full((1, 3), 0.5)
    truth = cast("RequestTruth", Truth(batch))
    columns = [
        Server(policy, Exploration()).rank(batch, 3, u, truth).column[0].tolist()
        for policy in (Oracle(), AntiOracle())
    ]
    assert columns[0] == columns[1][::-1]
    with pytest.raises(PolicyError, match="AntiOracle is privileged"):
        AntiOracle().score(batch)


@pytest.mark.parametrize(("half_life_s", "prior"), [(0.0, 1.0), (float("inf"), 1.0), (9.0, -1.0)])
def test_popularity_refuses_arguments_out_of_range(half_life_s: float, prior: float) -> None:
    with pytest.raises(ConfigError, match=r"Popularity\.\w+ = .*; allowed: a number in"):
        Popularity(half_life_s, prior)
