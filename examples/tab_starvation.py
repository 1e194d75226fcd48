"""Does alternating training starve the small tab? Its learning curve beside other ways to train.

Run `python examples/tab_starvation.py [OUT [WORLD ...]]`. Four models of equal widths learn from
the same log, each for as many steps of as many rows: DBMTL 3.0 with batches that alternate between
the scenarios, the same with all rows shuffled, DBMTL 2.0 (one head for all scenarios) on all rows
mixed, and DBMTL 2.0 on the tab's rows alone. What is measured: the AUC of the click on the tab on
the last day, which none of them sees. Source of the question: Taobao Live talk (2021), DBMTL 3.0.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from scipy.special import stdtrit
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from policies import registry
from policies.contract import FitContext
from policies.examples import Examples, replay
from policies.features import FeatureStore
from policies.heuristics import Popularity
from policies.multitask import MultiTaskPolicy
from policies.rank import Exploration, Server
from policies.serving import TwoSided
from policies.training.likelihood import logits
from sim import preset
from sim.config import build
from sim.log import Log
from sim.schema import DAY_S, SCENARIOS, TARGETS
from sim.simulate import simulate

TAB, ENGAGE = SCENARIOS.index("tab"), TARGETS.index("engage")
READINGS = 8
"""Points of a curve."""


@dataclass(frozen=True)
class Way:
    """One way to train."""

    name: str
    policy: str
    """Preset in conf/policy."""
    alternating: bool = False
    """Whether batches take turns; of `dbmtl3` only."""
    only_tab: bool = False


WAYS = (
    Way("alternating", "dbmtl3", alternating=True),
    Way("joint", "dbmtl3"),
    Way("mixed", "dbmtl2"),
    Way("single", "dbmtl2", only_tab=True),
)


class Watched:
    """A task that reads the AUC on held-out rows of the tab as training goes on."""

    def __init__(self, task: Any, network: nn.Module, held: Any, every: int) -> None:
        self.task, self.network, self.held, self.every = task, network, held, every
        self.step, self.curve = 0, [self.read()]

    def __len__(self) -> int:
        return len(self.task)

    def loss(self, rows: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        if training and self.step and self.step % self.every == 0:
            self.curve.append(self.read())
        self.step += training
        return cast("Tensor", self.task.loss(rows, generator, training))

    def read(self) -> float:
        """Return the AUC of the click at the positions where rooms were shown."""
        was = self.network.training
        self.network.eval()
        with torch.no_grad():
            z = logits(cast("TwoSided", self.network), self.held)[:, 0]
        self.network.train(was)
        return float(roc_auc_score(self.held.labels[:, ENGAGE], z))


def policy_of(way: Way, steps: int) -> MultiTaskPolicy:
    """Return the preset with training cut to one epoch of `steps` steps, nothing held out."""
    objective = {"_target_": "sim.config.Objective"} | preset("default").objective.weights()
    root = OmegaConf.create({"objective": objective, "policy": registry.node(way.policy)})
    assert isinstance(root, DictConfig)
    changes = {"epochs": 1, "valid_share": 0.0, "evals_per_epoch": 1, "steps_per_epoch": steps}
    root.policy.trainer.update(changes)
    if way.policy == "dbmtl3":
        root.policy.model.alternating = way.alternating
    return cast("MultiTaskPolicy", build(root.policy))


def curve_of(way: Way, examples: Examples, steps: int, rows: int, seed: int) -> list[float]:
    """Return the AUC on the tab before training, along it, and at its end."""
    policy = policy_of(way, steps)
    past = examples.tick < examples.tick.max() - ticks_a_day(examples) + 1
    held = examples.batch(torch.nonzero(~past & (examples.scenario == TAB)).flatten())
    mine = past & (examples.scenario == TAB) if way.only_tab else past
    own = torch.nonzero(mine).flatten()
    if len(own) < steps * rows:  # the tab alone: its rows again and again, as often as is needed
        own = own.repeat(-(-steps * rows // len(own)))
    own = own[torch.linspace(0, len(own) - 1, steps * rows).long()]
    part = examples.only(own)
    network = policy._seeded(examples.statistics(policy.encoder.min_count), seed)
    (phase,) = policy.phases(network, part)
    task = Watched(phase.task, network, held, max(1, steps // READINGS))
    trainer = replace(phase.trainer, batch_rows=rows)
    trainer.run(network, task, FitContext(seed=seed), way.name, phase.batches)
    return [*task.curve[:READINGS], task.read()]


def ticks_a_day(examples: Examples) -> int:
    """Return how many ticks the last day has, from those of the whole log."""
    return int((examples.tick.max() + 1) // (examples.requests.day.max() + 1))


def curves(
    world: str, n_users: int, days: int, seeds: Sequence[int], steps: int, rows: int
) -> dict[str, list[list[float]]]:
    """Return the curves of every way, one a seed."""
    found: dict[str, list[list[float]]] = {way.name: [] for way in WAYS}
    for seed in seeds:
        config = preset(world)
        config = replace(config, population=replace(config.population, n_users=n_users))
        with TemporaryDirectory() as folder:
            logger = Popularity().fit(Log.nothing(config.tick_s, DAY_S), FitContext())
            server = Server(logger, Exploration(kind="epsilon", eps=0.3))
            log = simulate(
                config, seed, server, days, Path(folder) / "log", ranker_name="popularity"
            )
            store = FeatureStore(policy_of(WAYS[0], 1).features, 32)
            examples = replay(log.as_of(days * DAY_S), store)
        for way in WAYS:
            found[way.name].append(curve_of(way, examples, steps, rows, seed))
            print(world, seed, way.name, f"{found[way.name][-1][-1]:.4f}", flush=True)
    return found


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean over seeds and the ends of its 95 % t-interval."""
    x = np.asarray(values)
    half = stdtrit(len(x) - 1, 0.975) * x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.nan
    return float(x.mean()), float(x.mean() - half), float(x.mean() + half)


