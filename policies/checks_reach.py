"""Checks of what a policy can reach: the future of its log, and latent state of the world."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from policies.checks_stage import TOLERANCE, Blocked, Failure, Subject, checked_scores, gap
from policies.contract import Probabilistic, Updatable
from policies.trespass import is_closed, watched
from sim.config import Objective

LATENT_NAMES = frozenset(
    {
        "attention",
        "social",
        "commerce",
        "bait_sensitivity",
        "sociability",
        "intent",
        "price_sensitivity",
        "patience",
        "activity",
        "hour_shift",
        "content",
        "quality",
        "bait",
        "charm",
        "popularity",
        "fame",
        "appeal",
        "mood",
        "interest",
        "fatigue",
        "affinity",
        "will_purchase",
        "purchase_delay_s",
        "delay_intent",
        "delay_log_price",
        "delay_left_s",
        "delay_part",
        "lost_to",
        "lost_delay_s",
        "refund_delay_s",
    }
)
"""Names of latent arrays in the world's population, sessions and truth."""


def no_future(subject: Subject) -> None:
    """Altering every event after the log's `as_of_s` changes no score at that moment."""
    mask = subject.stage.requests.mask
    again = checked_scores(subject.again, subject.stage.requests, "a second fit", "see fit")
    noise = gap(subject.scores, again, mask)
    if noise > TOLERANCE:
        raise Blocked("leakage cannot be told from chance: same_seed_same_policy fails")
    other = checked_scores(subject.unaware, subject.stage.requests, "the twin's log", "see fit")
    difference = gap(subject.scores, other, mask)
    if difference > TOLERANCE:
        raise Failure(
            "the same scores when the log's folder has another future, and no truth",
            f"a relative difference of {difference:.3g}",
            "read logs through log.ticks() and the log's other methods only, never its files",
        )


def no_latent_state(subject: Subject) -> None:
    """Neither what a policy is handed nor what it holds leads to latent state."""
    log = subject.stage.log
    tick = next(iter(log.ticks()))
    handed = [("log", log), ("tick", tick), ("requests", subject.stage.requests)]
    for name, record in tuple(handed):
        handed += [(f"{name}.{verb}()", result) for verb, result in _results(record)]
    for name, record in handed:
        for field, value in vars(record).items() if hasattr(record, "__dict__") else ():
            if isinstance(value, Path) and not field.startswith("_"):
                raise Failure(
                    "no way from what a policy is handed to files",
                    f"{name}.{field} is a path",
                    "this is a fault of the log, not of the policy: please report it",
                )
    for path, value in walk(handed):
        last = path.rsplit(".", 1)[-1]
        if _is_latent(value) or (isinstance(value, np.ndarray) and last in LATENT_NAMES):
            raise Failure(
                "no way from what a policy is handed to latent state",
                f"{path} is a {type(value).__module__}.{type(value).__qualname__}",
                "this is a fault of the log, not of the policy: please report it",
            )
    fix = "learn from the log; only a policy that declares privileged = True is handed the truth"
    for path, value in walk([("policy", subject.fitted)]):
        if _is_latent(value):
            raise Failure(
                "a policy that is not privileged to hold no latent state",
                f"{path} is a {type(value).__module__}.{type(value).__qualname__}",
                fix,
            )
    module = sys.modules.get(type(subject.fitted).__module__)
    for name, value in vars(module).items() if module is not None else ():
        home = value.__name__ if isinstance(value, types.ModuleType) else _home(value)
        if is_closed(home):
            raise Failure(
                "the policy's module to import only sim.schema, sim.log and sim.config from sim",
                f"{name} from {home}",
                fix,
            )
    found = _trespasses(subject)
    if found:
        raise Failure(
            "a policy that is not privileged to keep out of the truth while it works",
            f"it {found[0]}" + (f" and {len(found) - 1} more" if len(found) > 1 else ""),
            fix,
        )
    try:
        subject.unaware  # noqa: B018
    except Blocked as error:
        raise Failure(
            "fit to work on a log like the first one whose folder holds no truth",
            getattr(error.__cause__, "got", "an error"),
            fix,
        ) from error


def _trespasses(subject: Subject) -> list[str]:
    """Return what the policy opens and imports, in fit and at work, that none should."""
    stage, policy = subject.stage, subject.copy()
    requests = stage.requests.as_handed()
    with watched(subject.trespasses):
        with contextlib.suppress(Exception):  # other checks report it
            policy.score(requests)
        if isinstance(policy, Probabilistic):
            with contextlib.suppress(Exception):
                policy.predict(requests)
        if isinstance(policy, Updatable):
            with contextlib.suppress(Exception):
                policy.observe(
                    stage.later.read_only, stage.later_purchases.read_only, stage.later_s
                )
    return sorted(set(subject.trespasses))


def walk(roots: Iterable[tuple[str, Any]], limit: int = 200_000) -> Iterator[tuple[str, Any]]:
    """Yield (path, object) for all that attributes, items, closures and generators lead to.

    Stops at modules and at what functions find in their module. At most `limit` objects.
    """
    pending = list(roots)
    met: dict[int, Any] = {}  # keeps objects alive, so that ids stay unique
    while pending and len(met) < limit:
        path, value = pending.pop()
        if id(value) in met or isinstance(value, str | bytes | int | float | bool | None | type):
            continue
        met[id(value)] = value
        yield path, value
        pending += [(f"{path}.{name}", inner) for name, inner in _inside(value)]


def _inside(value: object) -> Iterator[tuple[str, Any]]:
    """Yield (name, object) for what one object leads to."""
    if isinstance(value, types.ModuleType):
        return
    if isinstance(value, dict):
        yield from ((str(key), item) for key, item in list(value.items()))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((str(i), item) for i, item in enumerate(value))
    elif isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            yield from ((str(i), item) for i, item in enumerate(value.ravel()))
        if value.base is not None:
            yield "base", value.base
    elif isinstance(value, types.GeneratorType):
        if value.gi_frame is not None:
            yield from list(value.gi_frame.f_locals.items())
    elif isinstance(value, types.MethodType):
        yield "self", value.__self__
    elif isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            yield "closure", cell.cell_contents
    elif isinstance(value, functools.partial):
        yield from (("func", value.func), ("args", value.args), ("keywords", value.keywords))
    yield from list(getattr(value, "__dict__", {}).items())
    for kind in type(value).__mro__:
        for name in getattr(kind, "__slots__", ()) if isinstance(kind, type) else ():
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


def _results(record: object) -> Iterator[tuple[str, Any]]:
    """Call every public method that needs no arguments; yield (name, result)."""
    for name, method in inspect.getmembers(record, inspect.ismethod):
        parameters = inspect.signature(method).parameters.values()
        if not name.startswith("_") and all(p.default is not p.empty for p in parameters):
            if inspect.isclass(method.__self__):
                continue  # an alternative constructor leads nowhere new
            yield name, method()


def _home(value: object) -> str:
    return str(getattr(value, "__module__", "") or "")


def _is_latent(value: object) -> bool:
    """Return whether the object is of a class of `sim` that policies have no business with."""
    home = type(value).__module__
    if home == "sim.config":
        return not isinstance(value, Objective)
    return is_closed(home)
