"""Who writes the log: one choice for simulate, fidelity and study, and the same results."""

from pathlib import Path

import pandas as pd
import pytest

from evaluation.fidelity_page import TABLE
from evaluation.overrides import composed, with_policies
from evaluation.settings import fidelity_settings, simulate_settings, study_settings
from policies import registry
from sim.executor import Executor, SerialExecutor
from sim.pool import PoolExecutor
from sim.processes import cores
from tests.cli.conftest import SMALL

FEW = ("world.population.n_users=60", "world.population.n_streamers=60")


def executor_of(verb: str, *arguments: str) -> Executor:
    """Return who writes the log that a command asks for."""
    registry.register(load=True)
    overrides = with_policies(["world=tiny", *arguments], swept=False)
    (config,) = composed(verb, overrides, swept=False)
    if verb == "study":
        return study_settings(config).simulation.executor
    if verb == "fidelity":
        return fidelity_settings(config).simulation.executor
    return simulate_settings(config).executor


@pytest.mark.parametrize("verb", ["simulate", "fidelity", "study"])
def test_the_executor_is_chosen_alike(run, verb) -> None:
    plain = executor_of(verb)
    assert (type(plain), plain.n_shards) == (SerialExecutor, 1)
    cut = executor_of(verb, "shards=5")
    assert (type(cut), cut.n_shards) == (SerialExecutor, 5)
    pool = executor_of(verb, "executor=pool", "workers=2", "shards=5")
    assert (type(pool), pool.workers, pool.n_shards) == (PoolExecutor, 2, 5)
    if verb != "study":  # whose workers are a number, as they try policies as well
        assert executor_of(verb, "executor=pool").workers == cores()


def test_the_workers_of_a_study_try_policies_whoever_writes_the_log(run) -> None:
    assert executor_of("study", "workers=4").n_shards == 1
    pool = executor_of("study", "executor=pool", "workers=4")
    assert (pool.workers, pool.n_shards) == (4, None)  # as many as fit the log


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        (["simulate", "executor=dask"], "executor = 'dask'; allowed: serial, pool, ray"),
        (["fidelity", "executor=dask"], "executor = 'dask'; allowed: serial, pool, ray"),
        (["study", "executor=dask"], "executor = 'dask'; allowed: serial, pool, ray"),
        (["fidelity", "~executor"], "executor = None; allowed: serial, pool, ray"),
        (["fidelity", "workers=2"], "workers = 2 with executor = serial; allowed: 1, or pool"),
        (["fidelity", "executor=pool", "workers=0"], "workers = 0; allowed: an integer in [1, 256"),
        (["fidelity", "shards=5000"], "shards = 5000; allowed: an integer in [1, 4096]"),
        (
            ["study", "executor=pool", "workers=3", "shards=2"],
            "shards = 2 for 3 workers; allowed: ",
        ),
        (["study", "executor=pool", "workers=null"], "workers = None; allowed: an integer in [1, "),
    ],
)
def test_what_cannot_be_is_refused(run, tmp_path, typed, complaint) -> None:
    code, _, said = run(*typed)
    assert code == 2
    assert said.count("\n") == 1
    assert complaint in said
    assert not list(tmp_path.iterdir())


def test_figures_do_not_tell_who_wrote_the_log(run) -> None:
    found = []
    for name, how in (("one", ()), ("many", ("executor=pool", "workers=2", "shards=3"))):
        where = (f"out={name}", f"work={name}-work")
        code, _, said = run("fidelity", "world=tiny", "days=2", FEW[0], *how, *where)
        assert code == 1, said
        assert "kept from before" not in said
        found.append(Path(name, TABLE).read_bytes())
    assert found[0] == found[1]


def test_a_study_does_not_tell_who_wrote_its_log(run) -> None:
    found = []
    for name, how in (("one", ()), ("many", ("executor=pool",))):
        code, _, said = run(*SMALL, *how, "policy=random", f"out={name}", f"work={name}-work")
        assert code == 0, said
        found.append(pd.read_parquet(Path(name, "results.parquet")))
        logs = list(Path(f"{name}-work", "logs").iterdir())
        assert len(logs) == 1
        found.append({p.relative_to(logs[0]): p.read_bytes() for p in logs[0].rglob("*.parquet")})
    pd.testing.assert_frame_equal(found[0], found[2])
    assert found[1] == found[3]
