"""The only top-k: masking, ties, exploration and exact propensities, the same for every policy.

Slates are drawn position by position, one uniform per (request, position), by inverse cdf over the
candidates that are left. The propensity of a choice is its exact
conditional probability given the positions above it; the product over positions is the probability
of the slate. Softmax sampling without replacement is the Plackett-Luce model (Plackett 1975, "The
analysis of permutations", section 2).

Each request is ranked alone, so that a slate does not depend on the batch it is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from policies.contract import Charting, Policy, Privileged, Updatable, is_privileged
from sim.config import ConfigError, require
from sim.filling import ALIKE, EPSILON, GREEDY, SOFTMAX, Chart, Spare, count_open, fill, new_spare
from sim.kernel import kernel
from sim.schema import Bools, Floats, Impressions, Purchases, Requests, Slate

if TYPE_CHECKING:
    from sim.truth import RequestTruth

KINDS = ("greedy", "epsilon", "softmax")
"""Allowed values of `Exploration.kind`."""

BLOCK_ROWS = 512
"""Requests scored at once by `Server`: bounds memory, and keeps [B, C] tables in cache."""


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

    @property
    def law(self) -> tuple[int, float]:
        """The law of `sim.filling`, and its dial."""
        laws = {"greedy": GREEDY, "epsilon": EPSILON, "softmax": SOFTMAX}
        dials = {"greedy": 0.0, "epsilon": self.eps, "softmax": self.temperature}
        return laws[self.kind], dials[self.kind]


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
        ValueError: the shapes disagree, `slate_size` is below 1, or a score is not finite.
    """
    scores, mask = np.asarray(scores), np.asarray(mask, dtype=np.bool_)
    if scores.ndim != 2 or scores.shape != mask.shape:
        raise ValueError(
            f"scores {scores.shape} and mask {mask.shape}: both must have one shape [B, C]"
        )
    if slate_size < 1:
        raise ValueError(f"slate_size = {slate_size}: must be at least 1")
    n_requests = len(scores)
    if uniforms.shape != (n_requests, slate_size):
        raise ValueError(
            f"uniforms {uniforms.shape}: must have shape [B, K] = {(n_requests, slate_size)}"
        )
    # one layout and two types, so that two variants of the kernel are compiled
    ones, drawn = _ready(mask, np.bool_).view(np.uint8), _ready(uniforms, np.float64)
    slate = Slate(np.empty(drawn.shape, np.int32), np.empty(drawn.shape))
    law, dial = exploration.law
    if law == GREEDY and scores.strides == (0, 0) and scores.size:
        law, ready = ALIKE, np.empty((n_requests, 0), np.float32)
        finite = bool(np.isfinite(scores[0, 0]) or not mask.any())
    else:
        ready = _ready(scores, np.float32 if scores.dtype == np.float32 else np.float64)
        finite = True
    spare = new_spare(ones.shape[1], slate_size)
    finite &= _fill_slates(law, dial, ready, ones, drawn, spare, slate.column, slate.propensity)
    if not finite:
        bad = mask & ~np.isfinite(scores)
        raise ValueError(
            f"{int(bad.sum())} of {int(mask.sum())} scores are not finite (first: "
            f"{scores[bad][0]}); every unmasked score must be finite"
        )
    return slate


@kernel
def _fill_slates(
    law: int,
    dial: float,
    scores: Floats,
    ones: NDArray[np.uint8],
    uniforms: NDArray[np.float64],
    spare: Spare,
    column: NDArray[np.int32],
    propensity: NDArray[np.float64],
) -> bool:
    """Fill slates [B, K]; return whether every score under the mask is finite."""
    for b in range(len(ones)):
        finite = fill(
            law, dial, scores[b], ones[b], count_open(ones[b]), uniforms[b], spare, column[b],
            propensity[b],
        )  # fmt: skip
        if not finite:
            return False
    return True


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

    @property
    def observes(self) -> bool:
        """Whether the policy follows the event stream."""
        return isinstance(self.policy, Updatable)

    def chart(self, n_streamers: int, now_s: float) -> Chart | None:
        """Return what `rank` follows whoever asks, until `observe`; None where requests matter.

        Args:
            n_streamers: S.
            now_s: start of the tick; a policy that keeps a chart does not look at the clock.

        Raises:
            PolicyError: the scores are no finite real numbers [S].
        """
        if self.needs_truth or not isinstance(self.policy, Charting):
            return None
        scores = self._numbers(self.policy.chart(n_streamers), (n_streamers,), "[S]")
        if not np.isfinite(scores).all():
            raise PolicyError(f"policy {self._name}: the chart holds scores that are not finite")
        law, dial = self.exploration.law
        if law == GREEDY and (scores == scores[:1]).all():
            return Chart(ALIKE, dial, np.empty(0))
        return Chart(law, dial, np.ascontiguousarray(scores, np.float64))

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
            scores = oracle.score_with_truth(requests.as_handed(), truth)
            return self._choose(scores, requests.mask, slate_size, uniforms)
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
            self.policy.observe(impressions.read_only, purchases.read_only, now_s)

    def _rank_block(
        self, policy: Policy, block: Requests, slate_size: int, uniforms: Floats
    ) -> Slate:
        scores = policy.score(block.as_handed()) if len(block) else np.zeros(block.mask.shape)
        return self._choose(scores, block.mask, slate_size, uniforms)

    def _choose(self, scores: Floats, mask: Bools, slate_size: int, uniforms: Floats) -> Slate:
        scores = self._numbers(scores, mask.shape, "[B, C]")
        try:
            return rank(scores, mask, slate_size, self.exploration, uniforms)
        except ValueError as error:
            raise PolicyError(f"policy {self._name}: {error}") from error

    def _numbers(self, scores: Floats, shape: tuple[int, ...], axes: str) -> Floats:
        """Return scores that are real numbers of this shape."""
        if not isinstance(scores, np.ndarray) or scores.dtype.kind not in "fiu":
            kind = getattr(scores, "dtype", type(scores).__name__)
            raise PolicyError(
                f"policy {self._name}: scores are {kind}; must be a numpy array of real numbers"
            )
        if scores.shape != shape:
            raise PolicyError(
                f"policy {self._name}: scores have shape {scores.shape}; must be {axes} = {shape}"
            )
        return scores

    @property
    def _name(self) -> str:
        kind = type(self.policy)
        return f"{kind.__module__}.{kind.__qualname__}"


def _ready(array: NDArray[Any], kind: type[np.generic]) -> NDArray[Any]:
    """Return an array as kernels take it: contiguous, writable, of one type."""
    flags = array.flags
    if array.dtype == kind and flags.c_contiguous and flags.writeable:
        return array
    return np.require(array, kind, ("C", "W"))
