"""DMR 1.0: a user-streamer match beside a DBMTL rank tower."""

from __future__ import annotations

from dataclasses import dataclass

from policies.blocks.match import Match, UserMatch
from policies.models.matched import Matched


@dataclass(frozen=True)
class DMR1(Matched):
    """The match of user and streamer. Source: Taobao Live talk (2021), DMR 1.0."""

    def match(self, n_user: int, n_refer: int, n_streamer: int) -> Match:
        """Return a `UserMatch`."""
        return UserMatch(n_user, n_streamer, self.match_dim)
