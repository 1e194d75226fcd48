"""Randomised traffic: from some moment on every slate is uniform, whatever ranked before.

Labels of such traffic carry no preference of the logging policy, which is what platforms keep a
small share of it for (Li et al., "Unbiased offline evaluation of contextual-bandit-based news
article recommendation algorithms", WSDM 2011, section 3).
"""

from __future__ import annotations

from policies.heuristics import Random
from policies.rank import Exploration, Server
from sim.filling import Chart
from sim.schema import Floats, Impressions, Purchases, Requests, Slate
from sim.truth import RequestTruth


class Randomised:
    """Ranks as a server does, and uniformly in sessions that begin later than a moment.

    Args:
        server: who ranks before.
        from_s: start of a tick, seconds; sessions of earlier ticks are the server's to their end.
    """

    def __init__(self, server: Server, from_s: float) -> None:
        """Store both."""
        self.server = server
        self.from_s = from_s
        self._uniform = Server(Random(), Exploration(kind="greedy"))

    @property
    def needs_truth(self) -> bool:
        """Whether the server's policy is privileged."""
        return self.server.needs_truth

    @property
    def observes(self) -> bool:
        """Whether the server's policy follows the event stream."""
        return self.server.observes

    def rank(
        self, requests: Requests, slate_size: int, uniforms: Floats, truth: RequestTruth | None
    ) -> Slate:
        """Choose slates for the requests of one tick; as `policies.rank.Server.rank`."""
        late = len(requests) and float(requests.session_start_s.min()) >= self.from_s
        if late:
            return self._uniform.rank(requests, slate_size, uniforms, None)
        return self.server.rank(requests, slate_size, uniforms, truth)

    def chart(self, n_streamers: int, now_s: float) -> Chart | None:
        """Return the chart of whoever ranks the sessions of a tick."""
        server = self._uniform if now_s >= self.from_s else self.server
        return server.chart(n_streamers, now_s)

    def observe(self, impressions: Impressions, purchases: Purchases, now_s: float) -> None:
        """Forward the news to the server's policy."""
        self.server.observe(impressions, purchases, now_s)
