"""The machinery of the benchmark at tiny scale: keys, ratios, floors, pages. It asserts no time."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.bench import page as bench_page
from evaluation.bench import startup
from evaluation.bench.clock import Timing, machine_record, peak_gb, timed
from evaluation.bench.command import BenchSettings
from evaluation.bench.figure import Figure, memory, rate, run_memory
from evaluation.bench.finished import long_log_figures, run_time
from evaluation.bench.judging import metric_rate
from evaluation.bench.ledger import Gather, Ledger, Product
from evaluation.bench.page import FIGURES, HEADS, PAGE, Measurement, json_text, markdown, row
from evaluation.bench.plan import LEARNED, SCALES, BenchPlan
from evaluation.bench.world import bare_world
from evaluation.cli import main
from evaluation.offline import OfflineProtocol
from sim.config import ConfigError, build
from sim.processes import THREADS, one_thread

ROOT = Path(__file__).resolve().parents[3]
FAST, SLOW = Timing(100, 1.0, 2.0, 3), Timing(100, 4.0, 5.0, 3)
RATE = rate("job", "things", "a job", SLOW, FAST, "a kernel", 30.0)


@pytest.fixture(scope="module")
def perf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `swipelab bench` leaves at the small scale."""
    folder = tmp_path_factory.mktemp("perf")
    out = folder / "out"
    finished = [f"study={folder}", f"long={folder}"]
    assert main(["bench", f"out={out}", "scale=small", *finished]) == 0
    return out


def test_command_leaves_page_and_figures_only(perf) -> None:
    assert sorted(path.name for path in perf.iterdir()) == sorted([PAGE, FIGURES])


def test_every_figure_is_there_with_a_finite_ratio(perf) -> None:
    record = json.loads((perf / FIGURES).read_text())
    by_name = {figure["name"]: figure for figure in record["figures"]}
    wide = f"metrics/{SCALES['small'].n_wide}"
    expected = {"simulate", "simulate+log", "simulate/swipes", "score/popularity"}
    expected |= {wide, "time/run", "memory/run", "off_policy/slates", "bootstrap/users"}
    expected |= {f"{what}/{name}" for what in ("train", "score") for name in LEARNED}
    expected |= {"ranks/compiled", "ranks/masked", "ranks/numpy", "auc", "gauc"}
    expected |= {"time/import", "time/first_log", "gain/workers", "memory/long_log"}
    expected |= {f"memory/{stage}" for stage in ("simulate", "fit", "judge")}
    assert expected <= set(by_name)
    (own,) = set(by_name) - expected
    assert own.startswith("metrics/"), "at the log's number of candidates"
    taken_over = {"time/run", "gain/workers", "memory/long_log"}
    for name, figure in by_name.items():
        if name in taken_over | {"memory/run"}:
            continue
        assert figure["value"] > 0.0, name
        assert math.isfinite(figure["times_floor"]), name
        assert figure["times_floor"] > 0.0, name
        assert figure["floor_work"], name
    assert by_name["memory/fit"]["value"] >= by_name["memory/fit"]["floor"]
    assert {name for name, figure in by_name.items() if figure["mark"] is not None} == taken_over
    assert all(by_name[name]["value"] is None for name in taken_over)


def test_page_names_every_figure_and_the_machine(perf) -> None:
    record = json.loads((perf / FIGURES).read_text())
    page = (perf / PAGE).read_text()
    for figure in record["figures"]:
        assert f"| {figure['name']} |" in page
        assert f"**{figure['name']}**" in page
    for fact in ("processor", "cores", "python", "numpy", "torch"):
        assert f"| {fact} | {record['machine'][fact]} |" in page
    assert "it tests the benchmark" in page


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["speed=1"],
            "bench argument 'speed=1'; allowed: out=DIR, scale=NAME, study=DIR, long=DIR",
        ),
        (["out="], "bench argument 'out='"),
        (["scale=huge"], "scale = 'huge'; allowed: full, small"),
        (["out=taken"], "taken is a file"),
        (["scale=100m", "study=a"], "study = 'a'; allowed: only with scale=full or small, as sca"),
        (["scale=training", "long=a"], "long = 'a'; allowed: only with scale=full or small, as s"),
    ],
)
def test_bad_argument_is_one_line(tmp_path, monkeypatch, capsys, arguments, complaint) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken").touch()
    assert main(["bench", *arguments]) == 2
    printed = capsys.readouterr()
    assert complaint in printed.err
    assert printed.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_defaults() -> None:
    settings = BenchSettings.parse([])
    run, long = Path("reports/latest"), Path("reports/scale")
    assert settings == BenchSettings(Path("reports/perf"), "full", run, long)
    assert settings.command == "swipelab bench out=reports/perf scale=full"


