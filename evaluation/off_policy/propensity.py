"""Exact probabilities of logged choices under any served policy, by the law of `policies.rank`.

A slate is filled place by place; at each place the candidates that are left have the conditional
probabilities (s scores, n candidates left, b best of them tied)

    greedy    1{best} / b
    epsilon   (1 - eps) 1{best} / b + eps / n
    softmax   exp(s / t) / sum of exp(s / t) over those left      (Plackett-Luce)

`policies.rank` draws from this law and records what it drew; here the choices are given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.rank import Exploration
from sim.kernel import allocating, kernel
from sim.schema import PAD, Bools, Floats

Array = NDArray[np.float64]

_REFRESH = 1e-200
"""Below this total, softmax weights are taken relative to the best of what is left."""


def propensities(
    scores: Floats, mask: Bools, column: NDArray[np.integer], exploration: Exploration
) -> Array:
    """Return the conditional probability of each choice given those above it, [B, K].

    Args:
        scores: [B, C], finite wherever `mask` is True.
        mask: [B, C] candidates.
        column: [B, K] chosen columns from the top, PAD below the end of a slate.
        exploration: how the policy is served.

    Returns:
        Probabilities in [0, 1], 1 where PAD; 0 from a choice on that the policy never makes stays
        a product of 0.

    Raises:
        ValueError: the shapes disagree, a choice is no candidate or made twice, or a score is not
            finite.
    """
    return expectations(scores, mask, column, exploration, np.zeros((1, 0)))[0]


def expectations(
    scores: Floats,
    mask: Bools,
    column: NDArray[np.integer],
    exploration: Exploration,
    table: Array,
    entity: NDArray[np.integer] | None = None,
) -> tuple[Array, Array]:
    """Return `propensities` and the expected features of what each place would hold.

    Args:
        scores: as in `propensities`; `mask`, `column`, `exploration` likewise.
        mask: candidates.
        column: choices.
        exploration: how the policy is served.
        table: features of entities [S, D].
        entity: entity of each candidate [B, C]; may be None where D is 0.

    Returns:
        Probabilities [B, K]; features [B, K, D] expected over the choice at the place given the
        choices above it, 0 where PAD.

    Raises:
        ValueError: as in `propensities`.
    """
    ready, allowed, chosen = checked(scores, mask, column)
    who = np.zeros(ready.shape, np.int64) if entity is None else entity.astype(np.int64)
    p = np.ones(chosen.shape)
    expected = np.zeros((*chosen.shape, table.shape[1]))
    _walk(
        ready, allowed, chosen, exploration.kind == "softmax", dial(exploration), who,
        np.ascontiguousarray(table, np.float64), p, expected,
    )  # fmt: skip
    return p, expected


def distribution(scores: Floats, mask: Bools, exploration: Exploration) -> Array:
    """Return the probability of each candidate to stand at the top, [B, C], 0 off the mask.

    Raises:
        ValueError: the shapes disagree, or a score is not finite.
    """
    none = np.full((len(np.asarray(scores)), 1), PAD)
    ready, allowed, _ = checked(scores, mask, none)
    out = np.zeros(ready.shape)
    _fill_top(ready, allowed, exploration.kind == "softmax", dial(exploration), out)
    return out


def dial(exploration: Exploration) -> float:
    """Return the temperature of softmax, else the probability of a uniform choice."""
    if exploration.kind == "softmax":
        return float(exploration.temperature)
    return float(exploration.eps) if exploration.kind == "epsilon" else 0.0


def checked(
    scores: Floats, mask: Bools, column: NDArray[np.integer]
) -> tuple[Array, NDArray[np.bool_], NDArray[np.int64]]:
    """Return scores, mask and choices in the layout that the kernels read.

    Raises:
        ValueError: the shapes disagree, a choice is no candidate or made twice, or a score is not
            finite.
    """
    ready = np.ascontiguousarray(scores, np.float64)
    allowed = np.ascontiguousarray(mask, np.bool_)
    chosen = np.ascontiguousarray(column, np.int64)
    if ready.ndim != 2 or ready.shape != allowed.shape or len(chosen) != len(ready):
        raise ValueError(
            f"scores {ready.shape}, mask {allowed.shape}, column {chosen.shape}: must be [B, C], "
            "[B, C] and [B, K]"
        )
    bad = allowed & ~np.isfinite(ready)
    if bad.any():
        raise ValueError(f"{int(bad.sum())} scores of candidates are not finite")
    filled = chosen != PAD
    rows = np.nonzero(filled)[0]
    times = np.zeros(ready.shape, np.int64)
    inside = bool(((chosen[filled] >= 0) & (chosen[filled] < ready.shape[1])).all())
    if inside:
        np.add.at(times, (rows, chosen[filled]), 1)
    if not inside or (times > allowed).any():
        raise ValueError("column names a cell that is no candidate, or one twice; allowed: neither")
    return ready, allowed, chosen


@allocating
def _walk(
    scores: Array,
    mask: NDArray[np.bool_],
    column: NDArray[np.int64],
    soft: bool,
    dial_: float,
    entity: NDArray[np.int64],
    table: Array,
    propensity: Array,
    expected: Array,
) -> None:
    n_columns, n_features = scores.shape[1], table.shape[1]
    free, p = np.empty(n_columns, np.bool_), np.empty(n_columns)
    for b in range(len(scores)):
        for c in range(n_columns):
            free[c] = mask[b, c]
        total = 0.0
        for k in range(column.shape[1]):
            chosen = column[b, k]
            if chosen < 0:
                break
            if not soft:
                _explore(scores[b], free, dial_, p)
                total = 1.0
            elif total < _REFRESH:
                _weigh(scores[b], free, dial_, p)
                total = p.sum()
            propensity[b, k] = p[chosen] / total
            if n_features > 0:
                for c in range(n_columns):
                    if p[c] > 0.0:
                        share, who = p[c] / total, entity[b, c]
                        for d in range(n_features):
                            expected[b, k, d] += share * table[who, d]
            free[chosen] = False
            if soft:
                p[chosen] = 0.0
                total = p.sum()  # afresh: a difference would lose what little is left


@kernel
def _fill_top(scores: Array, mask: NDArray[np.bool_], soft: bool, dial_: float, out: Array) -> None:
    for b in range(len(scores)):
        if not mask[b].any():
            continue
        if soft:
            _weigh(scores[b], mask[b], dial_, out[b])
            total = out[b].sum()
            for c in range(scores.shape[1]):
                out[b, c] /= total
        else:
            _explore(scores[b], mask[b], dial_, out[b])


@kernel
def _explore(scores: Array, free: NDArray[np.bool_], eps: float, p: Array) -> None:
    """Write the probabilities of epsilon-greedy over the free columns, elsewhere 0."""
    best, n_tied, n_free = -np.inf, 0, 0
    for c in range(len(scores)):
        if free[c]:
            n_free += 1
            if scores[c] > best:
                best, n_tied = scores[c], 0
            n_tied += scores[c] == best
    for c in range(len(scores)):
        p[c] = 0.0
        if free[c]:
            p[c] = eps / n_free + ((1.0 - eps) / n_tied if scores[c] == best else 0.0)


@kernel
def _weigh(scores: Array, free: NDArray[np.bool_], temperature: float, p: Array) -> None:
    """Write exp((score - best) / temperature) of the free columns, elsewhere 0."""
    best = -np.inf
    for c in range(len(scores)):
        if free[c]:
            best = max(best, scores[c])
    for c in range(len(scores)):
        p[c] = np.exp((scores[c] - best) / temperature) if free[c] else 0.0
