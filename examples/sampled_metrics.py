"""What twenty sampled negatives make of three policies, and what a correction gives back."""

from pathlib import Path
from tempfile import TemporaryDirectory

from evaluation.offline import OfflineProtocol, judge
from evaluation.ranking.corrections import CORRECTIONS, RAW
from evaluation.ranking.metrics import RankMetric
from evaluation.ranking.ranks import Ranks
from evaluation.ranking.sampling_fidelity import (
    SamplingFidelity,
    best_correction,
    expected_fidelity,
)
from policies.contract import FitContext
from policies.heuristics import Popularity, Random, Recency
from policies.rank import Exploration, Server
from sim import preset
from sim.simulate import simulate


def main(folder: Path) -> tuple[dict[str, SamplingFidelity], str]:
    """Log two days in `folder`; return the fidelity of each correction, and the nearest one."""
    server = Server(Random(), Exploration())
    log = simulate(preset("tiny"), 0, server, 2, folder / "log", ranker_name="random")
    past, held_out = log.as_of(log.day_s), log.between(log.day_s, 2 * log.day_s)
    metric, ranks = RankMetric.parse("ndcg@10"), {}
    for policy in (Random(), Recency(), Popularity()):
        fitted = policy.fit(past, FitContext())
        judged = judge(fitted, held_out, OfflineProtocol(), fitted_until_s=log.day_s)
        ranks[type(policy).__name__] = Ranks.concat([]) if judged is None else judged.queries.ranks
    found = {c.name: expected_fidelity(c, metric, ranks, 20) for c in (RAW, *CORRECTIONS)}
    return found, best_correction(metric, ranks, 20, CORRECTIONS, by="value")[0].name


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        found, nearest = main(Path(folder))
    for name, way in found.items():
        print(f"{name:8s} error {way.error:.4f}, pairs in order {way.right_order:.3f}", end="; ")
        print(", ".join(way.order) + (" (blind)" if way.blind else ""))
    print(f"nearest to ndcg@10 among all rooms: {nearest}")
