"""`swipelab study` as a line-up of models over seeds: its files, its cache, its errors."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from evaluation.lineup.settings import FILES
from evaluation.overrides import composed, with_policies
from policies import registry

CLAIM = "{policy: shared_bottom, over: random, metric: page_ctr, scenario: all, reported: 0.04}"
SMALL = (
    *("study", "experiment=policies", "world=tiny", "policy=random,popularity,shared_bottom"),
    *("days=2", "deploy_days=1", "workers=1", "lineup.seeds=[0,1]", f"lineup.claims=[{CLAIM}]"),
    *("world.population.n_users=100", "world.population.n_streamers=60"),
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folder of a finished line-up, and its work folder."""
    from evaluation.cli import main

    home = tmp_path_factory.mktemp("lineup")
    out, work = home / "out", home / "work"
    assert main([*SMALL, f"out={out}", f"work={work}"]) == 0
    return out, work


def test_one_command_leaves_tables_and_a_page(done: tuple[Path, Path]) -> None:
    out, _ = done
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    rows, costs = (pd.read_parquet(out / f"{name}.parquet") for name in ("results", "costs"))
    assert set(rows["world_seed"]) == {0, 1}
    compared = (
        rows[rows["metric"] == "page_ctr"].query("control != ''").groupby("policy")["control"]
    )
    compared = compared.unique()
    assert {name: set(of) for name, of in compared.items()} == {
        "random": {"popularity"},
        "shared_bottom": {"popularity", "random"},
    }
    in_value = rows[rows["metric"] == "value_per_user"].query("control != ''")
    pairs = set(zip(in_value["policy"], in_value["control"], strict=True))
    assert len(pairs) == 6
    trained = costs.set_index("policy").loc["shared_bottom"]
    assert (trained["parameters"] > 1000).all()
    assert (costs["pairs_per_s"] > 0.0).all()
    assert costs.set_index("policy").loc["random", "parameters"].isna().all()
    told = (out / "README.md").read_text()
    assert told.startswith("# What does each model add")
    assert "| shared_bottom | random | page CTR | All scenarios | +4.0 % |" in told.replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_models_made_for_a_sale_have_labels_to_learn_from() -> None:
    """A target that no world of the experiment can bring about would test nothing."""
    registry.register(load=True)
    (config,) = composed("study", with_policies(["experiment=promotion"], swept=False), swept=False)
    targets = config.policies.dbmtl_promotion.target_weights
    assert {"shop_visit", "amount"} <= set(targets)
    assert config.world.delay.revisit.rate_per_day > 0.0


def test_every_model_is_lined_up_somewhere() -> None:
    registry.register(load=True)
    shown = set()
    for name in ("policies", "promotion"):
        overrides = with_policies([f"experiment={name}"], swept=False)
        (config,) = composed("study", overrides, swept=False)
        shown |= set(config.policies)
    assert set(registry.built_in()) - shown == {"anti_oracle", "recency"}


def test_the_same_command_goes_on_and_ends_alike(done: tuple[Path, Path], run) -> None:
    out, work = done
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    kept = sorted(work.glob("lineup/*"))
    assert len(kept) == 2
    for path in kept[0].iterdir():  # as if the disk had been full at this seed
        path.write_bytes(b"")
    code, _, told = run(*SMALL, f"out={out}", f"work={work}")
    assert code == 0, told
    assert "kept from before" in told
    for name in ("results.parquet", "costs.parquet"):
        assert (out / name).read_bytes() == before[name]


def test_the_page_is_drawn_again_by_report(done: tuple[Path, Path], run) -> None:
    out, _ = done
    before = (out / "index.html").read_bytes()
    (out / "index.html").unlink()
    code, printed, _ = run("report", f"out={out}")
    assert (code, printed.strip()) == (0, str(out / "index.html"))
    assert (out / "index.html").read_bytes() == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("lineup.seeds=[]", "lineup.seeds = []; allowed: a list of integers"),
        ("seed=3", "seed=3 with lineup; allowed: lineup.seeds=[...]"),
        ("lineup.claims=3", "lineup.claims = 3; allowed: a list of claims"),
        ("lineup.claims=[{policy: dbmtl}]", "lineup.claims[0] = "),
        (f"lineup.claims=[{CLAIM.replace('page_ctr', 'ctr')}]", "metric = 'ctr'; allowed: one of"),
        (f"lineup.claims=[{CLAIM.replace('all', 'swipe')}]", "a metric of the swipe, which has no"),
        (f"lineup.claims=[{CLAIM.replace('0.04', 'much')}]", "reported = 'much'; allowed"),
    ],
)
def test_bad_values_are_told_in_one_line(run, given: str, said: str) -> None:
    code, _, told = run(*SMALL, given)
    assert (code, told.count("\n")) == (2, 1)
    assert said in told
