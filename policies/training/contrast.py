"""Groups and blocks of rows to draw partners and negatives from; the contrastive losses of SASS."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class Groups:
    """Rows sorted by an integer key, so that members of a row's group can be drawn uniformly.

    Args:
        key: int64 [N], group of each row.
    """

    def __init__(self, key: Tensor) -> None:
        """Sort once."""
        self.order = torch.argsort(key, stable=True)
        _, inverse, counts = torch.unique(key, return_inverse=True, return_counts=True)
        starts = torch.cumsum(counts, 0) - counts
        self.start, self.count = starts[inverse], counts[inverse]

    def draw(self, rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """Return `n` members of the group of each row, int64 [len(rows), n], with replacement."""
        u = torch.rand((len(rows), n), generator=generator, dtype=torch.float64)
        place = (u * self.count[rows][:, None]).long()
        return self.order[self.start[rows][:, None] + place]


class Blocks:
    """Rows of equal key, cut into blocks of at most `size`.

    Args:
        rows: int64 [N].
        key: int64 [N], of each of the rows; blocks come in the order of keys.
        size: at least 1.

    Attributes:
        starts: int64 [blocks], at which of the rows, sorted by key, each block begins.
    """

    def __init__(self, rows: Tensor, key: Tensor, size: int) -> None:
        """Sort once."""
        order = torch.argsort(key, stable=True)
        self.rows, self.size = rows[order], size
        counts = torch.unique_consecutive(key[order], return_counts=True)[1]
        place = torch.arange(len(rows)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        self.starts = torch.nonzero(place % size == 0).flatten()
        self._count = torch.diff(self.starts, append=torch.tensor([len(rows)]))

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self.starts)

    def take(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of blocks [n], int64 [n, size], and which are real, bool [n, size].

        Blocks that are not full repeat their first row.
        """
        start, place = self.starts[blocks][:, None], torch.arange(self.size)
        filled = place < self._count[blocks][:, None]
        return self.rows[start + place * filled], filled


class Partners:
    """Draws, for a row, another row of the same owner in a different scenario.

    Args:
        owner: int64 [N], user or streamer of each row.
        scenario: int64 [N].

    Attributes:
        anchors: int64 [A], rows whose owner was met in at least two scenarios.
    """

    def __init__(self, owner: Tensor, scenario: Tensor) -> None:
        """Sort by owner and scenario."""
        n_scenarios = int(scenario.max()) + 1 if len(scenario) else 1
        self._own = Groups(owner * n_scenarios + scenario)
        self._all = Groups(owner)  # same order of owners, so each own group is one range of it
        self._order = self._own.order
        self.anchors = torch.nonzero(self._own.count < self._all.count).flatten()

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return one partner per row, int64 [len(rows)]; rows must be anchors."""
        n_own, n_all = self._own.count[rows], self._all.count[rows]
        u = torch.rand(len(rows), generator=generator, dtype=torch.float64)
        place = self._all.start[rows] + (u * (n_all - n_own)).long()
        own = self._own.start[rows]
        return self._order[torch.where(place >= own, place + n_own, place)]


def info_nce(a: Tensor, b: Tensor, owner: Tensor, temperature: float) -> Tensor:
    """Return the InfoNCE loss of paired views, a scalar.

    For each of the 2n unit vectors its pair is the positive and the other 2n - 2 are negatives,
    except those of the same owner. Source: SASS (arXiv 2208.11457), stage 1.

    Args:
        a: unit vectors [n, D].
        b: the other views, unit vectors [n, D].
        owner: int64 [n].
        temperature: positive.
    """
    n = len(a)
    both, owners = torch.cat([a, b]), torch.cat([owner, owner])
    similar = both @ both.T / temperature
    partner = (torch.arange(2 * n) + n) % (2 * n)
    hidden = owners[:, None] == owners[None, :]
    hidden[torch.arange(2 * n), partner] = False
    return functional.cross_entropy(similar.masked_fill(hidden, float("-inf")), partner)


def triplet(positive: Tensor, negative: Tensor, valid: Tensor, margin: float) -> Tensor:
    """Return the mean of max(0, margin - s+ + s-) over valid triplets, a scalar.

    Args:
        positive: scores s+ [n].
        negative: scores s- [n, M].
        valid: bool [n, M], False where the negative is the positive's streamer.
        margin: at least 0.
    """
    hinge = functional.relu(margin - positive[:, None] + negative) * valid
    return hinge.sum() / valid.sum().clamp(min=1)
