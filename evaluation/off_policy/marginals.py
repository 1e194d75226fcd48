"""Marginal probabilities that an item stands at a place, and weights made of them.

For greedy and epsilon-greedy serving they come from the exact walk over (better candidates left,
tied ones left). For softmax, Plackett-Luce, items arrive in a race of exponential clocks with rates
w_i = exp(s_i / t), and with T = e^y

    P(item a at place l) = integral of w_a T exp(-w_a T) P(exactly l others have arrived by T) dy

by the trapezoidal rule, whose error falls as exp(-pi^2 / step): 1e-12 at the step used. Pairs of
a slate's own items and places are all that estimators ask for.

Weights of the pseudo-inverse estimator (Swaminathan et al., NeurIPS 2017) in closed form, with L
places, m candidates, theta[l, a] the target's marginal, s_l the item logged at l:

    places drawn independently   1 - L + sum_l theta[l, s_l] / p_logging(s_l at l)
    uniform without replacement  1 + (m (m - 1) / (m - L)) A / L + (m - 1) (B - A / L)
        A = sum_l sum_k theta[k, s_l] - L^2 / m,  B = sum_l theta[l, s_l] - L / m

the second from the eigenvectors that all blocks of G = E[1_s 1_s'] share: its pseudo-inverse is
m / L on the constant direction, m (m - 1) / (m - L) on items summed over places (absent for
m = L, where every item is shown), and m - 1 on the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.off_policy.propensity import checked, dial
from policies.rank import Exploration
from sim.kernel import allocating, kernel
from sim.schema import PAD, Bools, Floats

Array = NDArray[np.float64]

STEP = 0.3
"""Of the logarithm of time."""


def place_marginals(
    scores: Floats, mask: Bools, column: NDArray[np.integer], exploration: Exploration
) -> Array:
    """Return P(the item logged at place j stands at place l), [B, K (l), K (j)].

    Args:
        scores: [B, C], finite wherever `mask` is True.
        mask: [B, C] candidates.
        column: [B, K] logged columns from the top, PAD below the end of a slate.
        exploration: how the policy is served.

    Returns:
        Probabilities, 0 where PAD. Places beyond the end of the slate are not counted.

    Raises:
        ValueError: the shapes disagree, a choice is no candidate or made twice, or a score is not
            finite.
    """
    ready, allowed, chosen = checked(scores, mask, column)
    k = chosen.shape[1]
    out = np.zeros((len(chosen), k, k))
    if exploration.kind == "softmax":
        _race(ready / dial(exploration), allowed, chosen, STEP, out)
    else:
        _descend(ready, allowed, chosen, dial(exploration), out)
    return out


def own_place(marginals: Array, column: NDArray[np.integer]) -> Array:
    """Return the marginal of each logged item at its own place [B, K], 1 where PAD."""
    own = np.diagonal(marginals, axis1=1, axis2=2)
    return np.where(np.asarray(column) == PAD, 1.0, own)


def factored_weight(place_ratio: Array, start: NDArray[np.int64]) -> Array:
    """Return pseudo-inverse weights [B] for places that are drawn independently.

    For logs of other platforms: the slates of this one hold no room twice.

    Args:
        place_ratio: ratio of the marginals of each row [N].
        start: first row of each slate, and N at the end [B + 1].
    """
    if len(start) < 2:
        return np.zeros(0)
    sums = np.add.reduceat(place_ratio, start[:-1])
    return np.asarray(1.0 - np.diff(start) + sums, dtype=np.float64)


def uniform_weight(
    marginals: Array, column: NDArray[np.integer], n_candidates: NDArray[np.integer]
) -> Array:
    """Return pseudo-inverse weights [B] for a uniform order of distinct items.

    Args:
        marginals: of the target, [B, K, K] as `place_marginals` gives them.
        column: logged columns [B, K].
        n_candidates: candidates of each request [B].
    """
    size = (np.asarray(column) != PAD).sum(axis=1).astype(np.float64)
    m = np.asarray(n_candidates, np.float64)
    length = np.maximum(size, 1.0)
    summed = marginals.sum(axis=(1, 2)) - size * size / m
    own = np.trace(marginals, axis1=1, axis2=2) - size / m
    left = np.where(m > size, m - size, 1.0)
    over_items = np.where(m > size, m * (m - 1.0) / left * summed / length, 0.0)
    return np.asarray(1.0 + over_items + (m - 1.0) * (own - summed / length), dtype=np.float64)


@allocating
def _descend(
    scores: Array, mask: NDArray[np.bool_], column: NDArray[np.int64], eps: float, out: Array
) -> None:
    """Follow how many better (i) and tied (j) candidates are gone before an item is chosen."""
    n_columns, size = scores.shape[1], column.shape[1]
    now, then = np.empty((size + 1, size + 1)), np.empty((size + 1, size + 1))
    for b in range(len(scores)):
        n = 0
        for c in range(n_columns):
            n += mask[b, c]
        length = 0
        while length < size and column[b, length] >= 0:
            length += 1
        for j in range(length):
            own = scores[b, column[b, j]]
            better, tied = 0, -1
            for c in range(n_columns):
                if mask[b, c]:
                    better += scores[b, c] > own
                    tied += scores[b, c] == own
            now[:, :] = 0.0
            now[0, 0] = 1.0
            for place in range(length):
                left = n - place
                then[:, :] = 0.0
                for gone in range(place + 1):
                    for same in range(place + 1 - gone):
                        p = now[gone, same]
                        if p == 0.0:
                            continue
                        above, level = better - gone, tied - same
                        chance = eps / left
                        out[b, place, j] += p * chance
                        then[gone + 1, same] += p * chance * above
                        then[gone, same + 1] += p * chance * level
                        then[gone, same] += p * chance * (left - 1 - above - level)
                        if above > 0:
                            then[gone + 1, same] += p * (1.0 - eps)
                        else:
                            share = (1.0 - eps) / (1.0 + level)
                            out[b, place, j] += p * share
                            then[gone, same + 1] += p * share * level
                now, then = then, now


@allocating
def _race(
    logit: Array, mask: NDArray[np.bool_], column: NDArray[np.int64], step: float, out: Array
) -> None:
    """Integrate the race of the clocks over the logarithm of time."""
    n_columns, size = logit.shape[1], column.shape[1]
    others, arrived = np.empty(size), np.empty(size)
    shown, hazard = np.empty(n_columns, np.bool_), np.empty(n_columns)
    absent, present, pace = np.empty(n_columns), np.empty(n_columns), np.exp(step)
    for b in range(len(logit)):
        length = 0
        shown[:] = False
        while length < size and column[b, length] >= 0:
            shown[column[b, length]] = True
            length += 1
        if length == 0:
            continue
        best, least, n = -np.inf, np.inf, 0
        for c in range(n_columns):
            if mask[b, c]:
                best, least, n = max(best, logit[b, c]), min(least, logit[b, c]), n + 1
        total = 0.0
        for c in range(n_columns):
            if mask[b, c]:
                total += np.exp(logit[b, c] - best)
        for j in range(length):  # the first to arrive needs no integral
            out[b, 0, j] = np.exp(logit[b, column[b, j]] - best) / total
        if length == 1:
            continue
        # of two arrivals the integrand falls as T^2 towards the past
        y, last = -best - np.log(total) - 15.0, -least + 4.0
        for c in range(n_columns):
            hazard[c] = np.exp(logit[b, c] + y) if mask[b, c] else 0.0
        while y < last:
            others[:] = 0.0
            others[0] = 1.0
            for c in range(n_columns):
                if mask[b, c]:
                    h = hazard[c]
                    absent[c] = np.exp(-h)
                    # 1 - exp(-h) loses its digits where h is small
                    near = h * (1.0 - h * (0.5 - h * (1.0 / 6.0 - h / 24.0)))
                    present[c] = near if h < 1e-3 else 1.0 - absent[c]
                    if not shown[c]:
                        _arrive(others, length, absent[c], present[c])
            alive = 0.0
            for place in range(length):
                alive += others[place]
            if alive < 1e-15:  # so many have arrived that the slate is full
                break
            for j in range(length):
                own = column[b, j]
                density = hazard[own] * absent[own] * step
                if density == 0.0:
                    continue
                for place in range(length):
                    arrived[place] = others[place]
                for i in range(length):
                    if i != j:
                        _arrive(arrived, length, absent[column[b, i]], present[column[b, i]])
                for place in range(1, length):
                    out[b, place, j] += density * arrived[place]
            y += step
            for c in range(n_columns):
                hazard[c] *= pace


@kernel
def _arrive(count: Array, length: int, absent: float, present: float) -> None:
    """Let one more clock ring by the time, or not, in the distribution of how many have."""
    for k in range(length - 1, 0, -1):
        count[k] = count[k] * absent + count[k - 1] * present
    count[0] *= absent
