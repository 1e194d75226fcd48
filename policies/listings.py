"""Listings: the distinct candidate lists of batches, so that work per room is done once.

A request's candidates are a row of the supply, seen in one scenario. Many requests share a row;
what depends on room and scenario only is computed once per listing and not once per pair. Lists are
told apart by their contents, since every batch comes with a supply of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.schema import SCENARIOS, Requests, Supply


class Listings:
    """Candidate lists met so far, numbered 0 .. L-1 in the order of meeting.

    Args:
        supply: any supply whose lists are as wide as those to come.

    Attributes:
        width: number of candidate columns C.
    """

    def __init__(self, supply: Supply) -> None:
        """Start with no listing."""
        self.width = int(supply.streamer_id.shape[1])
        self._number: dict[tuple[int, bytes, bytes, bytes], int] = {}

    def __len__(self) -> int:
        """Number of listings L."""
        return len(self._number)

    def index(
        self, requests: Requests
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Number the lists of the requests; lists not met before are added.

        Returns:
            The listing of every request, int64 [B]; row in `requests.supply` and scenario of each
            list that is new, int64 [F], in the order of their numbers.
        """
        code = requests.row.astype(np.int64) * len(SCENARIOS) + requests.scenario
        used, of = np.unique(code, return_inverse=True)
        row, scenario = used // len(SCENARIOS), used % len(SCENARIOS)
        supply = requests.supply
        number = np.empty(len(used), np.int64)
        fresh: list[int] = []
        for i, (r, code_) in enumerate(zip(row.tolist(), scenario.tolist(), strict=True)):
            key = (
                code_,
                supply.streamer_id[r].tobytes(),
                supply.product_id[r].tobytes(),
                supply.room_start_s[r].tobytes(),
            )
            known = len(self._number)
            number[i] = self._number.setdefault(key, known)
            if number[i] == known:
                fresh.append(i)
        return number[of], row[fresh], scenario[fresh]
