"""Groupings: which of a few kinds of traffic a request belongs to, from what is observed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from policies.features import USER_DAYS
from sim.config import ConfigError, require
from sim.schema import SCENARIOS

if TYPE_CHECKING:
    from torch import Tensor

    from policies.columns import RequestTensors


@runtime_checkable
class Grouping(Protocol):
    """Sorts requests into groups that a multi-scenario model tells apart."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups."""

    def of(self, requests: RequestTensors) -> Tensor:
        """Return the group of each request, int64 [B], an index into `names`."""


@dataclass(frozen=True)
class ByScenario:
    """Where a request comes from (DBMTL 3.0)."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scenarios."""
        return SCENARIOS

    def of(self, requests: RequestTensors) -> Tensor:
        """Return the scenario; see `Grouping`."""
        return requests.scenario


@dataclass(frozen=True)
class ByCalendar:
    """Everyday traffic and that of a promotion, told apart by the platform's own calendar."""

    sale_days: list[int]
    """Days since the world began that belong to the promotion, pre-heat included."""

    def __post_init__(self) -> None:
        """Check the days."""
        good = isinstance(self.sale_days, list) and len(self.sale_days) > 0
        if not good or not all(type(day) is int and day >= 0 for day in self.sale_days):
            raise ConfigError(
                f"ByCalendar.sale_days = {self.sale_days!r}; allowed: a list of days from 0 on"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Everyday first."""
        return ("everyday", "promotion")

    def of(self, requests: RequestTensors) -> Tensor:
        """Return 1 on days of the sale; see `Grouping`."""
        day = requests.day.long()
        return torch.isin(day, torch.tensor(list(self.sale_days), device=day.device)).long()


@dataclass(frozen=True)
class ByTenure:
    """Users who joined lately, or are not known, and the others."""

    new_days: float
    """Days after joining until which a user counts as new."""

    def __post_init__(self) -> None:
        """Check the range."""
        require(self, "new_days", 0.0, 1e6)

    @property
    def names(self) -> tuple[str, ...]:
        """Settled first."""
        return ("settled", "new")

    def of(self, requests: RequestTensors) -> Tensor:
        """Return 1 for new users; see `Grouping`."""
        return (torch.expm1(requests.user.dense[:, USER_DAYS]) <= self.new_days).long()
