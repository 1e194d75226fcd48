"""The match of RUI 3.0: three small dot-product towers fused as u2r * r2i + u2i."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from policies.blocks.match import Match


class ThreeTowerMatch(Match):
    """s = <a(u), b(r)> <c(r), d(i)> + <e(u), f(i)>, all six maps linear.

    For one request u2r is a constant, so s is the inner product of [u2r c(r); e(u)] and
    [d(i); f(i)]: `request` and `streamer` return these two vectors. Where there is no refer,
    u2r = 0 and the match falls back to personal interest. Source: Taobao Live talk (2021), RUI 3.0,
    which fuses the three as they are. Then s falls in r2i wherever u2r < 0, and two negative
    factors make a positive score; `bound` keeps u2r in (0, 1), so that s rises in r2i everywhere.

    Args:
        n_user: width of the encoded user.
        n_refer: width of the encoded refer.
        n_streamer: width of the encoded streamer.
        dim: width of each dot product.
        bound: whether u2r is passed through a sigmoid.
    """

    def __init__(self, n_user: int, n_refer: int, n_streamer: int, dim: int, bound: bool) -> None:
        """Create the six maps."""
        super().__init__()
        self.a, self.e = nn.Linear(n_user, dim), nn.Linear(n_user, dim)
        self.b, self.c = nn.Linear(n_refer, dim), nn.Linear(n_refer, dim)
        self.d, self.f = nn.Linear(n_streamer, dim), nn.Linear(n_streamer, dim)
        self.bound = bound
        self.width = 2 * dim

    def u2r(self, user: Tensor, refer: Tensor) -> Tensor:
        """Return how much each user likes the refer, [B]."""
        raw = (self.a(user) * self.b(refer)).sum(1)
        return torch.sigmoid(raw) if self.bound else raw

    def request(self, user: Tensor, refer: Tensor, present: Tensor) -> Tensor:
        """Return [u2r c(r); e(u)], [B, 2 dim]; see `Match`."""
        pull = (self.u2r(user, refer) * present)[:, None] * self.c(refer)
        return torch.cat([pull, self.e(user)], dim=1)

    def streamer(self, streamer: Tensor) -> Tensor:
        """Return [d(i); f(i)], [N, 2 dim]; see `Match`."""
        return torch.cat([self.d(streamer), self.f(streamer)], dim=1)
