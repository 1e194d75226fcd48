"""Where policies are checked: a small real log, its twin with another future, and the subject.

The log comes from a small world under a random ranker. The twin is the same world until
`Stage.now_s`, and another ranker afterwards: both logs agree on everything known at that moment,
and on nothing that happens later.
"""

from __future__ import annotations

import atexit
import copy
import functools
import json
import shutil
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.contract import FitContext, Policy
from policies.heuristics import Random, Recency
from policies.rank import Exploration, Server
from policies.trespass import watched
from sim.log import MANIFEST, Log
from sim.log_writer import LogIdentity, LogWriter
from sim.presets import preset
from sim.schema import DAY_S, Impressions, Purchases, Requests
from sim.world import World

TOLERANCE = 1e-5
"""Largest difference of scores that may come from the order of floating-point sums, relative to
the largest score (at least 0.01)."""

SEED = 20_240_229

READ_ONLY = "read-only"
"""What numpy says of a write into a record that was handed out."""


class Failure(AssertionError):
    """A policy does not do what the contract asks.

    Args:
        expected: what the contract asks.
        got: what came.
        fix: what most likely repairs it.
    """

    def __init__(self, expected: str, got: str, fix: str) -> None:
        """Store the parts and compose the message."""
        super().__init__(f"expected {expected}; got {got}; likely fix: {fix}")
        self.expected = expected
        self.got = got
        self.fix = fix


class Blocked(AssertionError):
    """A check cannot be judged before another one passes."""


@dataclass(frozen=True)
class Stage:
    """What a policy is confronted with."""

    log: Log
    """Known at `now_s`."""
    twin: Log
    """Known at `now_s` in a world whose later events are all different; its folder has no truth."""
    now_s: float
    requests: Requests
    """Requests of all scenarios after `now_s`, against every room on air."""
    later: Impressions
    """Impressions that become known after `now_s`, until `later_s`."""
    later_purchases: Purchases
    later_s: float


class Subject:
    """A policy under check; fits lazily, once for each purpose.

    Args:
        factory: returns a new unfitted policy.
        stage: what it is confronted with.
    """

    def __init__(self, factory: Callable[[], Any], stage: Stage) -> None:
        """Store the factory and an own copy of the stage's records; logs are shared."""
        self.factory = factory
        self.stage = replace(
            stage,
            requests=copy.deepcopy(stage.requests),
            later=copy.deepcopy(stage.later),
            later_purchases=copy.deepcopy(stage.later_purchases),
        )
        self.original = stage.requests
        """The stage's requests, never handed to the policy."""
        self.records = {name: table.copy() for name, table in records(stage.log).items()}
        """The log's arrays before any fit."""
        self.trespasses: list[str] = []
        """What fits opened and imported that no policy should."""
        self._done: dict[str, Any] = {}

    def new(self) -> Any:
        """Return a new unfitted policy."""
        try:
            return self.factory()
        except Exception as error:
            raise Blocked("the policy cannot be constructed") from error

    @property
    def first_fit(self) -> tuple[Any, Any]:
        """The policy that was fitted first, and what `fit` returned.

        Raises:
            Failure: `fit` raised.
        """
        return self._once("first", lambda: self._fit(self.stage.log))  # type: ignore[no-any-return]

    @property
    def fitted(self) -> Any:
        """The policy fitted on the log; never to be altered, see `copy`."""
        return self._policy("first", self.stage.log)

    @property
    def again(self) -> Any:
        """A second policy fitted on the same log with the same seed."""
        return self._policy("again", self.stage.log)

    @property
    def unaware(self) -> Any:
        """A policy fitted on the twin with the same seed."""
        return self._policy("unaware", self.stage.twin)

    @property
    def scores(self) -> NDArray[np.floating]:
        """Scores [B, C] of the stage's requests by `fitted`."""
        fitted, requests = self.fitted, self.stage.requests
        try:
            scores = self._once("scores", lambda: checked_scores(fitted, requests, "any", ""))
        except (Failure, Blocked) as error:
            raise Blocked("score fails: see score_shape") from error
        return scores  # type: ignore[no-any-return]

    def copy(self) -> Any:
        """Return a fitted policy that may be altered."""
        fitted = self.fitted
        try:
            return copy.deepcopy(fitted)
        except Exception:  # an instance that cannot be copied is legal: fit another one
            return self._fit(self.stage.log)[0]

    def _policy(self, name: str, log: Log) -> Any:
        try:
            return self._once(name, lambda: self._fit(log))[0]
        except Failure as error:
            raise Blocked("fit fails: see fit_returns_self") from error

    def _fit(self, log: Log) -> tuple[Any, Any]:
        policy = self.new()
        with watched(self.trespasses):
            returned = attempt(
                lambda: policy.fit(log, FitContext(seed=SEED)),
                "fit(log, context) to work on a small log",
                "iterate log.ticks(): observe tick.known, learn from tick.slates() and tick.shown",
            )
        return policy, returned

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        """Return `make()`, or raise what it raised, as on the first call with this name."""
        if name not in self._done:
            try:
                self._done[name] = make()
            except (Failure, Blocked) as error:
                self._done[name] = error
        if isinstance(self._done[name], Failure | Blocked):
            raise self._done[name]
        return self._done[name]


def attempt(call: Callable[[], Any], expected: str, fix: str) -> Any:
    """Return `call()`; turn any error that it raises into a `Failure`."""
    try:
        return call()
    except Exception as error:
        if READ_ONLY in str(error):
            fix = "copy before writing; slicing and np.asarray do not copy"
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = str(error).splitlines()[0] if str(error) else ""
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        raise Failure(expected, f"{type(error).__name__}: {text} ({where})", fix) from error


