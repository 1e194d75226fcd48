"""What scoring costs: measured as in the first batch after news, and nobody's state is touched."""

import numpy as np

from evaluation.cost import REPEATS, cost_of
from policies.contract import FitContext
from policies.heuristics import Random
from tests.policies.planted_learning import preset


class Told(Random):
    """Notes what it is asked and told."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def observe(self, impressions, purchases, now_s):
        """Note that nothing but the time is told."""
        assert not len(impressions)
        assert not len(purchases)
        self.calls.append("observe")

    def score(self, requests):
        """Note it."""
        CALLS.append([*self.calls])
        return super().score(requests)


CALLS: list[list[str]] = []


def test_each_timing_comes_after_news_told_to_a_copy(fidelity_log):
    """Caches of the batch before are stale, and the policy itself is as it was."""
    policy = Told()
    CALLS.clear()
    cost = cost_of(policy, fidelity_log)
    assert [len(calls) for calls in CALLS] == [*range(1, REPEATS + 1)]
    assert policy.calls == []
    assert np.isnan(cost.parameters)
    assert cost.pairs_per_s > 0.0


def test_the_vectors_of_rooms_are_computed_each_time(fidelity_log, monkeypatch):
    """They are part of what a batch costs."""
    policy = preset("shared_bottom", trainer__epochs=1, trainer__steps_per_epoch=2)
    policy.fit(fidelity_log, FitContext(seed=0))
    kind, met = type(policy.network_), []
    side = kind.streamer_side

    def spied(self, streamer):
        met.append(len(streamer.ids))
        return side(self, streamer)

    monkeypatch.setattr(kind, "streamer_side", spied)
    clock = policy.store_.now_s
    cost = cost_of(policy, fidelity_log)
    assert len(met) == REPEATS
    assert policy.store_.now_s == clock
    assert cost.parameters > 1000
