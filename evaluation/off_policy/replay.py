"""From a simulated log of an exploring policy to what estimators read about another policy.

The log is replayed tick by tick; at each request the target policy scores every room on air, and
the exact probability of the logged slate under it follows (`propensity`). What a slate is, its
*span*, decides what is estimated and what the estimate presumes:

    request   the value of a request at which the target ranks once and the logging policy ranked
              before it. Exact: nothing happens between the places of a page that the log does not
              condition on. It is *not* the value of deploying the target, because a user who was
              shown better rooms stays longer, tires, follows and comes back, and a popularity
              counter would count other things.
    session   adds what the target's earlier pages do to the same session: its length, the refer,
              satiation, what has been seen. Weights multiply over the session, so that their
              spread grows with its length.
    user      adds what earlier sessions of the time do to later ones (follows, return visits). Only
              for targets that hardly differ from the logging policy.

What no span holds is interference: streamers' counters move by everybody's sessions, and a policy
that learns while deployed learns from its own impressions here, but from the logging policy's in a
replay. `evaluation.true_value` contains both.

How much this matters, measured (tiny world with 6,000 users, a day of uniform logs, popularity
frozen at the day's end and served by softmax at temperatures t; worth per user who came, in
brackets the half width; the logging policy brings 58.9):

    t      deployed   request, RIPS   session, RIPS   session, Cascade-DR   effective sessions
    0.2      60.0       61.4 (2.8)      59.1 (3.0)        59.6 (2.9)              45 %
    0.1      61.3       63.6 (3.0)      55.2 (3.5)        58.5 (3.4)              10 %
    0.05     62.3       67.0 (3.9)      48.2 (9.0)        61.9 (7.6)               1 %

A request at which the logging policy ranked before still has the best rooms unseen, so the span
"request" promises more than a deployed policy, which uses them up, can keep; with the span
"session" the weights that would make it right are the ones the log does not hold, and the interval
does not tell. Look at the effective sample size first (`assessment.Assessment.overlap`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.off_policy.features import RoomTable, request_features
from evaluation.off_policy.marginals import own_place, place_marginals, uniform_weight
from evaluation.off_policy.propensity import distribution, expectations
from evaluation.off_policy.reward_model import FOLDS, Kind, each_fold, fit_line, fold_of
from evaluation.off_policy.rounds import OffPolicyError, Rounds, ratio_of, require_column
from evaluation.off_policy.slates import Slates
from evaluation.off_policy.support import TOLERANCE, even_top, is_uniform, overlap
from evaluation.offline import TruthSource, follow, scores_of
from policies.contract import Policy, Privileged
from policies.rank import BLOCK_ROWS, Exploration
from sim.config import Objective
from sim.log import Log
from sim.rng import philox4x32
from sim.schema import PAD, Impressions, Requests
from sim.tick import Tick

Array = NDArray[np.float64]
Span = Literal["request", "session", "user"]
SPANS: tuple[Span, ...] = ("request", "session", "user")

_STREAM = 0x5245504C
"""Second word of the Philox key that picks users."""


@dataclass(frozen=True)
class ServedPolicy:
    """A fitted policy and how it is served."""

    policy: Policy | Privileged
    exploration: Exploration
    fitted_until_s: float = 0.0
    """`as_of_s` of the log it was fitted on; what was known by then it does not observe again."""


@dataclass(frozen=True)
class Tops:
    """What is known about the top place of each request, arrays [B]."""

    group_weight: Array
    """Ratio of the probabilities of the category of what stood there; NaN where unknown."""
    unsupported: Array
    """Target's probability of rooms that are never logged there; NaN where unknown."""
    true_value: Array
    """Expected worth of the target's choice by the truth; NaN where it was not asked for."""


