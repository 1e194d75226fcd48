"""Checks of construction, `fit`, restarts and the event stream."""

from __future__ import annotations

import copy
import functools
import inspect
import tempfile
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from policies.checks_stage import (
    TOLERANCE,
    Blocked,
    Failure,
    Subject,
    arrays,
    attempt,
    checked_scores,
    differing,
    gap,
    records,
)
from policies.contract import Updatable
from sim.schema import Impressions, Purchases


def constructs(subject: Subject) -> None:
    """The factory makes a new policy with `fit` and `score` each time."""
    first, second = (
        attempt(
            subject.factory,
            "the policy to be constructed without a log",
            "give every constructor argument a default, or pass a factory that sets them",
        )
        for _ in range(2)
    )
    missing = [name for name in ("fit", "score") if not callable(getattr(first, name, None))]
    if missing:
        raise Failure(
            "a policy to have the methods fit and score",
            f"{type(first).__name__} without {' and '.join(missing)}",
            "see policies.contract.Policy; pass the class or a function that builds one",
        )
    if first is second:
        raise Failure(
            "a new policy from every call of the factory",
            "the same instance twice",
            "build the policy inside the factory",
        )


def constructor_stores_only(subject: Subject) -> None:
    """The constructor keeps its arguments under their names, unchanged, and does no work."""
    policy = subject.new()
    given = _given(subject.factory)
    fix = (
        "in __init__, write self.name = name for each argument, check values, and leave work to fit"
    )
    for name, parameter in _parameters(policy).items():
        if not hasattr(policy, name):
            raise Failure(
                f"constructor argument {name!r} as an attribute", "no such attribute", fix
            )
        default = given.get(name, parameter.default) if given is not None else parameter.empty
        value = getattr(policy, name)
        if default is not parameter.empty and _plain(default) and value != default:
            raise Failure(
                f"attribute {name!r} to be the argument {default!r:.40}", f"{value!r:.40}", fix
            )
    early = [n for n in vars(policy) if n.endswith("_") and not n.startswith("_")]
    if early:
        raise Failure("no fitted attribute (name ending in '_') before fit", ", ".join(early), fix)


def fit_returns_self(subject: Subject) -> None:
    """`fit(log, context)` works and returns the policy."""
    policy, got = subject.first_fit
    if got is not policy:
        raise Failure("fit to return self", f"{type(got).__name__}", "end fit with `return self`")


def arguments_survive(subject: Subject) -> None:
    """`fit` does not overwrite constructor arguments."""
    fitted, fresh = subject.fitted, subject.new()
    for name in _parameters(fresh):
        before, after = getattr(fresh, name, None), getattr(fitted, name, None)
        if _plain(before) and repr(before) != repr(after):
            raise Failure(
                f"fit to leave the constructor argument {name!r} = {before!r:.40} alone",
                f"{after!r:.40}",
                f"store what fit finds under another name, such as {name}_",
            )


def log_untouched(subject: Subject) -> None:
    """`fit` alters nothing in the log's records."""
    assert subject.fitted is not None  # it is fitted now, if it was not before
    after = records(subject.stage.log)
    changed = differing(subject.records, after)
    for name in changed:  # the log may be shared with other policies: leave it as it was
        after[name][...] = subject.records[name]
    if changed:
        raise Failure(
            "the log's records to be the same after fit",
            f"{', '.join(changed[:4])} changed",
            "copy before writing; slicing and np.asarray do not copy",
        )


def follows_events(subject: Subject) -> None:
    """`observe` takes in a tick of events, alters none, and scores remain sound."""
    stage, policy = subject.stage, subject.copy()
    shown, bought = copy.deepcopy(stage.later), copy.deepcopy(stage.later_purchases)
    attempt(
        lambda: policy.observe(shown.read_only, bought.read_only, stage.later_s),
        "observe(impressions, purchases, now_s) to take in a tick of events",
        "ids may be new, and either record may be empty",
    )
    changed = differing(arrays(stage.later), arrays(shown))
    changed += differing(arrays(stage.later_purchases), arrays(bought))
    if changed:
        raise Failure(
            "observe to leave its records alone",
            f"{', '.join(changed)} changed",
            "copy before writing; slicing and np.asarray do not copy",
        )
    checked_scores(policy, stage.requests, "requests after observe", "keep state of one length")


