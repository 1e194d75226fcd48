"""Click rates of streamers, counted over a day: too bold, and repaired by a map."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from evaluation.calibration.recalibration import fit_isotonic, fit_temperature
from evaluation.calibration.reliability import Reliability, reliability
from policies.heuristics import Random
from policies.rank import Exploration, Server
from sim import preset
from sim.simulate import simulate


def main(folder: Path) -> dict[str, Reliability]:
    """Log three days in `folder`: count, fit the maps, judge; one day each."""
    server = Server(Random(), Exploration())
    log = simulate(preset("tiny"), 0, server, 3, folder / "log", ranker_name="random")
    count, fit, judge = (log.between(d * log.day_s, (d + 1) * log.day_s) for d in range(3))
    rows, n_users = count.impressions(), log.catalogue().n_users
    shown = np.bincount(rows.streamer_id, minlength=log.catalogue().n_streamers)
    rate = (np.bincount(rows.streamer_id, rows.engage, len(shown)) + 0.5) / (shown + 1.0)
    then, now = fit.impressions(), judge.impressions()
    fitted = [f(rate[then.streamer_id], then.engage) for f in (fit_isotonic, fit_temperature)]
    predicted = {"counted": rate[now.streamer_id]}
    predicted |= {type(f).__name__: f(predicted["counted"]) for f in fitted}
    return {name: reliability(p, now.engage, now.user_id, n_users) for name, p in predicted.items()}


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        curves = main(Path(folder))
    for name, curve in curves.items():
        ece = curve.ece.interval()
        print(f"{name:15s} ECE {ece.estimate:.4f} ({ece.low:.4f} to {ece.high:.4f}); ", end="")
        print(f"a calibrated prediction would show {curve.noise:.4f}")