@dataclass(frozen=True)
class Replay:
    """A log seen by a target policy; rows [N] in the order of `log.impressions()`."""

    shown: Impressions
    place: NDArray[np.int64]
    """Rank of each row in its slate, from 0."""
    reward: Array
    p_target: Array
    """Of each choice given the places above."""
    place_ratio: Array | None
    """Ratio of marginals; None where the logging policy's are not known."""
    pseudo_weight: Array | None
    """Of the pseudo-inverse, of each request [B]; None unless logging was uniform."""
    chosen: Array
    """Features of each row [N, D]."""
    expected: Array
    """Their expectation under the target, given the places above [N, D]."""
    fold: NDArray[np.int64]
    """Of each row's user."""
    rooms: RoomTable
    tops: Tops
    n_users: int

    def ratio(self) -> Array:
        """Return p_target / p_logging of each row, both given the places above [N]."""
        return ratio_of(self.p_target, self.shown.propensity)

    def rounds(self, kind: Kind = "ridge") -> Rounds:
        """Return the top place of every request as a round of one action."""
        rows = np.flatnonzero(self.place == 0)
        q_chosen, q_target = self._model(rows, self.reward[rows], kind)
        group = self.tops.group_weight
        return Rounds(
            reward=self.reward[rows],
            weight=self.ratio()[rows],
            user_id=self.shown.user_id[rows].astype(np.int64),
            n_users=self.n_users,
            q_chosen=q_chosen,
            q_target=q_target,
            group_weight=None if np.isnan(group).any() else group,
        )

    def slates(self, span: Span = "request", per_user: bool = False) -> Slates:
        """Return slates of a span.

        Args:
            span: what belongs to one slate.
            per_user: divide by users who came, not by slates.

        Raises:
            OffPolicyError: the span is unknown.
        """
        if span not in SPANS:
            raise OffPolicyError(f"span = {span!r}; allowed: {', '.join(SPANS)}")
        shown = self.shown
        key: NDArray[np.integer] = shown.user_id
        if span != "user":
            key = shown.request_id if span == "request" else shown.session_id
        order = np.lexsort((self.place, shown.request_id, shown.time_s, key))
        sorted_key = key[order]
        starts = np.flatnonzero(np.r_[True, sorted_key[1:] != sorted_key[:-1]][: len(order)])
        start = np.append(starts, len(order)).astype(np.int64)
        single = span == "request"
        came = np.bincount(shown.user_id, minlength=self.n_users) > 0
        plain = Slates(
            start=start,
            user_id=shown.user_id[order][starts].astype(np.int64),
            n_users=self.n_users,
            reward=self.reward[order],
            ratio=self.ratio()[order],
            place_ratio=self.place_ratio[order]
            if single and self.place_ratio is not None
            else None,
            divisor=came.astype(np.float64) if per_user else None,
        )
        if single and self.pseudo_weight is not None:
            # requests in the order of the log, slates by their id
            heads = np.flatnonzero(self.place == 0)
            by_id = np.argsort(shown.request_id[heads], kind="stable")
            plain = replace(plain, pseudo_weight=self.pseudo_weight[by_id])
        to_go = _reward_to_go(plain)
        q_chosen, q_target = self._model(order, to_go, "ridge")
        return replace(plain, q_chosen=q_chosen, q_target=q_target)

    def _model(self, rows: NDArray[np.integer], label: Array, kind: Kind) -> tuple[Array, Array]:
        """Cross-fit `label` of `rows`; return the model at the logged and expected features."""
        q = np.zeros((2, len(rows)))
        for f, own in each_fold(self.fold[rows]):
            columns = self.rooms.own_columns(self.chosen.shape[1], f)
            seen = self.chosen[np.ix_(rows[~own], columns)]
            line = fit_line(seen, label[~own], kind)
            for i, features in enumerate((self.chosen, self.expected)):
                q[i, own] = line.predict(features[np.ix_(rows[own], columns)])
        return q[0], q[1]


def observed_worth(shown: Impressions, objective: Objective) -> Array:
    """Return the objective's worth of what is known of each row [N]."""
    worth = np.zeros(len(shown))
    for target, weight in objective.weights().items():
        if weight:
            worth += weight * shown.target(target)
    return worth