def early_events(subject: Subject) -> None:
    """Rows that are not yet known do not influence scores."""
    stage = subject.stage
    quiet, hasty = subject.copy(), subject.copy()
    none = slice(0, 0)
    rows = stage.later.take(stage.later.known_s > stage.now_s)
    bought = stage.later_purchases.take(stage.later_purchases.known_s > stage.now_s)
    fix = "keep such rows aside until now_s has passed known_s, or ignore them"
    _observe(quiet, rows.take(none), bought.take(none), stage.now_s)
    _observe(hasty, rows, bought, stage.now_s)
    left = checked_scores(quiet, stage.requests, "requests after an empty observe", fix)
    right = checked_scores(hasty, stage.requests, "requests after early rows", fix)
    difference = gap(left, right, stage.requests.mask)
    if difference > TOLERANCE:
        raise Failure(
            "rows with known_s > now_s not to influence scores yet",
            f"a relative difference of {difference:.3g}",
            fix,
        )


def _observe(policy: Updatable, shown: Impressions, bought: Purchases, now_s: float) -> None:
    """Hand events to the policy; one that cannot take them in is judged by `follows_events`."""
    try:
        policy.observe(shown.read_only, bought.read_only, now_s)
    except Exception as error:
        raise Blocked("observe fails: see follows_events") from error


def survives_restart(subject: Subject) -> None:
    """`save` then `load` gives the same scores, now and after further events."""
    stage, policy = subject.stage, subject.copy()
    fix = "save everything that score and observe read, counters and histories too"
    with tempfile.TemporaryDirectory(prefix="swipelab-check-") as name:
        folder = Path(name)
        attempt(lambda: policy.save(folder), "save(folder) to work in an empty folder", fix)
        fresh = subject.new()
        loaded = attempt(lambda: fresh.load(folder), "load(folder) to work on a new instance", fix)
    if loaded is not fresh:
        raise Failure("load to return self", type(loaded).__name__, "end load with `return self`")
    for moment in ("", " and a tick of further events"):
        if moment:
            if not isinstance(policy, Updatable):
                return
            for one in (policy, fresh):
                _observe(one, stage.later, stage.later_purchases, stage.later_s)
        left = checked_scores(policy, stage.requests, "requests before save", fix)
        right = checked_scores(fresh, stage.requests, "requests after load" + moment, fix)
        difference = gap(left, right, stage.requests.mask)
        if difference > TOLERANCE:
            raise Failure(
                f"the same scores after save and load{moment}",
                f"a relative difference of {difference:.3g}",
                fix,
            )


def _parameters(policy: object) -> dict[str, inspect.Parameter]:
    """Return the named parameters of the constructor."""
    if type(policy).__init__ is object.__init__:
        return {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = list(inspect.signature(type(policy).__init__).parameters.values())[1:]
    return {p.name: p for p in parameters if p.kind in named}


def _given(factory: Callable[[], Any]) -> dict[str, Any] | None:
    """Return the keyword arguments that the factory passes, None where they cannot be known."""
    if isinstance(factory, type):
        return {}
    if isinstance(factory, functools.partial) and isinstance(factory.func, type):
        return None if factory.args else dict(factory.keywords)
    return None


def _plain(value: object) -> bool:
    """Return whether the value is made of plain data only, so that its repr says all."""
    if isinstance(value, list | tuple | set | frozenset):
        return all(_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_plain(key) and _plain(item) for key, item in value.items())
    if is_dataclass(value) and not isinstance(value, type):
        return all(_plain(item) for item in vars(value).values())
    return value is None or isinstance(value, str | int | float | bool)
