"""What popularity would bring at the top of a page, from a day of random pages, beside the truth.

The truth counts purchases that are reported after the day, which the log does not yet hold.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from evaluation.hindsight import Hindsight
from evaluation.off_policy.assessment import Assessment, Beside, assess_rounds, beside
from evaluation.off_policy.replay import ServedPolicy, observed_worth, replay
from policies.contract import FitContext
from policies.heuristics import Popularity, Random
from policies.rank import Exploration, Server
from sim import World, preset
from sim.log import Log
from sim.simulate import simulate


def main(folder: Path) -> tuple[Assessment, dict[str, Beside]]:
    """Log a day in `folder`; return the panel and each estimate beside the truth."""
    world = World(preset("tiny"), seed=0)
    server = Server(Random(), Exploration())
    log = simulate(world.config, world.seed, server, 1, folder / "log", ranker_name="random")
    policy = Popularity().fit(Log.nothing(log.tick_s, log.day_s), FitContext())  # learns as it goes
    target = ServedPolicy(policy, Exploration("softmax", temperature=0.1))
    truth = Hindsight(world, world.state, log).open()
    reward = observed_worth(log.impressions(), world.config.objective)
    seen = replay(log, target, reward, places=False, truth_for=truth.truth_for)
    panel = assess_rounds(seen.rounds(), seen.tops.unsupported)
    value = float(seen.tops.true_value.mean())
    return panel, {name: beside(f.estimate, value) for name, f in panel.findings.items()}


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        panel, found = main(Path(folder))
    overlap, truth = panel.overlap, next(iter(found.values())).truth
    print(f"{overlap.n} rounds are worth {overlap.effective_n:.0f} of the target; ", end="")
    print(f"logged {panel.logged.value:.3f}, target in truth {truth:.3f}")
    for name, own in found.items():
        ends = f"{own.interval.low:.3f} to {own.interval.high:.3f}"
        print(f"{name:12s} {own.interval.estimate:.3f} ({ends}) holds the truth: {own.covers}")
