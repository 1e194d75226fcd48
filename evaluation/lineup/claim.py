"""A claim: the effect that a source reports of one system over another."""

from __future__ import annotations

from dataclasses import dataclass

from evaluation.online import CLICK_METRICS, METRICS, SCOPES
from sim.bounds import refusal
from sim.config import require, require_text
from sim.schema import SCENARIOS, SWIPE


@dataclass(frozen=True)
class Claim:
    """Relative lift of an online metric, as reported and to be measured."""

    policy: str
    over: str
    """The policy that it was compared with."""
    metric: str
    """One of `evaluation.online.METRICS`."""
    scenario: str
    """One of `sim.schema.SCENARIOS`, or "all"."""
    reported: float
    """Relative lift: 0.044 is +4.4 %."""

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("policy", "over"):
            require_text(self, name)
        require(self, "reported", -1.0, 100.0)
        if self.metric not in METRICS:
            raise refusal(self, "metric", f"one of {', '.join(METRICS)}")
        if self.scenario not in SCOPES:
            raise refusal(self, "scenario", f"one of {', '.join(SCOPES)}")
        if self.scenario == SCENARIOS[SWIPE] and self.metric in CLICK_METRICS:
            raise refusal(self, "metric", "a metric of the swipe, which has no click")
