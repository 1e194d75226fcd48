"""What a study's log says each policy is worth, by every estimator, as rows of the results table.

The held-out log is replayed for every policy as it would be deployed, greedily. Two values are
asked for: that of the room at the top of a page (`top_value`, one action) and that of a whole page
(`request_value`, a slate). Beside them stands what a deployed policy's pages are truly worth
(`evaluation.deployment.PageWorth`), by the probabilities that only the simulator knows. The two
differ by more than noise: deployment goes on where its own pages led, and the log knows purchases
only until its end (see `evaluation.off_policy.replay`).

Rows (`evaluation.results`): `top_value/E` and `request_value/E` of kind "offline" for estimator E;
`top_value` and `request_value` of kind "truth"; `effective_rounds/S`, `mean_weight/S` and
`unsupported/S` of kind "offline" for what S is valued, "top" or "request"; for policy "" what the
log itself brought, `top_value/logged` and `request_value/logged`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from evaluation.deployment import PageWorth
from evaluation.intervals import Interval, difference, lift
from evaluation.off_policy.assessment import Assessment, assess_rounds, assess_slates
from evaluation.off_policy.replay import ServedPolicy, observed_worth, replay
from evaluation.off_policy.rounds import OffPolicyError
from evaluation.offline import TruthSource, follow
from evaluation.results import Row, Subject
from policies.contract import FitContext, Policy, Updatable, is_privileged
from policies.rank import Exploration
from sim.config import Objective
from sim.log import Log
from sim.schema import Impressions

GREEDY = Exploration(kind="greedy")
"""How studies deploy."""

MOST_REQUESTS = 15_000
"""Requests that are looked at, about; of a larger log, users are picked by their id. Weights of a
greedy policy are few whatever the number, and every request costs a score of every room."""

EXPLORED = 0.01
"""Share of choices left to chance below which a log is not valued."""


@dataclass(frozen=True)
class Valuation:
    """What one log says about one policy; pickles."""

    top: Assessment
    """Of the room at the top of a page."""
    request: Assessment
    """Of a page."""

    def panels(self) -> tuple[tuple[str, Assessment], ...]:
        """Return both panels with what they value."""
        return (("top", self.top), ("request", self.request))


def logger_of(policy: Policy, exploration: Exploration, past: Log) -> ServedPolicy:
    """Return a logging policy as it was at the end of a log that it wrote from the beginning.

    Args:
        policy: as it was built; fitted on nothing and led through the log, so it is changed.
        exploration: how it was served.
        past: the log until then.
    """
    policy.fit(Log.nothing(past.tick_s, past.day_s), FitContext())
    last_s = 0.0
    if isinstance(policy, Updatable):
        for tick in past.ticks():
            follow(policy, tick, 0.0)
            last_s = tick.now_s
    return ServedPolicy(policy, exploration, last_s)


def valuation(
    log: Log,
    target: ServedPolicy,
    objective: Objective,
    *,
    logger: ServedPolicy | None = None,
    truth_for: TruthSource | None = None,
    most_requests: int = MOST_REQUESTS,
) -> Valuation | None:
    """Value a policy by every estimator that the log allows.

    Args:
        log: the held-out part.
        target: fitted on what came before; not changed.
        objective: what a reward is.
        logger: the logging policy at the start of `log`, see `logger_of`; not changed. Without it
            nothing is known of support, categories and places. A privileged one, and one that does
            not reproduce the logged propensities, is done without.
        truth_for: source of the truth, for a privileged target.
        most_requests: requests that are looked at, about.

    Returns:
        The valuation; None where the log leaves nothing to chance, where it holds less than two
        users, and for a privileged target without a truth.
    """
    shown = log.impressions()
    blind = is_privileged(target.policy) and truth_for is None
    if blind or not explores(shown):
        return None
    requests = int(np.count_nonzero(shown.position == 0))
    try:
        seen = replay(
            log,
            _copy(target),
            observed_worth(shown, objective),
            logger=None if logger is None or is_privileged(logger.policy) else _copy(logger),
            truth_for=truth_for,
            true_tops=False,
            share=min(1.0, most_requests / requests),
        )
        top = assess_rounds(seen.rounds(), seen.tops.unsupported)
        return Valuation(top, assess_slates(seen.slates("request")))
    except OffPolicyError:
        if logger is None:
            return None
        return valuation(log, target, objective, truth_for=truth_for, most_requests=most_requests)


def level_rows(subject: Subject, found: Valuation) -> Iterator[Row]:
    """Yield every estimate of a policy, and what the weights say of them."""
    for span, panel in found.panels():
        for name, finding in panel.findings.items():
            yield subject.level(f"{span}_value/{name}", "offline", finding.estimate.interval())
        overlap, n = panel.overlap, panel.overlap.n
        effective, unsupported = (
            Interval(value, float("nan"), float("nan"), n)
            for value in (overlap.effective_n, overlap.unsupported)
        )
        yield subject.level(f"effective_rounds/{span}", "offline", effective)
        yield subject.level(f"mean_weight/{span}", "offline", overlap.mean_weight)
        if span == "top":
            yield subject.level(f"unsupported/{span}", "offline", unsupported)


def comparison_rows(
    subject: Subject, found: Valuation, control: str, control_found: Valuation
) -> Iterator[Row]:
    """Yield difference and lift of every estimate against the control's, paired by user."""
    pairs = zip(found.panels(), control_found.panels(), strict=True)
    for (span, panel), (_, other) in pairs:
        for name, finding in panel.findings.items():
            if name in other.findings:
                pair = finding.estimate, other.findings[name].estimate
                metric = f"{span}_value/{name}"
                gap, gain = difference(*pair).interval(), lift(*pair).interval()
                yield subject.difference(metric, "offline", gap, control)
                yield subject.lift(metric, "offline", gain, control)


def logged_rows(subject: Subject, found: Valuation) -> Iterator[Row]:
    """Yield what the log itself brought; `subject` has no policy."""
    for span, panel in found.panels():
        yield subject.level(f"{span}_value/logged", "offline", panel.logged.interval())


def true_rows(
    subject: Subject, worth: PageWorth, control: str = "", control_worth: PageWorth | None = None
) -> Iterator[Row]:
    """Yield what the pages of a deployed policy are truly worth, and against a control's.

    Args:
        subject: the policy.
        worth: of its pages.
        control: name of the control, "" for none.
        control_worth: of the control's pages, in a twin of the same world.
    """
    for span, estimate in worth.estimates():
        metric = f"{span}_value"
        yield subject.level(metric, "truth", estimate.interval())
        if control_worth is not None:
            pair = estimate, dict(control_worth.estimates())[span]
            gap, gain = difference(*pair).interval(), lift(*pair).interval()
            yield subject.difference(metric, "truth", gap, control)
            yield subject.lift(metric, "truth", gain, control)


def explores(shown: Impressions) -> bool:
    """Return whether a log leaves choices to chance, without which it says nothing of others.

    A few ties are no exploration: EXPLORED is the least share of choices.
    """
    return len(shown) > 0 and float((shown.propensity < 1.0).mean()) >= EXPLORED


def _copy(served: ServedPolicy) -> ServedPolicy:
    """Return a policy that may be changed; one that never changes is not copied."""
    if not isinstance(served.policy, Updatable):
        return served
    return replace(served, policy=copy.deepcopy(served.policy))