def page(found: dict[str, dict[str, list[list[float]]]], setting: str, command: str) -> str:
    """Return the finding as Markdown."""
    lines = [
        "# Does alternating training starve the small tab?",
        "",
        f"Written by `{command}`; do not edit. {setting} AUC of the click on the tab on the "
        "held-out day, mean over seeds and 95 % interval; differences are paired by seed.",
        "",
    ]
    heads = ["training", *(f"{100 * k // READINGS} %" for k in range(READINGS + 1))]
    for world, ways in found.items():
        lines += [f"## World {world}", "", f"| {' | '.join([*heads, 'minus joint'])} |"]
        lines += ["|---" + "|--:" * (len(heads)) + "|"]
        for name, runs in ways.items():
            cells = [f"{interval([run[k] for run in runs])[0]:.3f}" for k in range(READINGS + 1)]
            gaps = [run[-1] - other[-1] for run, other in zip(runs, ways["joint"], strict=True)]
            mean, low, high = interval(gaps)
            gap = "–" if name == "joint" else f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
            lines.append(f"| {' | '.join([name, *cells, gap])} |")
        lines.append("")
    return "\n".join(lines)


def draw(found: dict[str, dict[str, list[list[float]]]], path: Path) -> None:
    """Draw the mean curves, one panel a world."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(found), figsize=(4.5 * len(found), 3.2), squeeze=False)
    for panel, (world, ways) in zip(panels[0], found.items(), strict=True):
        for name, runs in ways.items():
            panel.plot(np.linspace(0, 100, READINGS + 1), np.mean(runs, axis=0), label=name)
        panel.set(title=f"world {world}", xlabel="training steps, %", ylabel="AUC on the tab")
    panels[0, 0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main(
    out: Path,
    worlds: Sequence[str] = ("default", "sparse_tab"),
    n_users: int = 2500,
    days: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int = 240,
    rows: int = 2048,
) -> dict[str, dict[str, list[list[float]]]]:
    """Train every way in every world, and write table, numbers and figure into `out`."""
    torch.set_num_threads(1)
    found = {world: curves(world, n_users, days, seeds, steps, rows) for world in worlds}
    out.mkdir(parents=True, exist_ok=True)
    setting = f"{n_users:,} users, {days} days, {steps} steps of {rows:,} rows each."
    (out / "starvation.json").write_text(json.dumps(found, indent=1) + "\n")
    command = f"python examples/tab_starvation.py {out}"
    (out / "starvation.md").write_text(page(found, setting, command))
    draw(found, out / "starvation.svg")
    return found


if __name__ == "__main__":
    main(
        Path(sys.argv[1] if len(sys.argv) > 1 else "reports/policies"),
        *([sys.argv[2:]] if sys.argv[2:] else []),
    )
