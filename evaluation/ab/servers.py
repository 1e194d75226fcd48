"""Several servers behind one ranker: what the platform must know of all of them together."""

from __future__ import annotations

from collections.abc import Sequence

from policies.rank import Server


class Servers:
    """The servers of an experiment's arms or teams.

    Args:
        servers: number 0 is the control. Those that learn need policies of their own.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        """Store the servers."""
        self.servers = tuple(servers)

    @property
    def needs_truth(self) -> bool:
        """Whether one of the policies is privileged."""
        return any(server.needs_truth for server in self.servers)

    @property
    def observes(self) -> bool:
        """Whether one of the policies follows the event stream."""
        return any(server.observes for server in self.servers)
