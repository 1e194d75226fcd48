"""Inference for a switchback: pairs of blocks are the independent units, not users or sessions.

Every pair gives the sums of its treated and of its control block. The estimate is the difference or
lift of the two arms' ratios, paired by pair, with Student's t on (pairs - 1) degrees of freedom.
Under no effect and no carry-over the arms of every pair are exchangeable by design, so that the
test by flipping coins anew is exact (`flipped`); the error knows nothing of carry-over, which
moves the estimate itself (`evaluation.ab.assignment.Switchback`).
Axis letters: P pairs, R runs, N impressions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluation import intervals
from evaluation.ab.assignment import Switchback, redrawn
from evaluation.ab.contrast import Contrast, Unit, within
from evaluation.ab.effect import Effect, of_estimate
from evaluation.ab.twin_run import TwinRun
from evaluation.intervals import Estimate, cluster_sums, ratio
from evaluation.results import ALL

Array = NDArray[np.float64]

_ROUNDING = 1e-9
"""Relative difference of statistics that are the same but for rounding."""


@dataclass(frozen=True)
class PairedBlocks:
    """Sums y and x of a metric in both blocks of each pair [P]."""

    treated: tuple[Array, Array]
    control: tuple[Array, Array]
    events: int
    """Users with an event in a block, of the arm with fewer."""

    def __len__(self) -> int:
        return len(self.treated[0])

    def estimate(self, unit: Unit) -> Estimate:
        """Return the difference or lift, clustered by pair."""
        compare = intervals.lift if unit == "lift" else intervals.difference
        # a few blocks hold many events each: what counts as few is asked of users
        high, low = (ratio(y, x) for y, x in (self.treated, self.control))
        found = compare(high, low)
        return replace(found, events=self.events)

    def effect(self, metric: str, unit: Unit) -> Effect:
        """Return the difference or lift as the effect on a metric."""
        return of_estimate("switchback", metric, unit, self.estimate(unit), "pair of blocks")

    def flipped(self, runs: int, unit: Unit = "difference", seed: int = 0) -> Contrast:
        """Return the contrasts [R] if the coins of all pairs had fallen anew.

        Args:
            runs: R.
            unit: "difference" or "lift".
            seed: of the coins.
        """
        swap = redrawn(len(self), runs, 0.5, seed)
        (y1, x1), (y0, x0) = self.treated, self.control
        one = np.where(swap, y0, y1), np.where(swap, x0, x1)
        other = np.where(swap, y1, y0), np.where(swap, x1, x0)
        return within(one, other, unit)

    def randomisation_p(self, runs: int = 4000, unit: Unit = "difference", seed: int = 0) -> float:
        """Return the p-value of no effect by flipping coins, at least 1 / (runs + 1).

        NaN where nothing can be tested: without pairs, events or spread.
        """
        own = float(np.abs(within(self.treated, self.control, unit).statistic))
        if np.isnan(own):
            return own
        others = np.abs(self.flipped(runs, unit, seed).statistic)
        # all coins the other way lie as far, but for the last digits
        as_far = (others >= own * (1.0 - _ROUNDING)) | np.isnan(others)
        return float((1 + as_far.sum()) / (1 + runs))


def paired_blocks(
    served: TwinRun, plan: Switchback, metric: str, scenario: str = ALL, ultimate: bool = False
) -> PairedBlocks:
    """Add up a metric in the blocks of complete pairs, after the washout.

    A metric per user counts a user once in each block in which they came.

    Args:
        served: what `evaluation.ab.traffic.Traffic` with this plan left.
        plan: the schedule.
        metric: of `evaluation.online.METRICS`.
        scenario: of `evaluation.online.SCOPES`.
        ultimate: whether to count purchases that came later.

    Raises:
        ResultsError: the metric or the scenario is unknown.
    """
    shown = served.shown
    pair, _ = plan.pairs_of(shown.session_start_s)
    arm = plan.arms_of(shown.user_id, shown.session_start_s)
    block = np.where(plan.analysed(shown.session_start_s), 2 * pair + arm, -1)
    blocks = int(block.max(initial=-1)) + 2
    cell = np.where(block >= 0, shown.user_id.astype(np.int64) * blocks + block, -1)
    cells, index = np.unique(cell[cell >= 0], return_inverse=True)
    unit = np.full(len(cell), -1, np.int64)
    unit[cell >= 0] = index
    totals = served.totals_by(unit, len(cells), ultimate)
    y, x = totals.columns(metric, scenario)
    width = blocks + blocks % 2
    of_cell = cells % blocks
    tables = [cluster_sums(v, of_cell, width).reshape(-1, 2) for v in (y, x)]
    with_event = cluster_sums(y != 0.0, of_cell, width).reshape(-1, 2).sum(axis=0)
    there = (tables[1] > 0.0).all(axis=1)
    top, bottom = (table[there] for table in tables)
    return PairedBlocks((top[:, 1], bottom[:, 1]), (top[:, 0], bottom[:, 0]), int(with_event.min()))
