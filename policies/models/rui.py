"""RUI: refer-aware ranking, a match that reads the room watched before beside a DBMTL tower.

The three versions differ in the match alone; all rank towers read the refer. Refer and streamer
have encoders, and so embeddings, of their own. Source: Taobao Live talk (2021).
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.blocks.match import JointMatch, Match, ReferMatch
from policies.blocks.three_towers import ThreeTowerMatch
from policies.models.matched import Matched
from sim.config import ConfigError, require_bool


@dataclass(frozen=True)
class ReferAware(Matched):
    """Config of what the versions share."""

    crosses: bool
    """Whether the rank tower reads the columns that compare refer and candidate (REFER_CROSSES)."""

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        require_bool(self, "crosses")
        if not self.rank.refer:
            raise ConfigError(
                f"{type(self).__name__}.rank.refer = False; allowed: True, "
                "the match reads the refer"
            )

    @property
    def crossed(self) -> bool:
        """Return `crosses`."""
        return self.crosses


@dataclass(frozen=True)
class RUI1(ReferAware):
    """The refer joins the user's side of the match: <e([u; r]), f(i)>."""

    def match(self, n_user: int, n_refer: int, n_streamer: int) -> Match:
        """Return a `JointMatch`."""
        return JointMatch(n_user, n_refer, n_streamer, self.match_dim)


@dataclass(frozen=True)
class RUI2(ReferAware):
    """The refer takes the user's place in the match: <c(r), d(i)>."""

    def match(self, n_user: int, n_refer: int, n_streamer: int) -> Match:
        """Return a `ReferMatch`."""
        return ReferMatch(n_refer, n_streamer, self.match_dim)


@dataclass(frozen=True)
class RUI3(ReferAware):
    """Three small matches: s = u2r r2i + u2i."""

    bound: bool
    """Whether the user's liking of the refer, u2r, is kept in (0, 1)."""

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        require_bool(self, "bound")

    def match(self, n_user: int, n_refer: int, n_streamer: int) -> Match:
        """Return a `ThreeTowerMatch`."""
        widths = n_user, n_refer, n_streamer
        return ThreeTowerMatch(*widths, self.match_dim, self.bound)