def replay(
    log: Log,
    target: ServedPolicy,
    reward: Array,
    *,
    logger: ServedPolicy | None = None,
    places: bool = True,
    truth_for: TruthSource | None = None,
    true_tops: bool = True,
    folds: int = FOLDS,
    share: float = 1.0,
) -> Replay:
    """Let a target policy look at every request of a log.

    Args:
        log: of an exploring policy; the part to be judged on.
        target: the policy to be judged. It follows the log if `Updatable`, so it is changed.
        reward: of each row of `log.impressions()` [N]: a target, `observed_worth`, or any other.
        logger: the logging policy as it was at the start of the log, for what its propensities of
            the logged choices alone do not tell: support, categories, marginals. A uniform one is
            recognised without.
        places: whether to compute marginals of places, which IIPS and PI need.
        truth_for: source of the truth for a privileged policy, and of `Tops.true_value`.
        true_tops: whether to fill `Tops.true_value`, for which the truth of every room is asked.
        folds: of the cross-fitted model.
        share: of the users that are looked at, in (0, 1], picked by a hash of their ids.

    Raises:
        OffPolicyError: the reward does not fit the log, the log holds less than two users, the
            logger's propensities are not those of the log, or an argument is out of range.
    """
    if not 0.0 < share <= 1.0:
        raise OffPolicyError(f"share = {share}; allowed: above 0, up to 1")
    shown, catalogue = log.impressions(), log.catalogue()
    require_column("reward", reward, len(shown))
    picked = _picked(shown, share)
    shown, reward = shown.take(picked), reward[picked]
    fold = fold_of(shown.user_id, folds)
    rooms = RoomTable.of(catalogue, shown, reward, fold, folds)
    parts: list[_Part] = []
    for tick in log.ticks():
        for served in (target, logger):
            if served is not None:
                follow(served.policy, tick, served.fitted_until_s)
        own = replace(tick, shown=tick.shown.take(_picked(tick.shown, share)))
        if len(own.shown):
            parts.append(_look(own, target, logger, rooms, places, truth_for, true_tops))
    if not parts:
        raise OffPolicyError("the log holds no impressions; allowed: at least one user's")
    rows = {
        name: np.concatenate([getattr(p, name) for p in parts])
        for name in ("place", "p_target", "place_target", "place_logging", "room", "pseudo_weight")
    }
    tops = Tops(*(np.concatenate([p.tops[i] for p in parts]) for i in range(3)))
    n_candidates = shown.n_candidates.astype(np.float64)
    uniform = is_uniform(shown, rows["place"])
    logged = 1.0 / n_candidates if uniform else rows["place_logging"]
    known = places and not np.isnan(logged).any()
    request = request_features(shown, rows["place"], catalogue)
    room = rooms.table[shown.streamer_id]
    return Replay(
        shown=shown,
        place=rows["place"],
        reward=np.asarray(reward, np.float64),
        p_target=rows["p_target"],
        place_ratio=ratio_of(rows["place_target"], logged) if known else None,
        pseudo_weight=rows["pseudo_weight"] if places and uniform else None,
        chosen=rooms.join(request, room),
        expected=rooms.join(request, rows["room"]),
        fold=fold,
        rooms=rooms,
        tops=tops,
        n_users=catalogue.n_users,
    )


def _picked(shown: Impressions, share: float) -> NDArray[np.bool_]:
    """Return which rows [N] are of users that are looked at, whole users always."""
    word = philox4x32((shown.user_id.astype(np.int64), 0, 0, 0), (0, _STREAM))[0]
    return np.asarray(word < share * 2.0**32, np.bool_)


@dataclass(frozen=True)
class _Part:
    """What one tick adds; rows [N] and requests [B]."""

    place: NDArray[np.int64]
    p_target: Array
    place_target: Array
    place_logging: Array
    room: Array
    pseudo_weight: Array
    tops: tuple[Array, Array, Array]


