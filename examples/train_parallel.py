"""Train a policy in several processes, each with its share of every batch.

    swipelab simulate world=tiny days=2 out=log
    torchrun --standalone --nproc-per-node 2 examples/train_parallel.py log dbmtl out

Any policy that trains by `policies.training.trainer.Trainer` does so under `torchrun` as it is; the
weights are those of one process up to rounding. The first process writes.
"""

import os
import sys
from pathlib import Path

from evaluation.overrides import composed
from policies.contract import FitContext
from policies.neural import NeuralPolicy
from sim.config import build
from sim.log import Log


def main(log: Path, name: str, out: Path) -> NeuralPolicy:
    """Fit the preset `name` on a log; write checkpoints, metrics and the policy into `out`."""
    (config,) = composed("study", [f"policy={name}"], swept=False)
    policy: NeuralPolicy = build(config.policies[name])
    policy.fit(Log.open(log), FitContext(folder=out, progress=True))
    if os.environ.get("RANK", "0") == "0":
        policy.save(out)
    return policy


if __name__ == "__main__":
    fitted = main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
    print(f"{fitted.record_.steps} steps, held-out loss {fitted.record_.valid_loss:.4f}")
