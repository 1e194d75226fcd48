"""Listings: the distinct candidate lists of a batch, so that work per room is done once.

A request's candidates are a row of the supply, seen in one scenario. Many requests share a row;
what depends on room and scenario only is computed once per listing and not once per pair.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.schema import SCENARIOS, Requests, Supply


class Listings:
    """Candidate lists met so far of one supply, numbered 0 .. L-1 in the order of meeting.

    Args:
        supply: the lists; the object is kept, so that its identity can be compared.

    Attributes:
        row: int64 [L], row of the supply.
        scenario: int64 [L], index into SCENARIOS.
    """

    def __init__(self, supply: Supply) -> None:
        """Start with no listing."""
        self.supply = supply
        self.row: NDArray[np.int64] = np.zeros(0, np.int64)
        self.scenario: NDArray[np.int64] = np.zeros(0, np.int64)
        self._slot_of = np.full(len(supply.streamer_id) * len(SCENARIOS), -1, np.int64)

    def __len__(self) -> int:
        """Number of listings L."""
        return len(self.row)

    @property
    def width(self) -> int:
        """Number of candidate columns C."""
        return int(self.supply.streamer_id.shape[1])

    def index(self, requests: Requests) -> NDArray[np.int64]:
        """Return the listing of every request, int64 [B]; lists not met before are added."""
        code = requests.row.astype(np.int64) * len(SCENARIOS) + requests.scenario
        slot: NDArray[np.int64] = self._slot_of[code]
        if (slot < 0).any():
            fresh = np.unique(code[slot < 0])
            self._slot_of[fresh] = np.arange(len(self), len(self) + len(fresh))
            self.row = np.concatenate([self.row, fresh // len(SCENARIOS)])
            self.scenario = np.concatenate([self.scenario, fresh % len(SCENARIOS)])
            slot = self._slot_of[code]
        return slot
