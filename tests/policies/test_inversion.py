"""The probability inversion rate, by hand and of models that promise none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from policies.inversion import InversionRate, inversion_rates
from policies.target_graph import TargetGraph
from sim.config import ConfigError
from tests.policies.planted_learning import serving_requests
from tests.policies.test_models import LOG, fitted

GRAPH = TargetGraph.build({"like": ["engage"], "cart": ["engage", "like"]})


def test_by_hand() -> None:
    predicted = {
        "engage": np.array([[0.5, 0.5, 0.1], [0.2, 0.2, 0.2]]),
        "like": np.array([[0.4, 0.6, 0.9], [0.2, 0.1, 0.3]]),
        "cart": np.array([[0.1, 0.7, 0.0], [0.3, 0.0, 0.9]]),
    }
    mask = np.array([[True, True, False], [True, True, False]])
    assert inversion_rates(predicted, mask, GRAPH) == (
        InversionRate("engage", "like", 0.25),  # equal is not inverted
        InversionRate("engage", "cart", 0.5),
        InversionRate("like", "cart", 0.5),
    )


def test_no_candidates_and_no_predictions() -> None:
    nothing = {name: np.zeros((2, 0)) for name in GRAPH.targets}
    rates = inversion_rates(nothing, np.zeros((2, 0), np.bool_), GRAPH)
    assert all(math.isnan(one.rate) for one in rates)
    with pytest.raises(ConfigError, match="graph has cart; allowed: predicted targets, engage"):
        inversion_rates({"engage": np.zeros(1), "like": np.zeros(1)}, np.ones(1, bool), GRAPH)


@pytest.mark.parametrize(
    "name", ["esmm", pytest.param("gmsl", marks=pytest.mark.slow), "dbmtl_conditional"]
)
def test_what_a_model_promises_is_never_inverted(name: str) -> None:
    policy, requests = fitted(name), serving_requests(40, LOG)
    assert policy.chains
    promised: dict[str, list[str]] = {}
    for parent, child in policy.chains:
        promised.setdefault(child, []).append(parent)
    rates = inversion_rates(policy.predict(requests), requests.mask, TargetGraph.build(promised))
    assert [one.rate for one in rates] == [0.0] * len(policy.chains)


def test_a_soft_factorisation_promises_nothing() -> None:
    for name in ("shared_bottom", "dbmtl"):
        assert fitted(name).chains == ()
