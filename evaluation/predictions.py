"""Predicted probabilities on shown rows, and the rows and labels that they are judged on.

A card low on a page is seen less, so what follows an impression depends on its position.
Probabilities are therefore judged at the position shown: those of a `Positional` policy on every
row, at its position (slice "all"); those of any other on what stood at the top, where `predict` is
meant (slice "top", which every policy has). No number mixes the two.

A purchase comes up to weeks after the stay. It is judged twice: on purchases within WINDOW after
the stay, for stays that ended that long before the log does (slice "1h"), and on all that ever
come, which the simulator knows (slice "ultimate", kind "truth"); for rows at the top "top, 1h" and
"top, ultimate". Conversions need a stated window and matured labels (Chapelle, KDD 2014).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evaluation import classification
from evaluation.calibration.reliability import calibration_error, reliability
from evaluation.intervals import Estimate, clustered_mean
from evaluation.ranking.ranks import MetricError
from evaluation.results import ALL, Kind, Row, Subject
from policies.contract import Positional, Probabilistic
from sim.schema import PAD, SCENARIOS, TARGETS, Impressions, Requests
from sim.truth import TruthRows
from sim.truth_log import logged_truth

if TYPE_CHECKING:
    from sim.log import Log
    from sim.tick import Tick

WINDOW, WINDOW_S = "1h", 3600.0
"""Attribution window of a purchase, after the end of the stay; a third of all come in it."""

TOP, ULTIMATE = "top", "ultimate"

DECILE = "decile"
"""Begins the name of a slice by the size of the prediction: "decile 1" holds the lowest."""

NEEDS = {"cart": "bag_click", "purchase": "cart"}
"""Target to the one without which it never happens in any world."""

GAUC_WEIGHTS: dict[str, classification.Weight] = {
    "gauc": "impressions",
    "gauc_by_positives": "positives",
    "gauc_by_users": "users",
}
"""Metric -> weight of a user; ``gauc/purchase`` is the purchase-per-view GAUC of the trade, where a
view is an impression."""

_BLOCK_ROWS = 512
"""Requests predicted at once."""


@dataclass(frozen=True)
class Measure:
    """What a number is about: the columns of the results table that are not the policy's."""

    metric: str
    scenario: str
    slice: str = ALL
    kind: Kind = "offline"


@dataclass(frozen=True)
class Predictions:
    """Predicted probabilities and labels of all shown rows."""

    targets: tuple[str, ...]
    """The P targets that the policy predicts."""
    probability: NDArray[np.float32]
    """[P, N]; of a row that is not at the top only meant where `positional`."""
    label: NDArray[np.float32]
    """[P, N], as known at the end of the log."""
    positional: bool
    """Whether probabilities are at the position shown, else at the top."""
    position: NDArray[np.int8]
    """[N]."""
    user_id: NDArray[np.int32]
    """[N]."""
    scenario: NDArray[np.int8]
    """[N]."""
    waited_s: NDArray[np.float64]
    """[N], from the end of the stay to the end of the log; negative where it is not over."""
    purchase_delay_s: NDArray[np.float64]
    """[N], from the end of the stay to the purchase, NaN where none is known."""
    will_purchase: NDArray[np.bool_] | None
    """[N], whether a purchase ever comes of it; None where the truth is not to be had."""
    p_true: NDArray[np.float32] | None
    """[P, N], true probability at the position shown (purchase: ultimate); None likewise."""

    @classmethod
    def concat(cls, parts: list[Predictions]) -> Predictions | None:
        """Stack the predictions of several ticks; None where there are none.

        Raises:
            MetricError: the parts have other targets.
        """
        filled = [part for part in parts if part.targets]
        if not filled:
            return None
        targets = filled[0].targets
        if any(part.targets != targets for part in filled):
            raise MetricError("the policy predicts other targets at some ticks than at others")
        bought = [p.will_purchase for p in filled if p.will_purchase is not None]
        true = [p.p_true for p in filled if p.p_true is not None]
        return cls(
            targets,
            np.concatenate([p.probability for p in filled], axis=1),
            np.concatenate([p.label for p in filled], axis=1),
            filled[0].positional,
            np.concatenate([p.position for p in filled]),
            np.concatenate([p.user_id for p in filled]),
            np.concatenate([p.scenario for p in filled]),
            np.concatenate([p.waited_s for p in filled]),
            np.concatenate([p.purchase_delay_s for p in filled]),
            np.concatenate(bought) if len(bought) == len(filled) else None,
            np.concatenate(true, axis=1) if len(true) == len(filled) else None,
        )

    @property
    def widest(self) -> tuple[str, NDArray[np.bool_]]:
        """Slice and rows [N] of all that the predictions are meant for."""
        if self.positional:
            return ALL, np.ones(len(self.position), np.bool_)
        return TOP, self.position == 0

    def judged(
        self,
    ) -> Iterator[tuple[int, str, Kind, NDArray[np.bool_], NDArray[np.generic]]]:
        """Yield (target, slice, kind, rows [N], labels [N]) of everything that is to be judged."""
        parts = [(TOP, self.position == 0)]
        if self.positional:
            parts.insert(0, (ALL, np.ones(len(self.position), np.bool_)))
        for index, target in enumerate(self.targets):
            for name, rows in parts:
                if target != "purchase":
                    yield index, name, "offline", rows, self.label[index]
                    continue
                prefix = "" if name == ALL else f"{name}, "
                soon = self.purchase_delay_s <= WINDOW_S  # NaN is not
                over = rows & (self.waited_s >= WINDOW_S)
                yield index, f"{prefix}{WINDOW}", "offline", over, soon
                if self.will_purchase is not None:
                    yield index, f"{prefix}{ULTIMATE}", "truth", rows, self.will_purchase


