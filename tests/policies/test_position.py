"""What stands lower is seen less: the position table learns it within the steps of a fit."""

from __future__ import annotations

import torch
from torch.nn import functional

from policies.blocks.split import SplitLinear
from policies.columns import SideStatistics, Statistics
from policies.features import PAIR_FIELDS

DECAY, N_POSITIONS = 0.85, 8


def test_the_effect_of_position_is_learnt_in_as_many_steps_as_a_fit_has() -> None:
    torch.manual_seed(0)
    n_pair = len(PAIR_FIELDS)
    side = SideStatistics((), (), torch.zeros(0), torch.ones(0))
    statistics = Statistics(
        side, side, side, side, torch.zeros(n_pair), torch.ones(n_pair), torch.full((8,), 0.2),
        N_POSITIONS,
    )  # fmt: skip
    first, head = SplitLinear(4, 4, statistics, 64, True), torch.nn.Linear(64, 1)
    taste = torch.randn(8)

    def logit(x: torch.Tensor, position: torch.Tensor | None) -> torch.Tensor:
        request, streamer = first.request_part(x[:, :4]), first.streamer_part(x[:, 4:])
        h = first(request, streamer, torch.zeros(len(x), n_pair), position).relu()
        out: torch.Tensor = head(h)
        return out[:, 0]

    # as conf/policy/dbmtl.yaml
    parameters = [*first.parameters(), *head.parameters()]
    steps, rate = 250, 0.006
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=1.0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1.0 - 0.9 * step / steps)
        x, position = torch.randn(2048, 8), torch.randint(N_POSITIONS, (2048,), dtype=torch.int32)
        p = DECAY**position * torch.sigmoid(x @ taste - 0.5)
        y = (torch.rand(2048) < p).float()
        optimiser.zero_grad()
        torch.autograd.backward(functional.binary_cross_entropy_with_logits(logit(x, position), y))
        optimiser.step()
    with torch.inference_mode():
        x = torch.randn(4096, 8)
        top = torch.sigmoid(logit(x, None)).mean()
        low = torch.sigmoid(logit(x, torch.full((4096,), 7, dtype=torch.int32))).mean()
        beyond = torch.sigmoid(logit(x, torch.full((4096,), 60, dtype=torch.int32))).mean()
    assert abs(float(low / top) - DECAY**7) < 0.08
    assert float(beyond) == float(low)
