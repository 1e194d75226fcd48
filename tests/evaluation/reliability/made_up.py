"""Made-up worlds: policies of known worth, and methods that say what they are told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from evaluation.intervals import Estimate
from evaluation.reliability.methods import Method, Score
from evaluation.reliability.pairs import Cell, pair_frame, score_frame

USERS = 50


def number(value: float, at: int, error: float = 1e-3) -> Estimate:
    """Return an estimate over USERS users with a standard error.

    Influences of numbers at different places `at` are orthogonal, as those of independent samples.
    """
    wave = np.cos(2.0 * np.pi * (at + 1) * np.arange(USERS) / USERS)  # sums to 0
    influence = wave * error / np.sqrt(USERS / (USERS - 1) * np.dot(wave, wave))
    return Estimate(value, influence, np.ones(USERS, np.bool_), USERS)


def cell(
    worth: Sequence[float],
    said: Mapping[Method, Sequence[float]],
    *,
    world: str = "here",
    seed: int = 0,
    error: float = 1e-3,
    draw_error: float = 0.0,
    true_error: float = 1e-3,
) -> Cell:
    """Return a world of policies "a", "b", ... with their worth and what methods say of them."""
    names = [chr(ord("a") + i) for i in range(len(worth))]
    scores = {
        name: {
            method: Score(number(values[i], i, error), draw_error if method.m else 0.0)
            for method, values in said.items()
        }
        for i, name in enumerate(names)
    }
    truth = {
        name: number(value, i, true_error)
        for i, (name, value) in enumerate(zip(names, worth, strict=True))
    }
    return Cell(world, seed, truth, scores)


def frames(*cells: Cell) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return pairs and scores of worlds."""
    pairs = pd.concat([pair_frame(one) for one in cells], ignore_index=True)
    scores = pd.concat([score_frame(one) for one in cells], ignore_index=True)
    return pairs, scores
