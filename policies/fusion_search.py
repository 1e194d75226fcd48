"""Search of fusion weights on the end of a log that the trainer holds out.

Weights that are guessed are the largest free choice of a multi-target ranker. Here they are found:
the weights that would have ordered the shown rooms of a request best by what they turned out to be
worth. Only what was logged is read. A slate's lower rooms are seen less, and the search does not
undo it: a log whose ranker agreed with some weights favours them, exploration in the log less so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from policies.fusion import AdditiveFusion, MultiplicativeFusion
from policies.training.trainer import generator
from sim.config import (
    Objective,
    refusal,
    require,
    require_int,
    require_one_of,
    require_section,
)
from sim.schema import TARGETS

VALUE_AT_TOP, PAIRS = "value_at_top", "pairs"
METRICS = (VALUE_AT_TOP, PAIRS)

Metric = Callable[[NDArray[np.float32], "Slates"], float]


@dataclass(frozen=True)
class SearchedFusion:
    """A fusion whose weights are found after training; until then those of `fusion`."""

    fusion: AdditiveFusion | MultiplicativeFusion
    """Where the search begins."""
    worth: Objective
    """Worth of what was observed, by which an order of rooms is judged."""
    metric: str
    """`value_at_top`: mean worth of the room ranked first, ties averaged; `pairs`: mean over
    requests of the share of pairs of rooms of different worth that are ordered right, the GAUC of
    a graded label, ties one half."""
    n_trials: int
    """Sets of weights tried: half at random around the start, half coordinate by coordinate."""
    spread: float
    """Standard deviation of the log-weights tried at random, and first step of coordinates."""

    def __post_init__(self) -> None:
        """Check the fields."""
        tunable: object = self.fusion
        if not isinstance(tunable, AdditiveFusion | MultiplicativeFusion):
            allowed = "a section that builds an AdditiveFusion or a MultiplicativeFusion"
            raise refusal(self, "fusion", allowed)
        require_section(self, "worth", Objective)
        require_one_of(self, "metric", METRICS)
        require_int(self, "n_trials", 1, 100_000)
        require(self, "spread", 1e-3, 10.0)

    @property
    def objective(self) -> Objective:
        """Weights at the start."""
        return self.fusion.objective

    def fuse(
        self, probabilities: NDArray[np.float32], targets: Sequence[str]
    ) -> NDArray[np.float32]:
        """Return scores float32 [N] by the weights at the start; see `policies.fusion.Fusion`."""
        return self.fusion.fuse(probabilities, targets)

    def search(self, slates: Slates, targets: Sequence[str], seed: int) -> FusionSearch:
        """Return the best of `n_trials` sets of weights.

        The first half of the slates, in time, chooses; the second judges: weights that are no
        better there than the start are not adopted.

        Args:
            slates: held-out requests, in the order of time.
            targets: T names, the columns of the predictions.
            seed: of the random trials.
        """
        metric = METRIC[self.metric]
        half = len(slates) // 2
        first, second = slates.take(slice(0, half)), slates.take(slice(half, None))
        if len(first) == 0:
            return FusionSearch(self.fusion, False, 0, 0.0, 0.0, 0.0, 0.0)

        def value(log_weight: NDArray[np.float64], on: Slates) -> float:
            fused = self._weighed(log_weight, free).fuse(on.flat, targets)
            return metric(fused.reshape(on.mask.shape), on)

        start_weights = self.objective.weights()
        free = [name for name in TARGETS if name in targets and start_weights[name] > 0.0]
        start = np.log([start_weights[name] for name in free])
        best, best_value = start, value(start, first)
        start_value = best_value
        n_random = self.n_trials // 2
        draws = torch.randn(n_random, len(free), generator=generator(seed, "fusion"))
        for step in draws.double().numpy():
            trial = start + self.spread * step
            found = value(trial, first)
            if found > best_value:
                best, best_value = trial, found
        step_size, stale = self.spread, 0
        for i in range(self.n_trials - n_random):
            k, sign = (i // 2) % len(free), 1.0 - 2.0 * (i % 2)
            trial = best.copy()
            trial[k] += sign * step_size
            found = value(trial, first)
            stale += 1
            if found > best_value:
                best, best_value, stale = trial, found, 0
            if stale == 2 * len(free):
                step_size, stale = step_size / 2.0, 0
        at_start, at_best = value(start, second), value(best, second)
        adopted = at_best > at_start
        return FusionSearch(
            self._weighed(best, free) if adopted else self.fusion,
            adopted, len(slates), start_value, best_value, at_start, at_best,
        )  # fmt: skip

    def _weighed(
        self, log_weight: NDArray[np.float64], free: Sequence[str]
    ) -> AdditiveFusion | MultiplicativeFusion:
        """Return the fusion with other weights, their sum that of the start."""
        weight = np.exp(log_weight - log_weight.max())
        old = self.objective.weights()
        weight *= sum(old[name] for name in free) / weight.sum()
        changed = {name: float(min(w, 1000.0)) for name, w in zip(free, weight, strict=True)}
        return replace(self.fusion, objective=replace(self.objective, **changed))


@dataclass(frozen=True)
class FusionSearch:
    """What a search found."""

    fusion: AdditiveFusion | MultiplicativeFusion
    """By which the policy ranks."""
    adopted: bool
    """Whether its weights are those found, because they were better on the half that judges."""
    n_requests: int
    """Requests with at least two rooms, both halves."""
    chosen_start: float
    """Metric of the weights at the start, on the half that chooses."""
    chosen_found: float
    judged_start: float
    """The same on the half that judges."""
    judged_found: float

    def write(self, path: Path) -> None:
        """Write weights and metrics as JSON."""
        found = asdict(self) | {"fusion": self.fusion.objective.weights()}
        path.write_text(json.dumps(found, indent=1), encoding="utf-8")

    @classmethod
    def read(cls, path: Path, start: AdditiveFusion | MultiplicativeFusion) -> FusionSearch:
        """Return what `write` wrote of a search that began at `start`."""
        found = json.loads(path.read_text(encoding="utf-8"))
        found["fusion"] = replace(start, objective=Objective(**found["fusion"]))
        return cls(**found)


@dataclass(frozen=True)
class Slates:
    """Shown rooms of Q requests, padded to K places."""

    probabilities: NDArray[np.float32]
    """[Q, K, T], predictions for the top of the slate, 0 in the padding."""
    worth: NDArray[np.float32]
    """[Q, K], what each room turned out to be worth."""
    mask: NDArray[np.bool_]
    """[Q, K], False in the padding."""

    @classmethod
    def of(
        cls,
        request: NDArray[np.int64],
        probabilities: NDArray[np.float32],
        worth: NDArray[np.float32],
    ) -> Slates:
        """Gather rows [N] by ascending request; requests with a single room are left out."""
        _, first, count = np.unique(request, return_index=True, return_counts=True)
        several = count > 1
        first, count = first[several], count[several]
        place = np.arange(int(count.max(initial=0)))
        mask = place < count[:, None]
        row = np.where(mask, first[:, None] + place, 0)
        return cls(
            np.where(mask[:, :, None], probabilities[row], np.float32(0.0)),
            np.where(mask, worth[row], np.float32(0.0)),
            mask,
        )

    def __len__(self) -> int:
        """Number of requests Q."""
        return len(self.mask)

    def take(self, rows: slice) -> Slates:
        """Return some requests."""
        return Slates(self.probabilities[rows], self.worth[rows], self.mask[rows])

    @property
    def flat(self) -> NDArray[np.float32]:
        """Predictions [Q K, T]."""
        return self.probabilities.reshape(-1, self.probabilities.shape[2])


def value_at_top(score: NDArray[np.float32], slates: Slates) -> float:
    """Return the mean worth of the room with the highest score [Q, K], ties averaged."""
    shown = np.where(slates.mask, score, -np.inf)
    top = shown == shown.max(axis=1, keepdims=True)
    return float(((slates.worth * top).sum(1) / top.sum(1)).mean(dtype=np.float64))


def pairs(score: NDArray[np.float32], slates: Slates) -> float:
    """Return the mean over requests of the share of pairs ordered as their worth, ties 1/2.

    Requests whose rooms are all worth the same say nothing; where all do, the result is 1/2.
    """
    better = slates.worth[:, :, None] > slates.worth[:, None, :]
    better &= slates.mask[:, :, None] & slates.mask[:, None, :]
    difference = score[:, :, None] - score[:, None, :]
    right = ((difference > 0) + 0.5 * (difference == 0)) * better
    n_pairs = better.sum((1, 2))
    tells = n_pairs > 0
    if not tells.any():
        return 0.5
    return float((right.sum((1, 2))[tells] / n_pairs[tells]).mean())


METRIC: dict[str, Metric] = {VALUE_AT_TOP: value_at_top, PAIRS: pairs}
