"""The files of a log that hold the rows of its users, each those of one part of them.

Whoever has the rows of a part makes its files: the shard that stepped its users, or the writer of
the log. They are the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from sim.partition import rows_path, shard_of
from sim.schema import SCENARIOS, Impressions
from sim.tables import to_parquet, to_table
from sim.truth import TruthRows

Shown = tuple[Impressions, TruthRows]
"""What was shown in a tick, and its true side row by row."""


def row_files(
    day: int, ticks: Sequence[Shown], parts: Sequence[int], n_parts: int
) -> Iterator[tuple[str, pa.Buffer]]:
    """Yield (name, bytes) of every file with what was shown on a day to the users of some parts.

    Args:
        day: number of the day.
        ticks: what was shown, tick by tick, in the order of the requests.
        parts: which parts.
        n_parts: of how many.
    """
    shown = [Impressions.empty(), *(rows for rows, _ in ticks)]
    truth = [TruthRows.empty(), *(rows for _, rows in ticks)]
    groups = [_by_group(rows, n_parts) for rows in shown]
    for part in parts:
        for code, scenario in enumerate(SCENARIOS):
            rows = [group[part * len(SCENARIOS) + code] for group in groups]
            own = to_table(Impressions.gathered(shown, rows), drop=("scenario",))
            yield rows_path("impressions", day, scenario, part), to_parquet(own)
            true = to_table(TruthRows.gathered(truth, rows))
            yield rows_path("truth/impressions", day, scenario, part), to_parquet(true)


def _by_group(shown: Impressions, n_parts: int) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Return the rows of each part and scenario, those of the first part first."""
    n_groups = n_parts * len(SCENARIOS)
    # few enough for 16 bits, whose sort is linear
    group = (shard_of(shown.user_id, n_parts) * len(SCENARIOS) + shown.scenario).astype(np.int16)
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group, minlength=n_groups))
    return np.split(order, ends[:-1])
