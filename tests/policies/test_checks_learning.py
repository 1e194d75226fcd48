"""Faults of learning that the suite finds: dead weights, foreign rows, broken chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from policies.architecture import Architecture
from policies.checks import Failure, policy_checks
from policies.columns import Statistics
from policies.models.shared_bottom import SharedBottom, SharedBottomNetwork
from policies.multitask import MultiTaskPolicy
from policies.neural import EncoderConfig
from sim.schema import SCENARIOS, Requests
from tests.policies.broken import Scores, Sound
from tests.policies.planted_learning import preset


class Forgotten(SharedBottomNetwork):
    """Has a layer that its forward pass forgot."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.forgotten = nn.Linear(3, 3)


class Detached(SharedBottomNetwork):
    """Learns its upper layers only."""

    def upper(self, first: Tensor) -> Tensor:
        return super().upper(first.detach())


class Masked(SharedBottomNetwork):
    """Adds a level of each scenario, computed on all rows and masked."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.levels = nn.ModuleList(nn.Linear(1, 1) for _ in SCENARIOS)

    def request_side(self, request: Any) -> Tensor:
        part = super().request_side(request)
        for s, level in enumerate(self.levels):
            mine = (request.scenario == s).float()[:, None]
            part = part + mine * level(torch.ones_like(mine))
        return part


class Routed(Masked):
    """The same on the rows of each scenario alone."""

    def request_side(self, request: Any) -> Tensor:
        part = SharedBottomNetwork.request_side(self, request)
        for s, level in enumerate(self.levels):
            rows = torch.nonzero(request.scenario == s).flatten()
            if len(rows):
                part = part.index_add(0, rows, level(torch.ones(len(rows), 1)).expand(-1, 64))
        return part


@dataclass(frozen=True)
class Faulty(Architecture):
    network: type[SharedBottomNetwork]

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        sound = SharedBottom(refer=False, bottom=[64], towers=[16])
        return self.network(statistics, encoder, sound, targets)


def outcome(factory: Any, check: str) -> str:
    """Return the message of one check, '' where it passes."""
    try:
        dict(policy_checks(factory))[check]()
    except Failure as error:
        return str(error)
    return ""


FOUND_HERE = ("learning_reaches_all", "foreign_rows", "chains")
"""Checks whose broken policies stand in this file."""


@pytest.mark.parametrize(
    ("network", "check", "message"),
    [
        (SharedBottomNetwork, "learning_reaches_all", ""),
        (Forgotten, "learning_reaches_all", "none for forgotten.weight, forgotten.bias;"),
        (Detached, "learning_reaches_all", "none for request.user.ids.table, "),
        (Masked, "foreign_rows", "zeros for levels."),
        (Routed, "foreign_rows", ""),
    ],
)
def test_wiring(network: type[SharedBottomNetwork], check: str, message: str) -> None:
    base = preset("shared_bottom")

    def policy() -> MultiTaskPolicy:
        shared = {key: getattr(base, key) for key in ("fusion", "features", "encoder", "trainer")}
        return MultiTaskPolicy(Faulty(network), dict(base.target_weights), **shared)

    found = outcome(policy, check)
    assert message in found if message else found == ""


class Promises(Sound):
    chains: tuple[tuple[str, str], ...] = (("engage", "like"),)

    def predict(self, requests: Requests) -> dict[str, Scores]:
        engage = np.abs(np.cos(1.0 * requests.candidate_id))
        return {"engage": engage, "like": np.asarray(0.5 * engage)}


class Breaks(Promises):
    chains = (("like", "engage"),)


class Unknown(Promises):
    chains = (("engage", "ctr"),)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (Promises, ""),
        (Breaks, "P(engage) <= P(like) for every candidate"),
        (Unknown, "('engage', 'ctr')"),
    ],
)
def test_chains(factory: type[Promises], message: str) -> None:
    found = outcome(factory, "chains")
    assert message in found if message else found == ""
