"""The conformance suite: sound policies pass, and each way to be unsound has its own message."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from omegaconf import OmegaConf

from policies.cascade import Cascade
from policies.checks import CHECKS, CheckError, Failure, check_policy, policy_checks
from policies.checks_reach import walk
from policies.checks_stage import planted_stage
from policies.contract import FitContext
from policies.heuristics import Popularity, Random, Recency
from policies.oracle import Oracle
from policies.registry import built_in, node
from sim.config import build
from sim.log import Log
from sim.schema import Requests
from tests.policies.broken import (
    BROKEN,
    CHEATS,
    ChangesArgument,
    Flat,
    Scores,
    Sound,
    UsesColumns,
    WritesRequests,
)
from tests.policies.planted import stage
from tests.policies.test_checks_learning import FOUND_HERE


@functools.cache
def planted() -> Any:
    """The hand-made stage, shared by all tests."""
    return stage()


def preset(name: str) -> Any:
    """Return the policy of `conf/policy/NAME.yaml`, trained as briefly as conformance allows."""
    objective = files("conf").joinpath("objective", "default.yaml").read_text()
    whole = OmegaConf.create({"objective": OmegaConf.create(objective), "policy": node(name)})
    nested = [whole.policy[name] for name in ("retriever", "ranker") if name in whole.policy]
    for part in [whole.policy, *nested]:
        for section in ("trainer", "pretrainer"):
            if section in part:
                part[section].steps_per_epoch = 4
    if "n_retrieved" in whole.policy:
        whole.policy.n_retrieved = 5  # fewer than there are rooms on air in the tiny world
    return build(whole.policy)


@pytest.mark.parametrize("factory", [Sound, Random, Recency, Popularity, Oracle])
def test_sound_policies_pass(factory: Callable[[], object]) -> None:
    check_policy(factory, stage=planted())


QUICK = {"dbmtl", "rui3", "sass", "sass_cascade"}
"""Learned presets of the default suite, one of each kind; the others are marked slow."""

REGISTERED = [
    pytest.param(
        name, marks=pytest.mark.slow if "encoder" in node(name) and name not in QUICK else ()
    )
    for name in built_in()
]


KNOWN = {
    "dbmtl3_promotion": {"learning_reaches_all": "a log of one day holds no day of the sale"},
    "dbmtl3_tenure": {"learning_reaches_all": "on the first day everybody is new"},
}
"""Failures that the small log brings about."""


@pytest.mark.parametrize("name", REGISTERED)
def test_every_registered_policy_conforms_on_a_simulated_log(name: str) -> None:
    check_policy(lambda: preset(name), KNOWN.get(name))


def test_a_leak_is_found_on_a_simulated_log() -> None:
    class ReadsDay1(Popularity):
        def fit(self, log: Any, context: FitContext) -> Self:
            return super().fit(Log.open(log._folder), context)

    with pytest.raises(CheckError, match="no_future: expected the same scores"):
        check_policy(ReadsDay1)


@pytest.mark.parametrize(
    ("factory", "check", "message"), CHEATS, ids=lambda v: getattr(v, "__name__", "")
)
def test_cheats_are_found_on_a_simulated_log(
    factory: Callable[[], object], check: str, message: str
) -> None:
    with pytest.raises(CheckError, match=f"(?m)^  {check}: expected .*{message}"):
        check_policy(factory)


def test_what_a_policy_is_handed_leads_to_no_files() -> None:
    log = planted_stage().log
    assert not any(isinstance(v, Path) for k, v in vars(log).items() if not k.startswith("_"))
    readers = [name for name in dir(log) if name.startswith("read")]
    assert not readers


def test_one_fault_of_score_is_reported_once() -> None:
    for factory in (Flat, WritesRequests):
        with pytest.raises(CheckError) as error:
            check_policy(factory, stage=planted())
        assert "fails 1 of the checks" in str(error.value)


def test_a_cascade_of_sound_policies_passes() -> None:
    check_policy(lambda: Cascade(Sound(), Popularity(), 4), stage=planted())


@pytest.mark.parametrize(
    ("factory", "check", "message"), BROKEN, ids=lambda v: getattr(v, "__name__", "")
)
def test_each_fault_has_its_message(
    factory: Callable[[], object], check: str, message: str
) -> None:
    with pytest.raises(CheckError, match=f"(?m)^  {check}: expected .*{message}") as error:
        check_policy(factory, stage=planted())
    for line in str(error.value).splitlines()[1:]:
        assert "; got " in line
        assert "; likely fix: " in line


def test_every_check_is_failed_by_some_broken_policy() -> None:
    found = {check for _, check, _ in BROKEN} | set(FOUND_HERE)
    assert found == {check.id for check in CHECKS}


def test_all_failures_are_listed_at_once() -> None:
    class Twice(UsesColumns):
        def predict(self, requests: Requests) -> dict[str, Scores]:
            return {}

    with pytest.raises(CheckError) as error:
        check_policy(Twice, stage=planted())
    assert "candidate_order: " in str(error.value)
    assert "probabilities: " in str(error.value)


def test_declared_failures_pass_and_stale_declarations_do_not() -> None:
    reason = {"candidate_order": "position is a feature on purpose"}
    broken = {"inner_product": "columns again", "padding": "none"}
    check_policy(UsesColumns, {"candidate_order": reason["candidate_order"]}, planted())
    with pytest.raises(CheckError, match=r"to fail as declared \(columns again\); got it passes"):
        check_policy(Sound, {"inner_product": broken["inner_product"]}, planted())
    with pytest.raises(ValueError, match="'order': must be one of constructs, "):
        check_policy(Sound, {"order": "x"}, planted())
    with pytest.raises(ValueError, match="must be a reason"):
        check_policy(Sound, {"padding": " "}, planted())


def test_single_checks_share_the_fit_and_raise_on_their_own() -> None:
    fits: list[int] = []

    class Counted(UsesColumns):
        def fit(self, log: Any, context: FitContext) -> Self:
            fits.append(1)
            return super().fit(log, context)

    checks = policy_checks(Counted, stage=planted())
    assert not fits
    failed = []
    for name, check in checks:
        try:
            check()
        except Failure:
            failed.append(name)
    assert "candidate_order" in failed
    assert len(fits) <= 6
    assert [name for name, _ in policy_checks(Recency)] == [
        c.id for c in CHECKS if c.capability is None
    ]


def test_arguments_given_by_a_partial_are_compared() -> None:
    check_policy(functools.partial(Sound, slope=0.2), stage=planted())
    with pytest.raises(CheckError, match=r"argument 0\.2; got 0\.4"):
        check_policy(functools.partial(ChangesArgument, slope=0.2), stage=planted())


def test_walk_looks_into_closures_generators_and_containers() -> None:
    secret = np.zeros(3)

    def numbers() -> Any:
        hidden = {"deep": (secret,)}
        yield 1
        yield hidden

    running = numbers()
    next(running)
    roots = [("running", running), ("closure", lambda: secret[0])]
    for root in roots:
        assert any(value is secret for _, value in walk([root]))
