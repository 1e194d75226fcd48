"""The whole plug-in contract: a policy has `fit` and `score`; everything else is optional.

A policy never sees latent state: it receives `sim.log.Log` and `sim.schema.Requests` only, whose
arrays are read-only; the supply of its requests lists what is on air at their moments. The one
exception is a policy that declares `privileged = True` (the oracle); `policies.rank.Server` then
calls `score_with_truth`. Top-k, ties, masking, exploration and propensities are not a policy's
business: see `policies.rank`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sim.schema import Impressions, Purchases, Requests

if TYPE_CHECKING:
    from sim.log import Log
    from sim.truth import RequestTruth


@dataclass(frozen=True)
class FitContext:
    """What surrounds one call of `fit`."""

    seed: int = 0
    """Seeds everything random in training; the same seed and log give the same policy."""
    folder: Path | None = None
    """Where checkpoints and the metrics stream go; None keeps nothing, and cannot resume."""
    progress: bool = False
    """Whether to show progress on the terminal."""


@runtime_checkable
class Policy(Protocol):
    """Ranks candidates by a score; higher is better."""

    def fit(self, log: Log, context: FitContext) -> Self:
        """Learn from a log, which must not be altered, and return self."""

    def score(self, requests: Requests) -> NDArray[np.floating]:
        """Return finite scores [B, C]; cells where `requests.mask` is False are ignored."""


@runtime_checkable
class Probabilistic(Protocol):
    """Optional: predicts probabilities."""

    def predict(self, requests: Requests) -> dict[str, NDArray[np.floating]]:
        """Return {target: probability [B, C]} for some of `sim.schema.TARGETS`.

        What follows if the candidate is shown at the top of the slate. These probabilities are
        judged on what was shown there, those of `Positional` on everything shown.
        """


@runtime_checkable
class Positional(Probabilistic, Protocol):
    """Optional: predicts what follows at any place of the slate; lower places are seen less."""

    def predict_at(
        self, requests: Requests, position: NDArray[np.int32]
    ) -> dict[str, NDArray[np.floating]]:
        """Return as `predict`, for candidates at `position` [B, C], 0 at the top."""


@runtime_checkable
class Retriever(Protocol):
    """Optional: scores are inner products, so that candidates can be retrieved by vector."""

    def user_vectors(self, requests: Requests) -> NDArray[np.floating]:
        """Return request-side vectors [B, D]."""

    def streamer_vectors(self, requests: Requests) -> NDArray[np.floating]:
        """Return candidate-side vectors [B, C, D]."""


@runtime_checkable
class Charting(Protocol):
    """Optional: scores streamers alike for everybody, whatever is asked and when.

    Then the platform need not ask at each request, and a simulation takes a fraction of the time.
    """

    def chart(self, n_streamers: int) -> NDArray[np.floating]:
        """Return finite scores [S] of streamers 0 .. S - 1: those of `score`, until `observe`."""


@runtime_checkable
class Updatable(Protocol):
    """Optional: follows the event stream while deployed (counters, histories)."""

    def observe(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        """Take in events; rows with `known_s > now_s` must not influence scores yet.

        Both records come when they are known; a purchase may have happened long before (`event_s`).
        """


@runtime_checkable
class Persistent(Protocol):
    """Optional: survives a restart."""

    def save(self, folder: Path) -> None:
        """Write the fitted state into an existing empty folder."""

    def load(self, folder: Path) -> Self:
        """Restore the state written by `save` into an instance built with the same arguments."""


@dataclass(frozen=True)
class TrainingCost:
    """What it took to train a policy."""

    parameters: int
    examples_per_s: float
    """Training rows per second of the last phase; 0 where a resumed fit had nothing left to do."""


@runtime_checkable
class Trained(Protocol):
    """Optional: tells what its training took."""

    @property
    def training(self) -> TrainingCost:
        """Of the last `fit`."""


@dataclass(frozen=True)
class GradientNorms:
    """Gradients of an untrained policy's loss, one entry for each parameter tensor."""

    scenario: int | None
    """The rows' scenario, an index into `sim.schema.SCENARIOS`; None: rows of all."""
    name: tuple[str, ...]
    norm: NDArray[np.float64]
    """Largest absolute entry; NaN where a parameter has no gradient, so that no optimiser moves
    it."""
    is_table: NDArray[np.bool_]
    """Whether the parameter is a table looked up by row, of which a batch meets some rows only."""


@runtime_checkable
class Differentiable(Protocol):
    """Optional: learns by gradients and shows them, so that dead and foreign weights are found."""

    def gradients(self, log: Log, context: FitContext) -> Iterator[GradientNorms]:
        """Yield the gradients on rows of all scenarios, then on those of each one in the log.

        Summed over the phases of training; neither fits nor alters the policy.
        """


@runtime_checkable
class Chained(Protocol):
    """Optional: promises that some targets are never more probable than others."""

    @property
    def chains(self) -> tuple[tuple[str, str], ...]:
        """Pairs (parent, child) of targets with P(child) <= P(parent) for every candidate."""


def is_privileged(policy: object) -> bool:
    """Return whether the policy declares that it reads the truth."""
    return bool(getattr(policy, "privileged", False))


class Privileged(Protocol):
    """The oracle's side of the contract; `privileged` is True."""

    privileged: bool

    def score_with_truth(self, requests: Requests, truth: RequestTruth) -> NDArray[np.floating]:
        """Return scores [B, C] from the true state."""
