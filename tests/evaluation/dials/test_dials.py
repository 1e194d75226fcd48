"""The table of the dials, regenerated in small; the slow tests turn all of them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from evaluation.cli import main
from evaluation.dials.board import Moved, observe, turn
from evaluation.dials.dial import Dial, dial_board
from evaluation.dials.measures import MEASURES
from evaluation.dials.page import LUCK_PICTURE, LUCK_ROWS, PAGE, ROWS
from evaluation.dials.parts import PARTS, digest
from evaluation.intervals import mean
from sim.config import ConfigError
from tests.sim.worlds import config

BOARD = dial_board()
QUICK = ("refer_pull", "like_rate", "turnover", "profile_signal")
"""Dials of the quick test: of the session, the base rates, who exists, what is seen of them."""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The folder that the verb leaves for some dials, and its exit code."""
    out = tmp_path_factory.mktemp("world") / "out"
    code = main(["dials", f"out={out}", "scale=small", f"dial={','.join(QUICK)}"])
    return out, code


def test_the_table_in_small(table):
    """Every dial moves what it should and nothing else; the page, the rows and the plots say so."""
    out, code = table
    assert code == 0
    rows = pd.read_parquet(out / ROWS)
    assert set(rows["dial"]) == set(QUICK)
    assert rows["holds"].all()
    for name in QUICK:
        own = rows[rows["dial"] == name]
        dial = BOARD.dials[name]
        assert set(own["name"]) == {*dial.moves, *dial.still, *dial.same}
        digests = own[own["kind"] == "part"].groupby("name")["digest"]
        assert (digests.nunique() == 1).all()
        picture = (out / f"{name}.svg").read_text()
        assert picture.count("<circle") == 2 * (len(dial.moves) + len(dial.still))
        assert "nan" not in picture.lower()
    page = (out / PAGE).read_text()
    assert f"{len(QUICK)} of {len(QUICK)} dials" in page
    assert all(f"![{name}]({name}.svg)" in page for name in QUICK)


def test_common_random_numbers_stand_beside_it(table):
    """The second table: how much variance they take away."""
    out, _ = table
    rows = pd.read_parquet(out / LUCK_ROWS)
    assert (rows.loc[rows["draws"] == "common", "times_smaller"] == 1).all()
    fixed = rows[rows["pair"].str.startswith("fixed") & (rows["draws"] != "common")]
    assert (fixed["times_smaller"] >= 20).all()
    assert "<svg" in (out / LUCK_PICTURE).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BOARD.dials if name not in QUICK])
def test_every_dial_in_small(name):
    """The same for all other dials."""
    turned = turn(BOARD, name, "small")
    assert turned.differing == ()
    for moved in turned.moved:
        assert moved.holds, (moved.measure, [level.value for level in moved.levels])


def test_every_measure_and_part_is_used():
    """What nothing asks for would be an option that nothing uses."""
    dials = BOARD.dials.values()
    assert {name for d in dials for name in (*d.moves, *d.still)} == set(MEASURES)
    assert {name for d in dials for name in d.same} == set(PARTS)


@pytest.mark.parametrize(
    ("expected", "levels", "holds"),
    [
        ("up", (0.0, 1.0), True),
        ("up", (1.0, 0.0), False),
        ("up", (0.0, 0.001), False),
        ("up", (0.0, 1.0, 0.5), False),
        ("down", (1.0, 0.5, 0.0), True),
        ("still", (1.0, 1.0), True),
        ("still", (1.0, 1.02), True),
        ("still", (1.0, 1.5), False),
        ("still", (0.0, 0.5), False),
    ],
)
def test_verdicts(expected, levels, holds):
    """A change must be larger than its error to count, in the right direction at every step."""
    noise = np.random.default_rng(4).normal(size=(len(levels), 4000)) * 0.1
    moved = Moved("m", expected, tuple(mean(v + e) for v, e in zip(levels, noise, strict=True)))
    assert moved.holds == holds


def test_digests_tell_worlds_apart():
    """Another seed changes every part, the same one none."""
    days = {"config": config(), "policy": "random", "days": 1}
    one, again, other = (observe(seed=seed, **days) for seed in (1, 1, 2))
    for part in PARTS:
        assert digest(one, part) == digest(again, part)
        assert digest(one, part) != digest(other, part)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("moves", {"fun": "up"}, "moves = 'fun'; allowed: "),
        ("moves", {"swipes viewed": "away"}, "moves = 'away'; allowed: up, down"),
        ("same", ["love"], "same = 'love'; allowed: tastes"),
        ("settings", {"high": [], "off": []}, "allowed: in the order"),
        ("settings", {"off": []}, "at least two settings"),
        ("policy", "rui3", "policy = 'rui3'; allowed: random"),
    ],
)
def test_a_bad_entry_is_refused(field, value, says):
    """One line: field, value, what is allowed."""
    good = BOARD.dials["refer_pull"]
    given = {f.name: getattr(good, f.name) for f in dataclasses.fields(good)} | {field: value}
    with pytest.raises(ConfigError, match=says):
        Dial(**given)


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("scale=huge", "scale = 'huge'; allowed: full, small"),
        ("dial=fun", "dial = 'fun'; allowed: scenario_shift"),
        ("fun=1", "dials argument 'fun=1'; allowed: out=DIR"),
    ],
)
def test_bad_arguments_are_refused(argument, says, capsys):
    """One line, code 2, nothing run."""
    assert main(["dials", argument]) == 2
    assert says in capsys.readouterr().err