def checked_scores(
    policy: Policy, requests: Requests, situation: str, fix: str
) -> NDArray[np.floating]:
    """Return the policy's scores [B, C] of `requests`.

    Args:
        policy: a fitted policy.
        requests: the batch.
        situation: what is special about the batch, for the message.
        fix: what most likely helps when `score` raises.

    Raises:
        Failure: an error, a wrong shape or type, or an unmasked score that is not finite.
        Blocked: it writes into the requests.
    """
    shape = requests.mask.shape
    expected = f"score to return real numbers [B, C] = {shape} for {situation}"
    try:
        scores = attempt(lambda: policy.score(requests.as_handed()), expected, fix)
    except Failure as error:
        if READ_ONLY in error.got:
            raise Blocked("score writes: see requests_untouched") from error
        raise
    if not isinstance(scores, np.ndarray):
        raise Failure(expected, f"a {type(scores).__name__}", "return a numpy array")
    if scores.dtype.kind not in "fiu":
        raise Failure(expected, f"dtype {scores.dtype}", "return a floating-point array")
    if scores.shape != shape:
        fix = "return one score for each cell of requests.candidate_id, masked ones too"
        raise Failure(expected, f"shape {scores.shape}", fix)
    bad = requests.mask & ~np.isfinite(scores)
    if bad.any():
        raise Failure(
            f"every unmasked score to be finite for {situation}",
            f"{int(bad.sum())} of {int(requests.mask.sum())} not finite (first: {scores[bad][0]})",
            "look for log(0), 0/0 and overflow; give what was never seen a neutral value",
        )
    return scores


def gap(a: NDArray[np.floating], b: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """Return the largest |a - b| where `mask`, relative to the largest |a| or 0.01."""
    if not mask.any():
        return 0.0
    left, right = a[mask].astype(np.float64), b[mask].astype(np.float64)
    return float(np.abs(left - right).max() / max(float(np.abs(left).max()), 0.01))


def arrays(record: Any) -> dict[str, NDArray[Any]]:
    """Return every array of a record and of the records inside it, by dotted name."""
    found: dict[str, NDArray[Any]] = {}
    for f in fields(record):
        value = getattr(record, f.name)
        if isinstance(value, np.ndarray):
            found[f.name] = value
        elif is_dataclass(value):
            found |= {f"{f.name}.{name}": table for name, table in arrays(value).items()}
    return found


def differing(before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return the names of arrays that are not the same; NaN equals NaN."""
    return [
        name
        for name, table in before.items()
        if not np.array_equal(table, after[name], equal_nan=table.dtype.kind == "f")
    ]


def records(log: Log) -> dict[str, NDArray[Any]]:
    """Return the arrays of the records that a log hands out, by dotted name."""
    parts = {
        "impressions": log.impressions(),
        "purchases": log.purchases(),
        "refunds": log.refunds(),
        "revisits": log.revisits(),
        "catalogue": log.catalogue(),
    }
    return {f"{part}.{n}": t for part, record in parts.items() for n, t in arrays(record).items()}


@functools.cache
def planted_stage() -> Stage:
    """Return the stage that all checks share, from the `tiny` world; made once per process.

    A random ranker serves day 0. On day 1 the newest live wins in one world, the oldest in its
    twin, so that nearly every later event differs.
    """
    world = World(preset("tiny"), SEED)
    first = next(world.run(Server(Random(), Exploration()), 1))
    logs = []
    for name, ranker in (("log", Recency()), ("twin", _Oldest())):
        writer = LogWriter(_folder() / name, _identity(name, world))
        writer.write(first, world.state)
        fork = world.fork()
        writer.write(next(fork.run(Server(ranker, Exploration()), 1)), fork.state)
        logs.append(Log.open(_folder() / name))
    whole, twin = logs
    _without_truth(_folder() / "twin")
    ticks = list(whole.between(DAY_S, 2 * DAY_S).ticks())
    evening, _, _ = ticks[-1].requests()
    return Stage(
        log=whole.as_of(DAY_S),
        twin=twin.as_of(DAY_S),
        now_s=DAY_S,
        requests=evening.take(_some_of_each(evening.scenario, 8)),
        later=ticks[1].known,
        later_purchases=ticks[1].purchases,
        later_s=ticks[1].now_s,
    )


def _identity(name: str, world: World) -> LogIdentity:
    return LogIdentity(name, world.config.name, SEED, 2, world.config.tick_s, n_parts=1)


def _without_truth(folder: Path) -> None:
    """Remove the true side of a log, so that it is a log like any other that has none."""
    shutil.rmtree(folder / "truth")
    manifest = json.loads((folder / MANIFEST).read_text())
    files_ = {name: n for name, n in manifest["files"].items() if not name.startswith("truth/")}
    (folder / MANIFEST).write_text(json.dumps({**manifest, "files": files_}))


class _Oldest(Recency):
    """Oldest live first."""

    def score(self, requests: Requests) -> NDArray[np.float64]:
        return -super().score(requests)


@functools.cache
def _folder() -> Path:
    """Return a folder that lasts as long as the process."""
    name = tempfile.mkdtemp(prefix="swipelab-checks-")
    atexit.register(shutil.rmtree, name, ignore_errors=True)
    return Path(name)


def _some_of_each(code: NDArray[np.integer], n: int) -> NDArray[np.int64]:
    """Return rows spread over the batch, up to `n` of each code."""
    rows = [np.flatnonzero(code == value) for value in np.unique(code)]
    return np.concatenate([own[np.linspace(0, len(own) - 1, n).astype(int)] for own in rows])
