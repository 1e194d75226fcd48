"""The conformance suite for policies, shipped for third parties.

`check_policy(factory)` runs everything and reports all failures at once; `policy_checks(factory)`
hands out single checks, for instance to `pytest.mark.parametrize`::

    CHECKS = policy_checks(MyPolicy)

    @pytest.mark.parametrize("check", [c for _, c in CHECKS], ids=[name for name, _ in CHECKS])
    def test_my_policy_conforms(check):
        check()

The idea, and that of declared failures with a reason, is scikit-learn's `check_estimator`
(Pedregosa et al. 2011, JMLR 12).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from policies import checks_learning, checks_reach, checks_scores, checks_state
from policies.checks_stage import Blocked, Failure, Stage, Subject, planted_stage
from policies.contract import (
    Chained,
    Charting,
    Differentiable,
    Persistent,
    Positional,
    Probabilistic,
    Retriever,
    Updatable,
    is_privileged,
)

__all__ = ["CHECKS", "Check", "CheckError", "Failure", "check_policy", "policy_checks"]


class CheckError(AssertionError):
    """A policy does not conform; the message has one line per failure."""


@dataclass(frozen=True)
class Check:
    """One item of the suite."""

    id: str
    run: Callable[[Subject], None]
    """Raises `Failure` where the policy does not conform."""
    capability: type | None = None
    """Optional protocol that the policy must have for the check to apply; None: every policy."""
    privileged: bool = False
    """Whether it applies to privileged policies, too, which cannot score without the truth."""

    def applies(self, policy: object) -> bool:
        """Return whether the check concerns this policy."""
        if is_privileged(policy) and not self.privileged:
            return False
        return self.capability is None or isinstance(policy, self.capability)


CHECKS = (
    Check("constructs", checks_state.constructs, privileged=True),
    Check("constructor_stores_only", checks_state.constructor_stores_only, privileged=True),
    Check("fit_returns_self", checks_state.fit_returns_self, privileged=True),
    Check("arguments_survive", checks_state.arguments_survive, privileged=True),
    Check("log_untouched", checks_state.log_untouched, privileged=True),
    Check("requests_untouched", checks_scores.requests_untouched),
    Check("score_shape", checks_scores.score_shape),
    Check("score_repeats", checks_scores.score_repeats),
    Check("same_seed_same_policy", checks_scores.same_seed_same_policy),
    Check("candidate_order", checks_scores.candidate_order),
    Check("masked_cells", checks_scores.masked_cells),
    Check("padding", checks_scores.padding),
    Check("batch_size", checks_scores.batch_size),
    Check("unseen_ids", checks_scores.unseen_ids),
    Check("empty_batch", checks_scores.empty_batch),
    Check("single_candidate", checks_scores.single_candidate),
    Check("all_masked", checks_scores.all_masked),
    Check("probabilities", checks_scores.probabilities, Probabilistic),
    Check("positions", checks_scores.positions, Positional),
    Check("inner_product", checks_scores.inner_product, Retriever),
    Check("chart", checks_scores.chart, Charting),
    Check("chains", checks_learning.chains, Chained),
    Check("learning_reaches_all", checks_learning.learning_reaches_all, Differentiable),
    Check("foreign_rows", checks_learning.foreign_rows, Differentiable),
    Check("follows_events", checks_state.follows_events, Updatable),
    Check("early_events", checks_state.early_events, Updatable),
    Check("survives_restart", checks_state.survives_restart, Persistent),
    Check("no_future", checks_reach.no_future),
    Check("no_latent_state", checks_reach.no_latent_state),
)
"""The suite, in the order in which it runs."""

_FREE = ("learning_reaches_all", "foreign_rows", "no_latent_state")
_NEED_SCORES = frozenset(
    check.id
    for check in CHECKS[[c.id for c in CHECKS].index("score_shape") + 1 :]
    if check.id not in _FREE
)
"""Checks that can be judged only where `score` works on ordinary requests."""


def check_policy(
    factory: Callable[[], Any],
    expected_failures: Mapping[str, str] | None = None,
    stage: Stage | None = None,
) -> None:
    """Run every check that applies and report all failures at once.

    Args:
        factory: a policy class that needs no arguments, or a function that returns a new,
            unfitted policy on every call.
        expected_failures: {check id: reason} of checks that the policy fails knowingly. They must
            fail: a declaration that is no longer needed is reported.
        stage: what the policy is confronted with; by default a small simulated log.

    Raises:
        CheckError: at least one check fails; one line each says what was expected, what came and
            what likely repairs it.
        ValueError: `expected_failures` names a check that does not exist, or gives no reason.
    """
    subject = Subject(factory, stage or planted_stage())
    declared = _declared(expected_failures)
    failures, blocked = [], []
    for check in _applicable(factory):
        try:
            _run(check, subject, declared)
        except Blocked as error:
            blocked.append(f"{check.id}: {error}")
        except Failure as error:
            failures.append(f"{check.id}: {error}")
            if check.id in ("constructs", "fit_returns_self"):
                break  # nothing else can be judged
    lines = failures or blocked  # what is blocked has its cause among the failures
    if lines:
        raise CheckError(
            f"{_label(factory)} fails {len(lines)} of the checks\n  " + "\n  ".join(lines)
        )


def policy_checks(
    factory: Callable[[], Any],
    expected_failures: Mapping[str, str] | None = None,
    stage: Stage | None = None,
) -> list[tuple[str, Callable[[], None]]]:
    """Return (id, check) for every check that applies; a check takes no arguments and raises.

    The checks share fitted policies, so that a model is fitted a few times and not per check;
    nothing but the constructor runs before the first check is called.

    Args:
        factory: as in `check_policy`.
        expected_failures: as in `check_policy`; a declared check passes when it fails.
        stage: as in `check_policy`.

    Raises:
        ValueError: `expected_failures` names a check that does not exist, or gives no reason.
    """
    declared = _declared(expected_failures)
    shared: list[Subject] = []

    def bound(check: Check) -> Callable[[], None]:
        def run() -> None:
            if not shared:
                shared.append(Subject(factory, stage or planted_stage()))
            _run(check, shared[0], declared)

        return run

    return [(check.id, bound(check)) for check in _applicable(factory)]


def _run(check: Check, subject: Subject, declared: Mapping[str, str]) -> None:
    """Run one check; a declared failure is silent, and must happen."""
    if check.id in _NEED_SCORES and "score_shape" not in declared:
        _ = subject.scores  # or it is blocked: one fault is reported once
    if check.id not in declared:
        check.run(subject)
        return
    try:
        check.run(subject)
    except Failure:
        return
    raise Failure(
        f"{check.id} to fail as declared ({declared[check.id]})",
        "it passes",
        "remove it from expected_failures",
    )


def _declared(expected_failures: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the declarations if each names a check and gives a reason."""
    allowed = [check.id for check in CHECKS]
    for name, reason in (expected_failures or {}).items():
        if name not in allowed:
            raise ValueError(f"expected_failures has {name!r}: must be one of {', '.join(allowed)}")
        if not (isinstance(reason, str) and reason.strip()):
            raise ValueError(f"expected_failures[{name!r}] = {reason!r}: must be a reason in words")
    return expected_failures or {}


def _applicable(factory: Callable[[], Any]) -> list[Check]:
    """Return the checks that concern the factory's policies."""
    try:
        policy = factory()
    except Exception:  # the first check reports it
        return [CHECKS[0]]
    return [check for check in CHECKS if check.applies(policy)]


def _label(factory: Callable[[], Any]) -> str:
    """Return the name of the class that the factory builds, or of the factory if it fails."""
    try:
        kind = type(factory())
    except Exception:
        return str(getattr(factory, "__qualname__", None) or repr(factory))
    return f"{kind.__module__}.{kind.__qualname__}"
