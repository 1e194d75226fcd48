"""Decayed counters of entities per scenario, and smoothed lifts over the base rates.

A lift compares what happened with what the base rates of the scenarios made likely:
log((happened + a) / (expected + a)), with `a` pseudo-events of shrinkage. It is the log of the
posterior mean of a Poisson rate ratio under a Gamma(a, a) prior (DuMouchel 1999, section 2, without
the mixture). It is 0 for an entity never met, whatever the target's base rate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim.schema import SCENARIOS, Ints

_BASE = 0.05
"""Base rate of a target before anything was seen, worth one impression."""


class Counters:
    """Sums per (entity, scenario, field); field 0 counts impressions, the others events.

    Args:
        fields: names of the event fields; F of them.
        half_life_s: after this time an event counts half.
        shrinkage: pseudo-events `a` of the lifts.

    Attributes:
        sums: float32 [E, S, 1 + F]; entity 0 stands for unknown and stays empty.
        totals: float64 [S, 1 + F], over all entities.
    """

    def __init__(self, fields: Sequence[str], half_life_s: float, shrinkage: float) -> None:
        """Start empty."""
        self.fields = tuple(fields)
        self.half_life_s = half_life_s
        self.shrinkage = shrinkage
        self.sums = np.zeros((1, len(SCENARIOS), 1 + len(self.fields)), np.float32)
        self.totals = np.zeros((len(SCENARIOS), 1 + len(self.fields)), np.float64)
        self._current = np.zeros(0, np.bool_)
        self._forget()

    def grow(self, n_entities: int) -> None:
        """Make room for entities 1 .. `n_entities`."""
        if n_entities >= len(self.sums):
            shape = (max(n_entities + 1, 2 * len(self.sums)), *self.sums.shape[1:])
            grown = np.zeros(shape, np.float32)
            grown[: len(self.sums)] = self.sums
            self.sums = grown
            self._forget()

    def decay(self, elapsed_s: float) -> None:
        """Let `elapsed_s` seconds pass."""
        factor = 0.5 ** (elapsed_s / self.half_life_s)
        self.sums *= np.float32(factor)
        self.totals *= factor
        self._forget()

    def add(self, entity: Ints, scenario: Ints, field: int, amount: NDArray[np.float64]) -> None:
        """Add `amount` [N] to field number `field` of the cells (`entity`, `scenario`) [N]."""
        width = self.sums.shape[2]
        cell = (entity.astype(np.int64) * len(SCENARIOS) + scenario) * width + field
        np.add.at(self.sums.reshape(-1), cell, amount.astype(np.float32))
        self.totals[:, field] += np.bincount(scenario, amount, len(SCENARIOS))
        self._forget()

    def base(self) -> NDArray[np.float32]:
        """Return events per impression, float32 [S, F]."""
        rate = (self.totals[:, 1:] + _BASE) / (self.totals[:, :1] + 1.0)
        return np.asarray(rate, np.float32)

    def lifts(self, entity: Ints) -> NDArray[np.float32]:
        """Return lifts over all scenarios, float32 [..., F], for `entity` [...]."""
        self._compute(entity)
        lifts: NDArray[np.float32] = self._lifts[entity]
        return lifts

    def lifts_in(self, entity: Ints, scenario: Ints) -> NDArray[np.float32]:
        """Return lifts inside one scenario, float32 [..., F]; arguments of one shape [...]."""
        self._compute(entity)
        lifts: NDArray[np.float32] = self._lifts_in[entity, scenario]
        return lifts

    def shown(self, entity: Ints) -> NDArray[np.float32]:
        """Return log(1 + impressions) over all scenarios, float32 [...]."""
        shown: NDArray[np.float32] = np.log1p(self.sums[entity, :, 0].sum(axis=-1))
        return shown

    def shown_in(self, entity: Ints, scenario: Ints) -> NDArray[np.float32]:
        """Return log(1 + impressions) inside one scenario, float32 [...]."""
        shown: NDArray[np.float32] = np.log1p(self.sums[entity, scenario, 0])
        return shown

    def restore(self, sums: NDArray[np.float32], totals: NDArray[np.float64]) -> None:
        """Take over copies of the two tables."""
        self.sums, self.totals = np.array(sums, np.float32), np.array(totals, np.float64)
        self._forget()

    def _forget(self) -> None:
        """Mark all lifts as stale."""
        n, n_scenarios, width = self.sums.shape
        if len(self._current) != n:
            self._lifts = np.zeros((n, width - 1), np.float32)
            self._lifts_in = np.zeros((n, n_scenarios, width - 1), np.float32)
        self._current = np.zeros(n, np.bool_)

    def _compute(self, entity: Ints) -> None:
        """Bring the lifts of these entities up to date: each is computed once per change."""
        if len(self._current) != len(self.sums):
            self._forget()
        stale = ~self._current[entity]
        if not stale.any():
            return
        rows = np.unique(entity[stale])
        base = self.base()
        expected = self.sums[rows][:, :, :1] * base
        happened = self.sums[rows][:, :, 1:]
        a = np.float32(self.shrinkage)
        self._lifts_in[rows] = np.log((happened + a) / (expected + a))
        self._lifts[rows] = np.log((happened.sum(axis=1) + a) / (expected.sum(axis=1) + a))
        self._current[rows] = True
