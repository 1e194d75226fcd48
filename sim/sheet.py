"""Raw impressions of a tick, as the steps of its sessions write them down."""

from __future__ import annotations

import numpy as np

from sim.kernel import Block

SHOWN = np.dtype(
    [
        ("session", np.int32),
        ("step", np.int16),
        ("position", np.int8),
        ("time_s", np.float64),
        ("refer_id", np.int32),
        ("refer_watch_s", np.float32),
        ("n_candidates", np.int32),
        ("propensity", np.float64),
        ("airing", np.int64),
        ("examined", np.float64),
        ("entered", np.bool_),
        ("watch_s", np.float64),
        ("known_s", np.float64),
        ("p_enter", np.float64),
        ("satisfaction", np.float64),
        ("p_engaged", np.float64),
        ("remaining_s", np.float64),
        ("follows", np.bool_),
    ],
    align=True,
)
"""A raw impression with what later draws need; `session` is a row of the sessions of the tick,
`examined` the probability that the card was looked at."""


class Sheet:
    """Room for raw impressions, which grows as they come."""

    def __init__(self) -> None:
        self._rows = np.empty(1024, SHOWN)
        self._n = 0

    @property
    def rows(self) -> Block:
        """SHOWN [N], all that was kept."""
        return self._rows[: self._n]

    def clear(self) -> None:
        """Forget what was kept, but not the room."""
        self._n = 0

    def room(self, n: int) -> Block:
        """Return room for `n` rows behind those that were kept."""
        if self._n + n > len(self._rows):
            grown = np.empty(2 * (self._n + n), SHOWN)
            # as bytes, which spares numpy from going through the fields
            grown[: self._n].view(np.uint8)[:] = self.rows.view(np.uint8)
            self._rows = grown
        return self._rows[self._n : self._n + n]

    def keep(self, n: int) -> None:
        """Keep the first `n` rows of the room last asked for."""
        self._n += n
