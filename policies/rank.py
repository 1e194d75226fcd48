"""The only top-k: masking, ties, exploration and exact propensities, the same for every policy.

Slates are drawn position by position, one uniform per (request, position), by inverse cdf over the
candidates that are left. The propensity of a choice is its exact
conditional probability given the positions above it; the product over positions is the probability
of the slate. Softmax sampling without replacement is the Plackett-Luce model (Plackett 1975, "The
analysis of permutations", section 2).

Every operation acts on one row at a time, so that a slate does not depend on the batch it is in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from policies.contract import Policy, Privileged, Updatable, is_privileged
from sim.config import ConfigError, require
from sim.schema import PAD, Bools, Floats, Impressions, Purchases, Requests, Slate

if TYPE_CHECKING:
    from sim.truth import RequestTruth

KINDS = ("greedy", "epsilon", "softmax")
"""Allowed values of `Exploration.kind`."""

BLOCK_ROWS = 512
"""Requests scored at once by `Server`: bounds memory, and keeps [B, C] tables in cache."""

_REFRESH = 1e-200
"""Below this total, weights relative to an already chosen maximum are computed afresh."""


class PolicyError(ValueError):
    """A policy broke the contract; the message names the policy, what came and what is allowed."""


@dataclass(frozen=True)
class Exploration:
    """How much the serving side deviates from the order of the scores.

    Raises:
        ConfigError: a field has a value that is not allowed.
    """

    kind: str = "greedy"
    """greedy: uniform among the tied best of what is left; epsilon: with probability `eps` uniform
    over all that is left, else greedy; softmax: Plackett-Luce with weights exp(score / t)."""
    eps: float = 0.1
    """Probability in [0, 1] of a uniform choice, per position; read by kind epsilon only."""
    temperature: float = 1.0
    """Temperature t in [1e-6, 1e6], in units of the score; read by kind softmax only."""

    def __post_init__(self) -> None:
        """Check every field."""
        if self.kind not in KINDS:
            raise ConfigError(
                f"Exploration.kind = {self.kind!r}; allowed: one of {', '.join(KINDS)}"
            )
        require(self, "eps", 0.0, 1.0)
        require(self, "temperature", 1e-6, 1e6)


def rank(
    scores: Floats, mask: Bools, slate_size: int, exploration: Exploration, uniforms: Floats
) -> Slate:
    """Choose `slate_size` different candidates per request.

    Args:
        scores: [B, C], any real dtype; finite wherever `mask` is True. Higher is better.
        mask: [B, C], True where the candidate may be shown.
        slate_size: K, at least 1.
        exploration: how to deviate from the order of the scores.
        uniforms: [B, K] in (0, 1); position k of request b uses `uniforms[b, k]` and nothing else.

    Returns:
        The slate: `column` int32 [B, K], PAD where no candidate was left; `propensity` float64
        [B, K] in (0, 1], and 1 where PAD.

    Raises:
        ValueError: the shapes disagree or `slate_size` is below 1.
    """
    scores, mask = np.asarray(scores), np.asarray(mask, dtype=np.bool_)
    if scores.ndim != 2 or scores.shape != mask.shape:
        raise ValueError(
            f"scores {scores.shape} and mask {mask.shape}: both must have one shape [B, C]"
        )
    if slate_size < 1:
        raise ValueError(f"slate_size = {slate_size}: must be at least 1")
    n_requests, n_candidates = scores.shape
    if uniforms.shape != (n_requests, slate_size):
        raise ValueError(
            f"uniforms {uniforms.shape}: must have shape [B, K] = {(n_requests, slate_size)}"
        )
    if n_requests == 0 or n_candidates == 0:
        return Slate(np.full(uniforms.shape, PAD, np.int32), np.ones(uniforms.shape, np.float64))
    drawn = np.asarray(uniforms, dtype=np.float64)
    if scores.strides[1] == 0 and exploration.kind == "greedy":
        return _level(mask, drawn)
    rest, n_shown = _masked(scores, mask), np.count_nonzero(mask, axis=1)
    if exploration.kind == "softmax":
        slate = _plackett_luce(rest, exploration.temperature, drawn)
    elif exploration.kind == "epsilon":
        slate = _epsilon(rest, n_shown, exploration.eps, drawn)
    else:
        slate = _greedy(rest, drawn)
    return _cut_short(slate, n_shown)


class Server:
    """Puts a policy behind `sim.ranker.Ranker`: scores in blocks, checks the scores, ranks.

    Args:
        policy: a fitted policy; a privileged one is handed the truth.
        exploration: how to deviate from its scores.
    """

    def __init__(self, policy: Policy | Privileged, exploration: Exploration) -> None:
        """Store the policy and its exploration."""
        self.policy = policy
        self.exploration = exploration

    @property
    def needs_truth(self) -> bool:
        """Whether the policy is privileged."""
        return is_privileged(self.policy)

    def rank(
        self, requests: Requests, slate_size: int, uniforms: Floats, truth: RequestTruth | None
    ) -> Slate:
        """Score the requests and choose their slates.

        Args:
            requests: B requests with C candidates each.
            slate_size: K.
            uniforms: [B, K] in (0, 1).
            truth: the true state for the same batch; needed by privileged policies only.

        Returns:
            The slate [B, K], see `rank`.

        Raises:
            PolicyError: the scores have a wrong shape or type or are not finite, or a privileged
                policy was not handed the truth.
        """
        if self.needs_truth:
            if truth is None:
                raise PolicyError(f"policy {self._name} is privileged: needs `truth`, got None")
            oracle = cast("Privileged", self.policy)
            scores = self._checked(oracle.score_with_truth(requests, truth), requests.mask)
            return rank(scores, requests.mask, slate_size, self.exploration, uniforms)
        policy = cast("Policy", self.policy)
        if len(requests) <= BLOCK_ROWS:
            return self._rank_block(policy, requests, slate_size, uniforms)
        parts = [
            self._rank_block(policy, requests.take(rows), slate_size, uniforms[rows])
            for rows in requests.blocks(BLOCK_ROWS)
        ]
        return Slate(
            column=np.concatenate([part.column for part in parts]),
            propensity=np.concatenate([part.propensity for part in parts]),
        )

    def observe(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        """Forward what became observable until `now_s` (seconds) to an updatable policy."""
        if isinstance(self.policy, Updatable):
            self.policy.observe(impressions, purchases, now_s)

    def _rank_block(
        self, policy: Policy, block: Requests, slate_size: int, uniforms: Floats
    ) -> Slate:
        mask = block.mask
        scores = self._checked(policy.score(block), mask) if len(block) else np.zeros(mask.shape)
        return rank(scores, mask, slate_size, self.exploration, uniforms)

    @property
    def _name(self) -> str:
        kind = type(self.policy)
        return f"{kind.__module__}.{kind.__qualname__}"

    def _checked(self, scores: Floats, mask: Bools) -> Floats:
        """Return `scores` if they are real, [B, C] and finite where `mask`."""
        shape = getattr(scores, "shape", None)
        if not isinstance(scores, np.ndarray) or scores.dtype.kind not in "fiu":
            kind = getattr(scores, "dtype", type(scores).__name__)
            raise PolicyError(
                f"policy {self._name}: scores are {kind}; must be a numpy array of real numbers"
            )
        if shape != mask.shape:
            raise PolicyError(
                f"policy {self._name}: scores have shape {shape}; must be [B, C] = {mask.shape}"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            total = scores.sum()  # one cheap pass finds NaN and infinities
        if not math.isfinite(total):  # it may be the sum of finite scores that overflows
            bad = mask & ~np.isfinite(scores)
            if bad.any():
                raise PolicyError(
                    f"policy {self._name}: {int(bad.sum())} of {int(mask.sum())} scores are not "
                    f"finite (first: {scores[bad][0]}); every unmasked score must be finite"
                )
        return scores


def _masked(scores: Floats, mask: Bools) -> Floats:
    """Return a float copy of the scores with -inf where the mask is False."""
    kind = scores.dtype if scores.dtype.kind == "f" else np.float64
    rest = np.array(scores, dtype=kind, order="C")  # the flat writes below need C order
    hidden = np.flatnonzero(~mask)
    rest.reshape(-1)[hidden] = -np.inf
    return rest


def _cells(member: Bools) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the True cells of `member` [B, C] as flat indices, each row's first, and its number.

    Returns:
        Flat indices, ascending; the place of each row's first one in them, intp [B]; the number of
        True cells in each row, intp [B].
    """
    n_rows, n_columns = member.shape
    cells = np.flatnonzero(member)
    edge = cells.searchsorted(np.arange(0, n_rows * n_columns + 1, max(n_columns, 1)))
    return cells, edge[:-1], edge[1:] - edge[:-1]