def _look(
    tick: Tick,
    target: ServedPolicy,
    logger: ServedPolicy | None,
    rooms: RoomTable,
    places: bool,
    truth_for: TruthSource | None,
    true_tops: bool,
) -> _Part:
    requests, request, column = tick.requests()
    first = np.flatnonzero(np.r_[True, request[1:] != request[:-1]])
    place = np.arange(len(request)) - first[request]
    slate = np.full((len(requests), int(place.max()) + 1), PAD, np.int64)
    slate[request, place] = column
    logged = np.ones(slate.shape)
    logged[request, place] = tick.shown.propensity
    blocks = []
    for rows in requests.blocks(BLOCK_ROWS):
        batch = requests.take(rows)
        blocks.append(
            _look_at(
                batch,
                slate[rows],
                logged[rows],
                target,
                logger,
                rooms,
                places,
                truth_for,
                true_tops,
            )
        )
    tables = [np.concatenate([b[i] for b in blocks]) for i in range(len(blocks[0]))]
    at = (request, place)
    p, own, own_logged, room, pseudo, *tops = tables
    return _Part(
        place, p[at], own[at], own_logged[at], room[at], pseudo, (tops[0], tops[1], tops[2])
    )


def _look_at(
    batch: Requests,
    slate: NDArray[np.int64],
    logged: Array,
    target: ServedPolicy,
    logger: ServedPolicy | None,
    rooms: RoomTable,
    places: bool,
    truth_for: TruthSource | None,
    true_tops: bool,
) -> tuple[Array, ...]:
    """Return tables [B, K], [B, K], [B, K], [B, K, Q] and vectors [B] for one block."""
    scores = _scores(target, batch, truth_for)
    entity = np.maximum(batch.candidate_id, 0)
    p, room = expectations(scores, batch.mask, slate, target.exploration, rooms.table, entity)
    top = distribution(scores, batch.mask, target.exploration)
    n_candidates = batch.mask.sum(axis=1)
    unknown = np.full(slate.shape, np.nan)
    own, own_logged, pseudo = unknown, unknown, unknown[:, 0]
    if places:
        marginals = place_marginals(scores, batch.mask, slate, target.exploration)
        own, pseudo = own_place(marginals, slate), uniform_weight(marginals, slate, n_candidates)
    logged_top = even_top(batch, slate, logged)
    if logger is not None:
        its_scores = _scores(logger, batch, truth_for)
        found, _ = expectations(its_scores, batch.mask, slate, logger.exploration, np.zeros((1, 0)))
        wrong = np.abs(found - logged) > TOLERANCE * logged
        if wrong.any():
            raise OffPolicyError(
                f"logger gives {int(wrong.sum())} choices other propensities than the log; "
                "allowed: the logging policy, served as it was"
            )
        logged_top = distribution(its_scores, batch.mask, logger.exploration)
        if places:
            marginals = place_marginals(its_scores, batch.mask, slate, logger.exploration)
            own_logged = own_place(marginals, slate)
    group, unsupported = overlap(batch, slate[:, 0], top, logged_top)
    true = np.full(len(batch), np.nan)
    if truth_for is not None and true_tops:
        truth = truth_for(batch)
        if truth is not None:
            true = np.asarray((top * truth.value()).sum(axis=1))
    return p, own, own_logged, room, pseudo, group, unsupported, true


def _scores(
    served: ServedPolicy, batch: Requests, truth_for: TruthSource | None
) -> NDArray[np.floating]:
    scores = scores_of(served.policy, batch, truth_for)
    if scores is None:
        raise OffPolicyError("truth_for = None; a privileged policy needs the truth")
    return scores


def _reward_to_go(slates: Slates) -> Array:
    """Return the sum of rewards from each row to the end of its slate [N]."""
    total = np.cumsum(slates.reward)
    ends = np.repeat(total[slates.start[1:] - 1], np.diff(slates.start))
    return np.asarray(ends - total + slates.reward)