def test_command_on_record_names_what_was_taken_over() -> None:
    given = ["scale=small", "long=b", "study=a"]
    command = "swipelab bench out=reports/perf scale=small study=a long=b"
    assert BenchSettings.parse(given).command == command


def test_a_timed_process_that_fails_says_why(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(startup, "_FIRST_LOG", ("simulate", "world=moon"))
    plan = BenchPlan(SCALES["small"], tmp_path)
    with pytest.raises(OSError, match=r"ended with 2: .*world.*moon"):
        startup.measure(plan)


def test_parent_stays_small() -> None:
    look = "import sys; sys.exit(bool({'torch', 'pandas', 'lifelines'} & set(sys.modules)))"
    code = f"import evaluation.bench.command, evaluation.bench.page; {look}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"its peak would count for every stage {done.stderr}"


def test_timing_is_a_median_over_prepared_runs(monkeypatch) -> None:
    clock = iter([0.0, 9.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr("evaluation.bench.clock.time.process_time", lambda: next(clock))
    calls: list[str] = []
    taken = timed(lambda: calls.append("job"), 8, 3, lambda: calls.append("prepare"))
    assert calls == ["prepare", "job"] * 3
    assert (taken.cpu_s, taken.per_cpu_s, taken.repeats) == (2.0, 4.0, 3)
    assert (FAST + SLOW).per_cpu_s == 100 / 5.0
    assert (FAST + SLOW).per_wall_s == 100 / 7.0


def test_one_thread_is_only_for_processes_started_inside(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with one_thread():
        assert all(os.environ[name] == "1" for name in THREADS)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_machine_and_memory_are_named() -> None:
    assert all(machine_record("swipelab bench").values())
    before = peak_gb()
    block = np.ones(100_000_000, np.int8)
    assert peak_gb() >= before
    assert peak_gb() >= block.nbytes / 1e9


def test_ratios_and_marks() -> None:
    assert (RATE.value, RATE.floor, RATE.times_floor, RATE.holds) == (25.0, 100.0, 4.0, False)
    assert (RATE.value_wall, RATE.floor_wall) == (20.0, 50.0)
    assert replace(RATE, mark=25.0).holds is True
    held = memory("memory/x", "work", 1.5, 0.5)
    assert (held.times_floor, held.holds) == (3.0, None)
    whole = run_memory({"simulate": 0.5, "fit": 1.0, "judge": 1.5}, 2, marked=True)
    assert (whole.value, whole.holds, whole.times_floor) == (3.5, True, None)
    assert replace(whole, value=4.5).holds is False
    assert Figure("t", "time", "s", None, "not measured", mark=1.0).holds is None


def test_ledger_holds_products_and_gathers_forward_and_backward() -> None:
    table, layer = torch.nn.Embedding(11, 5), torch.nn.Linear(5, 3)
    rows = torch.arange(7)
    ledger = Ledger()
    with ledger.recording():
        layer(table(rows)).sum().backward()
    # out [7, 3], gradient of the weights [3, 5], gradient of the input [7, 5]
    assert sorted((p.m * p.k * p.n, c) for p, c in ledger.products.items()) == [(105, 1)] * 3
    assert ledger.multiply_adds == 3 * 7 * 5 * 3
    assert ledger.gathers == {Gather(11, 5, 7, False): 1, Gather(11, 5, 7, True): 1}
    taken = ledger.replay(7, 2)
    assert taken.amount == 7
    assert taken.cpu_s > 0.0


def test_ledger_holds_products_without_gradients() -> None:
    a, b = torch.ones(2, 4, 6), torch.ones(2, 6, 8)
    ledger = Ledger()
    with torch.inference_mode(), ledger.recording():
        torch.nn.functional.linear(a[0], a[1])
        torch.matmul(a, b)
        torch.einsum("bmk,bkn->bmn", a, b)
        a[0, 0] @ a[0, 0]
    assert ledger.products[Product(2, 4, 6, 8)] == 2
    assert ledger.multiply_adds == 4 * 6 * 4 + 2 * (2 * 4 * 6 * 8) + 6
    assert math.isfinite(ledger.replay(1, 1).per_cpu_s)


def test_kernels_take_any_size() -> None:
    watch = build(BenchPlan(SCALES["small"], Path()).config().world).watch
    for n, n_requests in ((1, 1), (2049, 700), (4096, 4096)):
        bare_world(n, n_requests, 17, watch)()
    figure = metric_rate(40, 30, OfflineProtocol(("hr@3", "mrr"), (5,)), 1)
    assert figure.name == "metrics/30"
    assert figure.times_floor is not None
    assert figure.times_floor > 0.0


def measurement() -> Measurement:
    unmeasured = Figure("time/run", "time", "s elapsed", None, "not measured", mark=360.0)
    machine = {"command": "swipelab bench", "processor": "a processor"}
    return Measurement("full", machine, 0.1, math.nan, (RATE, unmeasured))


def test_page_and_json() -> None:
    measured = measurement()
    cells = dict(zip(HEADS, row(RATE, bench_page.number), strict=True))
    assert cells == {
        "figure": "job", "measured": "25", "unit": "things per CPU-second", "elapsed": "20",
        "floor": "100", "× floor": "4", "mark": "≥ 30", "holds": "no",
    }  # fmt: skip
    page = markdown(measured)
    assert "| time/run | – | s elapsed | – | – | – | ≤ 360 | – |" in page
    assert "busy" not in page
    assert "busy" in markdown(replace(measured, load_before=3.0))
    record = json.loads(json_text(measured))
    assert record["load_after"] is None
    assert record["figures"][0]["times_floor"] == 4.0
    assert record["figures"][1]["value"] is None


@pytest.mark.parametrize(
    ("value", "long", "brief"),
    [(None, "–", "–"), (0.01234, "0.0123", "0.0123"), (12.34, "12.3", "12.3"),
     (999.6, "1,000", "1 k"), (58_263.0, "58,300", "58.3 k"), (1_131_372.0, "1,130,000", "1.13 M")],
)  # fmt: skip
def test_numbers(value, long, brief) -> None:
    assert (bench_page.number(value), bench_page.short(value)) == (long, brief)


def test_a_write_that_fails_leaves_the_old_files(tmp_path, monkeypatch) -> None:
    bench_page.write(measurement(), tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(before) == {PAGE, FIGURES}

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        bench_page.write(replace(measurement(), load_before=9.0), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("study_s", "impressions", "n_policies", "value", "reason"),
    [
        (300.0, "600,000", 8, 300.0, "the last run in"),
        (300.0, "20,000", 8, None, "smaller study"),
        (300.0, "600,000", 3, None, "smaller study"),
        (60.0, "600,000", 8, None, "not made in one go"),
        (300.0, "many", 8, None, "cannot be read"),
    ],
)
def test_time_of_the_main_job(tmp_path, study_s, impressions, n_policies, value, reason) -> None:
    spans = {f"policy{i}": [30.0, 10.0, 20.0] for i in range(n_policies)}
    timings = {"simulate_s": 20.0, "study_s": study_s, "fit_judge_deploy_s": spans}
    (tmp_path / "timings.json").write_text(json.dumps(timings))
    (tmp_path / "world.json").write_text(json.dumps({"impressions": impressions}))
    figure = run_time(tmp_path)
    assert figure.value == value
    assert reason in figure.work
    assert figure.holds is (True if value else None)


def test_time_of_the_main_job_needs_a_study(tmp_path) -> None:
    assert "no finished run" in run_time(tmp_path).work


def test_figures_of_a_long_log(tmp_path) -> None:
    days = [{"parent_peak_gb": 2.4, "worker_peak_gb": 1.0 + day} for day in range(3)]
    machine = {"processor": "a processor", "swipelab": "0.1.0"}
    record = {
        "memory": days, "speedup": 1.87, "impressions": 103, "plan": {"workers": 2},
        "machine": machine,
    }  # fmt: skip
    (tmp_path / "100m.json").write_text(json.dumps(record))
    gain, held = long_log_figures(tmp_path)
    assert (gain.value, gain.holds, held.value, held.holds) == (1.87, True, 3.0, True)
    assert replace(gain, value=1.5).holds is False
    assert replace(held, value=4.5).holds is False
    assert row(gain, bench_page.number)[-2:] == ("≥ 1.7", "yes")
    (tmp_path / "100m.json").write_text(json.dumps({**record, "memory": []}))
    assert all("cannot be read" in figure.work for figure in long_log_figures(tmp_path))
    assert "left nothing" in long_log_figures(tmp_path / "none")[0].work


def test_settings_refuse_without_touching_the_disk(tmp_path) -> None:
    with pytest.raises(ConfigError, match="scale"):
        BenchSettings.parse([f"out={tmp_path / 'new'}", "scale=none"])
    assert not list(tmp_path.iterdir())
