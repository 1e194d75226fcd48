"""Journeys show what stepping shows: a chart changes nothing but the time that it takes."""

from __future__ import annotations

import numpy as np
import pytest

from policies import Exploration, Server
from policies.contract import FitContext
from policies.heuristics import Popularity, Random
from policies.rank import PolicyError
from sim.day_record import DayRecord
from sim.filling import ALIKE, GREEDY
from sim.log import Log
from sim.ranker import Charted
from sim.schema import DAY_S
from sim.world import World
from tests.sim.worlds import TICK_S, config, same, server

EXPLORATIONS = (
    Exploration(),
    Exploration(kind="epsilon", eps=0.3),
    Exploration(kind="softmax", temperature=0.2),
)


class Asked:
    """Hands on what a server answers, but keeps its chart to itself."""

    def __init__(self, inner: Server):
        self.inner, self.n_asked = inner, 0
        self.needs_truth, self.observes = inner.needs_truth, inner.observes

    def rank(self, requests, slate_size, uniforms, truth):
        """Rank."""
        self.n_asked += len(requests)
        return self.inner.rank(requests, slate_size, uniforms, truth)

    def observe(self, impressions, purchases, now_s):
        """Observe."""
        self.inner.observe(impressions, purchases, now_s)


def days(ranker: Server | Asked, chunks: int = 1) -> list[DayRecord]:
    return list(World(config(), 7).run(ranker, 2, chunks=chunks))


@pytest.mark.parametrize("exploration", EXPLORATIONS, ids=lambda e: e.kind)
@pytest.mark.parametrize("kind", [Random, Popularity])
def test_a_chart_shows_what_asking_shows(kind: type, exploration: Exploration) -> None:
    def fresh() -> Server:
        return Server(kind().fit(Log.nothing(TICK_S, DAY_S), FitContext()), exploration)

    asked = Asked(fresh())
    assert isinstance(fresh(), Charted)
    assert not isinstance(asked, Charted)
    charted, stepped = days(fresh(), chunks=2), days(asked)
    assert asked.n_asked > 1000
    for one, other in zip(charted, stepped, strict=True):
        assert same(one.impressions, other.impressions)
        assert same(one.truth, other.truth)
        assert same(one.purchases, other.purchases)


def test_a_ranker_with_a_chart_is_not_asked() -> None:
    class Silent(Server):
        def rank(self, requests, slate_size, uniforms, truth):
            raise AssertionError("asked")

    shown = days(Silent(Random(), Exploration()))
    assert sum(day.n_impressions for day in shown) > 1000


def test_a_chart_of_one_number_is_filled_alike_and_others_by_their_law() -> None:
    alike = server("random").chart(5, 0.0)
    assert alike is not None
    assert (alike.law, len(alike.scores)) == (ALIKE, 0)
    fitted = server("popularity")
    fitted.policy.rate_ = np.array([0.1, 0.3, 0.2])
    popular = fitted.chart(5, 0.0)
    assert popular is not None
    assert popular.law == GREEDY
    assert popular.scores.tolist() == [0.1, 0.3, 0.2, 0.2, 0.2]
    assert server("recency").chart(5, 0.0) is None
    assert server("oracle").chart(5, 0.0) is None


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.0, 1.0], "must be a numpy array of real numbers"),
        (np.zeros(4), r"must be \[S\] = \(3,\)"),
        (np.array([0.0, np.nan, 1.0]), "not finite"),
    ],
)
def test_a_chart_that_is_no_chart_is_refused(scores: object, message: str) -> None:
    class Odd(Random):
        def chart(self, n_streamers):
            return scores

    with pytest.raises(PolicyError, match=message):
        Server(Odd(), Exploration()).chart(3, 0.0)
