"""A sound policy with everything optional, and one broken variant for each way to be unsound."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from policies.contract import FitContext
from sim.schema import PAD, Impressions, Purchases, Requests

Scores = NDArray[np.floating]


class Sound:
    """A score linear in vectors, with everything optional; the broken ones derive from it."""

    def __init__(self, slope: float = 0.1) -> None:
        self.slope = slope

    def fit(self, log: Any, context: FitContext) -> Self:
        self.shown_ = np.zeros(1)
        for tick in log.ticks():
            self.observe(tick.known, tick.purchases, tick.now_s)
        known, purchases = log.known_after_last_tick()
        self.observe(known, purchases, log.as_of_s)
        return self

    def observe(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        self.shown_ = self.shown_ + (impressions.known_s <= now_s).sum()

    def score(self, requests: Requests) -> Scores:
        pairs = self.user_vectors(requests)[:, None] * self.streamer_vectors(requests)
        return np.asarray(pairs.sum(axis=2))

    def user_vectors(self, requests: Requests) -> Scores:
        return np.stack([np.ones(len(requests)), 1.0 + requests.user_id % 7], axis=1)

    def streamer_vectors(self, requests: Requests) -> Scores:
        content = np.cos(1.0 * requests.candidate_id)
        return np.stack([content, self.slope * content * self.shown_], axis=2)

    def predict(self, requests: Requests) -> dict[str, Scores]:
        return {"engage": 1.0 / (1.0 + np.exp(-self.score(requests)))}

    def predict_at(self, requests: Requests, position: NDArray[np.int32]) -> dict[str, Scores]:
        return {name: p * 0.9**position for name, p in self.predict(requests).items()}

    def save(self, folder: Path) -> None:
        np.save(folder / "shown.npy", self.shown_)

    def load(self, folder: Path) -> Self:
        self.shown_ = np.load(folder / "shown.npy")
        return self


class NoScore:
    def fit(self, log: Any, context: FitContext) -> Self:
        return self


class NeedsArgument(Sound):
    def __init__(self, slope: float) -> None:
        super().__init__(slope)


class ForgetsArgument(Sound):
    def __init__(self, slope: float = 0.1, depth: int = 3) -> None:
        super().__init__(slope)


class ChangesArgument(Sound):
    def __init__(self, slope: float = 0.1) -> None:
        super().__init__(2.0 * slope)


class WorksEarly(Sound):
    def __init__(self, slope: float = 0.1) -> None:
        super().__init__(slope)
        self.shown_ = np.zeros(1)


class FitReturnsNothing(Sound):
    def fit(self, log: Any, context: FitContext) -> Any:
        super().fit(log, context)


class FitRaises(Sound):
    def fit(self, log: Any, context: FitContext) -> Self:
        raise KeyError("watch_time")


class FitTunes(Sound):
    def fit(self, log: Any, context: FitContext) -> Self:
        self.slope = 0.5
        return super().fit(log, context)


class WritesLog(Sound):
    def fit(self, log: Any, context: FitContext) -> Self:
        np.log1p(log.rows.watch_s, out=log.rows.watch_s)
        log.rows.watch_s[:] += 1.0
        return super().fit(log, context)


class Flat(Sound):
    def score(self, requests: Requests) -> Scores:
        return super().score(requests).ravel()


class Lists(Sound):
    def score(self, requests: Requests) -> Any:
        return super().score(requests).tolist()


class Complex(Sound):
    def score(self, requests: Requests) -> Any:
        return super().score(requests).astype(np.complex128)


class NotFinite(Sound):
    def score(self, requests: Requests) -> Scores:
        with np.errstate(divide="ignore"):
            return np.log(
                np.where(requests.candidate_id % 3 == 0, 0.0, super().score(requests) ** 2)
            )


class Draws(Sound):
    def score(self, requests: Requests) -> Scores:
        return np.asarray(np.random.default_rng().random(requests.mask.shape))


class Unseeded(Sound):
    def fit(self, log: Any, context: FitContext) -> Self:
        self.tilt_ = np.random.default_rng().random()
        return super().fit(log, context)

    def user_vectors(self, requests: Requests) -> Scores:
        return super().user_vectors(requests) + self.tilt_ * np.array([1.0, 0.0])

    def save(self, folder: Path) -> None:
        super().save(folder)
        np.save(folder / "tilt.npy", self.tilt_)

    def load(self, folder: Path) -> Self:
        self.tilt_ = float(np.load(folder / "tilt.npy"))
        return super().load(folder)


class WritesRequests(Sound):
    def score(self, requests: Requests) -> Scores:
        requests.refer_watch_s[:] = 0.0
        return super().score(requests)


class UsesColumns(Sound):
    def score(self, requests: Requests) -> Scores:
        return super().score(requests) - 0.01 * np.arange(requests.mask.shape[1])


class MeansOverMasked(Sound):
    def score(self, requests: Requests) -> Scores:
        scores = super().score(requests)
        return np.asarray(scores - scores.mean(axis=1, keepdims=True))


class MeansOverPadding(Sound):
    def score(self, requests: Requests) -> Scores:
        live = requests.candidate_id != PAD
        scores = np.where(live, super().score(requests), 0.0)
        return np.asarray(scores - scores.mean(axis=1, keepdims=True))


class BatchStatistics(Sound):
    def score(self, requests: Requests) -> Scores:
        scores = super().score(requests)
        centre = scores[requests.mask].mean() if requests.mask.any() else 0.0
        return scores - centre


class FixedTable(Sound):
    def fit(self, log: Any, context: FitContext) -> Self:
        self.bias_ = np.zeros(log.catalogue().n_users)
        return super().fit(log, context)

    def load(self, folder: Path) -> Self:
        self.bias_ = np.zeros(20)
        return super().load(folder)

    def score(self, requests: Requests) -> Scores:
        return np.asarray(super().score(requests) + self.bias_[requests.user_id, None])


class NeedsARow(Sound):
    def score(self, requests: Requests) -> Scores:
        return np.asarray(super().score(requests) / requests.time_s[0])


class Squeezes(Sound):
    def score(self, requests: Requests) -> Scores:
        scores = super().score(requests)
        return scores.squeeze(1) if scores.shape[1] == 1 else scores


class NeedsACandidate(Sound):
    def score(self, requests: Requests) -> Scores:
        scores = super().score(requests)
        return scores / max(scores[requests.mask][0] ** 2, 1.0) if len(requests) else scores


class Logits(Sound):
    def predict(self, requests: Requests) -> dict[str, Scores]:
        return {"engage": 50.0 * self.score(requests)}


class OddTarget(Sound):
    def predict(self, requests: Requests) -> dict[str, Scores]:
        return {"ctr": np.full(requests.mask.shape, 0.5)}


class ThinPrediction(Sound):
    def predict(self, requests: Requests) -> dict[str, Scores]:
        return {"engage": np.full(len(requests), 0.5)}


class LowerAtTheTop(Sound):
    def predict_at(self, requests: Requests, position: NDArray[np.int32]) -> dict[str, Scores]:
        return {name: p * 0.9 ** (position + 1) for name, p in self.predict(requests).items()}


class OtherVectors(Sound):
    def streamer_vectors(self, requests: Requests) -> Scores:
        return -super().streamer_vectors(requests)

    def score(self, requests: Requests) -> Scores:
        return -super().score(requests)


class FlatVectors(Sound):
    def streamer_vectors(self, requests: Requests) -> Scores:
        return super().streamer_vectors(requests)[:, 0]

    def score(self, requests: Requests) -> Scores:
        return 1.0 * np.asarray(requests.candidate_id)


class StaleChart(Sound):
    def chart(self, n_streamers: int) -> Scores:
        return np.cos(np.arange(n_streamers))


class LooksAhead(Sound):
    def observe(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        self.shown_ = self.shown_ + len(impressions)


class WritesEvents(Sound):
    def observe(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        impressions.watch_s[:] = 1.0
        super().observe(impressions, purchases, now_s)


class ForgetsCounters(Sound):
    def load(self, folder: Path) -> Self:
        self.shown_ = np.zeros(1)
        return self


class ReadsFiles(Sound):
    def fit(self, log: Any, context: FitContext) -> Self:
        super().fit(log, context)
        self.shown_ = self.shown_ + np.cos(log.rows.streamer_id).sum()
        return self


class HoldsTruth(Sound):
    def fit(self, log: Any, context: FitContext) -> Self:
        from sim.relations import Relations  # here, or every policy of this module would fail

        self.bonds_ = {"hidden": [Relations.empty()]}
        return super().fit(log, context)


class WritesSupply(Sound):
    def score(self, requests: Requests) -> Scores:
        requests.supply.valid[:] = True
        return super().score(requests)


class ReadsSchedule(Sound):
    """Prefers rooms that other lists of the supply, those of later slots, still hold."""

    def score(self, requests: Requests) -> Scores:
        ids = requests.supply.streamer_id
        still = (ids[None, :, :] == requests.candidate_id[:, :, None, None].max(axis=1)).sum((1, 2))
        return np.asarray(super().score(requests) + still[:, None])


class ImportsWorld(Sound):
    def score(self, requests: Requests) -> Scores:
        import sim.world  # noqa: F401

        return super().score(requests)


class ImportsWorldByName(Sound):
    def observe(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        importlib.import_module("sim.population")
        super().observe(impressions, purchases, now_s)


class OpensTruth(Sound):
    """Reads the state of the world with a file that Python opens."""

    def fit(self, log: Any, context: FitContext) -> Self:
        with contextlib.suppress(OSError):
            self.size_ = len(min((log._folder / "truth/state").iterdir()).read_bytes())
        return super().fit(log, context)


class OpensTruthQuietly(Sound):
    """Reads true probabilities with a library that opens files by itself."""

    def fit(self, log: Any, context: FitContext) -> Self:
        day = log._folder / "truth/impressions/day=0000/scenario=swipe/part-0.parquet"
        self.p_ = pq.ParquetFile(str(day)).read()["p_engage"].to_numpy()
        return super().fit(log, context)


CHEATS: list[tuple[type, str, str]] = [
    (OpensTruth, "no_latent_state", "it opens .*truth/state"),
    (OpensTruthQuietly, "no_latent_state", "folder holds no truth; got FileNotFoundError"),
    (ImportsWorld, "no_latent_state", "it imports sim.world"),
    (ReadsSchedule, "batch_size", "only the request's own row"),
    (WritesSupply, "requests_untouched", "read-only .*; likely fix: copy before writing"),
]
"""To be caught on a simulated log."""

BROKEN: list[tuple[type, str, str]] = [
    (NoScore, "constructs", "NoScore without score"),
    (NeedsArgument, "constructs", "TypeError: "),
    (ForgetsArgument, "constructor_stores_only", "'depth' as an attribute"),
    (
        ChangesArgument,
        "constructor_stores_only",
        "attribute 'slope' to be the argument 0.1; got 0.2",
    ),
    (WorksEarly, "constructor_stores_only", "no fitted attribute .* got shown_"),
    (FitReturnsNothing, "fit_returns_self", "fit to return self; got NoneType"),
    (FitRaises, "fit_returns_self", "KeyError: 'watch_time'"),
    (FitTunes, "arguments_survive", "'slope' = 0.1 alone; got 0.5"),
    (WritesLog, "log_untouched", r"impressions\.watch_s changed"),
    (Flat, "score_shape", r"\[B, C\] = \(8, 9\) .* got shape \(72,\)"),
    (Lists, "score_shape", "got a list"),
    (Complex, "score_shape", "got dtype complex128"),
    (NotFinite, "score_shape", r"not finite \(first: -inf\)"),
    (Draws, "score_repeats", "relative difference"),
    (Unseeded, "same_seed_same_policy", "seed every generator"),
    (WritesRequests, "requests_untouched", "read-only .*; likely fix: copy before writing"),
    (WritesSupply, "requests_untouched", "read-only"),
    (LowerAtTheTop, "positions", "at position 0 to be predict's"),
    (ReadsSchedule, "batch_size", "only the request's own row"),
    (ImportsWorld, "no_latent_state", "it imports sim.world"),
    (ImportsWorldByName, "no_latent_state", "it imports sim.population"),
    (UsesColumns, "candidate_order", "column number"),
    (MeansOverMasked, "masked_cells", "apply requests.mask before"),
    (MeansOverPadding, "padding", r"treat id PAD \(-1\) as no candidate"),
    (BatchStatistics, "batch_size", "no batch statistics"),
    (FixedTable, "unseen_ids", "IndexError: .*; likely fix: send ids beyond the tables"),
    (NeedsARow, "empty_batch", "IndexError"),
    (Squeezes, "single_candidate", r"got shape \(8,\)"),
    (NeedsACandidate, "all_masked", "IndexError"),
    (Logits, "probabilities", r"in \[0, 1\]"),
    (OddTarget, "probabilities", r"got \['ctr'\]"),
    (ThinPrediction, "probabilities", r"got ndarray of shape \(8,\)"),
    (OtherVectors, "inner_product", "neighbours in the order reversed"),
    (FlatVectors, "inner_product", r"got shapes \(\(8, 2\), \(8, 2\)\)"),
    (StaleChart, "chart", "cells with other scores"),
    (LooksAhead, "early_events", "keep such rows aside"),
    (WritesEvents, "follows_events", "read-only .*; likely fix: copy before writing"),
    (ForgetsCounters, "survives_restart", "save everything"),
    (ReadsFiles, "no_future", "read logs through"),
    (HoldsTruth, "no_latent_state", r"policy\.bonds_\.hidden\.0 is a sim\.relations\.Relations"),
]
