"""Team-draft interleaving: the law of the mixture, its propensities, and who is preferred."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from twins import DAYS, SEED, twin

from evaluation.ab.interleaving import NOBODY, TeamDraft, draft, preference
from evaluation.ab.twin_run import TwinRun, serve
from sim.schema import PAD, Slate
from sim.world import World
from tests.sim.worlds import config, server


def exact(control: list[int], treated: list[int]) -> dict[tuple[int, ...], float]:
    """Return the law of the mixture by trying every sequence of coins."""
    law: Counter[tuple[int, ...]] = Counter()
    k = len(control)
    rounds = (k + 1) // 2
    for coins in itertools.product((0, 1), repeat=rounds):
        one = Slate(np.array([control], np.int32), np.ones((1, k)))
        other = Slate(np.array([treated], np.int32), np.ones((1, k)))
        column, _, _ = draft(one, other, np.array([coins], np.int8))
        law[tuple(column[0].tolist())] += 0.5**rounds
    return law


@pytest.mark.parametrize(
    ("control", "treated"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ([1, 2, 3, 4], [1, 3, 2, 4]),
        ([1, 2, 3, 4], [5, 6, 7, 8]),
        ([1, 2, 3, 4, 5], [3, 1, 5, 2, 9]),
        ([1, 2, 3, 4, 5, 6, 7, 8], [8, 1, 2, 4, 3, 9, 5, 10]),
        ([1, 2, PAD, PAD], [2, 1, PAD, PAD]),
        ([1], [2]),
    ],
)
def test_propensities_are_those_of_all_coins(control: list[int], treated: list[int]) -> None:
    law = exact(control, treated)
    assert sum(law.values()) == pytest.approx(1.0)
    k = len(control)
    for coins in itertools.product((0, 1), repeat=(k + 1) // 2):
        slates = [Slate(np.array([s], np.int32), np.ones((1, k))) for s in (control, treated)]
        column, propensity, team = draft(*slates, np.array([coins], np.int8))
        slate = column[0].tolist()
        for n in range(k):
            above = sum(p for s, p in law.items() if list(s[:n]) == slate[:n])
            here = sum(p for s, p in law.items() if list(s[: n + 1]) == slate[: n + 1])
            assert propensity[0, n] == pytest.approx(here / above)
        filled = [c for c in slate if c != PAD]
        assert len(set(filled)) == len(filled)
        assert ((team[0] == NOBODY) == (column[0] == PAD)).all()
        assert abs(int((team[0] == 1).sum()) - int((team[0] == 0).sum())) <= 1
        picked = [c for c, t in zip(slate, team[0], strict=True) if t == 1]
        assert picked == [c for c in treated if c in picked]  # each team in its own order


def test_a_drawn_slate_has_no_known_propensity() -> None:
    sure = Slate(np.array([[1, 2]], np.int32), np.ones((1, 2)))
    drawn = Slate(np.array([[2, 1]], np.int32), np.array([[1.0, 0.5]]))
    _, propensity, _ = draft(sure, drawn, np.zeros((1, 1), np.int8))
    assert np.isnan(propensity).all()
    with pytest.raises(ValueError, match="each two positions need a coin"):
        draft(sure, drawn, np.zeros((1, 2), np.int8))


def test_interleaving_prefers_the_better_policy_and_logs_who_picked() -> None:
    ranker = TeamDraft(server("random"), server("oracle"), salt=1)
    served = serve(ranker, World(config(), SEED), 1)
    team = ranker.teams.of(served.shown)
    assert set(np.unique(team)) == {0, 1}
    effect = preference(served.shown, team, served.credit("engage"), served.n_users, "engage")
    assert effect.unit == "preference"
    assert 0.0 < effect.low < effect.estimate < effect.high < 1.0
    with pytest.raises(ValueError, match="no draft served"):
        ranker.teams.of(twin("random").shown)
    with pytest.raises(ValueError, match="negative"):
        preference(served.shown, team, -served.credit("engage"), served.n_users, "view")
    with pytest.raises(ValueError, match="must be"):
        preference(served.shown, team[:-1], served.credit("engage"), served.n_users, "view")


def test_a_policy_drafted_with_itself_shows_its_own_slates(recency_twin: TwinRun) -> None:
    ranker = TeamDraft(server("recency"), server("recency"))
    served = serve(ranker, World(config(), SEED), DAYS)
    assert (served.shown.streamer_id == recency_twin.shown.streamer_id).all()
    known = ~np.isnan(served.shown.propensity)
    assert known.any()
    assert (served.shown.propensity[known] == 1.0).all()
    team = ranker.teams.of(served.shown)
    assert (team == 1).mean() == pytest.approx(0.5, abs=0.05)
