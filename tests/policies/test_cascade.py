"""The cascade: what is retrieved is ranked by the ranker, everything else comes below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from omegaconf import OmegaConf

from policies.cascade import Cascade, retrieved
from policies.contract import FitContext
from policies.heuristics import Popularity, Random, Recency
from policies.registry import check_node, default_node, node
from sim.config import ConfigError
from sim.schema import PAD, Requests
from tests.policies.planted import impressions, log, no_purchases, requests

CONTEXT = FitContext()


class Low(Random):
    """Retrieves streamers of low id: the inner product is minus the id."""

    def user_vectors(self, requests: Requests) -> NDArray[np.float32]:
        return np.ones((len(requests), 1), np.float32)

    def streamer_vectors(self, requests: Requests) -> NDArray[np.float32]:
        return -requests.candidate_id[:, :, None].astype(np.float32)

    def score(self, requests: Requests) -> NDArray[np.float32]:
        return -requests.candidate_id.astype(np.float32)

    def save(self, folder: Path) -> None:
        (folder / "low").touch()

    def load(self, folder: Path) -> Low:
        assert (folder / "low").exists()
        return self


def order(scores: NDArray[np.floating], batch: Requests) -> list[list[int]]:
    """Return the streamer ids of each request from best to worst, without masked ones."""
    return [
        [int(batch.candidate_id[b, j]) for j in np.argsort(-scores[b]) if batch.mask[b, j]]
        for b in range(len(batch))
    ]


def test_retrieved_come_first_in_the_rankers_order() -> None:
    batch = requests([[9, 1, 5, 3, 7], [2, 8, PAD, PAD, 4]])
    scores = Cascade(Low(), Recency(), 3).score(batch)
    assert order(scores, batch) == [[5, 3, 1, 7, 9], [8, 4, 2]]
    assert np.isfinite(scores).all()


def test_all_below_even_when_the_ranker_ties_or_is_large() -> None:
    class Huge(Random):
        def score(self, requests: Requests) -> NDArray[np.float32]:
            return np.full(requests.mask.shape, -3e30, np.float32)

    batch = requests([[9, 1, 5, 3]])
    for ranker in (Random(), Huge()):
        scores = Cascade(Low(), ranker, 2).score(batch)[0]
        assert scores[[1, 3]].min() > scores[[0, 2]].max()


def test_ties_at_the_edge_do_not_depend_on_the_order_of_columns() -> None:
    near, ids = np.array([[1.0, 0.0, 0.0, 0.0, 2.0]]), np.array([[4, 9, 2, 5, 7]])
    mask = np.ones((1, 5), np.bool_)
    for permutation in ([0, 1, 2, 3, 4], [3, 2, 1, 0, 4], [1, 4, 0, 3, 2]):
        p = np.array([permutation])
        mine = np.take_along_axis(near, p, 1), mask, np.take_along_axis(ids, p, 1)
        chosen = mine[2][0, retrieved(*mine, 3)[0]]
        assert set(chosen) == {4, 7, 2}


def test_masked_candidates_are_never_retrieved_before_others() -> None:
    batch = requests([[0, PAD, 3, 2]])
    assert set(retrieved(np.zeros((1, 4)), batch.mask, batch.candidate_id, 3)[0]) == {0, 2, 3}
    none = requests([[PAD, PAD]])
    assert Cascade(Low(), Recency(), 1).score(none).shape == (1, 2)


def test_both_stages_are_fitted_updated_and_saved(tmp_path: Path) -> None:
    rows = impressions([1, 2, 3], [True, False, True], [10.0, 20.0, 30.0])
    policy = Cascade(Low(), Popularity(prior=1.0), 3)
    assert policy.fit(log(rows, 3600.0), FitContext(folder=tmp_path / "fit")) is policy
    policy.observe(impressions([2, 2], [True, True], [3700.0] * 2), no_purchases(), 7200.0)
    (tmp_path / "state").mkdir()
    policy.save(tmp_path / "state")
    back = Cascade(Low(), Popularity(prior=1.0), 3).load(tmp_path / "state")
    batch = requests([[3, 2, 1, 0]])
    assert (back.score(batch) == policy.score(batch)).all()
    assert order(policy.score(batch), batch)[0][-1] == 3
    with pytest.raises(TypeError, match=r"cascade\.ranker = Recency: has no save and load"):
        Cascade(Low(), Recency(), 3).save(tmp_path / "state2")


def test_the_preset_has_the_stages_of_the_presets_of_their_own() -> None:
    cascade = node("sass_cascade")
    assert cascade.retriever == node("sass")
    assert cascade.ranker == node("dbmtl")


def test_the_class_alone_points_to_its_preset() -> None:
    bare = OmegaConf.create(default_node(Cascade))
    with pytest.raises(ConfigError, match=r"retriever has no value.* preset policy=sass_cascade"):
        check_node("policies.cascade", bare)


def test_arguments_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"Cascade\.retriever = Recency; allowed"):
        Cascade(Recency(), Random(), 3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"Cascade\.ranker = int; allowed"):
        Cascade(Low(), 3, 3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"Cascade\.n_retrieved = 0; allowed"):
        Cascade(Low(), Random(), 0)
