"""A panel: what every cluster of an experiment did, and what it did before.

A metric is a ratio of sums y / x over clusters (users, sessions, blocks). The time before the
experiment gives the covariate of CUPED, another ratio of the same clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.online import UserTotals
from evaluation.results import ALL

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """Sums per cluster [U]; clusters without data in the experiment are left out.

    Raises:
        ValueError: a length differs, a value is not finite, or only half of `before` is given.
    """

    numerator: Array
    denominator: Array
    before_numerator: Array | None = None
    """Sums of the time before; None where nothing is known of it."""
    before_denominator: Array | None = None

    def __post_init__(self) -> None:
        """Check lengths and values."""
        if (self.before_numerator is None) != (self.before_denominator is None):
            raise ValueError("before_numerator and before_denominator: both or none must be given")
        for name in ("numerator", "denominator", "before_numerator", "before_denominator"):
            column = getattr(self, name)
            if column is None:
                continue
            if column.shape != (len(self.numerator),):
                raise ValueError(
                    f"{name} has shape {column.shape}; must be [U] = ({len(self.numerator)},)"
                )
            if not np.isfinite(column).all():
                bad = int((~np.isfinite(column)).sum())
                raise ValueError(f"{name} has {bad} values that are not finite")

    def __len__(self) -> int:
        return len(self.numerator)

    @property
    def has_before(self) -> bool:
        """Whether the time before is known."""
        return self.before_numerator is not None

    @property
    def columns(self) -> Array:
        """The columns side by side [U, 2 or 4], in the order of `evaluation.ab.level`."""
        known = [self.numerator, self.denominator]
        if self.before_numerator is not None and self.before_denominator is not None:
            known += [self.before_numerator, self.before_denominator]
        return np.column_stack(known)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.integer]) -> Panel:
        """Return the panel of some clusters."""
        before, below = self.before_numerator, self.before_denominator
        return Panel(
            self.numerator[rows],
            self.denominator[rows],
            None if before is None else before[rows],
            None if below is None else below[rows],
        )


def panel_of(
    totals: UserTotals, metric: str, scenario: str = ALL, before: UserTotals | None = None
) -> tuple[Panel, NDArray[np.int64]]:
    """Return the panel of the users with data, and who they are.

    Args:
        totals: of the experiment.
        metric: of `evaluation.online.METRICS`.
        scenario: of `evaluation.online.SCOPES`.
        before: of the time before, same metric; may know fewer users, who came later.

    Returns:
        The panel, and the user id of each of its rows.

    Raises:
        ResultsError: the metric or the scenario is unknown.
        ValueError: `before` knows more users.
    """
    y, x = totals.columns(metric, scenario)
    users = np.flatnonzero((y != 0.0) | (x != 0.0))
    if before is None:
        return Panel(y[users], x[users]), users
    if before.users > totals.users:
        raise ValueError(
            f"before knows {before.users} users and the experiment {totals.users}; "
            "must be at most as many"
        )
    more = (0, totals.users - before.users)
    early, below = (np.pad(column, more)[users] for column in before.columns(metric, scenario))
    return Panel(y[users], x[users], early, below), users
