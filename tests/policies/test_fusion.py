"""Fusion by hand, finite and monotone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.fusion import AdditiveFusion, Fusion, MultiplicativeFusion, WeightedFusion
from policies.fusion_search import SearchedFusion
from sim.config import Objective

OBJECTIVE = Objective(
    engage=2.0, watch=3.0, like=0.5, comment=0.0, follow=4.0, bag_click=0.0, cart=0.0, purchase=5.0
)
GRAPH = {"watch": ["engage"], "like": ["watch"], "follow": ["watch"], "comment": ["follow"]}
TARGETS = ("engage", "watch", "like", "follow", "comment")
HEAVY = Objective(**dict.fromkeys(OBJECTIVE.weights(), 1000.0))
FUSIONS: list[Fusion] = [
    AdditiveFusion(OBJECTIVE),
    MultiplicativeFusion(OBJECTIVE, GRAPH),
    AdditiveFusion(HEAVY),
    MultiplicativeFusion(HEAVY, {"watch": ["engage"], "like": ["watch"], "follow": ["like"]}),
    WeightedFusion({"engage": 2.0, "watch": 3.0, "follow": 1000.0}),
    SearchedFusion(MultiplicativeFusion(OBJECTIVE, GRAPH), OBJECTIVE, "pairs", 10, 0.5),
]
EXTREMES = (0.0, 1e-45, 1.1754942e-38, 1e-20, 0.5, 1.0 - 2**-24, 1.0)
"""Least denormal and least normal float32, and neighbours of both ends."""


def test_additive_is_the_expected_objective() -> None:
    p = np.array([[0.5, 0.25, 0.1, 0.2, 0.9]], np.float32)
    fused = AdditiveFusion(OBJECTIVE).fuse(p, TARGETS)
    assert fused == pytest.approx([2 * 0.5 + 3 * 0.25 + 0.5 * 0.1 + 4 * 0.2 + 0 * 0.9])


def test_multiplicative_multiplies_layers_and_drops_those_without_weight() -> None:
    p = np.array([[0.5, 0.25, 0.1, 0.2, 0.9]], np.float32)
    fused = MultiplicativeFusion(OBJECTIVE, GRAPH).fuse(p, TARGETS)
    assert fused == pytest.approx([(2 * 0.5) * (3 * 0.25) * (0.5 * 0.1 + 4 * 0.2)])


def test_columns_are_matched_by_name() -> None:
    p = np.array([[0.5, 0.25, 0.1, 0.2, 0.9]], np.float32)
    for fusion in FUSIONS:
        turned = fusion.fuse(p[:, ::-1], TARGETS[::-1])
        assert turned == pytest.approx(fusion.fuse(p, TARGETS))


PROBABILITY = st.sampled_from(EXTREMES) | st.floats(0.0, 1.0, width=32)


@given(
    st.lists(PROBABILITY, min_size=5, max_size=5),
    st.integers(0, 4),
    PROBABILITY,
)
def test_finite_and_monotone_in_each_target(p: list[float], k: int, other: float) -> None:
    low, high = np.array([p, p], np.float32)
    low[k], high[k] = sorted((p[k], other))
    for fusion in FUSIONS:
        fused = fusion.fuse(np.stack([low, high]), TARGETS)
        assert np.isfinite(fused).all()
        assert (fused >= 0.0).all()
        assert fused[1] >= fused[0] * (1.0 - 1e-6)  # sums of equal terms may round apart
