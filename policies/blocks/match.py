"""Match towers: scores that are one inner product of a request vector and a room vector."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Match(nn.Module, ABC):
    """s = <request(u, r), streamer(i)>, so that vectors of rooms can be kept, or indexed.

    Attributes:
        width: length of both vectors.
    """

    width: int

    @abstractmethod
    def request(self, user: Tensor, refer: Tensor, present: Tensor) -> Tensor:
        """Return request vectors [B, width].

        Args:
            user: encoded users [B, n_user].
            refer: encoded rooms watched before [B, n_refer].
            present: float32 [B], 1 where there is such a room, else 0.
        """

    @abstractmethod
    def streamer(self, streamer: Tensor) -> Tensor:
        """Return room vectors [N, width] of encoded streamers [N, n_streamer]."""


class UserMatch(Match):
    """s = <e(u), f(i)>, both maps linear; the refer is not read.

    Source: Taobao Live talk (2021), DMR 1.0.

    Args:
        n_user: width of the encoded user.
        n_streamer: width of the encoded streamer.
        dim: width of the dot product.
    """

    def __init__(self, n_user: int, n_streamer: int, dim: int) -> None:
        """Create the two maps."""
        super().__init__()
        self.e, self.f = nn.Linear(n_user, dim), nn.Linear(n_streamer, dim)
        self.width = dim

    def request(self, user: Tensor, refer: Tensor, present: Tensor) -> Tensor:
        """Return e(u); see `Match`."""
        out: Tensor = self.e(user)
        return out

    def streamer(self, streamer: Tensor) -> Tensor:
        """Return f(i); see `Match`."""
        out: Tensor = self.f(streamer)
        return out


class JointMatch(UserMatch):
    """s = <e([u; r]), f(i)>: the refer as the user's interest of this moment.

    Source: Taobao Live talk (2021), RUI 1.0.

    Args:
        n_user: width of the encoded user.
        n_refer: width of the encoded refer.
        n_streamer: width of the encoded streamer.
        dim: width of the dot product.
    """

    def __init__(self, n_user: int, n_refer: int, n_streamer: int, dim: int) -> None:
        """Create the two maps."""
        super().__init__(n_user + n_refer, n_streamer, dim)

    def request(self, user: Tensor, refer: Tensor, present: Tensor) -> Tensor:
        """Return e([u; r]); see `Match`."""
        out: Tensor = self.e(torch.cat([user, refer], dim=1))
        return out


class ReferMatch(Match):
    """s = <c(r), d(i)>, both maps linear; the user is not read.

    Where there is no refer, s = 0, and the rank tower ranks alone. Source: Taobao Live talk (2021),
    RUI 2.0.

    Args:
        n_refer: width of the encoded refer.
        n_streamer: width of the encoded streamer.
        dim: width of the dot product.
    """

    def __init__(self, n_refer: int, n_streamer: int, dim: int) -> None:
        """Create the two maps."""
        super().__init__()
        self.c, self.d = nn.Linear(n_refer, dim), nn.Linear(n_streamer, dim)
        self.width = dim

    def request(self, user: Tensor, refer: Tensor, present: Tensor) -> Tensor:
        """Return c(r), 0 where there is no refer; see `Match`."""
        out: Tensor = self.c(refer) * present[:, None]
        return out

    def streamer(self, streamer: Tensor) -> Tensor:
        """Return d(i); see `Match`."""
        out: Tensor = self.d(streamer)
        return out
