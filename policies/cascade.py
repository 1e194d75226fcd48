"""Two stages, as platforms serve: retrieve by inner product, then rank what was retrieved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from policies.contract import FitContext, Persistent, Policy, Retriever, Updatable
from sim.config import ConfigError, require_int
from sim.schema import Bools, Floats, Impressions, Ints, Purchases, Requests

if TYPE_CHECKING:
    from sim.log import Log

_STAGES = ("retriever", "ranker")


class RetrievalPolicy(Policy, Retriever, Protocol):
    """A policy whose scores are inner products."""


class Cascade:
    """Ranks the `n_retrieved` nearest candidates by another policy, all others below them.

    Retrieval takes the largest inner products among the unmasked candidates; equal ones go to the
    lower streamer id, so that the order of the columns does not matter. Candidates that were not
    retrieved keep their order of retrieval.

    Args:
        retriever: a policy with user and streamer vectors.
        ranker: a policy; it is asked to score retrieved candidates only.
        n_retrieved: candidates that reach the ranker, at least 1.

    Raises:
        ConfigError: `retriever` has no vectors, `ranker` is no policy, or `n_retrieved` is below 1.
    """

    def __init__(self, retriever: RetrievalPolicy, ranker: Policy, n_retrieved: int) -> None:
        """Store and check the arguments."""
        if not isinstance(retriever, Retriever):
            raise ConfigError(
                f"Cascade.retriever = {type(retriever).__name__}; allowed: a policy with "
                "user_vectors and streamer_vectors, such as policies.sass.SASS"
            )
        if not isinstance(ranker, Policy):
            raise ConfigError(
                f"Cascade.ranker = {type(ranker).__name__}; allowed: a policy with fit and score"
            )
        self.retriever = retriever
        self.ranker = ranker
        self.n_retrieved = n_retrieved
        require_int(self, "n_retrieved", 1, 2**31 - 1)

    def fit(self, log: Log, context: FitContext) -> Self:
        """Fit both stages on the same log, in sub-folders of the context's folder."""
        for stage in _STAGES:
            folder = None if context.folder is None else context.folder / stage
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            own = FitContext(seed=context.seed, folder=folder, progress=context.progress)
            getattr(self, stage).fit(log, own)
        return self

    def score(self, requests: Requests) -> NDArray[np.float64]:
        """Return scores, float64 [B, C]: the ranker's for retrieved candidates, lower elsewhere."""
        if requests.mask.size == 0:
            return np.zeros(requests.mask.shape)
        near = np.matmul(
            self.retriever.streamer_vectors(requests),
            self.retriever.user_vectors(requests)[:, :, None],
        )[:, :, 0].astype(np.float64)
        columns = retrieved(near, requests.mask, requests.candidate_id, self.n_retrieved)
        short = np.zeros(requests.mask.shape, np.bool_)
        np.put_along_axis(short, columns, True, axis=1)
        short &= requests.mask
        # by mask, not by columns: the lists stay shared, and what is kept per list can be used
        ranked = self.ranker.score(replace(requests, mask=short))
        lowest = np.where(short, ranked, np.inf).min(axis=1, initial=np.inf, keepdims=True)
        lowest = np.where(np.isfinite(lowest), lowest, 0.0)
        below = lowest - np.maximum(1.0, np.abs(lowest)) * (1.0 + _fall(near, requests.mask))
        return np.where(short, ranked, below).astype(np.float64)

    def observe(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        """Forward events to the stages that follow the stream."""
        for stage in (self.retriever, self.ranker):
            if isinstance(stage, Updatable):
                stage.observe(impressions, purchases, now_s)

    def save(self, folder: Path) -> None:
        """Write each stage into its own sub-folder.

        Raises:
            TypeError: a stage cannot be saved.
        """
        for name, stage in self._persistent().items():
            (folder / name).mkdir()
            stage.save(folder / name)

    def load(self, folder: Path) -> Self:
        """Restore both stages.

        Raises:
            TypeError: a stage cannot be restored.
        """
        for name, stage in self._persistent().items():
            stage.load(folder / name)
        return self

    def _persistent(self) -> dict[str, Persistent]:
        stages: dict[str, Persistent] = {}
        for name in _STAGES:
            stage = getattr(self, name)
            if not isinstance(stage, Persistent):
                raise TypeError(f"cascade.{name} = {type(stage).__name__}: has no save and load")
            stages[name] = stage
        return stages


def retrieved(near: Floats, mask: Bools, candidate_id: Ints, n: int) -> NDArray[np.intp]:
    """Return the columns of the `n` best unmasked candidates of each request.

    Args:
        near: inner products [B, C].
        mask: [B, C]; masked candidates come last.
        candidate_id: [B, C]; settles ties, lower ids first.
        n: number of columns to return, at least 1; C if C is less.

    Returns:
        Columns, intp [B, min(n, C)], in ascending order.
    """
    n_columns = near.shape[1]
    if n >= n_columns:
        return np.broadcast_to(np.arange(n_columns), near.shape).copy()
    value = np.where(mask, near, -np.inf)
    columns = np.argpartition(value, n_columns - n, axis=1)[:, n_columns - n :]
    edge = np.take_along_axis(value, columns, axis=1).min(axis=1, initial=np.inf, keepdims=True)
    # argpartition settles ties at the edge by position; where there are some, settle them by id.
    unclear = np.flatnonzero(((value >= edge) & mask).sum(axis=1) > n)
    if unclear.size:
        order = np.lexsort((candidate_id[unclear], -value[unclear]), axis=1)
        columns[unclear] = order[:, :n]
    columns.sort(axis=1)
    return columns


def _fall(near: Floats, mask: Bools) -> NDArray[np.float64]:
    """Return how far each candidate is below the nearest one, scaled to [0, 1] per request."""
    top = np.where(mask, near, -np.inf).max(axis=1, initial=-np.inf, keepdims=True)
    low = np.where(mask, near, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    reach = np.where(top > low, top - low, 1.0)
    with np.errstate(invalid="ignore"):
        return np.where(mask, (top - near) / reach, 1.0)
