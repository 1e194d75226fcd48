"""A study folder with made-up numbers, for tests of what reads study folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from evaluation.intervals import Interval
from evaluation.results import Results, Subject

NAN = float("nan")
WORTH = {
    "oracle": 0.31, "dbmtl": 0.112, "sass": 0.101, "rui3": 0.094, "shared_bottom": 0.082,
    "recency": 0.004, "popularity": 0.0, "random": -0.118,
}  # fmt: skip
HIT_RATE = {
    "oracle": 0.322, "dbmtl": 0.221, "sass": 0.214, "rui3": 0.217, "shared_bottom": 0.205,
    "recency": 0.094, "popularity": 0.142, "random": 0.048,
}  # fmt: skip
SAMPLED = {
    "oracle": 0.812, "dbmtl": 0.701, "sass": 0.722, "rui3": 0.694, "shared_bottom": 0.706,
    "recency": 0.481, "popularity": 0.512, "random": 0.452,
}  # fmt: skip
ONLINE = {
    "value_per_user": 3.1, "page_ctr": 0.084, "watch_s_per_user": 412.0,
    "purchases_per_user": 0.041, "gmv_cny_per_user": 6.2,
}  # fmt: skip
HORIZONS = (("24h", 0.6), ("latest", 0.8), ("ultimate", 1.0))
"""Slice, and share of the ultimate rate."""


def rows(
    policies: Sequence[str] = tuple(WORTH),
    seed: int = 0,
    survival: bool = True,
    control: str = "popularity",
) -> Results:
    """Return a results table whose numbers follow WORTH, HIT_RATE and SAMPLED."""
    noise = np.random.default_rng(seed)
    results = Results()
    for policy in policies:
        subject = Subject("quickstart", seed, policy)
        for scenario, gain in (("all", 1.0), ("channel", 1.2), ("tab", 0.8), ("swipe", 0.95)):
            for metric, base in ONLINE.items():
                if metric == "page_ctr" and scenario == "swipe":
                    continue
                lift = WORTH[policy] * gain + (0.004 * noise.standard_normal() if seed else 0.0)
                half = 0.011 if scenario == "all" else 0.024
                about = {"scenario": scenario}
                level = Interval(base * (1 + lift), base * (1 + lift) * 0.97, base * 1.4, 4000)
                results.append(subject.level(metric, "online", level, **about))
                if policy != control and control in policies:
                    about_lift = Interval(lift, lift - half, lift + half, 4000)
                    results.append(subject.lift(metric, "online", about_lift, control, **about))
        offline = {
            "hr@10": HIT_RATE[policy],
            "hr@10/s20": SAMPLED[policy],
            "ndcg@10": HIT_RATE[policy] * 0.55,
            "ndcg@10/s20": HIT_RATE[policy] * 1.8,
            "gauc/engage": 0.5 + HIT_RATE[policy] * 0.7,
            "auc/engage": 0.5 + SAMPLED[policy] * 0.35,
            "logloss/engage": 0.35 - HIT_RATE[policy] * 0.3,
            "pcoc/engage": 1.02 if policy != "random" else 4.3,
        }
        for metric, share in offline.items():
            interval = Interval(share, share * 0.97, share * 1.03, 9000)
            results.append(subject.level(metric, "offline", interval))
    world = Subject("quickstart", seed, "")
    for scenario, truth in (("channel", 0.061), ("tab", 0.052), ("swipe", 0.034)):
        for horizon, seen in HORIZONS if survival else ():
            about = {"scenario": scenario, "slice": horizon}
            real = truth * seen
            for name, share in (("naive", 0.68), ("km", 0.98), ("cure", 1.01)):
                value = Interval(real * share, real * (share - 0.03), real * (share + 0.03), 5000)
                if name == "km" and horizon == "ultimate":
                    value = Interval(NAN, NAN, NAN, 5000)  # beyond what was observed
                results.append(world.level(f"cvr/{name}", "offline", value, **about))
            if horizon == "latest":
                until = Interval(5.5 * 86400, NAN, NAN, 5000)
                results.append(world.level("cvr_readable_s", "offline", until, **about))
            exact = Interval(real, NAN, NAN, 5000)
            results.append(world.level("cvr/truth", "truth", exact, **about))
    return results


def curves() -> pd.DataFrame:
    """Return survival curves of three scenarios, as a study stores them."""
    t_s = np.linspace(0, 72 * 3600, 400)
    parts = []
    for scenario, ultimate in (("channel", 0.061), ("tab", 0.052), ("swipe", 0.034)):
        truth = ultimate * (1 - np.exp(-((t_s / 36000) ** 0.7)))
        for estimator, share, half in (("km", 0.98, 0.06), ("cure", 1.01, 0.05), ("truth", 1, 0)):
            middle = truth * share
            band = half * middle if half else np.full_like(middle, np.nan)
            parts.append(pd.DataFrame({
                "scenario": scenario, "estimator": estimator, "t_s": t_s,
                "cumulative_conversion": middle, "low": middle - band, "high": middle + band,
            }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def write_study(
    folder: Path,
    policies: Sequence[str] = tuple(WORTH),
    seed: int = 0,
    survival: bool = True,
    extras: bool = True,
    settings: str = "days: 6\n",
    refer_pull: float = 0.6,
    arguments: str = "{}",
) -> Path:
    """Write a study folder, with or without the files beside the results table.

    `settings` is yaml for the top of the config, `arguments` what every policy was built with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows(policies, seed, survival).write(folder / "results.parquet")
    if not extras:
        return folder
    if survival:
        curves().to_parquet(folder / "curves.parquet")
    nodes = "".join(f"  {name}: {arguments}\n" for name in policies)
    (folder / "config.yaml").write_text(
        f"name: quickstart\nseed: {seed}\n{settings}control: popularity\n"
        f"policies:\n{nodes}"
        "world:\n  _target_: sim.config.WorldConfig\n  name: default\n  n_users: 4000\n"
        f"  session: {{refer_pull: {refer_pull}}}\n"
    )
    (folder / "environment.json").write_text(json.dumps({
        "command": f"swipelab study experiment=quickstart seed={seed}",
        "python": "3.11.7", "platform": "Linux x86_64", "threads": 2, "wall_s": 301.2,
        "packages": {"numpy": "2.4.6", "torch": "2.13.0", "lifelines": "0.30.3"},
    }))  # fmt: skip
    (folder / "world.json").write_text(json.dumps({
        "users": 4000, "streamers": 1012, "products": 12408, "days": 6, "impressions": 754_201,
        "requests": 512_004, "mean_rooms_on_air": 183.4,
        "rates": {"page_ctr": 0.0841, "effective_view_rate": 0.412, "cured_share": 0.31},
        "impressions_by_scenario": {"channel": 201_110, "tab": 40_123, "swipe": 512_968},
    }))  # fmt: skip
    return folder
