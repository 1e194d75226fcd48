"""Team-draft interleaving: two policies fill one slate by turns, and users choose between them.

In each round a coin decides which policy picks first; each picks the best of its slate that is not
there yet, and what it picked is on its team (Radlinski, Kurup, Joachims, "How does clickthrough
data reflect retrieval quality?", CIKM 2008, section 4.2). A policy is preferred where its team
earns more clicks, views or purchases. On a swipe, whose slate is one room, this is a coin for each
request.

What it sees is preference inside one list: no carry-over, no change of the length of sessions, and
both policies get the traffic that the mixture earns.

Propensities: where both slates are certain (every propensity in them 1: greedy, no ties) the
chance of a position given those above is known exactly, round by round, and is logged. Where a
slate was itself drawn, the chance that another draw of it would have led to the same mixture is not
known from one draw: the log then holds NaN, and importance weighting must not use these rows.
Axis letters: B requests, K slate, N impressions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from evaluation.ab.assignment import PICK_COIN, hashed
from evaluation.ab.effect import Effect, of_estimate
from evaluation.intervals import cluster_sums, ratio
from policies.rank import Server
from sim.config import ConfigError
from sim.kernel import allocating, kernel
from sim.rng import MAX_SEED
from sim.schema import PAD, Floats, Impressions, Purchases, Requests, Slate
from sim.truth import RequestTruth

NOBODY = -1
"""Team of an empty position."""


@dataclass(frozen=True)
class Teams:
    """Which policy picked what, requests ascending."""

    request_id: NDArray[np.int64]
    """[B]."""
    team: NDArray[np.int8]
    """[B, K] 0 the control's, 1 the treated's, NOBODY where nothing was left."""

    def of(self, shown: Impressions) -> NDArray[np.int8]:
        """Return the team of each impression [N].

        Raises:
            ValueError: an impression is not of these requests.
        """
        at = np.searchsorted(self.request_id, shown.request_id)
        at = np.minimum(at, max(len(self.request_id) - 1, 0))
        if len(shown) and not (
            len(self.request_id) and np.array_equal(self.request_id[at], shown.request_id)
        ):
            raise ValueError("impressions hold requests that no draft served")
        return self.team[at, shown.position] if len(shown) else np.zeros(0, np.int8)


class TeamDraft:
    """Mixes the slates of two servers.

    It keeps who picked what, so it must serve in the process that asks for `teams` afterwards.

    Args:
        control: team 0.
        treated: team 1; has a policy of its own where policies learn.
        salt: of the coins, in [0, MAX_SEED].

    Raises:
        ConfigError: the salt is out of range.
    """

    def __init__(self, control: Server, treated: Server, salt: int = 0) -> None:
        """Store the teams."""
        if not 0 <= salt <= MAX_SEED:
            raise ConfigError(f"salt = {salt!r}; allowed: an integer in [0, {MAX_SEED}]")
        self.servers = (control, treated)
        self.salt = salt
        self._served: list[tuple[NDArray[np.int64], NDArray[np.int8]]] = []

    @property
    def needs_truth(self) -> bool:
        """Whether the policy of a team is privileged."""
        return any(server.needs_truth for server in self.servers)

    @property
    def observes(self) -> bool:
        """Whether the policy of a team follows the event stream."""
        return any(server.observes for server in self.servers)

    def rank(
        self, requests: Requests, slate_size: int, uniforms: Floats, truth: RequestTruth | None
    ) -> Slate:
        """Let both policies draft each slate; arguments as in `policies.rank.Server.rank`."""
        lists = [server.rank(requests, slate_size, uniforms, truth) for server in self.servers]
        rounds = (slate_size + 1) // 2
        coin = np.empty((len(requests), rounds), np.int8)
        for number in range(rounds):
            coin[:, number] = hashed(requests.request_id, self.salt, PICK_COIN, number) < 0.5
        column, propensity, team = draft(lists[0], lists[1], coin)
        self._served.append((requests.request_id.copy(), team))
        return Slate(column, propensity)

    def observe(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        """Tell both policies what became known, once where they are one."""
        for policy in {id(server.policy): server for server in self.servers}.values():
            policy.observe(impressions, purchases, now_s)

    @property
    def teams(self) -> Teams:
        """Who picked what in every request so far; slates of other lengths are padded."""
        width = max((team.shape[1] for _, team in self._served), default=1)
        ids = np.concatenate([np.zeros(0, np.int64), *(ids for ids, _ in self._served)])
        team = np.full((len(ids), width), NOBODY, np.int8)
        low = 0
        for _, part in self._served:
            team[low : low + len(part), : part.shape[1]] = part
            low += len(part)
        order = np.argsort(ids, kind="stable")
        return Teams(ids[order], team[order])


def draft(
    control: Slate, treated: Slate, coin: NDArray[np.int8]
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int8]]:
    """Mix two slates [B, K].

    Args:
        control: slate of team 0, the best first, no candidate twice.
        treated: slate of team 1.
        coin: [B, rounds] team that picks first in each round.

    Returns:
        Columns int32 [B, K]; propensities float64 [B, K], NaN in requests of which a slate is not
        certain; teams int8 [B, K].

    Raises:
        ValueError: the shapes do not agree.
    """
    shape = control.column.shape
    if treated.column.shape != shape or coin.shape != (shape[0], (shape[1] + 1) // 2):
        raise ValueError(
            f"slates have shapes {shape} and {treated.column.shape}, coins {coin.shape}; "
            "slates must agree, and each two positions need a coin"
        )
    column = np.full(shape, PAD, np.int32)
    propensity, team = np.ones(shape), np.full(shape, NOBODY, np.int8)
    _draft(
        np.ascontiguousarray(control.column), np.ascontiguousarray(treated.column),
        np.ascontiguousarray(coin), column, propensity, team,
    )  # fmt: skip
    certain = (control.propensity == 1.0).all(axis=1) & (treated.propensity == 1.0).all(axis=1)
    propensity[~certain] = np.where(column[~certain] == PAD, 1.0, np.nan)
    return column, propensity, team


def preference(
    shown: Impressions,
    team: NDArray[np.int8],
    credit: NDArray[np.floating],
    n_users: int,
    metric: str,
) -> Effect:
    """Return by how much users prefer team 1: (credit of 1 - credit of 0) / (credit of both).

    Args:
        shown: impressions [N].
        team: of each [N], from `Teams.of`.
        credit: what each earned, not negative [N]: clicks, views, purchases.
        n_users: ids are below it; users are the clusters.
        metric: label of the credit.

    Raises:
        ValueError: the lengths differ or a credit is negative.
    """
    if team.shape != (len(shown),) or credit.shape != (len(shown),):
        raise ValueError(
            f"team {team.shape} and credit {credit.shape}: must be [N] = ({len(shown)},)"
        )
    if bool((credit < 0.0).any()):
        raise ValueError("credit holds negative values; allowed: from 0")
    signed = np.where(team == 1, credit, -credit)
    gain, whole = (cluster_sums(v, shown.user_id, n_users) for v in (signed, credit))
    return of_estimate("interleaving", metric, "preference", ratio(gain, whole), "user")


def sign_test(
    shown: Impressions, team: NDArray[np.int8], credit: NDArray[np.floating]
) -> tuple[int, int, float]:
    """Return sessions that team 1 wins, that team 0 wins, and the two-sided p-value of a fair coin.

    Sessions of one user are not independent, so that the p-value is right where users hardly come
    back; `preference` is clustered by user.

    Args:
        shown: impressions [N].
        team: of each [N].
        credit: what each earned [N].
    """
    session, of = np.unique(shown.session_id, return_inverse=True)
    gain = cluster_sums(np.where(team == 1, credit, -credit), of, len(session))
    won, lost = int((gain > 0.0).sum()), int((gain < 0.0).sum())
    p_value = float(binomtest(won, won + lost).pvalue) if won + lost else float("nan")
    return won, lost, p_value


@kernel
def _next(slate: NDArray[np.int32], b: int, taken: NDArray[np.int32], n: int) -> int:
    """Return the best column of a slate that is not among the first `n` taken, or PAD."""
    for k in range(slate.shape[1]):
        candidate = slate[b, k]
        if candidate == PAD:
            continue
        fresh = True
        for i in range(n):
            if taken[i] == candidate:
                fresh = False
        if fresh:
            return int(candidate)
    return int(PAD)


@allocating
def _draft(
    control: NDArray[np.int32],
    treated: NDArray[np.int32],
    coin: NDArray[np.int8],
    column: NDArray[np.int32],
    propensity: NDArray[np.float64],
    team: NDArray[np.int8],
) -> None:
    """Fill slates, teams and the chance of each position given those above.

    At the start of a round both teams know only what is shown, so that the chance of the first
    pick is half for each team that would pick it; the second is certain given who began, and who
    began is known as far as the first pick tells.
    """
    taken = np.empty(control.shape[1], np.int32)
    for b in range(len(control)):
        n = 0
        for r in range(coin.shape[1]):
            best_0 = _next(control, b, taken, n)
            best_1 = _next(treated, b, taken, n)
            begins = int(coin[b, r])
            first = best_1 if begins == 1 else best_0
            if first == PAD:
                begins = 1 - begins
                first = best_1 if begins == 1 else best_0
            if first == PAD:
                break
            same = best_0 in (best_1, PAD) or best_1 == PAD
            column[b, n], team[b, n] = first, begins
            propensity[b, n] = 1.0 if same else 0.5
            taken[n] = first
            n += 1
            if n == control.shape[1]:
                break
            # who picks second if team 1 began, and if team 0 began
            after_1 = _next(control, b, taken, n)
            after_0 = _next(treated, b, taken, n)
            picks = 1 - begins
            second = after_1 if begins == 1 else after_0
            if second == PAD:
                picks = begins
                second = after_0 if begins == 1 else after_1
            if second == PAD:
                break
            column[b, n], team[b, n] = second, picks
            unsure = best_0 == best_1 and after_0 != after_1 and after_0 != PAD and after_1 != PAD
            propensity[b, n] = 0.5 if unsure else 1.0
            taken[n] = second
            n += 1
