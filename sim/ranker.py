"""What the world asks of whoever ranks."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from sim.filling import Chart
from sim.schema import Floats, Impressions, Purchases, Requests, Slate
from sim.truth import RequestTruth


class Ranker(Protocol):
    """What the world asks of whoever ranks, such as `policies.rank.Server`."""

    @property
    def needs_truth(self) -> bool:
        """Whether `rank` must be handed the true state (privileged policies only)."""

    @property
    def observes(self) -> bool:
        """Whether `observe` is to be called at all; where not, no news is gathered for it."""

    def rank(
        self, requests: Requests, slate_size: int, uniforms: Floats, truth: RequestTruth | None
    ) -> Slate:
        """Choose `slate_size` candidates per request with `uniforms` [B, K] in (0, 1)."""

    def observe(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        """Receive what became observable since the last call, before any request after `now_s`.

        Purchases come when their reports arrive, not when they happen: `known_s`, not `event_s`.
        """


@runtime_checkable
class Charted(Protocol):
    """Optional: a ranker that may answer for a whole tick before anybody asks."""

    def chart(self, n_streamers: int, now_s: float) -> Chart | None:
        """Return a chart from which `rank` would fill every slate of a tick; None where it can't.

        Args:
            n_streamers: S, length of a chart.
            now_s: start of the tick; what became known by then was observed.
        """
