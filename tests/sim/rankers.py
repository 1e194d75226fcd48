"""Rankers with a flaw, at the top of a module so that worker processes find them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.sim.worlds import server


class Mortal:
    """Ranks by a policy; its process is killed on day 1, as often as there are files to take."""

    needs_truth = False

    def __init__(self, lives: Path, day: float = 1.0, policy: str = "popularity"):
        self.inner, self.lives, self.day = server(policy, 0.1), lives, day
        self.observes = self.inner.observes

    def rank(self, requests, slate_size, uniforms, truth):
        """Rank, or die."""
        if requests.time_s[0] >= self.day * 86400.0:
            for path in sorted(self.lives.iterdir()):
                try:
                    path.unlink()  # of two processes one gets it
                except FileNotFoundError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.rank(requests, slate_size, uniforms, truth)

    def observe(self, impressions, purchases, now_s):
        """Count."""
        self.inner.observe(impressions, purchases, now_s)


class Failing(Mortal):
    """Raises an error that does not pickle."""

    def rank(self, requests, slate_size, uniforms, truth):
        """Raise."""
        raise Odd("a", "b")


class Odd(Exception):
    """Takes two arguments and hands one on, so that it can't be made again from its own."""

    def __init__(self, left, right):
        super().__init__(f"{left} and {right}")


class Rooted(Mortal):
    """Cannot be sent anywhere."""

    def __init__(self):
        self.inner, self.observes = lambda: None, True
