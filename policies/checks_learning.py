"""Checks of how a policy learns: every weight is reached, and foreign rows leave weights alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from policies.checks_stage import SEED, Failure, Subject, attempt
from policies.contract import FitContext, GradientNorms
from sim.schema import SCENARIOS, TARGETS

SHOWN = 4
"""Names that a message lists at most."""


def learning_reaches_all(subject: Subject) -> None:
    """Every parameter has a gradient: what never learns is a fault in the wiring."""
    whole = _gradients(subject)[0]
    dead = [
        name
        for name, norm in zip(whole.name, whole.norm, strict=True)
        if np.isnan(norm) or norm == 0.0
    ]
    if dead:
        raise Failure(
            "a gradient that is not zero for every parameter, over rows of all scenarios",
            f"none for {_listed(dead)}",
            "connect or remove them; a detached input, a list that hides modules or dead units",
        )


def foreign_rows(subject: Subject) -> None:
    """What one scenario alone teaches has no gradient from other rows, rather than zeros.

    With zeros an optimiser goes on moving it by its momentum and by weight decay, so that batches
    of one scenario wear away what belongs to another. Tables looked up by row are exempt: their
    rows are not told apart here.
    """
    parts = [part for part in _gradients(subject)[1:] if part.scenario is not None]
    norms = np.stack([part.norm for part in parts])
    own = ((norms > 0.0).sum(0) == 1) & ~parts[0].is_table
    idle = [
        f"{parts[k].name[i]} ({SCENARIOS[parts[k].scenario or 0]})"
        for k, i in zip(*np.nonzero((norms == 0.0) & own), strict=True)
    ]
    if idle:
        raise Failure(
            "no gradient at all where rows of one scenario do not reach a parameter",
            f"zeros for {_listed(idle)}",
            "run the layers of other scenarios on their own rows only, not masked on all rows",
        )


def chains(subject: Subject) -> None:
    """A child is never more probable than its parent, where the policy promises it."""
    requests, policy = subject.stage.requests, subject.fitted
    fix = "drop the pair from chains, or predict the child as a share of its parent"
    promised = attempt(lambda: tuple(policy.chains), "chains to be pairs of targets", fix)
    known = attempt(
        lambda: policy.predict(requests.as_handed()), "a policy with chains to predict", fix
    )
    for pair in promised:
        if len(pair) != 2 or not set(pair) <= set(known):
            raise Failure(
                "chains to be pairs (parent, child) of predicted targets",
                repr(pair),
                f"name two of {', '.join(name for name in TARGETS if name in known)}",
            )
        parent, child = (np.asarray(known[name])[requests.mask] for name in pair)
        above = child > parent * (1.0 + 1e-5) + 1e-9
        if above.any():
            raise Failure(
                f"P({pair[1]}) <= P({pair[0]}) for every candidate, as chains promises",
                f"{int(above.sum())} of {above.size} cells above, by up to "
                f"{float((child - parent).max()):.3g}",
                fix,
            )


def _gradients(subject: Subject) -> list[GradientNorms]:
    told = "gradients(log, context) to yield GradientNorms"
    fix = "yield one of all scenarios and then one of each scenario in the log"
    policy = subject.new()
    found: list[GradientNorms] = attempt(
        lambda: list(policy.gradients(subject.stage.log, FitContext(seed=SEED))), told, fix
    )
    if not found or not all(isinstance(part, GradientNorms) for part in found):
        raise Failure(told, f"{[type(part).__name__ for part in found] or 'nothing'}", fix)
    if found[0].scenario is not None:
        raise Failure(told, f"scenario {found[0].scenario} first", fix)
    return found


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more
