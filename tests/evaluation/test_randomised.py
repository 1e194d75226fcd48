"""Randomised traffic: the log is the same up to a day, and uniform on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluation.randomised import Randomised
from sim.schema import DAY_S
from sim.simulate import simulate
from tests.sim.worlds import config, server


def test_only_the_last_day_is_uniform(tmp_path: Path) -> None:
    logs = [
        simulate(config(), 3, ranker, 2, tmp_path / name, ranker_name=name)
        for name, ranker in (
            ("plain", server("popularity", 0.3)),
            ("randomised", Randomised(server("popularity", 0.3), DAY_S)),
        )
    ]
    before = [log.between(0.0, DAY_S).impressions() for log in logs]
    for name in ("request_id", "streamer_id", "propensity", "click", "watch_s"):
        np.testing.assert_array_equal(*(getattr(shown, name) for shown in before))
    plain, uniform = (log.between(DAY_S, 2 * DAY_S).impressions() for log in logs)
    _, request = np.unique(uniform.request_id, return_inverse=True)
    first = np.full(request.max() + 1, len(request))
    np.minimum.at(first, request, np.arange(len(request)))
    place = np.arange(len(request)) - first[request]
    np.testing.assert_allclose(uniform.propensity, 1.0 / (uniform.n_candidates - place))
    assert plain.propensity.max() > 0.5
    # the same people come, whoever ranks
    assert set(plain.session_id) == set(uniform.session_id)
