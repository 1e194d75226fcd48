"""What `test_engine` trains in several processes and in one: `python -m ... FOLDER`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from policies.contract import FitContext
from tests.policies.planted_learning import as_log, learning_log, preset


def policy(name: str, tables: str, folder: Path) -> Tensor:
    """Return the weights of a preset that was fitted on a small log, flat."""
    fitted = preset(
        name,
        trainer__steps_per_epoch=5,
        trainer__epochs=1,
        trainer__learning_rate=0.002,
        trainer__tables=tables,
        encoder__id_dropout=0.0,
    ).fit(as_log(learning_log(hours=2, per_hour=60)), FitContext(seed=4, folder=folder))
    return torch.cat([p.detach().flatten() for p in fitted.network_.parameters()])


JOBS: dict[str, Callable[[Path], Tensor]] = {
    "adam": partial(policy, "dbmtl", "adam"),
    "rowwise": partial(policy, "shared_bottom", "rowwise_adagrad"),
}


if __name__ == "__main__":
    out = Path(sys.argv[1])
    for name, job in JOBS.items():
        found = job(out / name)
        torch.save(found, out / f"{name}.{os.environ['RANK']}.pt")