def predict_tick(
    policy: Probabilistic, tick: Tick, as_of_s: float, truth: TruthRows | None
) -> Predictions:
    """Predict what was shown in a tick.

    Args:
        policy: fitted, and told what was known.
        tick: the tick.
        as_of_s: end of the log.
        truth: true side of a log that holds the tick, ascending in request id and position.

    Raises:
        MetricError: a target is unknown, a shape is wrong, or the truth is of another log.
    """
    requests, rows = tick.slates()
    shown = tick.shown
    real = rows != PAD
    position = np.where(real, shown.position[np.maximum(rows, 0)], 0).astype(np.int32)
    by_target: dict[str, NDArray[np.float32]] = {}
    for block in requests.blocks(_BLOCK_ROWS):
        batch = requests.take(block).as_handed()
        found = (
            policy.predict_at(batch, position[block])
            if isinstance(policy, Positional)
            else policy.predict(batch)
        )
        for target, table in found.items():
            _check(target, table, batch)
            column = by_target.setdefault(target, np.full(len(shown), np.nan, np.float32))
            column[rows[block][real[block]]] = table[real[block]]
    targets = tuple(target for target in TARGETS if target in by_target)
    empty = np.empty((0, len(shown)), dtype=np.float32)
    probability = np.stack([by_target[t] for t in targets]) if targets else empty
    own = None if truth is None else truth.take(_rows_of(shown, truth))
    positional = isinstance(policy, Positional)
    return _predictions(targets, probability, shown, positional, as_of_s, own)


def reference_rows(subject: Subject, log: Log, n_users: int) -> list[Row]:
    """Return how the true probabilities fare on the same rows: what the best policy can reach.

    Args:
        subject: what the rows are about; its policy is "".
        log: the part that policies were judged on.
        n_users: number of users U.
    """
    truth, shown = logged_truth(log), log.impressions()
    probability = np.stack([getattr(truth, f"p_{name}") for name in TARGETS])
    whole = _predictions(TARGETS, probability, shown, True, log.as_of_s, truth)
    rows = []
    for measure, estimate in classify(whole, n_users).items():
        if measure.slice.endswith(WINDOW):
            continue  # the true probabilities are of purchases that ever come
        interval, where = estimate.interval(), (measure.scenario, measure.slice)
        rows.append(
            subject.level(measure.metric, "truth", interval, scenario=where[0], slice=where[1])
        )
    return rows


def classify(predictions: Predictions, n_users: int) -> dict[Measure, Estimate]:
    """Return every classification metric of every target, slice and scenario."""
    out: dict[Measure, Estimate] = {}
    for index, part, kind, rows, labels in predictions.judged():
        target = predictions.targets[index]
        for scenario, own in scopes(predictions.scenario):
            where = own & rows
            p, y = predictions.probability[index][where], labels[where]
            user = predictions.user_id[where]
            for name, estimate in class_metrics(target, p, y, user, n_users).items():
                out[Measure(name, scenario, part, kind)] = estimate
    return out


def class_metrics(
    target: str,
    p: NDArray[np.floating],
    y: NDArray[np.generic],
    user_id: NDArray[np.integer],
    n_users: int,
) -> dict[str, Estimate]:
    """Return {name in the results table: estimate} of the predictions of one target.

    Args:
        target: one of TARGETS.
        p: [N] predicted probabilities.
        y: [N] labels.
        user_id: [N] of each row, below `n_users`.
        n_users: number of users U.
    """
    out = {
        "logloss": classification.log_loss(p, y, user_id, n_users),
        "pcoc": classification.pcoc(p, y, user_id, n_users),
        "ece": calibration_error(p, y, user_id, n_users),
    }
    if target != "watch":  # a share of the cap, not a class
        out["auc"] = classification.auc(p, y, user_id, n_users)
        grouped = classification.gauc(p, y, user_id, n_users)
        out |= {name: grouped.estimate(weight) for name, weight in GAUC_WEIGHTS.items()}
        out["gauc_dropped_users"] = grouped.dropped
    return {f"{name}/{target}": estimate for name, estimate in out.items()}


