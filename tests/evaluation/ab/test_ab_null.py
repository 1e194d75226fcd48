"""A/A: every design rejects in 4 to 6 % of 4,000 runs at 5 %, on made-up panels and on one log.

The runs of the log are assignments drawn again over the log of one policy in the null world: who
is in which arm, which block of a pair, which team in which round.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from panels import heavy

from evaluation.ab.assignment import Switchback, redrawn
from evaluation.ab.contrast import between, within
from evaluation.ab.interleaving import TeamDraft
from evaluation.ab.level import cuped_levels, ratio_level
from evaluation.ab.moments import assigned
from evaluation.ab.panel import Panel, panel_of
from evaluation.ab.sequential import confidence_sequence, effect_stream, stream
from evaluation.ab.switchback import PairedBlocks, paired_blocks
from evaluation.ab.twin_run import TwinRun, serve
from sim.presets import preset
from sim.world import World
from tests.sim.worlds import TICK_S, server

RUNS = 4000
BAND = (0.04, 0.06)
SMALL = ["world.population.n_users=800", "world.population.n_streamers=100"]


def rate(p_values: NDArray[np.float64]) -> float:
    """Return the share of runs that reject; every run has a p-value."""
    assert len(p_values) == RUNS
    assert not np.isnan(p_values).any()
    return float((p_values < 0.05).mean())


def split(panel: Panel, cuped: bool, share: float, seed: int = 0) -> NDArray[np.float64]:
    arms = assigned(panel.columns, redrawn(len(panel), RUNS, share, seed))
    levels = cuped_levels(*arms) if cuped else tuple(ratio_level(arm) for arm in arms)
    return between(levels[0], levels[1]).p_value


def twins(one: tuple, other: tuple, seed: int = 0) -> NDArray[np.float64]:
    """Swap the twins of each user by a coin, which two policies alike allow."""
    (y1, x1), (y0, x0) = one, other
    parts = []
    for swap in np.array_split(redrawn(len(y1), RUNS, 0.5, seed), 20):
        treated = np.where(swap, y0, y1), np.where(swap, x0, x1)
        control = np.where(swap, y1, y0), np.where(swap, x1, x0)
        parts.append(within(treated, control).p_value)
    return np.concatenate(parts)


def rounds(
    gain: NDArray[np.float64], whole: NDArray[np.float64], user: NDArray[np.integer], seed: int = 0
) -> NDArray[np.float64]:
    """Throw the coin of every round anew: the two positions of a round change teams.

    Args:
        gain: credit of the first less that of the second position of a round [N].
        whole: credit of both [N].
        user: whose round it is [N], in [0, U).
        seed: of the coins.
    """
    told = np.flatnonzero(gain != 0.0)
    users = int(user.max()) + 1
    base = np.bincount(user, weights=whole, minlength=users)
    order = told[np.argsort(user[told], kind="stable")]
    starts = np.searchsorted(user[order], np.arange(users + 1))
    parts = []
    for coins in np.array_split(redrawn(len(order), RUNS, 0.5, seed), 20):
        signed = np.where(coins, gain[order], -gain[order])
        ends = np.pad(np.cumsum(signed, axis=1), ((0, 0), (1, 0)))
        won = ends[:, starts[1:]] - ends[:, starts[:-1]]
        share = np.broadcast_to(base, won.shape)
        parts.append(within((won, share), (np.zeros(won.shape), share)).p_value)
    return np.concatenate(parts)


# --- made-up panels


@pytest.mark.parametrize("cuped", [False, True], ids=["delta", "cuped"])
@pytest.mark.parametrize("share", [0.5, 0.2])
def test_split(cuped: bool, share: float) -> None:
    assert BAND[0] < rate(split(heavy(800, 1), cuped, share)) < BAND[1]


def test_twins() -> None:
    panel = heavy(500, 2)
    past = panel.before_numerator, panel.before_denominator
    found = twins((panel.numerator, panel.denominator), past)
    assert BAND[0] < rate(found) < BAND[1]


@pytest.mark.parametrize("pairs", [12, 60])
def test_switchback(pairs: int) -> None:
    """The hours of a day differ fifteenfold in traffic and twofold in their rate."""
    rng = np.random.default_rng(3)
    hour = np.arange(pairs) % 6
    size = np.array([100, 300, 500, 800, 1200, 1500])[hour]
    x1, x0 = rng.poisson(size).astype(float), rng.poisson(size).astype(float)
    chance = np.linspace(0.1, 0.2, 6)[hour]
    y1, y0 = (rng.binomial(x.astype(int), chance).astype(float) for x in (x1, x0))
    blocks = PairedBlocks((y1, x1), (y0, x0), 100)
    assert BAND[0] < rate(blocks.flipped(RUNS).p_value) < BAND[1]


def test_interleaving() -> None:
    rng = np.random.default_rng(4)
    user = np.repeat(np.arange(300), rng.poisson(8.0, 300) + 1)
    taste = rng.beta(2.0, 6.0, 300)[user]
    first, second = (rng.random(len(user)) < taste * by for by in (1.0, 0.7))
    found = rounds(first * 1.0 - second, first * 1.0 + second, user)
    assert BAND[0] < rate(found) < BAND[1]


def test_looking_all_the_time() -> None:
    """The anytime-valid intervals of split traffic hold at all looks together."""
    rng = np.random.default_rng(5)
    rejected = 0
    for _ in range(8):
        values = rng.lognormal(0.0, 1.0, (RUNS // 8, 1500))
        effects = effect_stream(values, rng.random(values.shape) < 0.5, 0.5)
        low, high = confidence_sequence(stream(effects, np.arange(200, 1501, 50)), 1500)
        rejected += int(((low > 0.0) | (high < 0.0)).any(axis=1).sum())
    assert rejected / RUNS <= 0.05


# --- one log of the null world


@pytest.fixture(scope="module")
def null_log() -> TwinRun:
    return serve(server("random"), World(preset("null", SMALL), 1), 4)


@pytest.mark.parametrize("metric", ["page_ctr", "watch_s_per_user", "clicks_per_user"])
@pytest.mark.parametrize("cuped", [False, True], ids=["delta", "cuped"])
def test_split_of_a_log(null_log: TwinRun, metric: str, cuped: bool) -> None:
    day = null_log.shown.time_s // 86400.0
    past, now = (
        null_log.totals_by(np.where(rows, null_log.shown.user_id, -1), null_log.n_users)
        for rows in (day < 2, day >= 2)
    )
    panel, _ = panel_of(now, metric, before=past)
    assert BAND[0] < rate(split(panel, cuped, 0.5)) < BAND[1]


@pytest.mark.parametrize("metric", ["page_ctr", "watch_s_per_user"])
def test_twins_of_a_log(null_log: TwinRun, metric: str) -> None:
    other = serve(server("recency"), World(preset("null", SMALL), 1), 4)
    pair = [served.totals().columns(metric) for served in (null_log, other)]
    came = np.logical_or.reduce([x > 0.0 for _, x in pair])
    one, two = (tuple(v[came] for v in sums) for sums in pair)
    assert BAND[0] < rate(twins(one, two)) < BAND[1]


@pytest.mark.parametrize("metric", ["page_ctr", "watch_s_per_user"])
def test_switchback_of_a_log(null_log: TwinRun, metric: str) -> None:
    blocks = paired_blocks(null_log, Switchback(0.0, TICK_S), metric)
    assert len(blocks) == 12
    found = blocks.flipped(RUNS).p_value
    assert BAND[0] < rate(found) < BAND[1]


def test_interleaving_of_a_log() -> None:
    ranker = TeamDraft(server("random"), server("random"))
    served = serve(ranker, World(preset("null", SMALL), 1), 2)
    shown, credit = served.shown, served.credit("engage")
    key = shown.request_id * 64 + shown.position // 2
    of_round, index, number = np.unique(key, return_index=True, return_inverse=True)
    sign = np.where(shown.position % 2 == 0, 1.0, -1.0)
    gain = np.bincount(number, weights=sign * credit, minlength=len(of_round))
    whole = np.bincount(number, weights=credit, minlength=len(of_round))
    _, user = np.unique(shown.user_id[index], return_inverse=True)
    assert BAND[0] < rate(rounds(gain, whole, user)) < BAND[1]