def _nth(uniforms: NDArray[np.float64], count: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return a uniform draw from 0 .. count - 1."""
    return np.asarray(np.minimum((uniforms * count).astype(np.intp), count - 1))


def _cut_short(slate: Slate, n_shown: NDArray[np.intp]) -> Slate:
    """Put PAD where a request had no candidate left, in place."""
    slate_size = slate.column.shape[1]
    if (n_shown < slate_size).any():
        none_left = np.arange(slate_size) >= n_shown[:, None]
        slate.column[none_left] = PAD
        slate.propensity[none_left] = 1.0
    return slate


def _level(mask: Bools, uniforms: NDArray[np.float64]) -> Slate:
    """Fill each position uniformly: what `_greedy` does when one number scores a whole row.

    Args:
        mask: [B, C].
        uniforms: [B, K].
    """
    n_requests, n_columns = mask.shape
    column = np.full(uniforms.shape, PAD, np.int32)
    propensity = np.ones(uniforms.shape, np.float64)
    first = np.arange(0, n_requests * n_columns, n_columns)
    cells, start, n_shown = _cells(mask)
    rows = np.flatnonzero(n_shown)
    for k in range(uniforms.shape[1]):
        if k:
            rows = rows[n_shown[rows] > k]
        left = n_shown[rows] - k
        place = start[rows] + _nth(uniforms[rows, k], left)
        column[rows, k] = cells[place] - first[rows]
        propensity[rows, k] = 1.0 / left
        cells[place] = cells[start[rows] + left - 1]
    return Slate(column, propensity)


def _greedy(rest: Floats, uniforms: NDArray[np.float64]) -> Slate:
    """Fill each position with one of the tied best of what is left.

    A group of tied candidates is found once, however many positions it fills: each choice is
    replaced by the last member, which leaves a uniform draw from the others (Fisher and Yates).

    Args:
        rest: [B, C] scores, -inf where masked out; is overwritten.
        uniforms: [B, K].
    """
    (n_requests, n_columns), slate_size = rest.shape, uniforms.shape[1]
    column = np.empty(uniforms.shape, np.int32)
    propensity = np.empty(uniforms.shape, np.float64)
    first = np.arange(0, n_requests * n_columns, n_columns)
    flat = rest.reshape(-1)
    cells = start = left = np.zeros(n_requests, np.intp)
    for k in range(slate_size):
        spent = left == 0
        if spent.all():
            tied = rest == flat[first + rest.argmax(axis=1)][:, None]
            cells, start, left = _cells(tied)
        elif spent.any():
            rows = np.flatnonzero(spent)
            some = rest[rows]
            more, begin, count = _cells(some == some.max(axis=1, keepdims=True))
            more += np.repeat(first[rows] - np.arange(len(rows)) * n_columns, count)
            start[rows], left[rows] = len(cells) + begin, count
            cells = np.concatenate([cells, more])
        if len(cells) == n_requests:  # nobody is tied
            cell = cells
            propensity[:, k] = 1.0
            left = np.zeros(n_requests, np.intp)
        else:
            place = start + _nth(uniforms[:, k], left)
            cell = cells[place]
            np.divide(1.0, left, out=propensity[:, k])
            left = left - 1
            cells[place] = cells[start + left]
        column[:, k] = cell - first
        flat[cell] = -np.inf
    return Slate(column, propensity)


def _epsilon(
    rest: Floats, n_shown: NDArray[np.intp], eps: float, uniforms: NDArray[np.float64]
) -> Slate:
    """Fill each position uniformly with probability `eps`, else with one of the tied best.

    Args:
        rest: [B, C] scores, -inf where masked out; is overwritten.
        n_shown: candidates that are not masked out [B].
        eps: probability of the uniform choice.
        uniforms: [B, K].
    """
    (n_requests, n_columns), slate_size = rest.shape, uniforms.shape[1]
    column = np.empty(uniforms.shape, np.int32)
    propensity = np.empty(uniforms.shape, np.float64)
    first = np.arange(0, n_requests * n_columns, n_columns)
    flat = rest.reshape(-1)
    for k in range(slate_size):
        u = uniforms[:, k]
        tied = rest == flat[first + rest.argmax(axis=1)][:, None]
        cells, start, count = _cells(tied)
        cell = cells[start + _nth(np.maximum(u - eps, 0.0) / max(1.0 - eps, 1e-300), count)]
        chance = (1.0 - eps) / count
        wild = np.flatnonzero((u < eps) & (n_shown > k))
        if wild.size:
            open_cells, begin, n_open = _cells(rest[wild] > -np.inf)
            chosen = open_cells[begin + _nth(u[wild] / eps, n_open)]
            cell[wild] = chosen + first[wild] - np.arange(len(wild)) * n_columns
            chance[wild] *= tied.reshape(-1)[cell[wild]]
        propensity[:, k] = chance + eps / np.maximum(n_shown - k, 1)
        column[:, k] = cell - first
        flat[cell] = -np.inf
    return Slate(column, propensity)


def _plackett_luce(rest: Floats, temperature: float, uniforms: NDArray[np.float64]) -> Slate:
    """Fill each position with probability proportional to exp(score / temperature).

    Args:
        rest: [B, C] scores, -inf where masked out; is overwritten.
        temperature: above 0.
        uniforms: [B, K].
    """
    rows = np.arange(len(rest))
    column = np.empty(uniforms.shape, np.int32)
    propensity = np.empty(uniforms.shape, np.float64)
    weight = _weights(rest, temperature)
    for k in range(uniforms.shape[1]):
        below = np.cumsum(weight, axis=1)
        # The best of the first positions may outweigh the others by more than a double can hold:
        # then the weights are taken relative to the best of what is left.
        faint = np.flatnonzero(below[:, -1] < _REFRESH)
        if faint.size:
            weight[faint] = _weights(rest[faint], temperature)
            below[faint] = np.cumsum(weight[faint], axis=1)
        total = below[:, -1]
        point = np.minimum(uniforms[:, k] * total, np.nextafter(total, 0.0))
        choice = (below > point[:, None]).argmax(axis=1)
        column[:, k] = choice
        propensity[:, k] = weight[rows, choice] / np.where(total > 0.0, total, 1.0)
        weight[rows, choice] = 0.0
        rest[rows, choice] = -np.inf
    return Slate(column, propensity)


def _weights(rest: Floats, temperature: float) -> NDArray[np.float64]:
    """Return exp((rest - max) / temperature), float64 [B, C]; rows without any candidate give 0."""
    best = rest.max(axis=1, keepdims=True).astype(np.float64)
    with np.errstate(over="ignore"):
        gap = (rest - np.where(np.isneginf(best), 0.0, best)) / temperature
    return np.asarray(np.exp(gap))
