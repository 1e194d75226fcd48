"""The truth handed to privileged rankers equals the truth that is written."""

import numpy as np
import pytest

from sim.config import ConfigError
from sim.schema import TARGETS
from sim.world import World
from tests.sim.worlds import config, server


class Curious:
    """Ranks by the true value and keeps the probabilities of what it chose."""

    needs_truth = True
    observes = False

    def __init__(self):
        self.inner, self.kept = server("oracle"), []

    def rank(self, requests, slate_size, uniforms, truth):
        slate = self.inner.rank(requests, slate_size, uniforms, truth)
        p, value = truth.probabilities(), truth.value()
        weights = truth.objective.weights()
        np.testing.assert_allclose(value, sum(weights[t] * p[t] for t in TARGETS), atol=1e-9)
        top = np.where(requests.mask, value, -np.inf).max(axis=1, initial=-np.inf)
        for b, c in enumerate(slate.column[:, 0].tolist()):
            if c >= 0:
                assert value[b, c] == top[b]
                chosen = {t: float(p[t][b, c]) for t in TARGETS}
                self.kept.append((int(requests.request_id[b]), chosen))
        return slate

    def observe(self, impressions, purchases, now_s):
        self.inner.observe(impressions, purchases, now_s)


def test_the_oracle_sees_what_is_written():
    """Probabilities of the first position equal the truth rows of the same impression."""
    ranker = Curious()
    record = next(World(config(), 3).run(ranker, 1))
    top = record.truth.take(record.truth.position == 0)
    row = {int(r): i for i, r in enumerate(top.request_id)}
    assert len(ranker.kept) > 500
    for request, chosen in ranker.kept:
        for target, p in chosen.items():
            assert getattr(top, f"p_{target}")[row[request]] == pytest.approx(p, rel=2e-4, abs=1e-7)


def test_targets_respect_the_graph():
    """No target is likelier than what it needs."""
    record = next(World(config(), 3).run(server("random"), 1))
    truth = record.truth
    for child, parent in (("cart", "bag_click"), ("purchase", "cart")):
        assert (getattr(truth, f"p_{child}") <= getattr(truth, f"p_{parent}")).all()
    shown = record.impressions
    assert not (shown.cart & ~shown.bag_click).any()
    assert not (truth.will_purchase & ~shown.cart).any()
    assert not (shown.like & (shown.watch_s == 0)).any()


@pytest.mark.parametrize(
    ("dial", "value", "message"),
    [
        ("population__n_users", 0, r"population.n_users = 0; allowed: an integer in \[1"),
        ("session__refer_pull", 1.5, r"session.refer_pull = 1.5; allowed"),
        ("watch__bounce_median_s", "x", r"watch.bounce_median_s = 'x'; allowed: a number"),
        ("swipe__base_click", 0.2, r"swipe.base_click = 0.2; allowed: null"),
        ("tab__traffic_share", 0.5, r"traffic_share of .*; allowed: shares with sum 1"),
        ("session__entry_shares", [0.5, 0.5, 0.5], r"allowed: shares with sum 1"),
    ],
)
def test_values_out_of_range_are_refused(dial, value, message):
    """One line: field, value, what is allowed."""
    with pytest.raises(ConfigError, match=message):
        config.__wrapped__("tiny", **{dial: value})