def against_truth(predictions: Predictions, n_users: int) -> dict[Measure, Estimate]:
    """Return PCOC and ECE against the true probability, of every target and scenario."""
    out: dict[Measure, Estimate] = {}
    if predictions.p_true is None:
        return out
    part, rows = predictions.widest
    for index, target in enumerate(predictions.targets):
        for scenario, own in scopes(predictions.scenario):
            where = own & rows
            p, y = predictions.probability[index][where], predictions.p_true[index][where]
            user = predictions.user_id[where]
            for name, found in (
                ("pcoc_true", classification.pcoc(p, y, user, n_users)),
                ("ece_true", calibration_error(p, y, user, n_users)),
            ):
                out[Measure(f"{name}/{target}", scenario, part, "truth")] = found
    return out


def inversions(predictions: Predictions, n_users: int) -> dict[Measure, Estimate]:
    """Return how often a target is predicted above the one that it needs, by target of NEEDS."""
    out: dict[Measure, Estimate] = {}
    part, rows = predictions.widest
    column = {target: predictions.probability[k] for k, target in enumerate(predictions.targets)}
    for child, parent in NEEDS.items():
        if child not in column or parent not in column:
            continue
        above = column[child] > column[parent]
        for scenario, own in scopes(predictions.scenario):
            where = own & rows
            who = predictions.user_id[where]
            found = clustered_mean(above[where].astype(np.float64), who, n_users)
            out[Measure(f"inversion/{child}", scenario, part)] = found
    return out


def by_decile(predictions: Predictions, n_users: int) -> dict[Measure, Estimate]:
    """Return PCOC by decile of the prediction, against labels and, where known, the truth.

    Of all scenarios together. Equal predictions share a decile, so that there may be fewer than 10.
    A purchase is judged against the true probability alone: few come within a window.
    """
    out: dict[Measure, Estimate] = {}
    part, rows = predictions.widest
    prefix = "" if part == ALL else f"{part}, "
    user = predictions.user_id[rows]
    for index, target in enumerate(predictions.targets):
        outcomes: list[tuple[str, Kind, NDArray[np.float32]]] = []
        if target != "purchase":
            outcomes.append(("pcoc", "offline", predictions.label[index]))
        if predictions.p_true is not None:
            outcomes.append(("pcoc_true", "truth", predictions.p_true[index]))
        for name, kind, outcome in outcomes:
            p = predictions.probability[index][rows]
            curve = reliability(p, outcome[rows], user, n_users)
            for at, found in enumerate(curve.pcoc, 1):
                where = f"{prefix}{DECILE} {at}"
                out[Measure(f"{name}/{target}", ALL, where, kind)] = found
    return out


def scopes(scenario: NDArray[np.int8]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return (name, rows [N]) of each scenario and of all together."""
    everything = np.ones(len(scenario), dtype=np.bool_)
    own = [(name, scenario == code) for code, name in enumerate(SCENARIOS)]
    return [*own, (ALL, everything)]


def _predictions(
    targets: tuple[str, ...],
    probability: NDArray[np.float32],
    shown: Impressions,
    positional: bool,
    as_of_s: float,
    truth: TruthRows | None,
) -> Predictions:
    empty = np.empty((0, len(shown)), dtype=np.float32)
    p_true = None
    if truth is not None:
        p_true = np.stack([getattr(truth, f"p_{t}") for t in targets]) if targets else empty
    return Predictions(
        targets,
        probability,
        np.stack([shown.target(t) for t in targets]) if targets else empty,
        positional,
        shown.position,
        shown.user_id,
        shown.scenario,
        as_of_s - shown.known_s,
        shown.purchase_s - shown.known_s,
        None if truth is None else truth.will_purchase,
        p_true,
    )


def _check(target: str, table: NDArray[np.floating], batch: Requests) -> None:
    if target not in TARGETS:
        raise MetricError(f"predicted target {target!r} is unknown; allowed: {', '.join(TARGETS)}")
    if table.shape != batch.mask.shape:
        raise MetricError(
            f"predictions of {target!r} have shape {table.shape}; "
            f"expected [B, C] = {batch.mask.shape}"
        )


def _rows_of(shown: Impressions, truth: TruthRows) -> NDArray[np.int64]:
    """Return the row of `truth` that belongs to each shown row."""
    at = np.searchsorted(truth.request_id, shown.request_id) + shown.position
    at = np.minimum(at, max(len(truth) - 1, 0))
    same = (truth.request_id[at] == shown.request_id) if len(truth) else np.zeros(len(shown), bool)
    if not (same.all() and (truth.position[at] == shown.position).all()):
        raise MetricError("the truth is of another log than the impressions")
    return np.asarray(at, np.int64)
