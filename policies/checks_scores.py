"""Checks of `score`: shape, repeatability, order of candidates, masks, batches, new ids, edges."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np

from policies.checks_requests import spread, with_newcomers, with_padding, without_masked
from policies.checks_stage import (
    READ_ONLY,
    TOLERANCE,
    Blocked,
    Failure,
    Subject,
    arrays,
    attempt,
    checked_scores,
    differing,
    gap,
)
from sim.schema import TARGETS, Requests

_POINT = "compute each score from its own request and candidate only"
_ALONE = "; no batch statistics in score, and of the supply only the request's own row"


def score_shape(subject: Subject) -> None:
    """`score` returns finite real numbers [B, C]."""
    checked_scores(
        subject.fitted,
        subject.stage.requests,
        "ordinary requests",
        "score must work on any batch after fit, without other calls",
    )


def score_repeats(subject: Subject) -> None:
    """The same instance gives the same scores again, whatever it scored in between."""
    first, requests = subject.scores, subject.stage.requests
    subject.fitted.score(requests.take(slice(1, 3)).as_handed())
    again = checked_scores(subject.fitted, requests, "a second call", "score must keep no state")
    if not np.array_equal(first[requests.mask], again[requests.mask]):
        raise Failure(
            "the same scores for the same requests when score is called again",
            f"a relative difference of {gap(first, again, requests.mask):.3g}",
            "draw nothing at random in score, switch dropout off, and keep no state between calls",
        )


def same_seed_same_policy(subject: Subject) -> None:
    """Two fits with one seed and one log give the same scores."""
    mask = subject.stage.requests.mask
    other = checked_scores(subject.again, subject.stage.requests, "a second fit", "see fit")
    if not np.array_equal(subject.scores[mask], other[mask]):
        raise Failure(
            "the same scores after two fits with the same log and context.seed",
            f"a relative difference of {gap(subject.scores, other, mask):.3g}",
            "seed every generator from context.seed; use no global generator, clock or hash order",
        )


def requests_untouched(subject: Subject) -> None:
    """`score` alters nothing in the requests."""
    before, requests = subject.original, copy.deepcopy(subject.original)
    told = "requests to be the same after score"
    try:
        attempt(lambda: subject.fitted.score(requests.as_handed()), told, "see score_shape")
    except Failure as error:
        if READ_ONLY not in error.got:
            raise Blocked("score fails: see score_shape") from error
        raise
    changed = differing(arrays(before), arrays(requests))
    changed += [
        name
        for name in ("candidate_id", "product_id", "room_start_s")
        if not np.array_equal(getattr(before, name), getattr(requests, name))
    ]
    if changed:
        raise Failure(
            told,
            f"{', '.join(changed)} changed",
            "copy before writing; fancy indexing copies, slicing and np.asarray do not",
        )


def candidate_order(subject: Subject) -> None:
    """Reordered candidates get the same scores, reordered."""
    requests = subject.stage.requests
    order = np.random.default_rng(0).permuted(
        np.broadcast_to(np.arange(requests.mask.shape[1]), requests.mask.shape), axis=1
    )
    moved = requests.reorder(order)
    scores = checked_scores(subject.fitted, moved, "reordered candidates", _POINT)
    expected = np.take_along_axis(subject.scores, order, axis=1)
    _same(
        expected,
        scores,
        moved,
        "scores to move with their candidates when the columns are reordered",
        "do not use the column number; read candidates from candidate_id, not from their place",
    )


def masked_cells(subject: Subject) -> None:
    """What stands in masked cells does not matter."""
    requests = spread(subject.stage.requests)
    hide = np.random.default_rng(1).random(requests.mask.shape) < 0.3
    requests = replace(requests, mask=requests.mask & ~hide)
    fix = "apply requests.mask before any mean, softmax or normalisation over candidates"
    full = checked_scores(subject.fitted, requests, "a third of the cells masked", fix)
    bare = without_masked(requests)
    scores = checked_scores(subject.fitted, bare, "masked cells without a candidate", fix)
    _same(full, scores, bare, "scores not to depend on the contents of masked cells", fix)


def padding(subject: Subject) -> None:
    """More padded columns change no score."""
    requests = subject.stage.requests
    wide = with_padding(requests, 3)
    fix = "treat id PAD (-1) as no candidate: it must not index a table, nor count in a mean"
    scores = checked_scores(subject.fitted, wide, "three more padded columns", fix)
    n = requests.mask.shape[1]
    _same(
        subject.scores,
        scores[:, :n],
        requests,
        "scores not to change with more padded columns",
        fix,
    )


def batch_size(subject: Subject) -> None:
    """A request alone scores as in a batch."""
    requests = subject.stage.requests
    fix = _POINT + _ALONE
    for rows in (*(slice(b, b + 1) for b in range(min(len(requests), 6))), slice(1, None, 2)):
        part = requests.take(rows)
        scores = checked_scores(subject.fitted, part, f"a batch of {len(part)}", fix)
        _same(
            subject.scores[rows],
            scores,
            part,
            f"the same scores in a batch of {len(part)} as in a batch of {len(requests)}",
            fix,
        )


def unseen_ids(subject: Subject) -> None:
    """New users, streamers, products and refers are scored."""
    fix = "send ids beyond the tables of fit to an 'unknown' row; ids grow while deployed"
    newcomers = with_newcomers(subject.stage.requests)
    checked_scores(subject.fitted, newcomers, "users, streamers and products unseen in fit", fix)


def empty_batch(subject: Subject) -> None:
    """No requests give no scores."""
    empty = subject.stage.requests.take(slice(0, 0))
    checked_scores(subject.fitted, empty, "an empty batch", "return an empty array [0, C]")


def single_candidate(subject: Subject) -> None:
    """One candidate is enough."""
    requests = subject.stage.requests
    one = requests.reorder(requests.mask.argmax(axis=1)[:, None])
    checked_scores(
        subject.fitted, one, "a single candidate", "do not squeeze; keep the axis of candidates"
    )


def all_masked(subject: Subject) -> None:
    """A batch in which nothing may be shown is scored without an error."""
    requests = subject.stage.requests
    none = replace(requests, mask=np.zeros_like(requests.mask))
    checked_scores(
        subject.fitted, none, "nothing to show", "guard reductions over an empty set of candidates"
    )


def probabilities(subject: Subject) -> None:
    """`predict` returns {target: probability [B, C]}."""
    requests = subject.stage.requests
    told = "predict to return {target: probability [B, C]}"
    found = attempt(
        lambda: subject.fitted.predict(requests.as_handed()), told, "predict must work after fit"
    )
    _check_probabilities("predict", found, requests)


def positions(subject: Subject) -> None:
    """`predict_at` returns probabilities like `predict`, and the same ones at the top."""
    requests, policy = subject.stage.requests, subject.fitted
    told = "predict_at(requests, position [B, C]) to return {target: probability [B, C]}"
    fix = "predict_at must work after fit, also for positions that the log does not have"
    top = np.zeros(requests.mask.shape, np.int32)
    for position in (top, top + 3, top + 60):
        found = attempt(lambda: policy.predict_at(requests.as_handed(), position), told, fix)  # noqa: B023
        _check_probabilities("predict_at", found, requests)
        plain = policy.predict(requests.as_handed())
        if position is top:
            for name, p in plain.items():
                told = f"predict_at's {name!r} at position 0 to be predict's"
                _same(p, found.get(name, np.zeros_like(p)), requests, told, "predict is at the top")


def _check_probabilities(method: str, found: object, requests: Requests) -> None:
    """Raise a `Failure` unless `found` is {target: probability [B, C]}."""
    told = f"{method} to return {{target: probability [B, C]}}"
    if not isinstance(found, dict) or not found:
        raise Failure(told, f"{type(found).__name__} {found!r:.60}", "return a non-empty dict")
    unknown = [name for name in found if name not in TARGETS]
    if unknown:
        raise Failure(
            f"{method}'s names to be among {', '.join(TARGETS)}", repr(unknown), "rename them"
        )
    for name, p in found.items():
        shape = getattr(p, "shape", None)
        if not isinstance(p, np.ndarray) or shape != requests.mask.shape:
            raise Failure(
                f"{method}'s {name!r} to be an array [B, C] = {requests.mask.shape}",
                f"{type(p).__name__} of shape {shape}",
                "return one probability for each cell of requests.candidate_id",
            )
        bad = requests.mask & ~((p >= 0.0) & (p <= 1.0))
        if bad.any():
            raise Failure(
                f"{method}'s {name!r} in [0, 1] in every unmasked cell",
                f"{int(bad.sum())} cells outside (first: {p[bad][0]})",
                "apply the link (sigmoid) and clip; products of probabilities need no rescaling",
            )


def inner_product(subject: Subject) -> None:
    """Inner products of the vectors order candidates as `score` does."""
    requests, policy = subject.stage.requests, subject.fitted
    n_requests, n_candidates = requests.mask.shape
    fix = "return vectors whose inner product is the score, or a rising function of it"
    handed = requests.as_handed()
    users = attempt(lambda: policy.user_vectors(handed), "user_vectors to return [B, D]", fix)
    rooms = attempt(
        lambda: policy.streamer_vectors(handed), "streamer_vectors to return [B, C, D]", fix
    )
    d = users.shape[-1] if getattr(users, "ndim", 0) else 0
    shapes = (getattr(users, "shape", None), getattr(rooms, "shape", None))
    if shapes != ((n_requests, d), (n_requests, n_candidates, d)):
        raise Failure("user_vectors [B, D] and streamer_vectors [B, C, D]", f"shapes {shapes}", fix)
    near = np.einsum("bd,bcd->bc", users.astype(np.float64), rooms.astype(np.float64))
    value = np.where(requests.mask, subject.scores.astype(np.float64), -np.inf)
    order = np.argsort(-value, axis=1, kind="stable")
    value, near = (np.take_along_axis(table, order, axis=1) for table in (value, near))
    mask = np.take_along_axis(requests.mask, order, axis=1)
    both = mask[:, 1:] & mask[:, :-1]
    size = max(float(np.abs(near[mask]).max(initial=0.0)), 0.01)
    apart = both & (value[:, :-1] - np.where(both, value[:, 1:], 0.0) > TOLERANCE * size)
    wrong = apart & (np.diff(near, axis=1) > TOLERANCE * size)
    if wrong.any():
        raise Failure(
            "inner products of the vectors to order candidates as score does",
            f"{int(wrong.sum())} of {int(both.sum())} neighbours in the order reversed",
            fix,
        )


def chart(subject: Subject) -> None:
    """The chart holds the scores of every request."""
    requests, told = subject.stage.requests, "chart(n_streamers) to return finite numbers [S]"
    fix = "a policy whose scores depend on the request has no chart: leave it out"
    n = int(requests.candidate_id[requests.mask].max(initial=0)) + 1
    found = attempt(lambda: subject.fitted.chart(n), told, fix)
    shape = getattr(found, "shape", None)
    if not isinstance(found, np.ndarray) or shape != (n,) or not np.isfinite(found).all():
        raise Failure(told, f"{type(found).__name__} of shape {shape}", fix)
    charted = found[np.maximum(requests.candidate_id, 0)]
    wrong = requests.mask & (charted != subject.scores)
    if wrong.any():
        raise Failure(
            "the chart to hold, to the bit, the scores that score gives",
            f"{int(wrong.sum())} of {int(requests.mask.sum())} cells with other scores",
            fix,
        )


def _same(
    expected: np.ndarray[Any, Any], got: np.ndarray[Any, Any], at: Requests, told: str, fix: str
) -> None:
    """Raise a `Failure` unless the scores agree to the tolerance in the unmasked cells."""
    difference = gap(expected, got, at.mask)
    if difference > TOLERANCE:
        cells = at.mask & (np.abs(expected - got) > TOLERANCE)
        raise Failure(
            told,
            f"a relative difference of {difference:.3g} (in {int(cells.sum())} of "
            f"{int(at.mask.sum())} cells)",
            fix,
        )
